//! The pages in a real browser: Chromium, driven over the WebDriver protocol, finds the charts drawn and nothing cut.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod query;
mod targets;

use common::{Server, encode, wait_for};
use driver::Browser;
use serde_json::json;

/// The pictures of the page that are loaded, those that are broken, what is wider than the window, and text in a box
/// that is too small for it.
const MEASURE: &str = "
    const images = [...document.querySelectorAll('picture.chart img')];
    const wide = [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .suggest, .hidden, svg')
        && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
    const cut = [...document.querySelectorAll('h2, .stat, button, .tabs a, .top a')].filter(e => e.scrollWidth > e.clientWidth + 1
        && getComputedStyle(e).display !== 'inline');
    const boxes = [...document.querySelectorAll('.panel')].map(e => e.getBoundingClientRect());
    const overlap = boxes.filter((a, i) => boxes.some((b, j) => j > i && a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length;
    return {
        drawn: images.filter(i => i.complete && i.naturalWidth > 100).length,
        broken: images.filter(i => i.complete && i.naturalWidth === 0).length,
        waiting: images.filter(i => !i.complete).length,
        wide: wide.map(e => e.outerHTML.slice(0, 80)), cut: cut.map(e => e.outerHTML.slice(0, 80)), overlap,
        gauges: document.querySelectorAll('.gauge svg').length,
    };";

/// A server that has scraped itself and its machine at least twice.
fn server() -> Server {
    let server = Server::start(&[]);
    wait_for("a rate", || server.number("sum(rate(node_cpu_seconds_total[1m]))").is_some_and(|rate| rate > 0.0));
    server
}

#[test]
fn pages_show_drawn_charts_wide_and_narrow_with_and_without_a_script() {
    let server = server();
    let query = format!("/query?{}", encode(&[("query", "rate(node_cpu_seconds_total[1m])"), ("range", "5m")]));
    for script in [true, false] {
        let Some(browser) = Browser::open(script) else { return };
        for width in [1280, 390] {
            browser.resize(width, 1000);
            let pages = [
                ("/", 7),
                ("/d/silverback", 6),
                (query.as_str(), 1),
                ("/targets", 0),
                ("/tsdb-status", 0),
                ("/config", 0),
                ("/flags", 0),
            ];
            for (path, charts) in pages {
                browser.go(&format!("{}{path}", server.url));
                wait_for("the pictures", || browser.run(MEASURE)["waiting"] == 0);
                let found = browser.run(MEASURE);
                let place = format!("{path} at {width}, script {script}: {found}");
                assert!(found["drawn"].as_u64().unwrap() >= charts, "{place}");
                assert_eq!((&found["broken"], &found["overlap"]), (&json!(0), &json!(0)), "{place}");
                assert_eq!((&found["wide"], &found["cut"]), (&json!([]), &json!([])), "{place}");
                assert!(path != "/" || found["gauges"].as_u64().unwrap() >= 3, "{place}");
                let name: String =
                    path.chars().take(20).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
                browser.keep_picture(&format!("page{name}_{width}_{script}.png"));
            }
        }
    }
}

#[test]
fn the_theme_is_kept_and_reaches_the_pictures() {
    let server = server();
    let Some(browser) = Browser::open(true) else { return };
    browser.resize(1280, 1000);
    browser.go(&format!("{}/theme?to=dark&back=/d/host", server.url));
    wait_for("the pictures", || browser.run(MEASURE)["waiting"] == 0);
    assert_eq!(browser.run("return getComputedStyle(document.body).backgroundColor"), "rgb(11, 17, 32)");
    let source = browser.run("return document.querySelector('picture.chart img').currentSrc");
    assert!(source.as_str().unwrap().contains("theme=dark"), "{source}");
    browser.keep_picture("dark.png");
}

#[test]
fn the_script_shows_values_under_the_pointer_and_completes_names() {
    let server = server();
    let Some(browser) = Browser::open(true) else { return };
    browser.resize(1280, 1000);
    let query = encode(&[("query", "node_load1"), ("range", "5m")]);
    browser.go(&format!("{}/query?{query}", server.url));
    wait_for("the picture", || browser.run(MEASURE)["drawn"] == 1);
    let point = "const p = document.querySelector('picture.chart'), b = p.getBoundingClientRect();
        p.dispatchEvent(new PointerEvent('pointermove', {clientX: b.right - 40, clientY: b.top + 100, bubbles: true, pointerType: 'mouse'}));
        return document.querySelector('.tip')?.textContent ?? ''";
    wait_for("the values", || browser.run(point).as_str().unwrap().contains("node_load1"));
    browser.keep_picture("tip.png");
    let kind = "const box = document.getElementById('expr'); box.focus(); box.value = 'sum(node_memory_MemTo';
        box.setSelectionRange(99, 99); box.dispatchEvent(new Event('input')); return null";
    browser.run(kind);
    let offered = "return [...document.querySelectorAll('.suggest li')].map(li => li.textContent)";
    wait_for("completion", || browser.run(offered).as_array().is_some_and(|names| !names.is_empty()));
    assert_eq!(browser.run(offered)[0], "node_memory_MemTotal_bytes");
    browser.run("document.getElementById('expr').dispatchEvent(new KeyboardEvent('keydown', {key: 'Tab', bubbles: true})); return null");
    assert_eq!(browser.run("return document.getElementById('expr').value"), "sum(node_memory_MemTotal_bytes");
}
