//! The page of targets: thousands of them, renewal in place, searches, and a reload that failed.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::common::{Server, free_port, wait_for};
use crate::driver::Browser;

/// One target that refuses connections, scraped every second.
fn down() -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: app\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        free_port()
    )
}

#[test]
fn ten_thousand_targets_make_a_page_that_a_browser_shows_at_once() {
    let mut yaml =
        "global: {scrape_interval: 1h}\nscrape_configs:\n- job_name: fleet\n  static_configs:\n  - targets:\n"
            .to_owned();
    for at in 0..10_000 {
        writeln!(yaml, "    - 127.0.0.1:1/m{at}").unwrap();
    }
    // A path per target, by relabeling: all of them refuse the connection.
    let yaml = yaml.replace(":1/m", ":1;m")
        + "  relabel_configs:\n  - {source_labels: [__address__], regex: '(.*);(.*)', target_label: __metrics_path__, replacement: '/$2'}\n  - {source_labels: [__address__], regex: '(.*);(.*)', target_label: __address__, replacement: '$1'}\n";
    let server = Server::with_config(&yaml, &[]);
    let Some(browser) = Browser::open(true) else { return };
    browser.go(&format!("{}/targets", server.url));
    let nodes = browser.run("return document.querySelectorAll('*').length").as_u64().unwrap();
    assert!((1000..10_000).contains(&nodes), "{nodes} elements");
    assert!(browser.run("return document.body.textContent").as_str().unwrap().contains("of 10000"));
    // Each is reached by paging and by search.
    browser.go(&format!("{}/targets?search=m9876", server.url));
    let links = browser.run("return [...document.querySelectorAll('.targets td a')].map(a => a.textContent)");
    assert_eq!(links, json!(["http://127.0.0.1:1/m9876"]));
    browser.go(&format!("{}/targets?pool=fleet&page=34", server.url));
    assert_eq!(browser.run("return document.querySelectorAll('.targets tbody').length"), 100);
    browser.keep_picture("targets_paged.png");
}

#[test]
fn a_renewal_keeps_what_is_selected_and_where_the_focus_is() {
    let server = Server::with_config(&down(), &[]);
    wait_for("an error", || {
        !server.api("/targets", &[])["activeTargets"][0]["lastError"].as_str().unwrap_or_default().is_empty()
    });
    let Some(browser) = Browser::open(true) else { return };
    browser.go(&format!("{}/targets", server.url));
    let select = "const pre = document.querySelector('.why pre'); window.pre = pre; getSelection().selectAllChildren(pre);
        document.querySelector('.targets td a').focus(); document.body.dataset.renewals = 0;
        new MutationObserver(() => document.body.dataset.renewals++).observe(document.getElementById('live'), {subtree: true, childList: true, characterData: true});
        return getSelection().toString()";
    let selected = browser.run(select);
    assert!(selected.as_str().unwrap().contains("connection refused"), "{selected}");
    // The age of the last scrape changes with each renewal.
    wait_for("two renewals", || {
        browser.run("return Number(document.body.dataset.renewals)").as_u64().is_some_and(|n| n >= 2)
    });
    assert_eq!(browser.run("return getSelection().toString()"), selected);
    let same = "return document.activeElement === document.querySelector('.targets td a') && window.pre.isConnected";
    assert_eq!(browser.run(same), true);
}

#[test]
fn a_search_without_a_match_says_so_and_counts_nothing_wrong() {
    let server = Server::with_config(&down(), &[]);
    let Some(browser) = Browser::open(true) else { return };
    browser.go(&format!("{}/targets?search=zzz", server.url));
    let text = browser.run("return document.querySelector('main').innerText");
    let text = text.as_str().unwrap();
    assert!(text.contains("No target matches.") && !text.contains("of 0"), "{text}");
    assert_eq!(browser.run("return document.querySelector('table')"), Value::Null);
}

#[test]
fn a_failed_reload_is_shown_on_every_page_until_one_succeeds() {
    let server = Server::with_config(&down(), &["--web.enable-lifecycle"]);
    let good = std::fs::read_to_string(server.dir.join("prometheus.yml")).unwrap();
    let reload = |text: &str| {
        std::fs::write(server.dir.join("prometheus.yml"), text).unwrap();
        server.post("/-/reload", "text/plain", b"").status
    };
    let notice = |path: &str| server.get(path).text().contains("could not be reloaded");
    assert!(!notice("/targets"));
    assert_eq!(reload("scrape_config: []\n"), 500);
    for path in ["/", "/targets", "/query", "/config", "/flags", "/tsdb-status"] {
        assert!(notice(path), "{path}");
    }
    assert!(server.get("/targets").text().contains("unknown key"));
    assert_eq!(reload(&good), 200);
    assert!(!notice("/targets"));
}
