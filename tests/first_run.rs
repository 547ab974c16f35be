//! What a new user meets: the first start, its mistakes, the configuration, the end.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Server, free_port, signal, wait_for};
use serde_json::json;

/// Runs the server where it cannot start: exit code and what it printed to standard error.
fn refused(dir: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_silverback")).current_dir(dir).args(flags).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The lines that are no log messages.
fn plain(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("silverback: ")).collect()
}

#[test]
fn without_flags_the_server_watches_itself_and_its_machine() {
    let mut server = Server::start(&[]);
    // The last line of the start.
    wait_for("the log to say where to look", || {
        server.read_log().contains("scraping this server and this machine every 5 s")
    });
    assert!(server.log.contains(&format!("open {}/ in a browser", server.url)), "{}", server.log);
    assert!(server.dir.join("data/wal").is_dir(), "it stores in ./data");
    wait_for("both targets", || server.number("sum(up)") == Some(2.0));
    // node_exporter's names and labels, so that its dashboards fit.
    for query in [
        "count(node_cpu_seconds_total{mode=\"idle\"})",
        "node_memory_MemTotal_bytes",
        "node_load1",
        "count(node_filesystem_size_bytes{mountpoint=~\"/.*\"})",
        "count(node_network_receive_bytes_total)",
        "node_boot_time_seconds",
        "process_resident_memory_bytes",
        "prometheus_tsdb_head_series",
    ] {
        assert!(server.number(query).is_some_and(|value| value >= 0.0), "{query}");
    }
    let page = server.get("/").text();
    assert!(page.contains("CPU by mode") && page.contains("/chart.svg?query="), "{page}");
    assert!(page.contains("<svg"), "gauges stand in the page");
    // A rate needs two scrapes.
    wait_for("a rate", || server.number("sum(rate(node_cpu_seconds_total[1m]))").is_some_and(|rate| rate > 0.0));
    assert_eq!(server.stop(), Some(0));
    assert!(server.log.contains("stopped"), "{}", server.log);
}

#[test]
fn what_keeps_it_from_starting_is_said_in_one_line_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--web.listen-address={}", taken.local_addr().unwrap());
    let (code, text) = refused(dir.path(), &[&address]);
    assert_eq!(code, Some(1));
    assert_eq!(plain(&text).len(), 1, "{text}");
    assert!(text.contains("is in use by another program") && text.contains("--web.listen-address"), "{text}");

    std::fs::write(dir.path().join("file"), "").unwrap();
    let free = format!("--web.listen-address=127.0.0.1:{}", free_port());
    let (code, text) = refused(dir.path(), &[&free, "--storage.tsdb.path=file/data"]);
    assert_eq!((code, plain(&text).len()), (Some(1), 1), "{text}");
    assert!(text.contains("file/data") && text.contains("--storage.tsdb.path"), "{text}");

    let server = Server::start(&[]);
    let (code, text) = refused(&server.dir, &[&free]);
    assert_eq!((code, plain(&text).len()), (Some(1), 1), "{text}");
    assert!(text.contains("data is in use by another process"), "{text}");

    let (code, text) = refused(dir.path(), &["--config.file=missing.yml"]);
    assert_eq!((code, plain(&text).len()), (Some(1), 1), "{text}");
    assert!(text.contains("missing.yml"), "{text}");

    let (code, text) = refused(dir.path(), &["--query.timeout=soon"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("query.timeout") && text.contains("must be a duration"), "{text}");
}

#[test]
fn a_configuration_is_checked_without_starting() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("good.yml", "scrape_configs: [{job_name: a}]\nalerting: {alertmanagers: []}\n");
    write("bad.yml", "global:\n  scrape_intervall: 5s\n");
    let check = |files: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silverback"));
        let output = command.current_dir(dir.path()).args(["check", "config"]).args(files).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = check(&["good.yml"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("good.yml: valid, 1 scrape job\n") && out.contains("alerting"), "{out}");
    let (code, _, err) = check(&["good.yml", "bad.yml"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("bad.yml:2:3:") && err.contains("scrape_interval"), "{err}");
}

#[test]
fn a_signal_reloads_the_configuration_and_a_bad_one_changes_nothing() {
    let target = Server::start(&[]);
    let address = target.url.trim_start_matches("http://");
    let config = |job: &str| {
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: {job}\n  static_configs: [{{targets: ['{address}']}}]\n"
        )
    };
    let mut server = Server::with_config(&config("before"), &[]);
    let file = server.dir.join("prometheus.yml");
    wait_for("the first job", || server.number("up{job=\"before\"}") == Some(1.0));
    std::fs::write(&file, "scrape_configs: [{job_name: x, scrape_interval: soon}]\n").unwrap();
    signal(server.pid(), "HUP");
    wait_for("the bad file to be refused", || server.read_log().contains("the configuration stays as it was"));
    assert!(server.log.contains("prometheus.yml:1:"), "{}", server.log);
    assert_eq!(server.api("/status/runtimeinfo", &[])["reloadConfigSuccess"], false);
    std::fs::write(&file, config("after")).unwrap();
    signal(server.pid(), "HUP");
    wait_for("the second job", || server.number("up{job=\"after\"}") == Some(1.0));
    wait_for("the first job to end", || server.number("up{job=\"before\"}").is_none());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn targets_of_a_file_come_and_go_without_a_restart() {
    let target = Server::start(&[]);
    let address = target.url.trim_start_matches("http://");
    let yaml = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: files\n  file_sd_configs: [{files: [targets.json]}]\n";
    let server = Server::with_config(yaml, &[]);
    let file = server.dir.join("targets.json");
    let write = |content: serde_json::Value| {
        // As careful writers do: a new file in the place of the old one.
        let new = server.dir.join("targets.new");
        std::fs::write(&new, content.to_string()).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    write(json!([{"targets": [address], "labels": {"zone": "a"}}]));
    wait_for("the target", || server.number("up{zone=\"a\"}") == Some(1.0));
    write(json!([{"targets": [address], "labels": {"zone": "b"}}]));
    wait_for("the other label", || server.number("up{zone=\"b\"}") == Some(1.0));
    wait_for("the end of the first", || server.number("up{zone=\"a\"}").is_none());
    let targets = server.api("/targets", &[]);
    let labels = &targets["activeTargets"][0]["discoveredLabels"];
    assert!(labels["__meta_filepath"].as_str().unwrap().ends_with("targets.json"), "{targets}");
}

#[test]
fn a_target_that_answers_nonsense_is_down_with_the_reason_and_the_others_go_on() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nonsense = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut buffer = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut buffer);
            let body = "# TYPE good gauge\ngood 1\nbad{label=\"open 2\n";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = std::io::Write::write_all(&mut stream, (head + body).as_bytes());
        }
    });
    let good = Server::start(&[]);
    let yaml = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: bad\n  static_configs: [{{targets: ['{nonsense}']}}]\n- job_name: good\n  static_configs: [{{targets: ['{}']}}]\n",
        good.url.trim_start_matches("http://")
    );
    let server = Server::with_config(&yaml, &[]);
    wait_for("both", || {
        server.number("up{job=\"bad\"}") == Some(0.0) && server.number("up{job=\"good\"}") == Some(1.0)
    });
    assert_eq!(server.number("good"), None, "nothing of a bad body is stored");
    let page = server.get("/targets").text();
    assert!(page.contains("line 3") && page.contains("bad{label="), "the page shows line and snippet: {page}");
}

#[test]
fn a_target_over_its_budget_keeps_what_it_had_and_the_page_names_the_label() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let users = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(3));
    let exposed = std::sync::Arc::clone(&users);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut buffer);
            let users = 0..exposed.load(std::sync::atomic::Ordering::Relaxed);
            let body: String = users.rev().map(|n| format!("requests_total{{user=\"u{n}\"}} {n}\n")).collect();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = std::io::Write::write_all(&mut stream, (head + &body).as_bytes());
        }
    });
    let yaml = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: app\n  series_budget: 3\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let mut server = Server::with_config(&yaml, &[]);
    wait_for("the first users", || server.number("count(requests_total)") == Some(3.0));
    users.store(50, std::sync::atomic::Ordering::Relaxed);
    wait_for("the page to say so", || server.get("/targets").text().contains("series_budget of 3 is spent"));
    let page = server.get("/targets").text();
    for part in ["47 new series are left out", "requests_total", "label user has 47 values"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let metrics = server.get("/metrics").text();
    let line = format!(
        "silverback_scrape_series_refused{{scrape_job=\"app\",target=\"http://{address}/metrics\",metric=\"requests_total\",label=\"user\"}} 47\n"
    );
    assert!(metrics.contains(&line), "{metrics}");
    assert_eq!(server.number("count(requests_total)"), Some(3.0), "the known ones go on");
    assert_eq!(server.number("requests_total{user=\"u0\"}"), Some(0.0));
    assert_eq!(server.number("up"), Some(1.0));
    assert!(server.read_log().contains("series_budget of 3 is spent"), "{}", server.log);
}
