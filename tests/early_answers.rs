//! A server that was killed replays its log when it is started again. What it answers meanwhile is right, or comes later.

mod common;
#[path = "common/push.rs"]
mod push;

use std::time::Duration;

use common::{Server, now, wait_for};

/// Series of each metric.
const SERIES: usize = 1000;
const METRICS: usize = 60;
const STEPS: usize = 8;

fn write(server: &Server, at_ms: i64, metric: &str, steps: usize) -> u16 {
    let instances: Vec<String> = (0..SERIES).map(|i| format!("host-{i:04}:9100")).collect();
    let labels: Vec<_> =
        instances.iter().map(|i| [("__name__", metric), ("instance", i), ("job", "early"), ("zone", "a")]).collect();
    let samples: Vec<_> = (0..steps as i64).map(|step| (at_ms - step * 1000, step as f64)).rev().collect();
    let series: Vec<push::Series<'_>> = labels.iter().map(|labels| (&labels[..], &samples[..])).collect();
    server.post("/api/v1/write", "application/x-protobuf", &push::request(&series)).status
}

#[test]
fn queries_are_answered_while_the_log_is_replayed_and_never_from_half_of_it() {
    let dir = tempfile::tempdir().expect("a directory for a test");
    std::fs::write(dir.path().join("prometheus.yml"), "scrape_configs: []\n").expect("a file for a test");
    let flags = ["--config.file=prometheus.yml", "--web.enable-remote-write-receiver"];
    let mut server = Server::start_in(dir.path(), &flags);
    let at_ms = (now() * 1000.0) as i64;
    for metric in 0..METRICS {
        assert_eq!(write(&server, at_ms, &format!("early_{metric}"), STEPS), 204);
    }
    server.kill();
    let mut server = Server::spawn(dir.path(), &flags);
    wait_for("the server to answer queries", || server.get("/-/ready").status == 200);
    let url = server.url.clone();
    let time = (at_ms as f64 / 1000.0).to_string();
    let query = |query: &str| server.api("/query", &[("query", query), ("time", &time)]);
    let mut early = 0;
    std::thread::scope(|scope| {
        // These wait for all of the log.
        let all = scope.spawn(|| common::number_of(&query("count({__name__=~\"early_.*\"})")));
        let jobs = scope.spawn(|| common::fetch(&format!("{url}/api/v1/label/job/values")).json()["data"].clone());
        let written = scope.spawn(|| write(&server, at_ms + 1000, "written_meanwhile", 1));
        while !(all.is_finished() && jobs.is_finished() && written.is_finished()) {
            let metric = format!("early_{}", early % METRICS);
            let found = query(&format!("sum(count_over_time({metric}{{job=\"early\"}}[1m])) + count({metric})"));
            assert_eq!(common::number_of(&found), Some((SERIES * STEPS + SERIES) as f64), "{metric}: {found}");
            early += usize::from(!all.is_finished());
        }
        assert_eq!(all.join().expect("it ends"), Some((SERIES * METRICS) as f64));
        assert_eq!(jobs.join().expect("it ends"), serde_json::json!(["early"]));
        assert_eq!(written.join().expect("it ends"), 204);
    });
    assert!(early > 0, "nothing was answered before all of the log had been replayed");
    assert_eq!(server.number("count(written_meanwhile)"), Some(SERIES as f64));
    wait_for("the log to tell of it", || {
        std::thread::sleep(Duration::from_millis(1));
        server.read_log().contains("store opened")
    });
}
