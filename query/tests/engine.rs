//! The engine as a whole: threads, limits, stopping.

#![cfg(feature = "testing")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use query::testing::Synthetic;
use query::{Answer, Engine, Error, Limit, Options, Request, Steps, StopFlag, Value, parse};
use tsdb::{Columns, Labels, Matcher, Querier, Queryable, SeriesSet, TimeRange, Timestamp};

const STEP_MS: i64 = 15_000;

/// Counters `m_total{job, instance, le}` with values from a fixed seed.
fn counters(series: u64, samples: i64) -> Synthetic {
    let mut state = 0x5eed_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let all = (0..series).map(|i| {
        let labels = Labels::from_pairs([
            ("__name__", "m_total".to_owned()),
            ("instance", format!("i{i:05}")),
            ("job", format!("j{}", i % 7)),
            ("le", ["0.1", "1", "10", "+Inf"][i as usize / 7 % 4].to_owned()),
        ]);
        let mut value = 0.0;
        let values = (0..samples).map(|_| {
            value += (random() % 1_000) as f64 / 7.0;
            if random().is_multiple_of(101) {
                value = 0.1;
            }
            value
        });
        (labels, values.collect())
    });
    Synthetic::new((0..samples).map(|k| k * STEP_MS).collect(), all.collect())
}

fn engine(options: Options) -> Engine {
    Engine::new(options, || Duration::ZERO)
}

const INSTANT: Steps = Steps::Instant(Timestamp::from_millis(600_000));

fn range(steps: i64) -> Steps {
    Steps::Range {
        start: Timestamp::from_millis(300_000),
        end: Timestamp::from_millis(300_000 + 60_000 * (steps - 1)),
        step: Duration::from_secs(60),
    }
}

fn run(engine: &Engine, store: &dyn Queryable, query: &str, steps: Steps) -> Result<Answer, Error> {
    let expr = parse(query).expect("the query is PromQL");
    engine.run(store, &Request { expr: &expr, steps, lookback: None, count_all: false, stop: StopFlag::default() })
}

/// All labels and the bits of all values.
fn bits(value: &Value) -> Vec<(String, Vec<u64>)> {
    match value {
        Value::Matrix(series) => {
            series.iter().map(|s| (s.labels.to_string(), s.values.iter().map(|v| v.to_bits()).collect())).collect()
        }
        Value::Vector(samples) => samples
            .iter()
            .map(|s| match &s.point {
                query::Point::Float(value) => (s.labels.to_string(), vec![value.to_bits()]),
                query::Point::Histogram(h) => (format!("{} {h:?}", s.labels), Vec::new()),
            })
            .collect(),
        Value::Scalar(value) => vec![(String::new(), vec![value.to_bits()])],
        Value::String(text) => vec![(text.clone(), Vec::new())],
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let store = counters(6_000, 60);
    let queries = [
        "m_total",
        "rate(m_total[3m])",
        "sum(m_total)",
        "sum by (job) (rate(m_total[5m]))",
        "avg without (instance) (m_total)",
        "stddev by (job, le) (m_total)",
        "max(m_total) - min(m_total)",
        "count by (le) (m_total > 1000)",
        "quantile by (job) (0.9, m_total)",
        "topk by (job) (3, m_total)",
        "bottomk(5, rate(m_total[2m]))",
        "limitk(10, m_total)",
        "limit_ratio(0.1, m_total)",
        "count_values(\"v\", round(m_total, 5000))",
        "histogram_quantile(0.9, sum by (job, le) (rate(m_total[5m])))",
        "m_total / on (instance) m_total{le=\"1\"}",
        "m_total{le=\"1\"} + on (job) group_left sum by (job) (m_total)",
        "m_total and on (instance) m_total{job=\"j3\"}",
        "m_total{job=\"j1\"} or m_total{job=\"j2\"}",
        "sum(sum_over_time(rate(m_total[1m])[5m:30s]))",
        "label_replace(m_total, \"x\", \"$1\", \"instance\", \"i(.*)\")",
        "sort_desc(m_total)",
        "absent(m_total{job=\"none\"})",
        "scalar(sum(m_total)) * vector(2)",
    ];
    let engines = [1, 2, 8].map(|threads| engine(Options { threads, ..Options::default() }));
    for query in queries {
        for steps in [INSTANT, range(9)] {
            let answers = engines.each_ref().map(|engine| {
                let answer = run(engine, &store, query, steps).unwrap_or_else(|e| panic!("{query}: {e}"));
                (bits(&answer.value), answer.annotations, answer.stats.samples)
            });
            assert!(!answers[0].0.is_empty(), "{query} gives nothing");
            assert!(answers[0] == answers[1] && answers[0] == answers[2], "{query}");
        }
    }
}

#[test]
fn a_range_query_gives_what_instant_queries_give() {
    let store = counters(60, 80);
    let engine = engine(Options { threads: 1, ..Options::default() });
    for query in [
        "rate(m_total[2m])",
        "sum by (job) (m_total)",
        "m_total offset 1m",
        "m_total @ 400",
        "sum_over_time(m_total[3m:20s] offset 30s)",
        "m_total - on (instance) max_over_time(m_total[5m])",
        "avg(m_total @ end())",
        "stdvar_over_time(m_total[4m])",
        "absent_over_time(m_total[1m] offset 2h)",
    ] {
        let steps = 15;
        let Value::Matrix(matrix) = run(&engine, &store, query, range(steps)).unwrap().value else { panic!("{query}") };
        for k in 0..steps {
            if query.contains("end()") && k < steps - 1 {
                continue;
            }
            let at = Timestamp::from_millis(300_000 + 60_000 * k);
            let Value::Vector(vector) = run(&engine, &store, query, Steps::Instant(at)).unwrap().value else {
                panic!("{query}")
            };
            for sample in &vector {
                let series = matrix.iter().find(|s| s.labels == sample.labels).unwrap();
                let query::Point::Float(value) = sample.point else { panic!("a histogram") };
                let got = series.values[k as usize];
                let close = (got - value).abs() <= 1e-12 * value.abs();
                assert!(close, "{query} at step {k}: {got}, not {value}");
            }
            let present = matrix.iter().filter(|s| !query::is_absent(s.values[k as usize])).count();
            assert_eq!(present, vector.len(), "{query} at step {k}");
        }
    }
}

#[test]
fn a_query_that_holds_too_many_samples_fails() {
    let store = counters(200, 60);
    let engine = engine(Options { max_samples: 1_000, threads: 1, ..Options::default() });
    assert!(run(&engine, &store, "m_total", INSTANT).is_ok());
    let error = run(&engine, &store, "m_total", range(9)).unwrap_err();
    assert!(matches!(error, Error::Limit(Limit::Samples, _)));
    assert_eq!(error.to_string(), "query processing would load too many samples into memory in query execution");
    // What is folded away is not held.
    assert!(run(&engine, &store, "sum(m_total)", range(9)).is_ok());
    let windows = run(&engine, &store, "m_total[10m]", INSTANT).unwrap_err();
    assert!(windows.to_string().contains("too many samples"), "{windows}");
}

#[test]
fn a_query_that_needs_too_much_memory_fails() {
    let store = counters(2_000, 60);
    let engine = engine(Options { max_bytes: 100_000, threads: 1, ..Options::default() });
    for query in [
        "m_total",
        "sort(m_total)",
        "m_total + m_total",
        "m_total or m_total{job=\"j1\"}",
        "count_values by (instance) (\"v\", m_total)",
        "sum by (instance) (m_total)",
        "topk by (instance) (1, m_total)",
        "quantile(0.5, m_total)",
        "label_replace(m_total, \"a\", \"$1\", \"instance\", \"(.*)\")",
        "sum_over_time(m_total[5m:15s])",
    ] {
        let error = run(&engine, &store, query, range(20)).expect_err(query);
        assert!(matches!(error, Error::Limit(Limit::Memory, _)), "{query}: {error}");
        assert!(error.to_string().contains("100000 bytes"), "{query}: {error}");
    }
    let answer = run(&engine, &counters(5, 60), "m_total", range(20)).unwrap();
    assert!(answer.stats.peak_bytes > 0 && answer.stats.peak_bytes <= 100_000);
}

#[test]
fn a_stopped_query_says_why() {
    let store = counters(100, 30);
    let engine = engine(Options { threads: 1, ..Options::default() });
    let expr = parse("sum(rate(m_total[5m]))").unwrap();
    let stop = StopFlag::default();
    stop.time_out();
    let error = engine
        .run(&store, &Request { expr: &expr, steps: INSTANT, lookback: None, count_all: false, stop })
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().starts_with("query timed out in "), "{error}");
    let stop = StopFlag::default();
    stop.cancel();
    let error = engine
        .run(&store, &Request { expr: &expr, steps: INSTANT, lookback: None, count_all: false, stop })
        .unwrap_err();
    assert!(error.to_string().starts_with("query was canceled in "), "{error}");
}

/// A store whose reads are counted, and which stops the query at a certain one.
struct Stopping {
    inner: Synthetic,
    reads: Arc<AtomicU64>,
    at: u64,
    stop: StopFlag,
}

struct StoppingView {
    inner: Arc<dyn Querier>,
    reads: Arc<AtomicU64>,
    at: u64,
    stop: StopFlag,
}

struct StoppingSet {
    inner: Arc<dyn SeriesSet>,
    reads: Arc<AtomicU64>,
    at: u64,
    stop: StopFlag,
}

impl Queryable for Stopping {
    fn querier(&self) -> Result<Arc<dyn Querier>, tsdb::Error> {
        let (reads, at, stop) = (self.reads.clone(), self.at, self.stop.clone());
        Ok(Arc::new(StoppingView { inner: self.inner.querier()?, reads, at, stop }))
    }
}

impl Querier for StoppingView {
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, tsdb::Error> {
        let (reads, at, stop) = (self.reads.clone(), self.at, self.stop.clone());
        Ok(Arc::new(StoppingSet { inner: self.inner.select(matchers, range)?, reads, at, stop }))
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, tsdb::Error> {
        self.inner.label_names(matchers, range, limit)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, tsdb::Error> {
        self.inner.label_values(name, matchers, range, limit)
    }
}

impl SeriesSet for StoppingSet {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.inner.label(index, name)
    }

    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)> {
        self.inner.pair(index, n)
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), tsdb::Error> {
        if self.reads.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            self.stop.cancel();
        }
        self.inner.read(index, range, columns)
    }
}

#[test]
fn a_running_query_stops_soon() {
    for query in ["m_total", "sum(rate(m_total[5m]))", "topk(3, m_total)", "m_total + on (instance) m_total"] {
        let stop = StopFlag::default();
        let reads = Arc::new(AtomicU64::new(0));
        let store = Stopping { inner: counters(40_000, 3), reads: reads.clone(), at: 100, stop: stop.clone() };
        let expr = parse(query).unwrap();
        let steps = Steps::Instant(Timestamp::from_millis(30_000));
        let request = Request { expr: &expr, steps, lookback: None, count_all: false, stop };
        let error = engine(Options { threads: 1, ..Options::default() }).run(&store, &request).unwrap_err();
        assert!(matches!(error, Error::Canceled { .. }), "{query}: {error}");
        assert!(reads.load(Ordering::Relaxed) < 5_000, "{query} went on for {reads:?} series");
    }
}

#[test]
fn deep_and_long_expressions_need_little_stack() {
    let work = || {
        let store = counters(3, 60);
        let engine = engine(Options { threads: 1, ..Options::default() });
        let deep = |open: &str, inner: &str, close: &str| {
            // What stands before a parenthesis of its own is a level more.
            let times = if open.contains(" (") || open.ends_with("((") { 60 } else { 120 };
            format!("{}{inner}{}", open.repeat(times), close.repeat(times))
        };
        let chain = |first: &str, rest: &str| format!("{first}{}", rest.repeat(900));
        let queries = [
            deep("(", "m_total", ")"),
            deep("-", "m_total", ""),
            deep("abs(", "m_total", ")"),
            deep("sum by (job) (", "m_total", ")"),
            deep("1 + (", "m_total", ")"),
            deep("m_total + (", "m_total", ")"),
            deep("max_over_time((", "m_total", ")[1m:15s])"),
            chain("m_total", " + m_total"),
            chain("m_total", " + 1"),
            chain("1", " + 1"),
            chain("m_total", " or m_total"),
            chain("m_total", " ^ 1"),
        ];
        for query in queries {
            // Powers are right-associative, hence as deep as they are long; they may be refused.
            match parse(&query) {
                Ok(expr) => {
                    let stop = StopFlag::default();
                    let request = Request { expr: &expr, steps: INSTANT, lookback: None, count_all: false, stop };
                    assert!(engine.run(&store, &request).is_ok(), "{}", &query[..30]);
                    assert_eq!(parse(&expr.to_string()).unwrap(), expr);
                    assert!(!expr.pretty().is_empty());
                }
                Err(error) => assert!(error.message.contains("nested deeper") && query.contains('^'), "{error}"),
            }
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn statistics_count_what_was_read() {
    let store = counters(10, 60);
    let mut options = Options { threads: 1, ..Options::default() };
    options.features.per_step_stats = true;
    let engine = engine(options);
    let stats = run(&engine, &store, "sum(rate(m_total[1m]))", range(3)).unwrap().stats;
    // Ten series, three windows of four samples.
    assert_eq!((stats.samples, stats.series), (120, 10));
    assert_eq!(
        stats.samples_per_step.iter().map(|(at, n)| (at.millis(), *n)).collect::<Vec<_>>(),
        [(300_000, 40), (360_000, 40), (420_000, 40)]
    );
    let stats = run(&engine, &store, "m_total", INSTANT).unwrap().stats;
    assert_eq!((stats.samples, stats.peak_samples), (10, 10));
}

#[test]
fn where_the_newest_sample_is_enough_others_count_only_when_asked_for() {
    let store = counters(10, 60);
    let engine = engine(Options { threads: 1, ..Options::default() });
    let ask = |query: &str, count_all| {
        let expr = parse(query).unwrap();
        let request = Request { expr: &expr, steps: INSTANT, lookback: None, count_all, stop: StopFlag::default() };
        engine.run(&store, &request).unwrap()
    };
    for query in ["last_over_time(m_total[5m])", "last_over_time(m_total[5m] offset 1m)", "m_total offset 30s"] {
        let (some, all) = (ask(query, false), ask(query, true));
        assert_eq!(bits(&some.value), bits(&all.value), "{query}");
        assert!(some.stats.samples <= all.stats.samples, "{query}");
    }
    assert_eq!(ask("last_over_time(m_total[1m])", true).stats.samples, 40);
}

#[test]
fn every_node_counts_what_it_took() {
    let store = counters(10, 60);
    let text = "sum by (job) (rate(m_total[1m])) + on (job) max by (job) (-m_total) > 1";
    let expr = parse(text).unwrap();
    static TICKS: AtomicU64 = AtomicU64::new(0);
    let clock = || Duration::from_micros(TICKS.fetch_add(1, Ordering::Relaxed));
    let engine = Engine::new(Options { threads: 1, ..Options::default() }, clock);
    let request = Request { expr: &expr, steps: range(3), lookback: None, count_all: false, stop: StopFlag::default() };
    let stats = engine.run(&store, &request).unwrap().stats;
    let nodes: Vec<_> =
        stats.nodes.iter().map(|n| (&text[n.span.clone()], n.depth, n.series, n.values, n.bytes)).collect();
    assert_eq!(
        nodes,
        [
            (text, 0, 7, 21, 168),
            ("sum by (job) (rate(m_total[1m])) + on (job) max by (job) (-m_total)", 1, 7, 21, 168),
            ("sum by (job) (rate(m_total[1m]))", 2, 7, 21, 168),
            ("rate(m_total[1m])", 3, 10, 30, 240),
            // Samples from just before the first window to the end of the last.
            ("m_total[1m]", 4, 10, 120, 960),
            ("max by (job) (-m_total)", 2, 7, 21, 168),
            ("-m_total", 3, 10, 30, 240),
            ("m_total", 4, 10, 30, 240),
        ]
    );
    assert!(stats.nodes.iter().all(|n| n.time > Duration::ZERO && n.time <= stats.exec), "{:?}", stats.nodes);
    assert!(stats.nodes[0].time >= stats.nodes[1].time && stats.nodes[2].time >= stats.nodes[3].time);
}
