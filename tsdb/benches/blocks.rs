//! Blocks: writing, opening, selecting, reading. 5,000 series of 2 h at 15 s, values of the kinds that hosts expose.
//!
//! Run: `cargo bench -p tsdb --features testing --bench blocks`. Bytes per sample are printed first. With
//! `SILVERBACK_PAGES=FILE`, a recording of exporter pages that are parted by lines `@@@ <ms>`, those of these too, taken as
//! one page per 15 s. Throughput of `write` and `read` is in samples, of `select` and `exemplars` in series. Seed: fixed.

#[path = "../../benches/per_sample.rs"]
mod per_sample;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tsdb::testing::FaultFs;
use tsdb::testing::blocks::{OpenedBlock, WritingBlock};
use tsdb::{BlockMeta, BlockRange, Columns, Exemplar, Fs, Labels, MatchOp, Matcher, SeriesSet, TimeRange, Timestamp};

use per_sample::PerSample;

const START_MS: i64 = 1_790_000_000_000 / 7_200_000 * 7_200_000;
const STEP_MS: i64 = 15_000;
const SAMPLES: i64 = 480;
const SERIES: usize = 5_000;

type Store = BTreeMap<Labels, Columns>;

/// A small generator: the same numbers everywhere (splitmix64).
fn noise(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The value at place `i` of a series of a kind: more than half of the kinds stand still, as on hosts.
fn value(kind: usize, i: f64, r: f64) -> f64 {
    match kind {
        0 => (1e6 + (i + r) * 9000.0).floor(),
        1 => ((1e5 + (i + r) * 12.0) * 100.0).floor() / 100.0,
        2 => (2e10 / 4096.0 + r * 500.0).floor() * 4096.0,
        3 => (1e5 + (i + r) * 60.0).floor(),
        4 => ((2.0 + r) * 100.0).round() / 100.0,
        5 => ((5e4 + (i + r) * 3.0) * 1e9).floor() / 1e9,
        6 => (1.0 + r) / 1e4,
        _ => 1.0 + kind as f64,
    }
}

fn hosts() -> Store {
    let mut seed = 1;
    let series = (0..SERIES).map(|n| {
        let (kind, host) = (n % 20, n / 20);
        let mut columns = Columns::default();
        for i in 0..SAMPLES {
            columns.push(START_MS + i * STEP_MS, value(kind, i as f64, noise(&mut seed)), 0);
        }
        let name = format!("metric_{kind:02}_total");
        let instance = format!("host-{host:05}:9100");
        (Labels::from_pairs([("__name__", name.as_str()), ("instance", &instance), ("job", "node")]), columns)
    });
    series.collect()
}

/// Recorded pages, each 15 s after the one before.
fn pages(path: &str) -> Option<Store> {
    let text = tsdb::testing::blocks::read_text(Path::new(path)).ok()?;
    let mut store = Store::new();
    let mut at = START_MS - STEP_MS;
    for line in text.lines() {
        if line.starts_with("@@@") {
            at += STEP_MS;
        } else if !line.starts_with('#')
            && let Some((series, value)) = line.rsplit_once(' ')
            && let Ok(value) = value.parse()
        {
            let (name, rest) = series.split_once('{').unwrap_or((series, ""));
            let pairs = rest.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
            let pairs = pairs.map(|(name, value)| (name, value.trim_end_matches('"')));
            let own = [("__name__", name), ("instance", "host:9100"), ("job", "node")];
            store.entry(Labels::from_pairs(pairs.chain(own))).or_default().push(at, value, 0);
        }
    }
    Some(store)
}

fn write(fs: &Arc<dyn Fs>, entropy: u128, store: &Store) -> BlockMeta {
    let end = store.values().filter_map(|columns| columns.timestamps_ms.last()).max().expect("the store has samples");
    let range = BlockRange { start_ms: START_MS, end_ms: end + 1 };
    let mut writer = WritingBlock::begin(fs, Path::new("/blocks"), range, entropy).expect("memory does not refuse");
    store.iter().for_each(|(labels, columns)| writer.add(labels, columns).expect("series are sorted"));
    writer.finish().expect("memory does not refuse").expect("there are samples")
}

fn sizes(name: &str, store: &Store) -> (Arc<dyn Fs>, BlockMeta) {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    let meta = write(&fs, 0, store);
    let block = OpenedBlock::open(&fs, Path::new("/blocks"), meta.ulid).expect("a block just written");
    let (index, chunks) = block.size_bytes();
    let samples = meta.stats.num_samples as f64;
    println!(
        "{name}: {:.3} bytes per sample, {:.3} of them index; {} series, {samples} samples",
        (index + chunks) as f64 / samples,
        index as f64 / samples,
        meta.stats.num_series
    );
    (fs, meta)
}

fn read(set: &dyn SeriesSet, columns: &mut Columns) {
    for i in 0..set.len() {
        columns.clear();
        set.read(i, TimeRange::ALL, columns).expect("a block just written");
        black_box(&*columns);
    }
}

fn bench(c: &mut Criterion<PerSample>, name: &str, store: &Store) {
    let (fs, meta) = sizes(name, store);
    let block = OpenedBlock::open(&fs, Path::new("/blocks"), meta.ulid).expect("a block just written");
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(meta.stats.num_samples));
    group.bench_function("write", |b| {
        b.iter_batched(
            || Arc::new(FaultFs::default()) as Arc<dyn Fs>,
            |fs| write(&fs, 1, black_box(store)),
            BatchSize::PerIteration,
        );
    });
    let all = block.select(&[], TimeRange::ALL).expect("a block just written");
    let mut columns = Columns::default();
    group.bench_function("read", |b| b.iter(|| read(&*all, &mut columns)));
    group.throughput(Throughput::Elements(meta.stats.num_series));
    group.bench_function("select_all", |b| b.iter(|| block.select(&[], TimeRange::ALL)));
    group.finish();
}

/// Selection among 100,000 values of a label.
fn selections(c: &mut Criterion<PerSample>) {
    let mut store = Store::new();
    for n in 0..100_000 {
        let mut columns = Columns::default();
        columns.push(START_MS, f64::from(n), 0);
        let pod = format!("pod-{:05}-{:05x}", n % 997, n * 7919 % 1_048_573);
        store.insert(
            Labels::from_pairs([("__name__", "up"), ("pod", &pod), ("zone", ["a", "b"][n as usize % 2])]),
            columns,
        );
    }
    let (fs, meta) = sizes("100k_values", &store);
    let block = OpenedBlock::open(&fs, Path::new("/blocks"), meta.ulid).expect("a block just written");
    let mut group = c.benchmark_group("100k_values");
    group.bench_function("open", |b| b.iter(|| OpenedBlock::open(&fs, Path::new("/blocks"), meta.ulid)));
    for (name, op, pattern) in [
        ("equal", MatchOp::Equal, "pod-00017-9afc2"),
        ("prefix", MatchOp::Regex, "pod-0001.*"),
        ("contains", MatchOp::Regex, ".*-0abc.*"),
        ("regex", MatchOp::Regex, "pod-0[0-4][0-9]{3}-[0-9]+"),
        ("not_regex", MatchOp::NotRegex, "pod-.*[0-9a-e]"),
    ] {
        let matchers = [Matcher::equal("zone", "b"), Matcher::new(op, "pod", pattern).expect("a good pattern")];
        group.bench_function(name, |b| b.iter(|| block.select(black_box(&matchers), TimeRange::ALL)));
    }
    group.finish();
}

/// Searches for exemplars: 100 metrics of 200 series, five exemplars each that lead to a trace.
fn exemplars(c: &mut Criterion<PerSample>) {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    let range = BlockRange { start_ms: START_MS, end_ms: START_MS + 7_200_000 };
    let mut writer = WritingBlock::begin(&fs, Path::new("/blocks"), range, 1).expect("memory does not refuse");
    let mut columns = Columns::default();
    columns.push(START_MS, 1.0, 0);
    let mut seed = 7;
    for n in 0..20_000 {
        let (metric, pod) = (format!("requests_{:02}_seconds_bucket", n / 200), format!("pod-{:03}", n % 200));
        let labels =
            [("__name__", metric.as_str()), ("job", "api"), ("le", "0.25"), ("namespace", "shop"), ("pod", &pod)];
        let labels = Labels::from_pairs(labels);
        writer.add(&labels, &columns).expect("series are sorted");
        let one = |i: i64| {
            let trace = format!("{:016x}{:016x}", noise(&mut seed).to_bits(), noise(&mut seed).to_bits());
            let (labels, timestamp) = (Labels::from_pairs([("trace_id", trace)]), START_MS + i * 1_000_000);
            Exemplar { labels, value: noise(&mut seed), timestamp: Timestamp::from_millis(timestamp) }
        };
        let exemplars: Vec<Exemplar> = (0..5).map(one).collect();
        writer.add_exemplars(&labels, &exemplars).expect("series are sorted");
    }
    let meta = writer.finish().expect("memory does not refuse").expect("there are samples");
    let path = Path::new("/blocks").join(meta.ulid.to_string()).join("exemplars");
    let bytes = fs.open_read(&path).and_then(|file| file.size()).expect("a block just written");
    println!(
        "exemplars: {:.1} bytes each, with the labels of their series",
        bytes as f64 / meta.stats.num_exemplars as f64
    );
    let block = OpenedBlock::open(&fs, Path::new("/blocks"), meta.ulid).expect("a block just written");
    let mut group = c.benchmark_group("exemplars");
    group.throughput(Throughput::Elements(20_000));
    let metric = |n: usize| Matcher::equal("__name__", format!("requests_{n:02}_seconds_bucket"));
    let regex = Matcher::new(MatchOp::Regex, "pod", "pod-0[0-4]7").expect("a good pattern");
    for (name, matcher) in [("first_metric", metric(0)), ("last_metric", metric(99)), ("regex", regex)] {
        group.bench_function(name, |b| b.iter(|| block.exemplars(black_box(std::slice::from_ref(&matcher)))));
    }
    group.bench_function("all", |b| b.iter(|| block.exemplars(&[])));
    group.finish();
}

fn blocks(c: &mut Criterion<PerSample>) {
    bench(c, "hosts", &hosts());
    match std::env::var("SILVERBACK_PAGES").ok().and_then(|path| pages(&path)) {
        Some(store) => bench(c, "pages", &store),
        None => println!("pages: skipped, SILVERBACK_PAGES names no recording"),
    }
    selections(c);
    exemplars(c);
}

criterion_group! { name = benches; config = Criterion::default().with_measurement(PerSample).sample_size(20); targets = blocks }
criterion_main!(benches);
