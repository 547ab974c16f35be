//! Native histograms by scraping: from a real Prometheus in protocol buffers, and from classic ones.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Command;

use common::{Process, Server, fetch, free_port, program, skip, wait_for};
use serde_json::json;

/// The series of a page of text, as the server shows them, less those of histograms.
fn floats(page: &str) -> BTreeSet<String> {
    let mut histograms = Vec::new();
    let mut series = BTreeSet::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" histogram")) {
            histograms.push(family.to_owned());
        }
        let Some((text, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { continue };
        let name = text.split('{').next().unwrap();
        let of = |family: &String| {
            name.strip_prefix(family.as_str()).is_some_and(|rest| matches!(rest, "_bucket" | "_sum" | "_count"))
        };
        if !histograms.iter().any(of) {
            series.insert(name.to_owned());
        }
    }
    series
}

#[test]
fn a_real_prometheus_is_scraped_in_protocol_buffers() {
    let Some(prometheus) = program("prometheus") else { return skip("prometheus is not in the folder of PEERS") };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    let port = free_port();
    let _target = Process::start(
        Command::new(prometheus)
            .current_dir(dir.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg("--enable-feature=native-histograms")
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    );
    let url = format!("http://127.0.0.1:{port}");
    wait_for("prometheus", || fetch(&format!("{url}/-/ready")).status == 200);
    let page = fetch(&format!("{url}/metrics")).text();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_native_histograms: true}}\nscrape_configs:\n- job_name: peer\n  \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n- job_name: both\n  always_scrape_classic_histograms: true\n  \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n- job_name: text\n  scrape_native_histograms: false\n  \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    let server = Server::with_config(&config, &[]);
    wait_for("all jobs", || server.number("sum(up)") == Some(3.0));
    // Nobody asks for readiness any more, so this count stands still.
    let ready = "handler=\"/-/ready\"";
    let text = format!("prometheus_http_request_duration_seconds_count{{{ready}, job=\"text\"}}");
    let native =
        |job: &str| format!("histogram_count(prometheus_http_request_duration_seconds{{{ready}, job=\"{job}\"}})");
    let count = |query: &str| server.number(query).filter(|&n| n > 0.0);
    wait_for("the histograms", || count(&text).is_some() && count(&native("peer")).is_some());
    assert_eq!(count(&native("peer")), count(&text));
    assert_eq!(count(&native("both")), count(&text));
    assert_eq!(count(&native("text")), None);
    let classic =
        |job: &str| format!("count(prometheus_http_request_duration_seconds_bucket{{{ready}, job=\"{job}\"}})");
    assert_eq!(server.number(&classic("peer")), None);
    assert_eq!(server.number(&classic("both")), server.number(&classic("text")));
    let quantile = server
        .number(&format!("histogram_quantile(0.5, prometheus_http_request_duration_seconds{{{ready}, job=\"peer\"}})"));
    assert!(quantile.is_some_and(|seconds| seconds > 0.0 && seconds < 10.0), "{quantile:?}");
    // All else is what the text says.
    let series = server.api("/series", &[("match[]", "{job=\"peer\"}")]);
    let names: BTreeSet<String> =
        series.as_array().unwrap().iter().map(|s| s["__name__"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<_> = floats(&page).into_iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let metadata = server.api("/metadata", &[("metric", "prometheus_http_request_duration_seconds")]);
    assert_eq!(metadata["prometheus_http_request_duration_seconds"][0]["type"], "histogram");
}

#[test]
fn classic_histograms_become_native_ones_and_created_lines_starts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = "# TYPE wait histogram\nwait_bucket{le=\"0.5\"} 2\nwait_bucket{le=\"1\"} 5 # {trace_id=\"abc\"} 0.7 1700000001\nwait_bucket{le=\"+Inf\"} 6\n\
                wait_count 6\nwait_sum 4.5\nwait_created 1700000000\n# EOF\n";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    let job = |name: &str, rest: &str| {
        format!(
            "- job_name: {name}\n  convert_classic_histograms_to_nhcb: true\n{rest}  static_configs: [{{targets: ['{address}']}}]\n"
        )
    };
    let both = job("both", "  always_scrape_classic_histograms: true\n");
    let config = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{}{both}", job("converted", ""));
    let server = Server::with_config(&config, &["--enable-feature=created-timestamp-zero-ingestion"]);
    wait_for("both", || server.number("count(histogram_count(wait))") == Some(2.0));
    let data = server.api("/query", &[("query", "wait{job=\"converted\"}")]);
    assert_eq!(
        data["result"][0]["histogram"][1],
        json!({"count": "6", "sum": "4.5", "buckets": [[3, "-Inf", "0.5", "2"], [0, "0.5", "1", "3"], [0, "1", "+Inf", "1"]]})
    );
    for (query, series) in [("wait{job=\"converted\"}", "wait"), ("wait_bucket", "wait_bucket")] {
        let found = server.api("/query_exemplars", &[("query", query), ("start", "0"), ("end", "4000000000")]);
        assert_eq!(found[0]["seriesLabels"]["__name__"], series, "{found}");
        let exemplar = json!({"labels": {"trace_id": "abc"}, "value": "0.7", "timestamp": 1_700_000_001.0});
        assert_eq!(found[0]["exemplars"], json!([exemplar]));
    }
    assert_eq!(server.number("count({__name__=~\"wait_.+\", job=\"converted\"})"), None);
    assert_eq!(server.number("count({__name__=~\"wait_.+\", job=\"both\"})"), Some(5.0), "no wait_created among them");
}
