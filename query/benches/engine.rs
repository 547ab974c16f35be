//! The engine by itself: series lie in memory as columns, so that no store is measured.
//!
//! Corpora: `10k × 1h` is 10,000 counters (100 jobs × 100 instances) at 15 s; `100k` is 100,000 series with the samples of
//! five minutes; `6 × 2d` is six series of two days, asked for windows of up to a day every five minutes. Values are those of counters with a reset now and then, from a fixed seed. Throughput is in samples
//! (each counted once, however many windows it lies in) or, for instant queries, in series.
//!
//! Run: `cargo bench -p query --features testing`; one thread: `BENCH_THREADS=1`.

#[path = "../../benches/per_sample.rs"]
mod per_sample;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_main};
use query::testing::Synthetic;
use query::{Engine, Expr, Options, Request, Steps, StopFlag};
use tsdb::{Columns, Labels, Matcher, Queryable, TimeRange, Timestamp};

use per_sample::PerSample;

const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Counters `requests_total{job, instance, le}` with samples every 15 s from 0 to `end_ms`.
fn counters(series: usize, end_ms: i64) -> Synthetic {
    let times: Vec<i64> = (0..=end_ms / STEP_MS).map(|k| k * STEP_MS).collect();
    let mut state = 0x5eed;
    let all = (0..series).map(|i| {
        let labels = Labels::from_pairs([
            ("__name__", "requests_total".to_owned()),
            ("instance", format!("10.0.{}.{}:9100", i / 100 % 100, i % 100)),
            ("job", format!("job-{:03}", i / 100 % 100)),
            ("le", ["0.1", "0.5", "1", "5", "+Inf"][i % 5].to_owned()),
            ("shard", format!("{}", i / 10_000)),
        ]);
        let mut value = (random(&mut state) % 1_000) as f64;
        let values = times
            .iter()
            .map(|_| {
                let r = random(&mut state);
                value = if r.is_multiple_of(997) { 0.0 } else { value + (r % 1_000) as f64 / 8.0 };
                value
            })
            .collect();
        (labels, values)
    });
    let all = all.collect();
    Synthetic::new(times, all)
}

fn engine() -> Engine {
    let threads = std::env::var("BENCH_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    Engine::new(Options { threads, ..Options::default() }, || Duration::ZERO)
}

fn run(engine: &Engine, store: &Synthetic, expr: &Expr, steps: Steps) {
    let request = Request { expr, steps, lookback: None, count_all: false, stop: StopFlag::default() };
    black_box(engine.run(store, &request).expect("the query can be answered"));
}

/// What the corpus itself costs: selecting and copying all columns.
fn read_all(store: &Synthetic) {
    let querier = store.querier().expect("memory can be read");
    let range = TimeRange::from_millis(1, 300_000);
    let set = querier.select(&[Matcher::equal("__name__", "requests_total")], range).expect("memory can be read");
    let mut columns = Columns::default();
    for index in 0..set.len() {
        columns.clear();
        set.read(index, range, &mut columns).expect("memory can be read");
        black_box(&columns);
    }
}

fn hour() -> Steps {
    Steps::Range {
        start: Timestamp::from_millis(0),
        end: Timestamp::from_millis(HOUR_MS),
        step: Duration::from_millis(STEP_MS as u64),
    }
}

fn ranges(c: &mut Criterion<PerSample>) {
    let (engine, store) = (engine(), counters(10_000, HOUR_MS));
    let samples = 10_000 * (HOUR_MS / STEP_MS + 1) as u64;
    let mut group = c.benchmark_group("range/10k_1h");
    group.sample_size(10).throughput(Throughput::Elements(samples));
    let queries = [
        ("select_sum", "sum(requests_total)"),
        ("sum_by_rate", "sum by (job) (rate(requests_total[5m]))"),
        ("sum_rate", "sum(rate(requests_total[5m]))"),
        ("sum_over_time", "sum(sum_over_time(requests_total[5m]))"),
        ("max_over_time", "max(max_over_time(requests_total[5m]))"),
        ("join", "sum(requests_total / on (instance, job, le, shard) requests_total)"),
        ("scalar", "sum(requests_total * 8 > 100)"),
        ("histogram_quantile", "histogram_quantile(0.9, sum by (job, le) (rate(requests_total[5m])))"),
        ("topk", "topk(5, rate(requests_total[5m]))"),
    ];
    for (name, query) in queries {
        let expr = query::parse(query).expect("the query is PromQL");
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| run(&engine, &store, &expr, hour())));
    }
    group.finish();
}

/// Windows that overlap much: each sample lies in up to 288 of them.
fn long_windows(c: &mut Criterion<PerSample>) {
    const DAY_MS: i64 = 24 * HOUR_MS;
    let (engine, store) = (engine(), counters(6, 2 * DAY_MS));
    let steps = Steps::Range {
        start: Timestamp::from_millis(DAY_MS),
        end: Timestamp::from_millis(2 * DAY_MS),
        step: Duration::from_secs(300),
    };
    let mut group = c.benchmark_group("range/6_2d");
    group.sample_size(10).throughput(Throughput::Elements(6 * (2 * DAY_MS / STEP_MS) as u64));
    let queries = [
        ("max_over_time_1d", "max_over_time(requests_total[1d])"),
        ("max_over_time_30m", "max_over_time(requests_total[30m])"),
        ("avg_over_time_1d", "avg_over_time(requests_total[1d])"),
        ("stddev_over_time_1d", "stddev_over_time(requests_total[1d])"),
        ("quantile_over_time_1d", "quantile_over_time(0.9, requests_total[1d])"),
        ("deriv_1d", "deriv(requests_total[1d])"),
        ("predict_linear_1d", "predict_linear(requests_total[1d], 3600)"),
    ];
    for (name, query) in queries {
        let expr = query::parse(query).expect("the query is PromQL");
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| run(&engine, &store, &expr, steps)));
    }
    group.finish();
}

fn instants(c: &mut Criterion<PerSample>) {
    let (engine, store) = (engine(), counters(100_000, 300_000));
    let at = Steps::Instant(Timestamp::from_millis(300_000));
    let mut group = c.benchmark_group("instant/100k");
    group.sample_size(20).throughput(Throughput::Elements(100_000));
    let queries = [
        ("count", "count(requests_total)"),
        ("count_by_job", "count by (job) (requests_total)"),
        ("sum", "sum(requests_total)"),
        ("sum_by_rate", "sum by (job) (rate(requests_total[5m]))"),
        ("filter", "requests_total > 1e9"),
        ("all", "requests_total"),
        ("join", "count(requests_total + on (instance, job, le, shard) requests_total)"),
    ];
    group.bench_function(BenchmarkId::from_parameter("read_only"), |b| b.iter(|| read_all(&store)));
    for (name, query) in queries {
        let expr = query::parse(query).expect("the query is PromQL");
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| run(&engine, &store, &expr, at)));
    }
    group.finish();
}

mod group {
    use super::{Criterion, PerSample};

    criterion::criterion_group! {
        name = benches;
        config = Criterion::default().with_measurement(PerSample);
        targets = super::ranges, super::long_windows, super::instants
    }
}
criterion_main!(group::benches);
