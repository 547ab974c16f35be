//! Remote write, both versions: by hand, byte for byte, and from a real Prometheus.

mod common;
#[path = "common/push.rs"]
mod push;

use std::process::Command;

use common::{Answer, Process, Server, fetch, free_port, now, program, skip, wait_for};
use push::{RequestV2, bytes, double, number, sample, signed};
use serde_json::json;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn receiver() -> Server {
    Server::with_config("scrape_configs: []\n", &["--web.enable-remote-write-receiver"])
}

/// What an answer says has been written: samples, histograms, exemplars.
fn written(answer: &Answer) -> [&str; 3] {
    ["samples", "histograms", "exemplars"]
        .map(|what| answer.header(&format!("x-prometheus-remote-write-{what}-written")))
}

/// A native histogram of schema 0 with three observations in two buckets.
fn histogram(at: i64, float: bool) -> Vec<u8> {
    let (mut out, mut span) = (Vec::new(), Vec::new());
    signed(&mut span, 1, 0);
    number(&mut span, 2, 2);
    if float {
        double(&mut out, 2, 3.0);
    } else {
        number(&mut out, 1, 3);
    }
    double(&mut out, 3, 4.5);
    signed(&mut out, 4, 0);
    bytes(&mut out, 11, &span);
    if float {
        bytes(&mut out, 13, &[1.0f64, 2.0].map(f64::to_le_bytes).concat());
    } else {
        signed(&mut out, 12, 1);
        signed(&mut out, 12, 1);
    }
    number(&mut out, 15, at as u64);
    out
}

#[test]
fn version_2_is_stored_and_the_answer_counts_what_was_written() {
    let server = receiver();
    let at = (now() * 1000.0) as i64;
    let mut request = RequestV2::default();
    request.series(&[("__name__", "jobs_total"), ("job", "a")], |request, out| {
        sample(out, at - 1000, 1.0);
        sample(out, at, 2.0);
        let (mut exemplar, mut metadata) = (Vec::new(), Vec::new());
        let mut refs = Vec::new();
        refs.extend([request.symbol("trace_id"), request.symbol("abc")].map(|n| u8::try_from(n).expect("few symbols")));
        bytes(&mut exemplar, 1, &refs);
        double(&mut exemplar, 2, 1.0);
        number(&mut exemplar, 3, at as u64);
        bytes(out, 4, &exemplar);
        number(&mut metadata, 1, 1);
        number(&mut metadata, 3, request.symbol("Jobs that ran."));
        number(&mut metadata, 4, request.symbol("jobs"));
        bytes(out, 5, &metadata);
        number(out, 6, (at - 60_000) as u64);
    });
    for (name, float) in [("latency", false), ("latency_float", true)] {
        request.series(&[("__name__", name)], |_, out| bytes(out, 3, &histogram(at, float)));
    }
    let body = request.finish();
    let answer = server.post("/api/v1/write", V2, &body);
    assert_eq!((answer.status, written(&answer)), (204, ["2", "2", "1"]), "{}", answer.text());
    assert_eq!(server.number("jobs_total{job=\"a\"}"), Some(2.0));
    for name in ["latency", "latency_float"] {
        let data = server.api("/query", &[("query", name)]);
        assert_eq!(data["result"][0]["histogram"][1]["buckets"], json!([[0, "0.5", "1", "1"], [0, "1", "2", "2"]]));
    }
    assert_eq!(
        server.api("/metadata", &[]),
        json!({"jobs_total": [{"type": "counter", "help": "Jobs that ran.", "unit": "jobs"}]})
    );
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("\nsilverback_remote_write_exemplars_total 1\n"), "{metrics}");
    let exemplars = server.api("/query_exemplars", &[("query", "jobs_total"), ("start", "0"), ("end", "4000000000")]);
    assert_eq!(exemplars[0]["seriesLabels"], json!({"__name__": "jobs_total", "job": "a"}));
    let exemplar = &exemplars[0]["exemplars"][0];
    assert_eq!((&exemplar["labels"], &exemplar["value"]), (&json!({"trace_id": "abc"}), &json!("1")));
    // Sent again, it is there already: senders do so after a lost answer.
    let again = server.post(
        "/api/v1/write",
        V2,
        &RequestV2::default()
            .series(&[("__name__", "latency")], |_, out| {
                bytes(out, 3, &histogram(at, false));
            })
            .finish(),
    );
    assert_eq!((again.status, written(&again)), (204, ["0", "1", "0"]));
    // The same series by version 1.0 is the same series.
    let v1 = push::request(&[(&[("__name__", "jobs_total"), ("job", "a")], &[(at + 1, 3.0)])]);
    let answer = server.post("/api/v1/write", "application/x-protobuf", &v1);
    assert_eq!((answer.status, written(&answer)), (204, [""; 3]), "1.0 has no such headers");
    assert_eq!(server.number("count(jobs_total)"), Some(1.0));
}

#[test]
fn what_version_2_cannot_store_is_said_and_the_rest_is_stored() {
    let server = receiver();
    let at = (now() * 1000.0) as i64;
    let send = |labels: &[(&str, &str)], at: i64, value: f64| {
        let body = RequestV2::default()
            .series(labels, |_, out| sample(out, at, value))
            .series(&[("__name__", "good")], |_, out| sample(out, at.min((now() * 1000.0) as i64), 1.0))
            .finish();
        server.post("/api/v1/write", V2, &body)
    };
    assert_eq!(send(&[("__name__", "m")], at, 1.0).status, 204);
    for (labels, ms, why) in [
        (&[("__name__", "m")][..], at - 7_200_000, "too old"),
        (&[("__name__", "m")], at + 3_600_000, "out of bounds"),
        (&[("job", "x")], at + 1, "no metric name"),
        (&[("__name__", "x"), ("a", "1"), ("a", "2")], at + 2, "\"a\" is there twice"),
    ] {
        let answer = send(labels, ms, 2.0);
        assert_eq!(answer.status, 400, "{why}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    assert_eq!(server.number("m"), Some(1.0));
    // Symbols that are not there.
    let mut series = Vec::new();
    bytes(&mut series, 1, &[1, 99]);
    sample(&mut series, at, 1.0);
    let mut message = Vec::new();
    bytes(&mut message, 5, &series);
    let answer = server.post("/api/v1/write", V2, &push::compress(&message));
    assert_eq!((answer.status, written(&answer)), (400, ["0"; 3]));
    assert!(answer.text().contains("symbols that are not there"), "{}", answer.text());
    for kind in
        ["application/json", "application/x-protobuf;proto=io.prometheus.write.v3.Request", "application/x-protobuf;v2"]
    {
        assert_eq!(server.post("/api/v1/write", kind, b"").status, 415, "{kind}");
    }
}

#[test]
fn a_real_prometheus_sends_both_versions() {
    let Some(prometheus) = program("prometheus") else { return skip("prometheus is not in the folder of PEERS") };
    let server = receiver();
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let remote = |via: &str, message: &str| {
        format!(
            "- url: {}/api/v1/write\n  name: {via}\n  protobuf_message: {message}\n  send_native_histograms: true\n  \
             queue_config: {{batch_send_deadline: 1s}}\n  write_relabel_configs: [{{target_label: via, replacement: {via}}}]\n",
            server.url
        )
    };
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\nremote_write:\n{}{}",
        remote("one", "prometheus.WriteRequest"),
        remote("two", "io.prometheus.write.v2.Request"),
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let _sender = Process::start(
        Command::new(prometheus)
            .current_dir(dir.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg("--enable-feature=native-histograms,metadata-wal-records")
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    );
    let url = format!("http://127.0.0.1:{port}");
    wait_for("prometheus", || fetch(&format!("{url}/-/ready")).status == 200);
    for via in ["one", "two"] {
        wait_for("samples", || {
            server.number(&format!("count_over_time(up{{via=\"{via}\"}}[5m])")).is_some_and(|n| n >= 5.0)
        });
        let histogram = format!("histogram_count(prometheus_http_request_duration_seconds{{via=\"{via}\"}})");
        wait_for("native histograms", || server.number(&format!("count({histogram})")).is_some_and(|n| n >= 1.0));
    }
    // What both have brought is what Prometheus itself answers.
    let at = format!("{}", now().floor() - 3.0);
    wait_for("both to have sent that far", || {
        ["one", "two"].iter().all(|via| {
            let query = format!("timestamp(up{{via=\"{via}\"}}) >= {at}");
            server.number(&query).is_some()
        })
    });
    for query in [
        "count({job=\"self\"})",
        "sum(go_goroutines)",
        "sum(histogram_count(prometheus_tsdb_compaction_duration_seconds))",
    ] {
        let pairs = common::encode(&[("query", query), ("time", &at)]);
        let theirs = common::number_of(&fetch(&format!("{url}/api/v1/query?{pairs}")).json()["data"]);
        for via in ["one", "two"] {
            let ours = query
                .replace("job=\"self\"", &format!("job=\"self\", via=\"{via}\""))
                .replace("(go_goroutines", &format!("(go_goroutines{{via=\"{via}\"}}"));
            let ours = ours.replace("seconds))", &format!("seconds{{via=\"{via}\"}}))"));
            let data = server.api("/query", &[("query", &ours), ("time", &at)]);
            assert_eq!(common::number_of(&data), theirs, "{query} by version {via}");
        }
    }
    assert_eq!(server.api("/metadata", &[("metric", "go_goroutines")])["go_goroutines"][0]["type"], "gauge");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("\nsilverback_remote_write_refused_total 0\n"), "{metrics}");
}
