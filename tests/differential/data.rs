//! What both servers are given: every kind of series that PromQL treats in a way of its own.

use tsdb::STALE_NAN;

use crate::push::{bytes, compress, double, number, signed};
use crate::random::Random;

/// When the data begin: a whole hour, in milliseconds.
pub const START_MS: i64 = 1_699_999_200_000;
/// How far samples lie apart.
pub const STEP_MS: i64 = 15_000;
/// How many moments there are.
pub const STEPS: usize = 300;

/// A native histogram sample.
#[derive(Clone, Debug, Default)]
pub struct Native {
    schema: i64,
    zero_threshold: f64,
    zero_count: f64,
    sum: f64,
    /// First bucket and counts from it on.
    positive: (i64, Vec<f64>),
    negative: (i64, Vec<f64>),
    bounds: Vec<f64>,
    gauge: bool,
    /// Whether counts are sent as floats.
    floats: bool,
}

#[derive(Clone, Debug)]
pub enum Point {
    Float(f64),
    Native(Native),
}

/// A series: sorted labels, and samples with milliseconds since [`START_MS`].
pub struct Series {
    labels: Vec<(String, String)>,
    points: Vec<(i64, Point)>,
}

fn series(labels: &[(&str, &str)], mut point: impl FnMut(usize) -> Option<Point>) -> Series {
    let mut labels: Vec<_> = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    labels.sort();
    let points = (0..STEPS).filter_map(|k| Some((k as i64 * STEP_MS, point(k)?))).collect();
    Series { labels, points }
}

/// A moment past the first request, so that all series begin with that one.
fn later(random: &mut Random) -> usize {
    10 + random.below(STEPS as u64 - 10) as usize
}

/// All series, sorted by their labels, so that both servers meet them in the same order.
pub fn all(random: &mut Random) -> Vec<Series> {
    let mut out = Vec::new();
    counters(random, &mut out);
    gauges(random, &mut out);
    classic_histograms(random, &mut out);
    odd_buckets(random, &mut out);
    extremes(random, &mut out);
    ranked(random, &mut out);
    native_histograms(random, &mut out);
    wide(random, &mut out);
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    out
}

fn counters(random: &mut Random, out: &mut Vec<Series>) {
    for job in ["api", "web"] {
        for instance in ["a:80", "b:80", "c:80"] {
            for (method, code) in [("get", "200"), ("get", "500"), ("post", "200")] {
                let mut total = random.below(1000) as f64;
                let (reset, gap) = (random.below(STEPS as u64) as usize, later(random));
                let stale_from = (random.below(4) == 0).then(|| later(random));
                let labels = [
                    ("__name__", "requests_total"),
                    ("job", job),
                    ("instance", instance),
                    ("method", method),
                    ("code", code),
                ];
                out.push(series(&labels, |k| {
                    total += random.below(20) as f64 * 0.5;
                    if k == reset {
                        total = random.below(5) as f64;
                    }
                    match stale_from {
                        Some(from) if k == from => return Some(Point::Float(STALE_NAN)),
                        Some(from) if (from..from + 60).contains(&k) => return None,
                        _ => {}
                    }
                    (!(gap..gap + 25).contains(&k)).then_some(Point::Float(total))
                }));
            }
        }
    }
    for job in ["api", "web"] {
        let mut total = 0.0;
        out.push(series(&[("__name__", "errors_total"), ("job", job), ("instance", "a:80")], |_| {
            total += random.below(3) as f64;
            Some(Point::Float(total))
        }));
    }
}

fn gauges(random: &mut Random, out: &mut Vec<Series>) {
    for job in ["api", "web", "db"] {
        for instance in ["a:80", "b:80", "c:80"] {
            let odd = (job, instance) == ("db", "c:80");
            out.push(series(&[("__name__", "temperature"), ("job", job), ("instance", instance)], |_| {
                Some(Point::Float(match random.below(30) {
                    0 if odd => f64::NAN,
                    1 if odd => f64::INFINITY,
                    2 if odd => f64::NEG_INFINITY,
                    _ => random.below(4000) as f64 / 100.0 - 10.0,
                }))
            }));
            out.push(series(&[("__name__", "up"), ("job", job), ("instance", instance)], |_| {
                Some(Point::Float(f64::from(u8::from(random.below(10) > 0))))
            }));
            out.push(series(&[("__name__", "level"), ("job", job), ("instance", instance)], |_| {
                Some(Point::Float(random.below(6) as f64))
            }));
        }
    }
    // Sparse, and irregular in time.
    for shard in ["0", "1", "2"] {
        let mut sparse =
            series(&[("__name__", "sparse"), ("shard", shard)], |k| (k % 13 == 0).then_some(Point::Float(k as f64)));
        sparse.points.iter_mut().for_each(|(at, _)| *at += random.below(9000) as i64 + 1);
        out.push(sparse);
    }
    for (instance, version) in [("a:80", "1.0"), ("b:80", "1.1"), ("c:80", "1.1")] {
        for job in ["api", "web"] {
            let labels = [
                ("__name__", "target_info"),
                ("job", job),
                ("instance", instance),
                ("version", version),
                ("data.center", "eu"),
            ];
            out.push(series(&labels, |k| (k % 50 < 40).then_some(Point::Float(1.0))));
        }
    }
    for (name, label, value) in
        [("süß.metric", "größe", "klein"), ("süß.metric", "größe", "groß\n\"x\""), ("a.b", "c d", "🦍")]
    {
        out.push(series(&[("__name__", name), (label, value)], |k| Some(Point::Float((k % 17) as f64))));
    }
    out.push(series(&[("__name__", "huge")], |k| Some(Point::Float(1e300 * (k as f64 + 1.0)))));
    out.push(series(&[("__name__", "tiny")], |k| Some(Point::Float(1e-300 * (k as f64)))));
    out.push(series(&[("__name__", "steady"), ("job", "api")], |_| Some(Point::Float(7.0))));
    // Floats and histograms in turn.
    for job in ["api", "web"] {
        let mut native = Growing::new(0);
        out.push(series(&[("__name__", "mixed"), ("job", job), ("instance", "a:80")], |k| {
            native.observe(random);
            Some(if k / 10 % 3 == 0 { Point::Float(k as f64) } else { Point::Native(native.now.clone()) })
        }));
    }
}

fn classic_histograms(random: &mut Random, out: &mut Vec<Series>) {
    const BOUNDS: [&str; 6] = ["0.05", "0.1", "0.5", "1", "5", "+Inf"];
    for job in ["api", "web"] {
        for instance in ["a:80", "b:80"] {
            let mut rows = vec![vec![0.0; BOUNDS.len() + 1]; STEPS];
            let mut totals = vec![0.0; BOUNDS.len()];
            let mut sum = 0.0;
            for row in &mut rows {
                for _ in 0..random.below(8) {
                    let bucket = random.below(BOUNDS.len() as u64) as usize;
                    totals[bucket..].iter_mut().for_each(|total| *total += 1.0);
                    sum += bucket as f64 * 0.3;
                }
                row[..BOUNDS.len()].copy_from_slice(&totals);
                row[BOUNDS.len()] = sum;
            }
            let base = [("job", job), ("instance", instance)];
            for (i, le) in BOUNDS.iter().enumerate() {
                let labels = [&base[..], &[("__name__", "latency_bucket"), ("le", le)]].concat();
                out.push(series(&labels, |k| Some(Point::Float(rows[k][i]))));
            }
            for (name, i) in [("latency_count", BOUNDS.len() - 1), ("latency_sum", BOUNDS.len())] {
                let labels = [&base[..], &[("__name__", name)]].concat();
                out.push(series(&labels, |k| Some(Point::Float(rows[k][i]))));
            }
        }
    }
}

/// Classic buckets with counts that are infinite, not a number, or fall.
fn odd_buckets(random: &mut Random, out: &mut Vec<Series>) {
    for of in ["inf", "nan", "both", "all"] {
        for le in ["-1", "0.1", "1", "5", "+Inf"] {
            let mut total = 0.0;
            out.push(series(&[("__name__", "odd_bucket"), ("of", of), ("le", le)], |_| {
                total += random.below(4) as f64;
                let odd = [f64::INFINITY, f64::NAN][random.below(2) as usize];
                Some(Point::Float(match (of, random.below(3)) {
                    ("all", _) => f64::INFINITY,
                    ("inf", 0) => f64::INFINITY,
                    ("nan", 0) => f64::NAN,
                    ("both", 0) => odd,
                    _ => total,
                }))
            }));
        }
    }
}

/// Where elementary functions change their formula, lose digits, overflow or underflow.
const EXTREMES: [f64; 24] = [
    0.0,
    -0.0,
    5e-324,
    1e-310,
    2.3e-308,
    1e-20,
    3.7e-9,
    0.5,
    0.999_999_999,
    1.0,
    1.000_000_1,
    2.0,
    21.5,
    709.3,
    709.78,
    710.4,
    745.2,
    268_435_457.0,
    9e15,
    1e154,
    1e300,
    f64::MAX,
    f64::INFINITY,
    f64::NAN,
];

fn extremes(random: &mut Random, out: &mut Vec<Series>) {
    for sign in ["plus", "minus"] {
        for shift in ["0", "1", "2"] {
            out.push(series(&[("__name__", "extreme"), ("sign", sign), ("shift", shift)], |_| {
                let value = EXTREMES[random.below(EXTREMES.len() as u64) as usize];
                Some(Point::Float(if sign == "plus" { value } else { -value }))
            }));
        }
    }
}

/// Labels of text and numbers, some of them missing.
fn ranked(random: &mut Random, out: &mut Vec<Series>) {
    const RANKS: [&str; 14] =
        ["", "", "1", "01", "2", "10", "a", "a1", "a2", "a10", "a-1", "1a", "99999999999999999999", "x"];
    for i in 0..20 {
        let (index, rank) = (i.to_string(), RANKS[random.below(RANKS.len() as u64) as usize]);
        let mut labels = vec![("__name__", "ranked"), ("index", &*index)];
        if !rank.is_empty() {
            labels.push(("rank", rank));
        }
        if i % 3 == 0 {
            labels.push(("tier", ["1", "2", "b"][i % 9 / 3]));
        }
        out.push(series(&labels, |k| Some(Point::Float((i + k % 2) as f64))));
    }
}

/// A native histogram that observations are added to.
struct Growing {
    now: Native,
}

impl Growing {
    fn new(schema: i64) -> Self {
        let now = Native {
            schema,
            zero_threshold: 0.001,
            positive: (-2, vec![0.0; 6]),
            negative: (0, vec![0.0; 3]),
            ..Native::default()
        };
        Self { now }
    }

    fn observe(&mut self, random: &mut Random) {
        for _ in 0..random.below(6) {
            match random.below(10) {
                0 => self.now.zero_count += 1.0,
                n @ 1..=3 => {
                    self.now.negative.1[n as usize - 1] += 1.0;
                    self.now.sum -= 1.5;
                }
                n => {
                    self.now.positive.1[n as usize - 4] += 1.0;
                    self.now.sum += 0.25 * n as f64;
                }
            }
        }
    }
}

fn native_histograms(random: &mut Random, out: &mut Vec<Series>) {
    for job in ["api", "web"] {
        for instance in ["a:80", "b:80"] {
            let mut native = Growing::new(if job == "api" { 0 } else { 2 });
            let reset = random.below(STEPS as u64) as usize;
            out.push(series(&[("__name__", "native"), ("job", job), ("instance", instance)], |k| {
                if k == reset {
                    native = Growing::new(native.now.schema);
                }
                native.observe(random);
                Some(Point::Native(native.now.clone()))
            }));
        }
        out.push(series(&[("__name__", "native_gauge"), ("job", job)], |k| {
            let mut native = Growing::new(1);
            native.observe(random);
            native.now.gauge = true;
            // Reaches over the lowest buckets.
            native.now.zero_threshold = if k % 3 == 0 { 0.4 } else { 0.001 };
            native.now.floats = job == "web";
            if native.now.floats {
                native.now.positive.1.iter_mut().for_each(|count| *count *= 0.5);
            }
            (k % 40 < 35).then_some(Point::Native(native.now))
        }));
        let mut custom =
            Native { schema: -53, bounds: vec![0.1, 0.5, 2.0], positive: (0, vec![0.0; 4]), ..Native::default() };
        out.push(series(&[("__name__", "native_custom"), ("job", job)], |_| {
            for _ in 0..random.below(5) {
                let bucket = random.below(4) as usize;
                custom.positive.1[bucket] += 1.0;
                custom.sum += bucket as f64;
            }
            Some(Point::Native(custom.clone()))
        }));
    }
}

/// Many label sets.
fn wide(random: &mut Random, out: &mut Vec<Series>) {
    for i in 0..60 {
        let labels = [
            ("__name__", "wide"),
            ("a", &*format!("{}", i % 3)),
            ("b", &*format!("b{}", i % 5)),
            ("c", &*format!("c{}", i % 4)),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut labels = labels.to_vec();
        if i % 7 == 0 {
            labels.push(("d".into(), "set".into()));
        }
        let points = (0..STEPS).map(|k| (k as i64 * STEP_MS, Point::Float(random.below(1000) as f64 / 8.0)));
        out.push(Series { labels, points: points.collect() });
    }
}

/// The requests that write all samples, in order of time: a server may refuse what is an hour older than its newest.
/// Within one a series has floats or histograms: Prometheus takes all floats first and drops older histograms then.
pub fn requests(all: &[Series]) -> Vec<Vec<u8>> {
    const LENGTH: i64 = 10 * STEP_MS;
    let end = STEPS as i64 * STEP_MS;
    (0..=end / LENGTH)
        .map(|part| {
            let within = |at: i64| at / LENGTH == part;
            let mut message = Vec::new();
            for one in all.iter().filter(|one| one.points.iter().any(|(at, _)| within(*at))) {
                bytes(&mut message, 1, &written(one, within));
            }
            compress(&message)
        })
        .collect()
}

fn written(one: &Series, within: impl Fn(i64) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in &one.labels {
        let mut label = Vec::new();
        bytes(&mut label, 1, name.as_bytes());
        bytes(&mut label, 2, value.as_bytes());
        bytes(&mut out, 1, &label);
    }
    for (at, point) in one.points.iter().filter(|(at, _)| within(*at)) {
        let at = (START_MS + at) as u64;
        match point {
            Point::Float(value) => {
                let mut sample = Vec::new();
                double(&mut sample, 1, *value);
                number(&mut sample, 2, at);
                bytes(&mut out, 2, &sample);
            }
            Point::Native(native) => bytes(&mut out, 4, &histogram(native, at)),
        }
    }
    out
}

fn histogram(h: &Native, at: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let count = h.zero_count + h.positive.1.iter().chain(&h.negative.1).sum::<f64>();
    if h.floats {
        double(&mut out, 2, count);
    } else {
        number(&mut out, 1, count as u64);
    }
    double(&mut out, 3, h.sum);
    signed(&mut out, 4, h.schema);
    double(&mut out, 5, h.zero_threshold);
    if h.floats {
        double(&mut out, 7, h.zero_count);
    } else {
        number(&mut out, 6, h.zero_count as u64);
    }
    for ((first, counts), spans, deltas, floats) in [(&h.negative, 8, 9, 10), (&h.positive, 11, 12, 13)] {
        if counts.is_empty() {
            continue;
        }
        let mut span = Vec::new();
        signed(&mut span, 1, *first);
        number(&mut span, 2, counts.len() as u64);
        bytes(&mut out, spans, &span);
        let mut before = 0.0;
        for count in counts {
            if h.floats {
                double(&mut out, floats, *count);
            } else {
                signed(&mut out, deltas, (count - before) as i64);
                before = *count;
            }
        }
    }
    number(&mut out, 14, if h.gauge { 3 } else { 0 });
    number(&mut out, 15, at);
    for bound in &h.bounds {
        double(&mut out, 16, *bound);
    }
    out
}
