//! The HTTP API from outside: envelopes, error types and statuses, what Grafana asks, what senders push.

mod common;
#[path = "common/push.rs"]
mod push;

use common::{Server, encode, now};
use serde_json::{Value, json};

/// A server without targets that takes pushed samples.
fn quiet() -> Server {
    Server::with_config("scrape_configs: []\n", &["--web.enable-remote-write-receiver", "--web.enable-lifecycle"])
}

fn push_to(server: &Server, series: &[push::Series<'_>]) -> common::Answer {
    server.post("/api/v1/write", "application/x-protobuf", &push::request(series))
}

/// Two counters and a gauge, a sample every 15 s over the last ten minutes. Gives the time of the last sample.
fn fill(server: &Server) -> i64 {
    let end = (now() as i64 / 15) * 15_000;
    let samples = |f: &dyn Fn(i64) -> f64| (0..=40).map(|i| (end - (40 - i) * 15_000, f(i))).collect::<Vec<_>>();
    let (a, b, c) = (samples(&|i| i as f64 * 30.0), samples(&|i| i as f64 * 60.0), samples(&|i| (i % 7) as f64 / 2.0));
    let series: [push::Series<'_>; 3] = [
        (&[("__name__", "requests_total"), ("code", "200"), ("job", "api")], &a),
        (&[("__name__", "requests_total"), ("code", "500"), ("job", "api")], &b),
        (&[("__name__", "temperature"), ("job", "api"), ("room", "a \"b\" \\ c</text><script>alert(1)</script>")], &c),
    ];
    let answer = push_to(server, &series);
    assert_eq!(answer.status, 204, "{}", answer.text());
    end
}

#[test]
fn instant_and_range_queries_answer_in_the_envelope_of_prometheus() {
    let server = quiet();
    let end = fill(&server);
    let time = (end as f64 / 1000.0).to_string();
    let query = |query: &str| server.api("/query", &[("query", query), ("time", &time)]);
    assert_eq!(query("1+1"), json!({"resultType": "scalar", "result": [end / 1000, "2"]}));
    assert_eq!(query("\"text\""), json!({"resultType": "string", "result": [end / 1000, "text"]}));
    assert_eq!(
        query("irate(requests_total[5m])"),
        json!({"resultType": "vector", "result": [
            {"metric": {"code": "200", "job": "api"}, "value": [end / 1000, "2"]},
            {"metric": {"code": "500", "job": "api"}, "value": [end / 1000, "4"]},
        ]})
    );
    assert_eq!(
        query("temperature[31s]")["result"][0]["values"].as_array().unwrap().len(),
        3,
        "a range vector as it is stored"
    );
    let start = ((end - 30_000) as f64 / 1000.0).to_string();
    let range = [("query", "sum(requests_total)"), ("start", start.as_str()), ("end", &time), ("step", "15")];
    let expected = json!({"resultType": "matrix", "result": [{"metric": {}, "values": [
        [end / 1000 - 30, "3420"], [end / 1000 - 15, "3510"], [end / 1000, "3600"],
    ]}]});
    assert_eq!(server.api("/query_range", &range), expected);
    // A form in the body says the same, and so does a time in RFC 3339 and a step as a duration.
    let posted = server.post_form("/api/v1/query_range", &range).json();
    assert_eq!(posted["data"], expected);
    let start_text = jiff::Timestamp::from_millisecond(end - 30_000).unwrap().to_string();
    let other = [("query", "sum(requests_total)"), ("start", start_text.as_str()), ("end", &time), ("step", "15s")];
    assert_eq!(server.api("/query_range", &other), expected);
    // stats, limit, annotations
    let stats = server.api("/query", &[("query", "requests_total"), ("time", &time), ("stats", "all")]);
    assert_eq!(stats["stats"]["samples"]["totalQueryableSamples"], 2);
    assert!(stats["stats"]["timings"]["execTotalTime"].is_number());
    let limited = server.get(&format!("/api/v1/query?query=requests_total&time={time}&limit=1")).json();
    assert_eq!(limited["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(limited["warnings"], json!(["results truncated due to limit"]));
    let noted =
        server.get(&format!("/api/v1/query?{}", encode(&[("query", "rate(temperature[5m])"), ("time", &time)]))).json();
    assert!(noted["infos"][0].as_str().unwrap().contains("metric might not be a counter"), "{noted}");
}

#[test]
fn errors_have_the_type_the_status_and_the_text_of_prometheus() {
    let server = quiet();
    fill(&server);
    let get = |path: &str, pairs: &[(&str, &str)]| server.get(&format!("/api/v1{path}?{}", encode(pairs)));
    let fine = [("query", "up"), ("start", "0"), ("end", "10"), ("step", "1")];
    let with = |name: &str, value: &'static str| fine.map(|(n, v)| if n == name { (n, value) } else { (n, v) });
    let cases: Vec<(common::Answer, u16, &str, &str)> = vec![
        (get("/query", &[("query", "")]), 400, "bad_data", "invalid parameter \"query\": "),
        (get("/query", &[("query", "sum(")]), 400, "bad_data", "invalid parameter \"query\": 1:5: parse error: "),
        (
            get("/query", &[("query", "up"), ("time", "soon")]),
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"soon\" to a valid timestamp",
        ),
        (
            get("/query", &[("query", "up"), ("timeout", "soon")]),
            400,
            "bad_data",
            "invalid parameter \"timeout\": cannot parse \"soon\" to a valid duration",
        ),
        (
            get("/query", &[("query", "up"), ("limit", "-1")]),
            400,
            "bad_data",
            "invalid parameter \"limit\": limit must be non-negative",
        ),
        (
            get("/query_range", &with("step", "0")),
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            get("/query_range", &with("end", "-1")),
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            get("/query_range", &with("end", "100000")),
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            get("/query_range", &with("query", "up[5m]")),
            400,
            "bad_data",
            "invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        (
            get("/query", &[("query", "requests_total * on (job) requests_total")]),
            422,
            "execution",
            "found duplicate series for the match group",
        ),
        (
            get("/query", &[("query", "label_replace(requests_total, \"x\", \"y\", \"job\", \"(\")")]),
            422,
            "execution",
            "invalid regular expression in label_replace()",
        ),
        (get("/series", &[]), 400, "bad_data", "no match[] parameter provided"),
        (get("/series", &[("match[]", "{a=~\".*\"}")]), 400, "bad_data", "must contain at least one non-empty matcher"),
        (get("/series", &[("match[]", "a{")]), 400, "bad_data", "invalid parameter \"match[]\": 1:3: parse error"),
        (get("/labels", &[("match[]", "a{")]), 400, "bad_data", "1:3: parse error"),
        (
            get("/label/job/values", &[("match[]", "{}")]),
            400,
            "bad_data",
            "match[] must contain at least one non-empty matcher",
        ),
        (get("/query_exemplars", &[("query", "a{")]), 400, "bad_data", "1:3: parse error"),
        (
            get("/query_exemplars", &[("query", "a"), ("end", "x")]),
            400,
            "bad_data",
            "\"end\": invalid time value for 'end': ",
        ),
        (
            get("/query", &[("query", "up"), ("time", "x"), ("limit", "y")]),
            400,
            "bad_data",
            "\"limit\": strconv.Atoi: ",
        ),
        (get("/query", &[("query", "up"), ("timeout", "-1")]), 503, "timeout", "query timed out"),
        (
            get("/query", &[("query", "up"), ("lookback_delta", "x")]),
            400,
            "bad_data",
            "error parsing lookback delta duration",
        ),
        (get("/query_range", &with("step", "1e-10")), 400, "bad_data", "zero or negative query resolution step"),
        (get("/query_range", &with("step", "NaN")), 400, "bad_data", "zero or negative query resolution step"),
        (
            server.get("/api/v1/series?match[]=%zz"),
            400,
            "bad_data",
            "error parsing form values: invalid URL escape \"%zz\"",
        ),
        (server.get("/api/v1/label/%ff/values"), 400, "bad_data", "invalid label name: \"\\xff\""),
        (get("/status/tsdb", &[("limit", "99999")]), 400, "bad_data", "limit must not exceed 10000"),
        (get("/labels", &[("limit", "x")]), 400, "bad_data", "\"limit\": strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            get("/query", &[("query", "up"), ("time", "x")]),
            400,
            "bad_data",
            "\"time\": invalid time value for 'time': ",
        ),
        (
            get("/query_range", &with("start", "x")),
            400,
            "bad_data",
            "\"start\": cannot parse \"x\" to a valid timestamp",
        ),
        (get("/metadata", &[("limit", "x")]), 400, "bad_data", "limit must be a number"),
        (get("/rules", &[("type", "x")]), 400, "bad_data", "invalid parameter \"type\": not supported value \"x\""),
        (get("/rules", &[("exclude_alerts", "x")]), 400, "bad_data", "strconv.ParseBool: parsing \"x\""),
        (get("/rules", &[("group_limit", "x")]), 400, "bad_data", "group_limit needs to be a valid number"),
        (get("/rules", &[("group_next_token", "x")]), 400, "bad_data", "group_limit needs to be present"),
        (get("/nothing", &[]), 404, "not_found", ""),
    ];
    for (answer, status, kind, text) in cases {
        let body = answer.json();
        assert_eq!(
            (answer.status, body["status"].as_str(), body["errorType"].as_str()),
            (status, Some("error"), Some(kind)),
            "{body}"
        );
        assert!(body["error"].as_str().unwrap().contains(text), "{body} does not say {text:?}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let refused = server.post("/api/v1/label/job/values", "application/x-www-form-urlencoded", b"");
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, OPTIONS"), "what is GET only is GET only");
    assert_eq!(refused.json()["error"], "Method Not Allowed");
}

#[test]
fn the_ends_of_time_are_times_on_every_endpoint() {
    let server = quiet();
    fill(&server);
    let ends = [
        ("-292273086-05-16T16:47:06Z", "292277025-08-18T07:12:54.999999999Z"),
        ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"),
        ("-1e300", "1e300"),
        ("-Inf", "+Inf"),
        ("NaN", "9223372036854775807"),
    ];
    for (start, end) in ends {
        let both = [("start", start), ("end", end)];
        let with = |more: &[(&'static str, &'static str)]| encode(&[&both[..], more].concat());
        for (path, found) in [
            (format!("/api/v1/series?{}", with(&[("match[]", "temperature")])), 1),
            (format!("/api/v1/labels?{}", with(&[])), 4),
            (format!("/api/v1/label/code/values?{}", with(&[])), 2),
            (format!("/api/v1/query_exemplars?{}", with(&[("query", "temperature")])), 0),
            (format!("/api/v1/query_range?{}", with(&[("query", "temperature"), ("step", "100y")])), usize::MAX),
            (format!("/api/v1/query?{}", encode(&[("query", "temperature"), ("time", start)])), usize::MAX),
            (format!("/api/v1/query?{}", encode(&[("query", "temperature"), ("time", end)])), usize::MAX),
        ] {
            let answer = server.get(&path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            if found < usize::MAX {
                assert_eq!(answer.json()["data"].as_array().map(Vec::len), Some(found), "{path}");
            }
        }
        for page in
            ["/chart.svg?query=temperature", "/chart.json?query=temperature", "/query?g0.expr=temperature", "/?x=y"]
        {
            let path = format!("{page}&{}", with(&[]));
            assert_eq!(server.get(&path).status, 200, "{path}");
        }
    }
    // A range that ends before it begins holds nothing; beyond the newest sample is nothing.
    for range in ["start=2&end=1", "start=32503680000"] {
        for path in ["series?match[]=temperature&", "labels?", "label/code/values?"] {
            let answer = server.get(&format!("/api/v1/{path}{range}"));
            assert_eq!((answer.status, answer.json()["data"].clone()), (200, json!([])), "{path}{range}");
        }
    }
    for refused in ["1e400", "2015-07-01t20:10:51z", "2015-07-01T20:10:60Z", "10000-01-01T00:00:00Z", "5m"] {
        for path in ["series?match[]=up&start=", "labels?end=", "label/a/values?start=", "query?query=up&time="] {
            let answer = server.get(&format!("/api/v1/{path}{refused}"));
            let text = format!("cannot parse \"{refused}\" to a valid timestamp");
            assert!(
                answer.status == 400 && answer.json()["error"].as_str().unwrap().contains(&text),
                "{path}{refused}"
            );
        }
    }
}

#[test]
fn admin_actions_tell_who_asked_for_what_and_how_much_it_was() {
    let flags = [
        "--web.enable-remote-write-receiver",
        "--web.enable-lifecycle",
        "--web.enable-admin-api",
        "--log.format=logfmt",
    ];
    let mut server = Server::with_config("scrape_configs: []\n", &flags);
    fill(&server);
    let form = [("match[]", "requests_total{code=\"200\"}\nlevel=error msg=forged"), ("start", "0")];
    assert_eq!(server.post_form("/api/v1/admin/tsdb/delete_series", &form).status, 400);
    let form = [("match[]", "requests_total{code=\"200\"}"), ("match[]", "{room=~\".+\"}"), ("start", "0")];
    assert_eq!(server.post_form("/api/v1/admin/tsdb/delete_series", &form).status, 204);
    assert_eq!(server.post("/api/v1/admin/tsdb/clean_tombstones", "", b"").status, 204);
    assert_eq!(server.post("/api/v1/admin/tsdb/snapshot", "", b"").status, 200);
    let forwarded = common::answer(
        common::agent().post(format!("{}/-/reload", server.url)).header("X-Forwarded-For", "10.0.0.9").send(b""),
    );
    assert_eq!(forwarded.status, 200);
    for (message, facts) in [
        (
            "series deleted",
            &[
                "client=127.0.0.1:",
                "requests_total{code=\\\"200\\\"}",
                "room",
                "start=1970-01-01T00:00:00Z",
                "end=\"the end\"",
                "series=2",
                "samples=82",
            ][..],
        ),
        ("tombstones cleaned", &["client=127.0.0.1:", "samples="]),
        ("snapshot written", &["client=127.0.0.1:", "name="]),
        ("a reload of the configuration is asked for", &["127.0.0.1:", "claims to forward for 10.0.0.9"]),
    ] {
        common::wait_for(message, || server.read_log().contains(message));
        let line = server.log.lines().find(|line| line.contains(message)).unwrap();
        for fact in facts {
            assert!(line.contains(fact), "{line} does not tell {fact}");
        }
    }
    assert!(!server.log.lines().any(|line| line.starts_with("level=error msg=forged")), "{}", server.log);
}

#[test]
fn paths_below_a_prefix_are_answered_with_and_without_their_slashes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    let server = Server::spawn(dir.path(), &["--config.file=prometheus.yml", "--web.route-prefix=/sb"]);
    common::wait_for("the server to be ready", || server.get("/sb/-/ready").status == 200);
    for (path, status, location) in [
        ("/sb/", 200, ""),
        ("/sb", 301, "/sb/"),
        ("/", 302, "/sb/"),
        ("/sb/targets/", 301, "/sb/targets"),
        ("/sb//api/v1/query?query=1", 301, "/sb/api/v1/query?query=1"),
        ("/sb/api/v1/query/?query=1", 301, "/sb/api/v1/query?query=1"),
        ("/api/v1/query?query=1", 404, ""),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("location")), (status, location), "{path}");
    }
}

#[test]
fn a_query_that_passes_a_limit_gets_an_error_and_the_server_goes_on() {
    let flags = [
        "--web.enable-remote-write-receiver",
        "--query.max-samples=10",
        "--query.timeout=2s",
        "--query.max-memory=64MB",
    ];
    let server = Server::with_config("scrape_configs: []\n", &flags);
    let end = fill(&server);
    let time = (end as f64 / 1000.0).to_string();
    let get = |query: &str| server.get(&format!("/api/v1/query?{}", encode(&[("query", query), ("time", &time)])));
    let answer = get("requests_total[10m]");
    assert_eq!((answer.status, answer.json()["errorType"].as_str()), (422, Some("execution")));
    assert!(answer.text().contains("too many samples"), "{}", answer.text());
    // A subquery of a million steps takes longer, or more, than it may.
    let begun = now();
    let answer = get("count_over_time(vector(1)[10000d:1s])");
    assert!(matches!(answer.status, 422 | 503), "{}", answer.text());
    assert!(now() - begun < 10.0, "it ends soon after its time is over");
    assert_eq!(server.number("1"), Some(1.0));
}

#[test]
fn labels_and_series_are_listed() {
    let server = quiet();
    fill(&server);
    assert_eq!(server.api("/labels", &[]), json!(["__name__", "code", "job", "room"]));
    assert_eq!(server.api("/labels", &[("match[]", "requests_total")]), json!(["__name__", "code", "job"]));
    assert_eq!(server.api("/label/code/values", &[]), json!(["200", "500"]));
    assert_eq!(server.api("/label/U__code/values", &[("match[]", "requests_total{code=~\"2..\"}")]), json!(["200"]));
    assert_eq!(
        server.api("/label/__name__/values", &[("match[]", "temperature"), ("match[]", "requests_total")]),
        json!(["requests_total", "temperature"])
    );
    assert_eq!(
        server.api("/label/code/values", &[("start", "1"), ("end", "2"), ("match[]", "requests_total")]),
        json!([]),
        "nothing was there in 1970"
    );
    let series = server.api("/series", &[("match[]", "requests_total{code=\"500\"}"), ("match[]", "{room!=\"\"}")]);
    assert_eq!(series.as_array().unwrap().len(), 2);
    assert_eq!(series[0], json!({"__name__": "requests_total", "code": "500", "job": "api"}));
    let posted = server.post_form("/api/v1/series", &[("match[]", "requests_total")]).json();
    assert_eq!(posted["data"].as_array().unwrap().len(), 2);
    let limited = server.get("/api/v1/labels?limit=1").json();
    assert_eq!(
        (limited["data"].clone(), limited["warnings"].clone()),
        (json!(["__name__"]), json!(["results truncated due to limit"]))
    );
}

#[test]
fn grafana_saves_tests_and_loads() {
    let server = quiet();
    fill(&server);
    // Save & test.
    let probe = server.post_form("/api/v1/query", &[("query", "1+1"), ("time", "4")]).json();
    assert_eq!(probe, json!({"status": "success", "data": {"resultType": "scalar", "result": [4, "2"]}}));
    let build = server.api("/status/buildinfo", &[]);
    assert!(build.get("features").is_none(), "with features Grafana takes the server for a Mimir");
    let version: Vec<u32> = build["version"].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![2, 24, 0] && version.len() == 3, "{build}");
    assert_eq!(build["silverbackVersion"], env!("CARGO_PKG_VERSION"));
    // On load.
    assert_eq!(server.api("/rules", &[]), json!({"groups": []}));
    assert_eq!(server.api("/alerts", &[]), json!({"alerts": []}));
    assert!(server.api("/metadata", &[]).is_object());
    assert!(server.api("/labels", &[]).is_array());
    assert!(server.api("/label/__name__/values", &[]).is_array());
    let ms = (now() * 1000.0).to_string();
    let exemplars = server.get(&format!("/api/v1/query_exemplars?query=test&start={ms}&end={ms}")).json();
    assert_eq!(exemplars, json!({"status": "success", "data": []}));
    assert_eq!(server.get("/api/v1/query_exemplars?query=1").status, 204, "no selector, no data");
    // Dashboards and variables.
    let (end, start) = (now().to_string(), (now() - 600.0).to_string());
    let range = server
        .post_form(
            "/api/v1/query_range",
            &[("query", "requests_total"), ("start", &start), ("end", &end), ("step", "15"), ("timeout", "60s")],
        )
        .json();
    assert_eq!(range["data"]["result"].as_array().unwrap().len(), 2);
    let series = server.api("/series", &[("match[]", "{__name__!=\"\"}"), ("limit", "40000")]);
    assert_eq!(series.as_array().unwrap().len(), 3);
}

#[test]
fn the_status_endpoints_say_what_runs() {
    let server = quiet();
    fill(&server);
    assert!(server.api("/status/config", &[])["yaml"].as_str().unwrap().contains("scrape_interval: 1m"));
    let flags = server.api("/status/flags", &[]);
    assert_eq!(flags["web.enable-lifecycle"], "true");
    assert_eq!(flags["storage.tsdb.path"], "data");
    let runtime = server.api("/status/runtimeinfo", &[]);
    for key in [
        "startTime",
        "CWD",
        "hostname",
        "serverTime",
        "reloadConfigSuccess",
        "lastConfigTime",
        "timeSeriesCount",
        "corruptionCount",
        "goroutineCount",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "GOGC",
        "GODEBUG",
        "storageRetention",
    ] {
        assert!(!runtime[key].is_null(), "{key}: {runtime}");
    }
    assert_eq!(runtime["timeSeriesCount"], 3);
    let tsdb = server.api("/status/tsdb", &[]);
    assert_eq!(tsdb["headStats"]["numSeries"], 3);
    assert_eq!(tsdb["seriesCountByMetricName"][0], json!({"name": "requests_total", "value": 2}));
    assert_eq!(
        server.api("/targets", &[]),
        json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}})
    );
    assert_eq!(
        server.api("/targets", &[("state", "nonsense")]),
        json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": null})
    );
    assert_eq!(server.api("/notifications", &[]), json!([]));
    assert_eq!(server.get("/version").json(), server.api("/status/buildinfo", &[]));
    assert_eq!(server.get("/-/healthy").status, 200);
    let head = common::fetch(&format!("{}/-/ready", server.url));
    assert_eq!((head.status, head.text().as_str()), (200, "Silverback is Ready.\n"));
    let metrics = server.get("/metrics");
    assert!(metrics.text().contains("\nprometheus_tsdb_head_series 3\n"), "{}", metrics.text());
    assert!(metrics.text().contains("\nprocess_resident_memory_bytes "));
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
}

#[test]
fn answers_are_compressed_and_shared_with_other_origins() {
    let server = quiet();
    fill(&server);
    let range = format!("/api/v1/query_range?query=requests_total&start={}&end={}&step=1", now() - 600.0, now());
    let plain = server.get_with(&range, &[("Accept-Encoding", "identity"), ("Origin", "http://elsewhere")]);
    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(plain.header("access-control-allow-origin"), "*");
    let zipped = server.get_with(&range, &[("Accept-Encoding", "gzip")]);
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert!(zipped.body.len() * 4 < plain.body.len(), "{} of {}", zipped.body.len(), plain.body.len());
    let mut unzipped = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped.body[..]), &mut unzipped).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&unzipped).unwrap()["status"], "success");
}

#[test]
fn pushed_histograms_are_queried_and_bad_requests_are_explained() {
    let server = quiet();
    let at = (now() * 1000.0) as i64;
    // A native histogram: schema 0, three observations in two buckets.
    let (mut histogram, mut series, mut message) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in [("__name__", "latency"), ("job", "api")] {
        let mut label = Vec::new();
        push::bytes(&mut label, 1, name.as_bytes());
        push::bytes(&mut label, 2, value.as_bytes());
        push::bytes(&mut series, 1, &label);
    }
    push::number(&mut histogram, 1, 3);
    push::double(&mut histogram, 3, 4.5);
    push::signed(&mut histogram, 4, 0);
    push::double(&mut histogram, 5, 0.001);
    let mut span = Vec::new();
    push::signed(&mut span, 1, 0);
    push::number(&mut span, 2, 2);
    push::bytes(&mut histogram, 11, &span);
    push::signed(&mut histogram, 12, 1);
    push::signed(&mut histogram, 12, 1);
    push::number(&mut histogram, 15, at as u64);
    push::bytes(&mut series, 4, &histogram);
    push::bytes(&mut message, 1, &series);
    let answer = server.post("/api/v1/write", "application/x-protobuf", &push::compress(&message));
    assert_eq!(answer.status, 204, "{}", answer.text());
    let data = server.api("/query", &[("query", "latency")]);
    assert_eq!(
        data["result"][0]["histogram"][1],
        json!({"count": "3", "sum": "4.5", "buckets": [[0, "0.5", "1", "1"], [0, "1", "2", "2"]]})
    );
    assert_eq!(server.number("histogram_count(latency)"), Some(3.0));
    // What cannot be stored is said; what can is stored.
    let refused = push_to(
        &server,
        &[(&[("__name__", "a")], &[(at, 1.0), (at - 7_200_000, 2.0)]), (&[("job", "nameless")], &[(at, 1.0)])],
    );
    assert_eq!(refused.status, 400);
    for part in
        ["1 too old samples", "1 series that cannot be stored", "there is no metric name", "1 other samples are stored"]
    {
        assert!(refused.text().contains(part), "{} does not say {part:?}", refused.text());
    }
    assert_eq!(server.number("a"), Some(1.0));
    assert_eq!(
        push_to(&server, &[(&[("__name__", "a")], &[(at, 1.0)])]).status,
        204,
        "the same sample again is no error"
    );
    // What is no request.
    let post = |kind: &str, body: &[u8]| server.post("/api/v1/write", kind, body);
    assert_eq!(post("application/x-protobuf", b"\xff\xff\xff").status, 400);
    assert_eq!(post("application/x-protobuf", &push::compress(b"\x0a\xff\x01")).status, 400);
    assert_eq!(post("application/json", b"{}").status, 415);
    assert_eq!(post("application/x-protobuf;proto=io.prometheus.write.v3.Request", b"").status, 415);
    let off = Server::with_config("scrape_configs: []\n", &[]);
    assert_eq!(push_to(&off, &[]).status, 404, "off unless switched on");
}

#[test]
fn charts_are_drawn_at_an_address_and_errors_are_pictures_too() {
    let server = quiet();
    let end = fill(&server);
    let end_text = (end as f64 / 1000.0).to_string();
    let chart = |pairs: &[(&str, &str)]| {
        let mut all = vec![("end", end_text.as_str())];
        all.extend(pairs);
        server.get(&format!("/chart.svg?{}", encode(&all)))
    };
    let svg = chart(&[
        ("query", "temperature"),
        ("range", "10m"),
        ("title", "Tem</title>perature"),
        ("theme", "dark"),
        ("width", "500"),
        ("height", "250"),
        ("tz", "Europe/Berlin"),
    ]);
    assert_eq!((svg.status, svg.header("content-type")), (200, "image/svg+xml"));
    let text = svg.text();
    assert!(
        text.starts_with("<svg ") && text.contains("width=\"500\" height=\"250\"") && text.contains("<polyline"),
        "{text}"
    );
    assert!(
        !text.contains("<script") && !text.contains("</title>") && text.contains("&lt;script&gt;"),
        "labels stay text"
    );
    assert!(text.contains("CET") || text.contains("CEST"), "the zone is named");
    for (pairs, status) in [
        (vec![("query", "sum(")], 400),
        (vec![("query", "up"), ("width", "7")], 400),
        (vec![("query", "up"), ("theme", "pink")], 400),
        (vec![("query", "up"), ("tz", "Nowhere/Land")], 400),
        (vec![("query", "up"), ("range", "soon")], 400),
        (vec![], 400),
        (vec![("query", "requests_total * on (job) requests_total")], 422),
    ] {
        let answer = chart(&pairs);
        assert_eq!((answer.status, answer.header("content-type")), (status, "image/svg+xml"), "{pairs:?}");
        assert!(answer.text().contains("<text"), "{}", answer.text());
    }
    assert!(chart(&[("query", "nothing_here")]).text().contains("No data in this time range"));
    let data = server
        .get(&format!("/chart.json?{}", encode(&[("query", "requests_total"), ("end", &end_text), ("range", "10m")])))
        .json();
    assert_eq!(data["data"]["series"].as_array().unwrap().len(), 2);
    assert_eq!(data["data"]["plot"].as_array().unwrap().len(), 4);
}

#[test]
fn pages_are_whole_without_a_script() {
    let server = Server::with_config(
        "scrape_configs: []\nrule_files: [rules.yml]\nremote_write: [{url: http://127.0.0.1:1/}]\n",
        &["--web.enable-remote-write-receiver", "--web.page-title=Ours"],
    );
    fill(&server);
    for path in ["/", "/d/host", "/d/silverback", "/query", "/targets", "/config", "/flags", "/tsdb-status"] {
        let page = server.get(path);
        assert_eq!(page.status, 200, "{path}");
        let text = page.text();
        assert!(text.contains("Ours</title>"), "{path}: {text}");
        assert!(
            text.contains("no alert will fire") && text.contains("remote_write is not acted on"),
            "every page says what is not done: {path}"
        );
    }
    let page = server.get(&format!("/query?{}", encode(&[("query", "temperature")]))).text();
    assert!(page.contains("&#60;script&#62;alert(1)") && !page.contains("<script>alert"), "{page}");
    assert!(page.contains("<picture") && page.contains("/chart.svg?query=temperature"), "{page}");
    let page = server.get(&format!("/query?{}", encode(&[("query", "sum(rate(x[5m])")])));
    assert_eq!(page.status, 400);
    assert!(page.text().contains("<mark>"), "the place is marked: {}", page.text());
    assert_eq!(server.get("/d/none").status, 404);
    let graph = server.get("/graph?g0.expr=up");
    assert_eq!((graph.status, graph.header("location")), (302, "/query?g0.expr=up"));
    let theme = server.get("/theme?to=dark&back=/targets");
    assert_eq!((theme.status, theme.header("location")), (303, "/targets"));
    assert!(theme.header("set-cookie").starts_with("theme=dark;"));
    for outside in ["//evil.example/", "/%09/evil.example/", "/%0a/evil.example", "/%5cevil.example"] {
        assert_eq!(server.get(&format!("/theme?to=dark&back={outside}")).header("location"), "/");
    }
    assert!(server.get_with("/", &[("Cookie", "theme=dark")]).text().contains("data-theme=\"dark\""));
}

#[test]
fn a_prefix_stands_before_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::spawn(dir.path(), &["--web.external-url=http://outside.example/outer/"]);
    common::wait_for("the server", || server.get("/outer/-/ready").status == 200);
    assert_eq!(server.get("/outer/-/ready").status, 200);
    assert_eq!(server.get("/-/ready").status, 404);
    assert!(server.get("/outer/query").text().contains("href=\"/outer/static/style.css"));
    assert_eq!(server.get("/").header("location"), "/outer/");
    assert_eq!(server.get("/outer/api/v1/query?query=1").status, 200);
}

#[test]
fn the_lifecycle_api_reloads_and_quits_only_when_switched_on() {
    let server = Server::with_config("scrape_configs: []\n", &[]);
    assert_eq!(server.post("/-/reload", "", b"").status, 403);
    assert_eq!(server.get("/-/reload").status, 405);
    let mut server = quiet();
    std::fs::write(server.dir.join("prometheus.yml"), "scrape_configs: [{job_name: later}]\n").unwrap();
    assert_eq!(server.post("/-/reload", "", b"").status, 200);
    assert!(server.api("/status/config", &[])["yaml"].as_str().unwrap().contains("later"));
    std::fs::write(server.dir.join("prometheus.yml"), "scrape_configs: [{job_nam: x}]\n").unwrap();
    let refused = server.post("/-/reload", "", b"");
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("prometheus.yml:1:") && refused.text().contains("job_name"), "{}", refused.text());
    assert!(server.api("/status/config", &[])["yaml"].as_str().unwrap().contains("later"), "all or nothing");
    assert_eq!(server.api("/status/runtimeinfo", &[])["reloadConfigSuccess"], false);
    assert_eq!(server.post("/-/quit", "", b"").status, 200);
    common::wait_for("the end", || server.get("/-/ready").status != 200);
    assert_eq!(server.wait(), Some(0));
}
