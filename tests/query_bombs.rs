//! Queries that would kill a server, asked of one that has 2 GiB: each ends with an error that says why, in its time.
//! Samples are taken in all the while.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Server, encode, now};

/// Address space that the server has.
const MEMORY: u64 = 2 << 30;
const SERIES: usize = 4_000;
const SAMPLES: i64 = 120;

/// A server with a metric `bomb` of many series, whose newest samples are of `at`, in seconds.
fn server(at: i64, flags: &[&str]) -> Server {
    let mut all = vec!["--web.enable-remote-write-receiver"];
    all.extend(flags);
    let server = Server::start_within(MEMORY, &all);
    let names: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    for part in (0..SAMPLES).step_by(20) {
        let samples: Vec<(i64, f64)> =
            (part..part + 20).map(|k| ((at - (SAMPLES - 1 - k) * 15) * 1000, k as f64)).collect();
        let labels: Vec<[(&str, &str); 2]> = names.iter().map(|i| [("__name__", "bomb"), ("i", i.as_str())]).collect();
        let series: Vec<push::Series<'_>> = labels.iter().map(|labels| (&labels[..], &samples[..])).collect();
        let answer = server.post("/api/v1/write", "application/x-protobuf", &push::request(&series));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    server
}

/// How many bytes of memory the process has had at the most.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Pushes samples until told to stop; how many were acknowledged.
fn ingest(server: &Server, stop: &AtomicBool, slowest_ms: &AtomicU64) -> usize {
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        let begun = now();
        let samples = [((begun * 1000.0) as i64, acknowledged as f64)];
        let series: [push::Series<'_>; 1] = [(&[("__name__", "alive")], &samples)];
        let answer = server.post("/api/v1/write", "application/x-protobuf", &push::request(&series));
        assert_eq!(answer.status, 204, "{}", answer.text());
        acknowledged += 1;
        slowest_ms.fetch_max(((now() - begun) * 1000.0) as u64, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
    acknowledged
}

/// Ends ingestion when the bombs are through, or when one of them has failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is asked, and what must be said: status and a part of the error.
struct Bomb {
    query: String,
    /// Seconds of the range and the step, for a range query.
    range: Option<(i64, f64)>,
    timeout: &'static str,
    status: u16,
    error: &'static str,
}

fn bomb(query: impl Into<String>, status: u16, error: &'static str) -> Bomb {
    Bomb { query: query.into(), range: None, timeout: "10s", status, error }
}

fn bombs() -> Vec<Bomb> {
    let doubled = (0..200).fold("bomb".to_owned(), |inner, _| {
        format!("label_replace({inner}, \"i\", \"$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1\", \"i\", \"(.*)\")")
    });
    let doubled = doubled.replacen("label_replace", "count(label_replace", 1) + ")";
    let nested = |open: &str, close: &str, n: usize| format!("{}bomb{}", open.repeat(n), close.repeat(n));
    let in_range =
        |query: &str, seconds, step, status, error| Bomb { range: Some((seconds, step)), ..bomb(query, status, error) };
    let slow = |query: &str| Bomb { timeout: "2s", ..bomb(query, 503, "query timed out in expression evaluation") };
    vec![
        bomb("bomb * on () group_left () bomb", 422, "found duplicate series for the match group"),
        bomb("bomb * on () group_right bomb", 422, "found duplicate series for the match group"),
        bomb("max_over_time(max_over_time(bomb[1h:1ms])[1d:1ms])", 422, "--query.max-steps"),
        bomb("sum_over_time(vector(time())[1000d:1ms])", 422, "--query.max-steps"),
        bomb("sum_over_time(bomb[1h:1ms])", 422, "--query.max-memory"),
        bomb("max_over_time(rate(bomb[5m])[20m:5ms])", 422, "--query.max-memory"),
        bomb("avg_over_time(count_values(\"v\", {__name__=~\".+\"} + rand())[1h:1s])", 400, "unknown function"),
        in_range("count_values(\"v\", rate({__name__=~\".+\"}[5m]))", 109_999, 10.0, 422, "--query.max-memory"),
        in_range("bomb", 11_000, 1.0, 422, "--query.max-memory"),
        in_range("bomb", 100_000, 1.0, 400, "exceeded maximum resolution of 11,000 points"),
        slow(SLOW),
        slow("stddev_over_time(quantile_over_time(0.9, bomb{i=~\"1..\"}[29m:50ms])[29m:1s])"),
        bomb(format!("bomb{{i=~\"{}\"}}", "(a|b)*c".repeat(1_500_000)), 400, "bytes of regular expressions"),
        bomb(format!("bomb{{i=~\"{}\"}}", "((a{1,300}){1,300}){1,300}"), 400, "error parsing regexp"),
        bomb(nested("(", ")", 1_000_000), 400, "nested deeper than"),
        bomb(nested("-", "", 1_000_000), 400, "nested deeper than"),
        bomb(nested("abs(", ")", 500_000), 400, "nested deeper than"),
        bomb(format!("1{}", " + 1".repeat(1_000_000)), 400, "operators"),
        bomb(doubled, 400, "nested deeper than"),
        bomb(
            format!(
                "count({}bomb{{i=\"7\"}}{})",
                "label_replace(".repeat(60),
                ", \"i\", \"$1$1$1$1$1$1$1$1\", \"i\", \"(.*)\")".repeat(60)
            ),
            422,
            "is longer than",
        ),
    ]
}

fn ask(server: &Server, bomb: &Bomb, at: i64) -> common::Answer {
    let at_text = at.to_string();
    let mut pairs = vec![("query", bomb.query.as_str()), ("timeout", bomb.timeout)];
    let (start, step);
    let path = match bomb.range {
        None => {
            pairs.push(("time", &at_text));
            "/api/v1/query"
        }
        Some((seconds, width)) => {
            (start, step) = ((at - seconds).to_string(), width.to_string());
            pairs.extend([("start", start.as_str()), ("end", &at_text), ("step", &step)]);
            "/api/v1/query_range"
        }
    };
    server.post_form(path, &pairs)
}

#[test]
fn every_bomb_ends_with_an_error_in_its_time_and_the_server_goes_on() {
    let at = now() as i64;
    let server = server(at, &[]);
    let (stop, slowest_ms) = (AtomicBool::new(false), AtomicU64::new(0));
    let acknowledged = std::thread::scope(|scope| {
        let ingestion = scope.spawn(|| ingest(&server, &stop, &slowest_ms));
        let until = Stop(&stop);
        for bomb in bombs() {
            let begun = now();
            let answer = ask(&server, &bomb, at);
            let (elapsed, shown) = (now() - begun, bomb.query.chars().take(80).collect::<String>());
            let text = answer.text();
            println!("{elapsed:.2} s {shown}: {} {}", answer.status, text.chars().take(200).collect::<String>());
            assert_eq!(answer.status, bomb.status, "{shown}: {}", text.chars().take(300).collect::<String>());
            assert!(text.contains(bomb.error), "{shown}: {}", text.chars().take(300).collect::<String>());
            let limit: f64 = bomb.timeout.trim_end_matches('s').parse().unwrap();
            assert!(elapsed < limit + 2.0, "{shown} took {elapsed} s");
        }
        // All at once, several times.
        std::thread::scope(|crowd| {
            for _ in 0..3 {
                for bomb in bombs() {
                    let server = &server;
                    crowd.spawn(move || assert_ne!(ask(server, &bomb, at).status, 0, "{:.80}", bomb.query));
                }
            }
        });
        drop(until);
        ingestion.join().unwrap()
    });
    let peak = peak_bytes(server.pid());
    println!("{} MiB at the most, {acknowledged} pushes, {slowest_ms:?} ms the slowest", peak >> 20);
    assert!(peak < MEMORY);
    let stored = server.number("count_over_time(alive[10m])");
    assert_eq!(stored, Some(acknowledged as f64), "what was acknowledged during the bombs is there");
    assert_eq!(server.number("count(bomb)"), Some(SERIES as f64));
    let metrics = server.get("/metrics").text();
    let metric = |name: &str| -> f64 {
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    for limit in ["memory", "steps", "timeout"] {
        assert!(metric(&format!("silverback_queries_ended_total{{limit=\"{limit}\"}}")) > 0.0, "{limit}");
    }
    assert_eq!(metric("silverback_query_memory_bytes"), 0.0, "all memory was given back");
    assert_eq!(metric("prometheus_engine_queries"), 0.0);
}

#[test]
fn limits_are_those_of_the_flags() {
    let at = now() as i64;
    let flags =
        ["--query.max-samples=1000", "--query.max-series=3000", "--query.max-steps=500", "--query.max-memory=100MB"];
    let server = server(at, &flags);
    for (query, error) in [
        ("bomb", "selectors find more than 3000 series, the limit set by --query.max-series"),
        ("bomb{i=~\"1.*\"}", "query processing would load too many samples into memory in query execution"),
        ("sum_over_time(vector(1)[10m:1s])", "subquery has more than 500 steps, the limit set by --query.max-steps"),
    ] {
        let answer = ask(&server, &bomb(query, 422, error), at);
        assert_eq!(answer.status, 422, "{}", answer.text());
        let json = answer.json();
        assert_eq!((json["errorType"].as_str(), json["error"].as_str()), (Some("execution"), Some(error)));
    }
}

#[test]
fn queries_wait_for_a_place_and_no_longer_than_they_may() {
    let at = now() as i64;
    let server = server(at, &["--query.max-concurrency=1", "--query.max-wait=300ms"]);
    let slow = Bomb { timeout: "3s", ..bomb(SLOW, 503, "") };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ask(&server, &slow, at));
        common::wait_for("the first query to run", || {
            server.get("/metrics").text().contains("\nprometheus_engine_queries 1\n")
        });
        let begun = now();
        let second = ask(&server, &bomb("1", 503, ""), at);
        let waited = now() - begun;
        assert_eq!(second.status, 503);
        assert!(second.text().contains("query timed out in query queue"), "{}", second.text());
        assert!((0.29..2.0).contains(&waited), "{waited}");
        // Lists of labels and series are queries, too.
        for path in ["/api/v1/labels?match[]=bomb", "/api/v1/label/i/values", "/api/v1/series?match[]=bomb"] {
            let answer = server.get(path);
            assert!(answer.status == 503 && answer.text().contains("query timed out in query queue"), "{path}");
        }
        assert_eq!(server.get("/api/v1/labels").status, 200, "the names of all labels are no work");
        let first = first.join().unwrap().text();
        assert!(first.contains("query timed out in expression evaluation"), "{first}");
    });
    assert_eq!(ask(&server, &bomb("1", 200, ""), at).status, 200);
}

#[test]
fn lists_of_labels_and_series_hold_no_more_than_queries_may() {
    let server = server(now() as i64, &["--query.max-memory=100KB"]);
    for path in ["/api/v1/label/i/values", "/api/v1/series?match[]=bomb", "/api/v1/series?match[]=bomb&match[]=alive"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 422, "{path}: {}", answer.text());
        assert!(answer.text().contains("the limit set by --query.max-memory"), "{path}: {}", answer.text());
    }
    for path in ["/api/v1/labels", "/api/v1/label/i/values?limit=100", "/api/v1/series?match[]=bomb&limit=100"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert!(server.get("/metrics").text().contains("\nsilverback_query_memory_bytes 0\n"), "memory is kept");
}

#[test]
fn a_place_is_free_soon_after_its_client_has_gone_also_under_load() {
    let at = now() as i64;
    let server = server(at, &["--query.max-concurrency=1"]);
    let metric = |line: &str| server.get("/metrics").text().contains(line);
    let stop = AtomicBool::new(false);
    let mut slowest: f64 = 0.0;
    std::thread::scope(|scope| {
        let until = Stop(&stop);
        for writer in ["a", "b"] {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let names: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
                for round in (0..i64::MAX).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let samples = [(at * 1000 + round, round as f64)];
                    let labels: Vec<_> =
                        names.iter().map(|i| [("__name__", "load"), ("i", i.as_str()), ("writer", writer)]).collect();
                    let series: Vec<push::Series<'_>> = labels.iter().map(|l| (&l[..], &samples[..])).collect();
                    let answer = server.post("/api/v1/write", "application/x-protobuf", &push::request(&series));
                    assert_eq!(answer.status, 204, "{}", answer.text());
                }
            });
        }
        for _ in 0..5 {
            let address = server.url.strip_prefix("http://").unwrap();
            let mut connection = TcpStream::connect(address).unwrap();
            let query = encode(&[("query", SLOW), ("timeout", "60s")]);
            write!(connection, "GET /api/v1/query?{query} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
            common::wait_for("the query to run", || metric("\nprometheus_engine_queries 1\n"));
            let next = scope.spawn(|| (ask(&server, &bomb("1", 200, ""), at).status, now()));
            common::wait_for("the next one to wait", || metric("\nsilverback_queries_waiting 1\n"));
            let left = now();
            drop(connection);
            let (status, answered) = next.join().unwrap();
            assert_eq!(status, 200);
            slowest = slowest.max(answered - left);
        }
        drop(until);
    });
    println!("{:.1} ms after the client at the latest", slowest * 1000.0);
    assert!(slowest < 0.1 || cfg!(debug_assertions) && slowest < 5.0, "{slowest}");
}

/// Takes minutes.
const SLOW: &str = "quantile_over_time(0.5, quantile_over_time(0.5, bomb{i=\"7\"}[1h:10ms])[2h:500ms])";

#[test]
fn a_client_that_goes_away_takes_its_query_along() {
    let server = server(now() as i64, &[]);
    let running = || server.get("/metrics").text().contains("\nprometheus_engine_queries 1\n");
    let mut slowest: f64 = 0.0;
    for _ in 0..5 {
        let address = server.url.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        let query = encode(&[("query", SLOW), ("timeout", "60s")]);
        write!(connection, "GET /api/v1/query?{query} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        common::wait_for("the query to run", running);
        drop(connection);
        let left = now();
        while running() {
            assert!(now() - left < 5.0, "the query goes on");
            std::thread::sleep(Duration::from_millis(2));
        }
        slowest = slowest.max(now() - left);
    }
    println!("{:.1} ms after the client at the latest", slowest * 1000.0);
    assert!(slowest < 0.1 || cfg!(debug_assertions) && slowest < 5.0, "{slowest}");
}
