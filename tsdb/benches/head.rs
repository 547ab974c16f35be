//! The head: appending with its log, and recovering from it. Files in a temporary directory.
//!
//! `append/scrape_1000`: one target of 1000 series, a scrape per iteration, references known, as the scrape loop does.
//! `append/push_2000`: one request of 2000 series with times of their own, references known.
//! `append/new_series`: 10,000 series of seven labels that are not there yet, one sample each.
//! `recover/100k_x_20`: opening a store whose log has 100,000 series with 20 samples each.
//! Run: `cargo bench -p tsdb --features testing --bench head`. Throughput is in samples.

#[path = "../../benches/per_sample.rs"]
mod per_sample;

use std::path::Path;
use std::sync::Arc;

use criterion::measurement::Measurement;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tsdb::{Db, DiskFs, Fs, Labels, Options, SeriesRef, SyncPolicy, Timestamp};

use per_sample::PerSample;

fn open(dir: &Path) -> Db {
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let options = Options { sync: SyncPolicy::Never, ..Options::default() };
    Db::open(&fs, dir, &options, |_, _| {}).expect("a temporary directory can be used")
}

fn labels(target: usize, i: usize) -> Labels {
    let (instance, cpu, mode) = (format!("host-{target:05}:9100"), (i % 16).to_string(), format!("mode-{}", i / 16));
    Labels::from_pairs([
        ("__name__", "node_cpu_seconds_total"),
        ("cpu", &cpu),
        ("datacenter", "eu-1"),
        ("env", "production"),
        ("instance", &instance),
        ("job", "node"),
        ("mode", &mode),
    ])
}

fn series(db: &Db, target: usize, n: usize) -> Vec<SeriesRef> {
    let appender = db.appender();
    (0..n).map(|i| appender.series(&labels(target, i)).expect("there is no limit")).collect()
}

fn value(round: i64, i: usize) -> f64 {
    if i.is_multiple_of(3) { ((round as usize * (i + 7) * 31) % 100_000) as f64 / 100.0 } else { i as f64 }
}

fn append(c: &mut Criterion<PerSample>) {
    let mut group = c.benchmark_group("append");
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let db = open(dir.path());
    let (scraped, pushed) = (series(&db, 1, 1000), series(&db, 2, 2000));
    let column = db.column();
    let mut round = 0;
    group.throughput(Throughput::Elements(1000));
    group.bench_function("scrape_1000", |b| {
        b.iter(|| {
            round += 1;
            let mut appender = db.scrape_appender(&column, Timestamp::from_millis(round * 1000));
            for (i, &series) in scraped.iter().enumerate() {
                appender.append(series, value(round, i));
            }
            appender.commit().expect("the disk takes it")
        });
    });
    group.throughput(Throughput::Elements(2000));
    group.bench_function("push_2000", |b| {
        b.iter(|| {
            round += 1;
            let mut appender = db.appender();
            for (i, &series) in pushed.iter().enumerate() {
                appender.append_at(series, Timestamp::from_millis(round * 1000), None, value(round, i));
            }
            appender.commit().expect("the disk takes it")
        });
    });
    let mut target = 10;
    group.throughput(Throughput::Elements(10_000));
    group.sample_size(10);
    group.bench_function("new_series", |b| {
        b.iter_batched(
            || {
                target += 1;
                (0..10_000).map(|i| labels(target, i)).collect::<Vec<_>>()
            },
            |labels| {
                let mut appender = db.appender();
                for labels in &labels {
                    let series = appender.series(labels).expect("there is no limit");
                    appender.append_at(series, Timestamp::from_millis(round * 1000), None, 1.0);
                }
                appender.commit().expect("the disk takes it")
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn recover(c: &mut Criterion<PerSample>) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let db = open(dir.path());
    for target in 0..100 {
        let refs = series(&db, target, 1000);
        for round in 0..20 {
            let mut appender = db.appender();
            for (i, &series) in refs.iter().enumerate() {
                appender.append_at(series, Timestamp::from_millis(round * 15_000), None, value(round, i));
            }
            appender.commit().expect("the disk takes it");
        }
    }
    db.close().expect("the disk takes it");
    let mut group = c.benchmark_group("recover");
    group.sample_size(10);
    group.throughput(Throughput::Elements(2_000_000));
    group.bench_function("100k_x_20", |b| {
        b.iter_custom(|rounds| {
            let mut time = PerSample.zero();
            for _ in 0..rounds {
                let begun = PerSample.start();
                let db = open(dir.path());
                time += PerSample.end(begun);
                db.close().expect("the disk takes it");
            }
            time
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(PerSample);
    targets = append, recover
}
criterion_main!(benches);
