//! Drawing and writing answers is part of the query: it has the query's memory and time, and lets everything else go on.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use common::{Answer, Server, encode, now};

const SERIES: usize = 2_000;
const SAMPLES: i64 = 200;

/// A server with a metric `wide` of many series, one sample per second up to `at`.
fn server(at: i64, flags: &[&str]) -> Server {
    let mut all = vec!["--web.enable-remote-write-receiver"];
    all.extend(flags);
    let server = Server::start(&all);
    let names: Vec<String> = (0..SERIES).map(|i| format!("series-{i:050}")).collect();
    let samples: Vec<(i64, f64)> = (0..SAMPLES).map(|k| ((at - SAMPLES + 1 + k) * 1000, k as f64 / 3.0)).collect();
    for part in names.chunks(200) {
        let labels: Vec<[(&str, &str); 2]> = part.iter().map(|i| [("__name__", "wide"), ("i", i.as_str())]).collect();
        let series: Vec<push::Series<'_>> = labels.iter().map(|labels| (&labels[..], &samples[..])).collect();
        let answer = server.post("/api/v1/write", "application/x-protobuf", &push::request(&series));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    server
}

/// The address of a chart with `queries` times a query over 11,000 steps.
fn bomb(path: &str, query: &str, queries: usize, at: i64) -> String {
    let (start, end) = ((at - 10_999).to_string(), at.to_string());
    let span = encode(&[("start", &start), ("end", &end), ("step", "1"), ("max_series", "1000"), ("timeout", "20s")]);
    let queries = encode(&vec![("query", query); queries]);
    format!("{path}?{span}&{queries}")
}

/// Bytes of memory that the process has had at the most.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn metric(server: &Server, name: &str) -> f64 {
    let metrics = server.get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
}

/// Asks for health until told to stop: the longest time that an answer took, in seconds.
fn slowest_health(server: &Server, stop: &AtomicBool) -> f64 {
    let mut slowest: f64 = 0.0;
    while !stop.load(Ordering::Relaxed) {
        let begun = now();
        assert_eq!(server.get("/-/healthy").status, 200);
        slowest = slowest.max(now() - begun);
        std::thread::sleep(Duration::from_millis(5));
    }
    slowest
}

/// Sends a request whose answer is not read.
fn ask_and_leave_unread(server: &Server, path: &str) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    // The head has come: the query is evaluated.
    let mut head = [0; 12];
    connection.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    connection
}

#[test]
fn the_queries_and_points_of_a_chart_are_limited_by_name() {
    let at = now() as i64;
    let server = Server::start(&["--web.max-chart-queries=20", "--web.max-chart-points=100000"]);
    for path in ["/chart.json", "/chart.svg"] {
        let answer = server.get(&bomb(path, "1", 1000, at));
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("20 queries"), "{}", answer.text());
        let answer = server.get(&bomb(path, "1", 20, at));
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("100000 points"), "{}", answer.text());
        assert_eq!(server.get(&bomb(path, "1", 9, at)).status, 200);
    }
    assert!(server.get(&bomb("/chart.json", "1", 1000, at)).text().contains("--web.max-chart-queries"));
}

#[test]
fn bombs_of_charts_hold_up_neither_health_nor_pushes_and_take_no_memory_to_speak_of() {
    let at = now() as i64;
    let server = server(at, &[]);
    let idle = peak_bytes(server.pid());
    let stop = AtomicBool::new(false);
    let bombs = [
        bomb("/chart.json", "1", 1000, at),
        bomb("/chart.json", "vector(1)", 50, at),
        bomb("/chart.svg", "vector(time())", 50, at),
        bomb("/chart.svg", "wide", 1, at),
        format!("/api/v1/query?{}", encode(&[("query", "wide[10m]"), ("timeout", "20s")])),
        format!("/query?{}", encode(&[("query", "wide[10m]")])),
    ];
    let (slowest, answers) = std::thread::scope(|scope| {
        let health = scope.spawn(|| slowest_health(&server, &stop));
        let push = scope.spawn(|| {
            let mut slowest: f64 = 0.0;
            for k in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (begun, samples) = (now(), [((now() * 1000.0) as i64, f64::from(k))]);
                let series: [push::Series<'_>; 1] = [(&[("__name__", "alive")], &samples)];
                let answer = server.post("/api/v1/write", "application/x-protobuf", &push::request(&series));
                assert_eq!(answer.status, 204, "{}", answer.text());
                slowest = slowest.max(now() - begun);
                std::thread::sleep(Duration::from_millis(20));
            }
            slowest
        });
        let asked: Vec<ScopedJoinHandle<'_, Answer>> =
            bombs.iter().chain(&bombs).map(|path| scope.spawn(|| server.get(path))).collect();
        let answers: Vec<(u16, usize)> =
            asked.into_iter().map(|asked| asked.join().unwrap()).map(|a| (a.status, a.body.len())).collect();
        stop.store(true, Ordering::Relaxed);
        ((health.join().unwrap(), push.join().unwrap()), answers)
    });
    let taken = peak_bytes(server.pid()) - idle;
    println!(
        "health {:.3} s and push {:.3} s at the most, {} MiB more, {answers:?}",
        slowest.0,
        slowest.1,
        taken >> 20
    );
    // Before, drawing went on where connections are served: half a minute without an answer, and 3 GiB.
    assert!(slowest.0 < 3.0, "health took {} s", slowest.0);
    assert!(slowest.1 < 5.0, "a push took {} s", slowest.1);
    assert!(taken < 1 << 30, "{} MiB", taken >> 20);
    assert!(answers.iter().all(|(status, _)| [200, 400, 422, 503].contains(status)), "{answers:?}");
    common::wait_for("all memory to be given back", || metric(&server, "silverback_query_memory_bytes") == 0.0);
}

#[test]
fn drawing_and_writing_count_in_the_memory_of_the_query() {
    let at = now() as i64;
    let server = server(at, &["--query.max-memory=4MB"]);
    // Their results fit, pictures and texts beside them do not.
    for path in [bomb("/chart.svg", "vector(1)", 30, at), bomb("/chart.json", "vector(1)", 30, at)] {
        let answer = server.get(&path);
        assert_eq!(answer.status, 422, "{path}: {:.300}", answer.text());
        assert!(answer.text().contains("--query.max-memory") || path.starts_with("/chart.svg"));
    }
    assert_eq!(server.get(&bomb("/chart.svg", "vector(1)", 2, at)).status, 200);
    assert_eq!(metric(&server, "silverback_query_memory_bytes"), 0.0);
    assert!(metric(&server, "silverback_queries_ended_total{limit=\"memory\"}") >= 2.0);
}

#[test]
fn an_answer_that_nobody_reads_gives_its_memory_back_in_time() {
    let at = now() as i64;
    let server = server(at, &[]);
    let query = |timeout: &str| encode(&[("query", "wide[10m]"), ("timeout", timeout)]);
    let held = || metric(&server, "silverback_query_memory_bytes");
    // The client goes: at once.
    let connection = ask_and_leave_unread(&server, &format!("/api/v1/query?{}", query("60s")));
    common::wait_for("the answer to be held", || held() > 1e6);
    assert_eq!(metric(&server, "prometheus_engine_queries"), 0.0, "the query's place is free meanwhile");
    drop(connection);
    common::wait_for("the memory to be given back", || held() == 0.0);
    // The client stays and reads nothing: once its time is over.
    let connection = ask_and_leave_unread(&server, &format!("/api/v1/query?{}", query("15s")));
    common::wait_for("the slow reader to be ended", || held() == 0.0);
    assert_eq!(metric(&server, "silverback_queries_ended_total{limit=\"slow_reader\"}"), 1.0);
    drop(connection);
    // One that reads gets all of it.
    let answer = server.get(&format!("/api/v1/query?{}", query("60s")));
    let json = answer.json();
    assert_eq!(json["data"]["result"].as_array().unwrap().len(), SERIES);
}

#[test]
fn young_data_are_drawn_over_long_ranges() {
    let server = Server::start(&["--web.enable-remote-write-receiver"]);
    let samples = [((now() * 1000.0) as i64, 1.0)];
    let series: [push::Series<'_>; 1] = [(&[("__name__", "young")], &samples)];
    let answer = server.post("/api/v1/write", "application/x-protobuf", &push::request(&series));
    assert_eq!(answer.status, 204, "{}", answer.text());
    for kind in ["line", "area", "bar"] {
        for range in ["5m", "1h", "1w", "52w"] {
            let svg = server.get(&format!("/chart.svg?query=young&range={range}&type={kind}")).text();
            assert!(!svg.contains("No data"), "{range} {kind}: {svg}");
        }
    }
    let json = server.get("/chart.json?query=young&range=1w").json();
    assert_eq!(json["data"]["series"][0]["points"].as_array().unwrap().len(), 1, "{json}");
    let svg = server.get("/chart.svg?query=nothing_here&range=1w").text();
    assert!(svg.contains("No data"), "{svg}");
}
