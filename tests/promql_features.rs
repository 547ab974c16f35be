//! Which PromQL is accepted by default, and which switches change answers.

mod common;
#[path = "common/push.rs"]
mod push;

use common::{Server, now};
use serde_json::Value;

/// A server with a counter and a gauge whose names and labels tell of their types.
fn server(flags: &[&str]) -> (Server, String) {
    let mut all = vec!["--web.enable-remote-write-receiver"];
    all.extend(flags);
    let server = Server::with_config("global: {}\n", &all);
    let at = now() as i64;
    let samples: Vec<(i64, f64)> = (0..20).map(|k| ((at - (19 - k) * 15) * 1000, k as f64 * 3.0)).collect();
    let body = push::request(&[
        (&[("__name__", "a_total"), ("__type__", "counter"), ("job", "x")], &samples),
        (&[("__name__", "b"), ("__type__", "gauge"), ("job", "x")], &samples),
        (&[("__name__", "target_info"), ("instance", "i"), ("job", "x"), ("version", "1")], &samples),
    ]);
    let answer = server.post("/api/v1/write", "application/x-protobuf", &body);
    assert_eq!(answer.status, 204, "{}", answer.text());
    (server, at.to_string())
}

fn ask(server: &Server, at: &str, query: &str) -> Value {
    server.post_form("/api/v1/query", &[("query", query), ("time", at)]).json()
}

#[test]
fn experimental_syntax_and_functions_need_no_switch_and_add_no_annotations() {
    let (server, at) = server(&[]);
    for query in [
        "a_total[1m * 2 + 30s]",
        "increase(a_total[2m] anchored)",
        "rate(a_total[2m] smoothed)",
        "a_total smoothed",
        "a_total + fill(0) b",
        "a_total + fill_left(0) fill_right(1) b",
        "limitk(1, a_total)",
        "limit_ratio(0.5, a_total)",
        "info(b)",
        "info(b, {version=~\".+\"})",
        "mad_over_time(b[2m])",
        "ts_of_first_over_time(b[2m])",
        "ts_of_last_over_time(b[2m])",
        "ts_of_max_over_time(b[2m])",
        "ts_of_min_over_time(b[2m])",
        "first_over_time(b[2m])",
        "double_exponential_smoothing(b[2m], 0.5, 0.5)",
        "sort_by_label(b, \"job\")",
        "sort_by_label_desc(b, \"job\")",
        "start() + end() + step() + range()",
        "min_of(1, 2) + max_of(1, 2)",
        "start_timestamp(b)",
        "b </ 3",
        "b >/ 3",
    ] {
        let json = ask(&server, &at, query);
        assert_eq!(json["status"], "success", "{query}: {json}");
        assert_eq!(json["warnings"], Value::Null, "{query}: {json}");
        let expected = query.contains("</ 3") || query.contains(">/ 3");
        assert_eq!(json["infos"] != Value::Null, expected, "{query}: {json}");
    }
    assert_eq!(server.api("/features", &[])["promql_functions"]["mad_over_time"], true);
}

#[test]
fn what_changes_answers_needs_its_switch() {
    let labels = |flags: &[&str], query: &str| {
        let (server, at) = server(flags);
        let json = ask(&server, &at, query);
        json["data"]["result"][0]["metric"].to_string()
    };
    // By default the type is a label like any other for aggregations, and leaves with the name.
    for flags in [&[][..], &["--enable-feature=promql-experimental-functions,native-histograms"]] {
        assert_eq!(labels(flags, "-a_total"), "{\"job\":\"x\"}");
    }
    let delayed = ["--enable-feature=promql-delayed-name-removal"];
    assert_eq!(
        labels(&[], "label_replace(rate(a_total[2m]), \"n\", \"$1\", \"__name__\", \"(.+)\")"),
        "{\"job\":\"x\"}"
    );
    assert_eq!(
        labels(&delayed, "label_replace(rate(a_total[2m]), \"n\", \"$1\", \"__name__\", \"(.+)\")"),
        "{\"job\":\"x\",\"n\":\"a_total\"}"
    );
    for (flag, name) in [
        ("promql-delayed-name-removal", "delayed_name_removal"),
        ("type-and-unit-labels", "type_and_unit_labels"),
        ("use-start-timestamps", "use_start_timestamps"),
        ("promql-per-step-stats", "per_step_stats"),
    ] {
        let on = Server::with_config("global: {}\n", &[&format!("--enable-feature={flag}")]);
        let off = Server::with_config("global: {}\n", &[]);
        assert_eq!(on.api("/features", &[])["promql"][name], true, "{name}");
        assert_eq!(off.api("/features", &[])["promql"][name], false, "{name}");
    }
}

#[test]
fn statistics_and_plans_are_told_on_request() {
    let (server, at) = server(&["--enable-feature=promql-per-step-stats"]);
    let ask = |pairs: &[(&str, &str)]| {
        let mut all = vec![("time", at.as_str())];
        all.extend(pairs);
        server.api("/query", &all)
    };
    let stats = ask(&[("query", "sum(rate(a_total[2m]))"), ("stats", "all")]);
    let samples = &stats["stats"]["samples"];
    assert_eq!(samples["totalQueryableSamples"], 8);
    assert_eq!(samples["totalQueryableSamplesPerStep"][0][1], 8);
    for timing in
        ["evalTotalTime", "execQueueTime", "execTotalTime", "innerEvalTime", "queryPreparationTime", "resultSortTime"]
    {
        assert!(stats["stats"]["timings"][timing].is_number(), "{timing}");
    }
    assert_eq!(ask(&[("query", "b")])["stats"], Value::Null);
    let plan = ask(&[("query", "sum(rate(a_total[2m])) > 1"), ("explain", "1")]);
    assert_eq!(plan["result"], Value::Null);
    assert_eq!(plan["explain"]["kind"], "comparison");
    assert_eq!(plan["explain"]["children"][0]["children"][0]["node"], "rate(a_total[2m])");
    let analyzed = ask(&[("query", "sum(rate(a_total[2m]))"), ("explain", "analyze")]);
    assert_eq!(analyzed["result"].as_array().map(Vec::len), Some(1));
    let selector = &analyzed["explain"]["children"][0]["children"][0];
    assert_eq!((&selector["series"], &selector["samples"]), (&1.into(), &8.into()), "{analyzed}");
    let count = |key: &str| selector[key].as_u64().unwrap_or_else(|| panic!("{selector}: {key}"));
    assert!(count("chunks") >= count("series") && count("chunkBytes") > count("chunks"), "{selector}");
    assert!(analyzed["explain"]["ms"].as_f64() > Some(0.0));
    let answer = server.get("/api/v1/query?query=b&explain=everything");
    assert_eq!(answer.status, 400);
}

#[test]
fn an_empty_answer_is_explained_on_request() {
    let (server, at) = server(&[]);
    let early = (at.parse::<i64>().map_or(0, |at| at - 7_200)).to_string();
    let late = (at.parse::<i64>().map_or(0, |at| at + 7_200)).to_string();
    let why = |query: &str, time: &str| {
        let data = server.api("/query", &[("query", query), ("time", time), ("explain", "empty")]);
        assert_eq!(data["result"].as_array().map(Vec::len), Some(0), "{query}");
        data["empty"].clone()
    };
    let misspelt = &why("a_totl", &at)[0];
    assert_eq!(misspelt["nearest"][0], "a_total", "{misspelt}");
    assert_eq!(misspelt["condition"], "__name__=\"a_totl\"");
    let value = &why("sum(rate(a_total{job=\"y\"}[5m]))", &at)[0];
    assert_eq!((&value["condition"], &value["seriesBefore"]), (&"job=\"y\"".into(), &1.into()), "{value}");
    let label = &why("b{jobs=\"x\"}", &at)[0];
    assert_eq!((&label["unknownLabel"], &label["nearest"][0]), (&"jobs".into(), &"job".into()), "{label}");
    let later = &why("b", &late)[0];
    assert_eq!(later["lastSample"].as_f64().map(|t| t.to_string()), Some(at.clone()), "{later}");
    assert!(why("b", &early)[0]["firstSample"].is_number());
    let joined = why("b and on (version) target_info", &at);
    assert_eq!((&joined[0]["series"], &joined[1]["series"]), (&1.into(), &1.into()), "{joined}");
    let page = server.get(&format!("/query?query=a_totl&end={at}")).text();
    assert!(page.contains("leaves none. There is: a_total"), "{page}");
    let page = server.get(&format!("/query?query=sum(b)&end={at}&explain=1")).text();
    assert!(page.contains("What it took") && page.contains("vector selector"), "{page}");
}
