//! The server is killed again and again while it takes samples in. What it had acknowledged, and what could be read, is
//! there afterwards, value by value.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use common::{Server, encode, now, wait_for};

/// How often the server is killed.
const KILLS: usize = 20;
/// Series per pushed request.
const SERIES: usize = 25;

/// What series `i` has at step `step`.
fn value(i: usize, step: i64) -> f64 {
    (step * 1000 + i as i64) as f64 / 8.0
}

/// One request: every series at one step.
fn push_step(server_url: &str, step: i64, start_ms: i64) -> bool {
    let ids: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    let labels: Vec<[(&str, &str); 2]> = ids.iter().map(|id| [("__name__", "pushed"), ("i", id.as_str())]).collect();
    let samples: Vec<[(i64, f64); 1]> = (0..SERIES).map(|i| [(start_ms + step, value(i, step))]).collect();
    let series: Vec<push::Series<'_>> = labels.iter().zip(&samples).map(|(l, s)| (&l[..], &s[..])).collect();
    let body = push::request(&series);
    let sent = ureq::post(format!("{server_url}/api/v1/write"))
        .header("Content-Type", "application/x-protobuf")
        .send(&body[..]);
    sent.is_ok_and(|response| response.status().is_success())
}

/// The samples of every pushed series, as `step → value`.
fn stored(server: &Server, start_ms: i64) -> BTreeMap<usize, BTreeMap<i64, f64>> {
    let data = server.api("/query", &[("query", "pushed[1d]"), ("time", &(now() + 3600.0).to_string())]);
    let series = data["result"].as_array().unwrap().iter().map(|series| {
        let id = series["metric"]["i"].as_str().unwrap().parse().unwrap();
        let points = series["values"].as_array().unwrap().iter().map(|point| {
            let step = (point[0].as_f64().unwrap() * 1000.0).round() as i64 - start_ms;
            (step, point[1].as_str().unwrap().parse().unwrap())
        });
        (id, points.collect())
    });
    series.collect()
}

#[test]
fn twenty_kills_during_ingestion_lose_nothing_that_was_acknowledged_or_read() {
    let dir = tempfile::tempdir().unwrap();
    // It scrapes itself meanwhile, so that both ways in are under way.
    let config = |port: u16| {
        format!(
            "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\nscrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        )
    };
    let start_ms = (now() * 1000.0) as i64 - 1_000_000;
    let acknowledged = AtomicI64::new(-1);
    let mut scraped_before: Vec<(f64, f64)> = Vec::new();
    let mut next = 0;
    for kill in 0..KILLS {
        let port = common::free_port();
        std::fs::write(dir.path().join("prometheus.yml"), config(port)).unwrap();
        let listen = format!("--web.listen-address=127.0.0.1:{port}");
        let flags = ["--config.file=prometheus.yml", "--web.enable-remote-write-receiver", listen.as_str()];
        let mut server = Server::spawn(dir.path(), &flags);
        wait_for("the server", || server.get("/-/ready").status == 200);
        // Everything from before is there, and of each request all or nothing.
        let found = stored(&server, start_ms);
        let steps = acknowledged.load(Ordering::SeqCst);
        if steps >= 0 {
            assert_eq!(found.len(), SERIES);
        }
        for (i, samples) in &found {
            for step in 0..=steps {
                assert_eq!(
                    samples.get(&step),
                    Some(&value(*i, step)),
                    "kill {kill}, series {i}, step {step} of {steps}"
                );
            }
            assert_eq!(
                samples.keys().collect::<Vec<_>>(),
                found[&0].keys().collect::<Vec<_>>(),
                "half a request: series {i}"
            );
            next = next.max(samples.keys().last().map_or(0, |last| last + 1));
        }
        let scraped = scrapes(&server);
        for point in &scraped_before {
            assert!(scraped.contains(point), "kill {kill}: {point:?} could be read before");
        }
        // Take in until killed, at a moment that differs from round to round.
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (url, stop, acknowledged) = (server.url.clone(), &stop, &acknowledged);
            let pusher = scope.spawn(move || {
                let mut step = next;
                while !stop.load(Ordering::SeqCst) && push_step(&url, step, start_ms) {
                    acknowledged.store(step, Ordering::SeqCst);
                    step += 1;
                }
            });
            std::thread::sleep(Duration::from_millis(150 + (kill as u64 * 97) % 300));
            scraped_before = scrapes(&server);
            server.kill();
            stop.store(true, Ordering::SeqCst);
            pusher.join().unwrap();
        });
    }
    assert!(acknowledged.load(Ordering::SeqCst) > 100, "the kills came during ingestion");
}

/// The samples of a metric that is scraped.
fn scrapes(server: &Server) -> Vec<(f64, f64)> {
    let query = encode(&[("query", "process_start_time_seconds[1h]")]);
    let answer = server.get(&format!("/api/v1/query?{query}"));
    if answer.status != 200 {
        return Vec::new();
    }
    let json = answer.json();
    // Each start listens on another port, which makes another series.
    let series = json["data"]["result"].as_array().unwrap().iter();
    let values: Vec<_> = series.flat_map(|series| series["values"].as_array().cloned().unwrap_or_default()).collect();
    values.iter().map(|point| (point[0].as_f64().unwrap(), point[1].as_str().unwrap().parse().unwrap())).collect()
}
