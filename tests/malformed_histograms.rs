//! Native histograms that contradict themselves, at every door of the network: each is refused with its reason, none is
//! acknowledged, stored or served, and good ones beside them are.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "common/push.rs"]
mod push;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::{Answer, Server, now, wait_for};
use push::{RequestV2, bytes, double, number, signed};

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// A histogram as it is written: counts in whole numbers with differences between buckets, or in floats.
#[derive(Clone, Debug)]
struct Wire {
    float: bool,
    count: f64,
    sum: f64,
    schema: i64,
    zero_threshold: f64,
    zero_count: f64,
    positive_spans: Vec<(i64, u64)>,
    positive: Vec<f64>,
    negative_spans: Vec<(i64, u64)>,
    negative: Vec<f64>,
    bounds: Vec<f64>,
}

/// Eight observations: one of zero, five positive, two negative.
fn integer() -> Wire {
    Wire {
        float: false,
        count: 8.0,
        sum: 4.5,
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive_spans: vec![(0, 1), (1, 1)],
        positive: vec![2.0, 1.0],
        negative_spans: vec![(-1, 1)],
        negative: vec![2.0],
        bounds: Vec::new(),
    }
}

fn float() -> Wire {
    Wire { float: true, positive: vec![2.0, 3.0], ..integer() }
}

/// Six observations up to 1, 2 and +Inf.
fn custom() -> Wire {
    Wire {
        count: 6.0,
        schema: -53,
        zero_threshold: 0.0,
        zero_count: 0.0,
        positive_spans: vec![(0, 3)],
        positive: vec![1.0, 1.0, 1.0],
        negative_spans: Vec::new(),
        negative: Vec::new(),
        bounds: vec![1.0, 2.0],
        ..integer()
    }
}

fn custom_float() -> Wire {
    Wire { float: true, positive: vec![1.0, 2.0, 3.0], ..custom() }
}

/// Numbers of the fields of a message.
struct Numbers {
    count: [u64; 2],
    sum: u64,
    schema: u64,
    zero_threshold: u64,
    zero_count: [u64; 2],
    negative: [u64; 3],
    positive: [u64; 3],
    /// Custom bounds and milliseconds.
    more: Option<[u64; 2]>,
}

/// Of remote write, either version.
const PUSHED: Numbers = Numbers {
    count: [1, 2],
    sum: 3,
    schema: 4,
    zero_threshold: 5,
    zero_count: [6, 7],
    negative: [8, 9, 10],
    positive: [11, 12, 13],
    more: Some([16, 15]),
};

/// Of the exposition format.
const EXPOSED: Numbers = Numbers {
    count: [1, 4],
    sum: 2,
    schema: 5,
    zero_threshold: 6,
    zero_count: [7, 8],
    negative: [9, 10, 11],
    positive: [12, 13, 14],
    more: None,
};

fn encode(wire: &Wire, numbers: &Numbers, at: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let one = |out: &mut Vec<u8>, fields: [u64; 2], value: f64| match wire.float {
        false => number(out, fields[0], value as u64),
        true => double(out, fields[1], value),
    };
    one(&mut out, numbers.count, wire.count);
    double(&mut out, numbers.sum, wire.sum);
    signed(&mut out, numbers.schema, wire.schema);
    double(&mut out, numbers.zero_threshold, wire.zero_threshold);
    one(&mut out, numbers.zero_count, wire.zero_count);
    let sides = [
        (numbers.negative, &wire.negative_spans, &wire.negative),
        (numbers.positive, &wire.positive_spans, &wire.positive),
    ];
    for ([spans, deltas, counts], all, buckets) in sides {
        for &(offset, length) in all {
            let mut span = Vec::new();
            signed(&mut span, 1, offset);
            number(&mut span, 2, length);
            bytes(&mut out, spans, &span);
        }
        for &bucket in buckets {
            if wire.float { double(&mut out, counts, bucket) } else { signed(&mut out, deltas, bucket as i64) }
        }
    }
    if let Some([bounds, time]) = numbers.more {
        wire.bounds.iter().for_each(|&bound| double(&mut out, bounds, bound));
        number(&mut out, time, at as u64);
    }
    out
}

/// Malformed histograms with a part of the reason.
fn malformed() -> Vec<(Wire, &'static str)> {
    let mut all = Vec::new();
    // What is wrong with any kind of count.
    for base in [integer(), float()] {
        let with = |change: &dyn Fn(&mut Wire), why| {
            let mut wire = base.clone();
            change(&mut wire);
            (wire, why)
        };
        all.extend([
            with(&|w| w.positive_spans = vec![(0, 1), (-1, 1)], "span number 2 with offset -1"),
            with(&|w| w.positive_spans = vec![(7, 1), (-9, 1)], "span whose offset is negative"),
            with(
                &|w| (w.negative_spans, w.negative) = (vec![(0, 1), (-5, 1)], vec![1.0, 0.0]),
                "span whose offset is negative",
            ),
            with(&|w| w.positive_spans = vec![(0, 1)], "spans need 1 buckets, have 2 buckets"),
            with(&|w| w.positive_spans = vec![(0, 3)], "spans need 3 buckets, have 2 buckets"),
            with(&|w| w.positive_spans = Vec::new(), "positive side: spans need 0 buckets"),
            with(&|w| w.positive_spans = vec![(0, 4_294_967_295)], "spans need 4294967295 buckets"),
            with(&|w| w.negative_spans = vec![(0, 2)], "negative side: spans need 2 buckets"),
            with(&|w| w.negative = Vec::new(), "negative side: spans need 1 buckets, have 0 buckets"),
            with(&|w| w.positive_spans = vec![(2_147_483_647, 1), (2_147_483_647, 1)], "beyond the last bucket index"),
            with(&|w| w.positive = vec![-2.0, 9.0], "bucket number 1 has observation count of -2"),
            with(&|w| w.positive = vec![2.0, -3.0], "observation count is negative"),
            with(&|w| w.negative = vec![-1.0], "negative side: bucket number 1"),
            with(&|w| w.schema = -5, "got schema -5"),
            with(&|w| w.schema = -9, "got schema -9"),
            with(&|w| w.schema = 53, "got schema 53"),
            with(&|w| w.schema = -54, "got schema -54"),
            with(&|w| w.schema = 1_000_000, "invalid schema"),
        ]);
    }
    all.extend([
        (Wire { count: 9.0, ..integer() }, "8 observations found in buckets, but the Count field is 9"),
        (Wire { count: 7.0, ..integer() }, "should equal the number of observations"),
        (Wire { count: 0.0, ..integer() }, "should equal the number of observations"),
        (Wire { zero_count: 2.0, ..integer() }, "9 observations found in buckets"),
        (Wire { count: 7.0, sum: NAN, ..integer() }, "should be at least the number of observations"),
    ]);
    all
}

/// The same for what only remote write can say.
fn malformed_pushed() -> Vec<(Wire, &'static str)> {
    let mut all = malformed();
    for base in [custom(), custom_float()] {
        let with = |change: &dyn Fn(&mut Wire), why| {
            let mut wire = base.clone();
            change(&mut wire);
            (wire, why)
        };
        all.extend([
            with(&|w| w.bounds = vec![2.0, 1.0], "strictly increasing order"),
            with(&|w| w.bounds = vec![1.0, 1.0], "strictly increasing order"),
            with(&|w| w.bounds = vec![1.0], "custom bounds are too few"),
            with(&|w| w.bounds = Vec::new(), "custom bounds are too few"),
            with(&|w| w.positive_spans = vec![(1, 3)], "custom bounds are too few"),
            with(&|w| w.bounds = vec![1.0, INF], "must be finite"),
            with(&|w| w.bounds = vec![-INF, 1.0], "must be finite"),
            with(&|w| w.bounds = vec![NAN, 1.0], "must not be NaN"),
            with(&|w| w.zero_count = 1.0, "zero count of 0"),
            with(&|w| w.zero_threshold = 0.5, "zero threshold of 0"),
            with(&|w| (w.negative_spans, w.negative) = (vec![(0, 1)], vec![0.0]), "must not have negative spans"),
            with(&|w| w.negative = vec![0.0], "must not have negative buckets"),
            with(&|w| w.positive_spans = vec![(-1, 3)], "span number 1 with offset -1"),
            with(&|w| w.positive_spans = vec![(0, 2)], "spans need 2 buckets, have 3 buckets"),
            with(&|w| w.positive[1] = -5.0, "observation count is negative"),
        ]);
    }
    all.extend([
        (Wire { count: 7.0, ..custom() }, "should equal the number of observations"),
        (Wire { bounds: vec![1.0], ..integer() }, "must not have custom bounds"),
        (Wire { bounds: vec![1.0], ..float() }, "must not have custom bounds"),
        (Wire { count: -8.0, ..float() }, "observation count is negative: -8"),
        (Wire { zero_count: -1.0, ..float() }, "observation count is negative: -1"),
    ]);
    all
}

/// Histograms that are sound, odd as some are.
fn sound() -> Vec<Wire> {
    vec![
        integer(),
        float(),
        Wire { schema: -4, ..integer() },
        Wire { schema: 8, ..integer() },
        // Finer than what is kept: reduced.
        Wire { schema: 9, ..integer() },
        Wire { schema: 52, ..float() },
        // Observations of NaN are in no bucket.
        Wire { count: 10.0, sum: NAN, ..integer() },
        // Floats round.
        Wire { count: 8.1, ..float() },
    ]
}

fn receiver() -> Server {
    Server::with_config("scrape_configs: []\n", &["--web.enable-remote-write-receiver"])
}

/// Pushes each histogram as a series of its own: name and value of label `i`.
fn push(server: &Server, v2: bool, all: &[(&str, usize, &Wire)]) -> Answer {
    let at = (now() * 1000.0) as i64;
    let (mut first, mut second) = (Vec::new(), RequestV2::default());
    for &(name, i, wire) in all {
        let (i, histogram) = (i.to_string(), encode(wire, &PUSHED, at));
        second.series(&[("__name__", name), ("i", &i)], |_, out| bytes(out, 3, &histogram));
        let mut series = Vec::new();
        for (name, value) in [("__name__", name), ("i", &i)] {
            let mut label = Vec::new();
            bytes(&mut label, 1, name.as_bytes());
            bytes(&mut label, 2, value.as_bytes());
            bytes(&mut series, 1, &label);
        }
        bytes(&mut series, 4, &histogram);
        bytes(&mut first, 1, &series);
    }
    match v2 {
        true => server.post("/api/v1/write", V2, &second.finish()),
        false => server.post("/api/v1/write", "application/x-protobuf", &push::compress(&first)),
    }
}

#[test]
fn malformed_histograms_are_refused_by_remote_write_and_cost_only_themselves() {
    let bad = malformed_pushed();
    assert!(bad.len() > 70, "{}", bad.len());
    for v2 in [false, true] {
        let server = receiver();
        for (i, (wire, why)) in bad.iter().enumerate() {
            let answer = push(&server, v2, &[("bad", i, wire), ("good", i, &integer())]);
            assert_eq!(answer.status, 400, "{wire:?}");
            assert!(answer.text().contains(why), "{wire:?}: {}", answer.text());
            if v2 {
                assert_eq!(answer.header("x-prometheus-remote-write-histograms-written"), "1", "{wire:?}");
            }
        }
        let together: Vec<_> = bad.iter().enumerate().map(|(i, (wire, _))| ("bad", i, wire)).collect();
        assert_eq!(push(&server, v2, &together).status, 400);
        assert_eq!(server.number("count(bad)"), None);
        assert_eq!(server.api("/series", &[("match[]", "bad")]), serde_json::json!([]));
        assert_eq!(server.number("count(good)"), Some(bad.len() as f64));
    }
}

#[test]
fn sound_histograms_are_taken_by_remote_write_and_fine_ones_reduced() {
    for v2 in [false, true] {
        let server = receiver();
        let mut good = sound();
        good.extend([custom(), custom_float()]);
        // A stale marker is the last.
        let stale = Wire { sum: f64::from_bits(0x7ff0_0000_0000_0002), count: 0.0, zero_count: 0.0, ..integer() };
        good.push(Wire { positive_spans: vec![], positive: vec![], negative_spans: vec![], negative: vec![], ..stale });
        let all: Vec<_> = good.iter().enumerate().map(|(i, wire)| ("good", i, wire)).collect();
        let answer = push(&server, v2, &all);
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert_eq!(server.number("count(good)"), Some(good.len() as f64 - 1.0), "all but the stale one");
        // Schema 52 has more than 2^44 buckets for one of schema 8: all of a side come into one.
        let data = server.api("/query", &[("query", "good{i=\"5\"}")]);
        let buckets = data["result"][0]["histogram"][1]["buckets"].as_array().unwrap();
        assert_eq!(buckets.len(), 4, "one negative, zero, two positive: {data}");
    }
}

/// A target that exposes one histogram for each path `/n`. Gives its address; it lives as long as the test.
fn target(all: Vec<Wire>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 8192];
            let length = stream.read(&mut request).unwrap_or_default();
            let head = String::from_utf8_lossy(&request[..length]).into_owned();
            let place = head.split(['/', ' ']).nth(2).and_then(|text| text.parse::<usize>().ok());
            let Some(wire) = place.and_then(|place| all.get(place)) else { continue };
            let (mut metric, mut family, mut body) = (Vec::new(), Vec::new(), Vec::new());
            bytes(&mut metric, 7, &encode(wire, &EXPOSED, 0));
            bytes(&mut family, 1, b"exposed");
            number(&mut family, 3, 4);
            bytes(&mut family, 4, &metric);
            // A family in the body begins with its length only.
            bytes(&mut body, 1, &family);
            let body = &body[1..];
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    address
}

#[test]
fn malformed_histograms_fail_their_scrape_with_the_reason() {
    let bad = malformed();
    let wires: Vec<Wire> = bad.iter().map(|(wire, _)| wire.clone()).chain(sound()).collect();
    let address = target(wires.clone());
    let mut config =
        "global: {scrape_interval: 1s, scrape_timeout: 1s, scrape_native_histograms: true}\nscrape_configs:\n"
            .to_owned();
    for i in 0..wires.len() {
        config +=
            &format!("- {{job_name: 'j{i}', metrics_path: '/{i}', static_configs: [{{targets: ['{address}']}}]}}\n");
    }
    let server = Server::with_config(&config, &[]);
    let good = sound().len() as f64;
    wait_for("all scrapes", || server.number("count(up)") == Some(wires.len() as f64));
    wait_for("the good ones", || {
        server.number("sum(up)") == Some(good) && server.number("count(exposed)") == Some(good)
    });
    let targets = server.api("/targets", &[("state", "active")]);
    for (i, (wire, why)) in bad.iter().enumerate() {
        let job = format!("j{i}");
        let targets = targets["activeTargets"].as_array().unwrap();
        let found = targets.iter().find(|target| target["scrapePool"] == job.as_str()).unwrap();
        let error = found["lastError"].as_str().unwrap();
        assert!(error.contains(why), "{wire:?}: {error}");
    }
}
