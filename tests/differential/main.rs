//! Thousands of generated queries, asked of this server and of a real Prometheus that hold the same data.
//!
//! `SILVERBACK_SEED=n` chooses other data and queries, `SILVERBACK_QUERIES=n` another number of them. The seed is printed.
//! Even seeds drop metric names at the end of a query (`promql-delayed-name-removal`).

#![allow(unreachable_pub, reason = "the modules of a test are its own")]
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod data;
mod grammar;
mod known;
#[path = "../common/push.rs"]
mod push;
mod random;

use std::process::Command;

use common::{Answer, Process, Server, encode, fetch, free_port, program, skip, wait_for};
use compare::Order;
use grammar::{Grammar, Query, Times};
use random::Random;

/// What the peer must be told to know all that both know.
const PEER_FEATURES: &str = "promql-experimental-functions,native-histograms,promql-duration-expr";

/// Metric names are dropped at the end of a query.
const DELAYED: &str = "promql-delayed-name-removal";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn generated_queries_are_answered_as_prometheus_answers_them() {
    let Some(path) = program("prometheus") else {
        return skip("prometheus is not there; name its folder in PEERS");
    };
    let (seed, count) = (number("SILVERBACK_SEED", 1), number("SILVERBACK_QUERIES", 2_000));
    println!("seed {seed}, {count} queries");
    // Every other seed drops names at the end.
    let features = if seed.is_multiple_of(2) { DELAYED } else { "" };
    let (_peer, peer, _dir) = prometheus(&path, features);
    let mut flags = vec!["--web.enable-remote-write-receiver".to_owned()];
    if !features.is_empty() {
        flags.push(format!("--enable-feature={features}"));
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::with_config("global: {}\n", &flags);
    let mut random = Random::new(seed);
    for request in data::requests(&data::all(&mut random)) {
        for url in [&server.url, &peer] {
            let answer = push(url, &request);
            assert!(answer.status == 204, "{url} refused the data: {} {}", answer.status, answer.text());
        }
    }
    let mut grammar = Grammar::new(random);
    let (mut valid, mut known, mut differences) = (0, Vec::new(), Vec::new());
    let mut misread = Vec::new();
    let (mut refused, mut other_words) = (0, Vec::new());
    let agent = agent();
    for _ in 0..count {
        let query = grammar.query(data::START_MS, data::STEPS as i64 * data::STEP_MS);
        let (ours, theirs) = (ask(&agent, &server.url, &query), ask(&agent, &peer, &query));
        valid += u64::from(theirs.status == 200);
        if let (Some(ours), Some(theirs)) = (refusal(&ours), refusal(&theirs)) {
            refused += 1;
            // 3.14 knows more durations.
            if ours.replace("number, duration, step(), or range()", "number or duration") != theirs {
                other_words.push(format!("{}\n    {ours}\n    {theirs}", query.text));
            }
        }
        if theirs.status == 200 && ours.status == 200 {
            for endpoint in ["format_query", "parse_query"] {
                let read = |url: &str| read(&agent, url, endpoint, &query.text);
                let (ours, theirs) = (read(&server.url), read(&peer));
                // 3.5 prints names of labels that are no words without quotes, which also moves where lines break, and
                // does not indent subqueries. The sign that it gives an infinite base would be that of the power.
                let bare = |answer: &serde_json::Value| -> String {
                    let text = answer.to_string().replace("\\\"", "").replace("\\n", " ");
                    let text = text.replace("+Inf ^", "Inf ^");
                    text.chars().filter(|c| !c.is_whitespace()).collect()
                };
                let known = ["c d\"", ":", "Inf ^"].iter().any(|text| query.text.contains(text));
                if ours != theirs && !(known && bare(&ours) == bare(&theirs)) {
                    misread.push(format!("{endpoint} {}\n    {ours}\n    {theirs}", query.text));
                }
            }
        }
        let Some(why) = difference(&query, &ours, &theirs) else { continue };
        let reason = known::reason(&query.text, order(&query), &ours.json(), &theirs.json()).or_else(|| {
            // The pools of the peer hand out histograms that are still in use.
            let agrees = |_| difference(&query, &ours, &ask(&agent, &peer, &query)).is_none();
            (0..5).any(agrees).then_some("3.5 agrees when it is asked again")
        });
        let reason = reason.or_else(|| {
            let info = query.text.contains("info(") && agrees_step_by_step(&agent, &peer, &query, &ours.json());
            info.then_some("info() of 3.5 gives series the labels of others in a range, and ours in each of its steps")
        });
        let reason = reason.or_else(|| {
            let call = Query { text: known::mad_call(&query.text)?.to_owned(), times: query.times.clone() };
            known::mad_reason(&ask(&agent, &server.url, &call).json(), &ask(&agent, &peer, &call).json())
        });
        match reason {
            Some(reason) => known.push(format!("{reason}: {}", query.text)),
            None => differences.push(format!(
                "{} {:?}\n    {why}\n    {}\n    {}",
                query.text,
                query.times,
                short(&ours),
                short(&theirs)
            )),
        }
    }
    println!("{valid} valid, {} differ as they should:\n{}", known.len(), known.join("\n"));
    println!("{} of {refused} refusals in other words:\n{}", other_words.len(), other_words.join("\n"));
    assert!(differences.is_empty(), "seed {seed}, {} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(misread.is_empty(), "seed {seed}, {} read otherwise:\n{}", misread.len(), misread.join("\n"));
    assert!(valid * 2 > count, "most queries are valid");
    assert!(other_words.len() * 20 <= refused, "more than one refusal in twenty is in other words");
    assert!(known.len() as u64 * 100 <= count, "more than one query in a hundred differs on purpose");
}

fn difference(query: &Query, ours: &Answer, theirs: &Answer) -> Option<String> {
    if ours.status != theirs.status {
        return Some(format!("status {} here, {} there", ours.status, theirs.status));
    }
    compare::difference(order(query), &ours.json(), &theirs.json())
}

/// Whether our answer over a range is what the peer answers at each step by itself.
fn agrees_step_by_step(agent: &ureq::Agent, peer: &str, query: &Query, ours: &serde_json::Value) -> bool {
    let Times::Range { start, end, step } = query.times else { return false };
    let Some(rows) = ours["data"]["result"].as_array() else { return false };
    (start..=end).step_by(step as usize).all(|at| {
        let seconds = at as f64 / 1000.0;
        let own: Vec<serde_json::Value> = rows
            .iter()
            .filter_map(|row| {
                let there = |key: &str| row[key].as_array()?.iter().find(|p| p[0].as_f64() == Some(seconds)).cloned();
                let metric = row["metric"].clone();
                let value = there("values").map(|value| serde_json::json!({"metric": metric, "value": value}));
                value.or_else(|| there("histograms").map(|h| serde_json::json!({"metric": metric, "histogram": h})))
            })
            .collect();
        let own = serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": own}});
        let mut its = ask(agent, peer, &Query { text: query.text.clone(), times: Times::Instant(at) }).json();
        if let Some(fields) = its.as_object_mut() {
            fields.retain(|key, _| key == "status" || key == "data");
        }
        compare::difference(Order::Any, &own, &its).is_none()
    })
}

/// Why a query is refused as bad data, if it is.
fn refusal(answer: &Answer) -> Option<String> {
    if answer.status != 400 {
        return None;
    }
    let json = answer.json();
    json["error"].as_str().map(str::to_owned)
}

fn short(answer: &Answer) -> String {
    let text = answer.text();
    text.chars().take(300).collect()
}

/// What is defined about the order of the answer's series.
fn order(query: &Query) -> Order {
    match query.times {
        Times::Range { .. } => Order::Labels,
        Times::Instant(_) if query.text.starts_with("sort_by_label") => Order::Labels,
        Times::Instant(_) if query.text.starts_with("sort") => Order::Values,
        Times::Instant(_) => Order::Any,
    }
}

fn prometheus(path: &std::path::Path, features: &str) -> (Process, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prometheus.yml"), "global: {}\n").unwrap();
    let url = format!("127.0.0.1:{}", free_port());
    let process = Process::start(Command::new(path).current_dir(dir.path()).args([
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        "--web.enable-remote-write-receiver".to_owned(),
        format!("--enable-feature={PEER_FEATURES},{features}").trim_end_matches(',').to_owned(),
        format!("--web.listen-address={url}"),
    ]));
    let url = format!("http://{url}");
    wait_for("prometheus", || fetch(&format!("{url}/-/ready")).status == 200);
    (process, url, dir)
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(common::PATIENCE)).build().into()
}

fn push(url: &str, request: &[u8]) -> Answer {
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    let post = headers.iter().fold(agent().post(format!("{url}/api/v1/write")), |post, (n, v)| post.header(*n, *v));
    common::answer(post.send(request))
}

/// What a server says about a text.
fn read(agent: &ureq::Agent, url: &str, endpoint: &str, text: &str) -> serde_json::Value {
    let post = agent.post(format!("{url}/api/v1/{endpoint}"));
    let post = post.header("Content-Type", "application/x-www-form-urlencoded");
    common::answer(post.send(encode(&[("query", text)]))).json()["data"].take()
}

fn ask(agent: &ureq::Agent, url: &str, query: &Query) -> Answer {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (path, pairs) = match query.times {
        Times::Instant(at) => ("query", vec![("query", query.text.clone()), ("time", seconds(at))]),
        Times::Range { start, end, step } => (
            "query_range",
            vec![
                ("query", query.text.clone()),
                ("start", seconds(start)),
                ("end", seconds(end)),
                ("step", seconds(step)),
            ],
        ),
    };
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let post = agent.post(format!("{url}/api/v1/{path}")).header("Content-Type", "application/x-www-form-urlencoded");
    common::answer(post.send(encode(&pairs)))
}
