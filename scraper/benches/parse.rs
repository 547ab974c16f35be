//! What it costs to read a real page of node_exporter 1.11.1: 61 KB, 523 samples, the next page taken a second later
//! (27 % of the lines differ). Appending is a sum, so the store costs nothing here.
//!
//! - `full`: every line parsed, labels split but not copied.
//! - `first_scrape`: every line parsed, its labels made and looked up in a map.
//! - `same_layout`: the cache's first step; the usual case.
//! - `by_text`: its second step; the samples of each family come in another order each time.
//! - `protobuf`: the counters and gauges of the page in protocol buffers, all series known.
//! - `prometheus_parse`: the crate of that name, for comparison.
//!
//! Run: `cargo bench -p scraper`. Throughput is printed per sample and, by `bytes/…`, per byte.

#[path = "../../benches/per_sample.rs"]
mod per_sample;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use scraper::cache::{Scratch, SeriesCache, TargetCache};
use scraper::parse::{Entry, Exposition, Format, Parser};
use scraper::store::{Batch, Exemplar};
use scraper::{FamilyTable, SampleRules};
use tsdb::{AppendError, Committed, HistogramValue, Labels, Metadata, MetricKind, SeriesRef, Timestamp};

use per_sample::PerSample;

const PAGES: [&str; 2] = [include_str!("node_exporter.txt"), include_str!("node_exporter_next.txt")];

/// Adds up what it is given.
#[derive(Default)]
struct Sum {
    series: u64,
    total: f64,
}

impl Batch for Sum {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        black_box(labels);
        self.series += 1;
        Ok(SeriesRef(self.series))
    }

    fn append(&mut self, series: SeriesRef, value: f64) {
        black_box(series);
        self.total += value;
    }

    fn append_at(&mut self, series: SeriesRef, _: Timestamp, value: f64) {
        self.append(series, value);
    }

    fn append_started(&mut self, series: SeriesRef, _: Option<Timestamp>, _: Option<Timestamp>, value: f64) {
        self.append(series, value);
    }

    fn histogram(
        &mut self,
        series: SeriesRef,
        _: Option<Timestamp>,
        _: Option<Timestamp>,
        value: HistogramValue,
    ) -> Result<(), AppendError> {
        self.append(series, value.sum());
        Ok(())
    }

    fn exemplar(&mut self, _: SeriesRef, _: &Exemplar<'_>) {}

    fn metadata(&mut self, _: &str, _: &Metadata) {}

    fn commit(self) -> Result<Committed, tsdb::Error> {
        Ok(Committed::default())
    }
}

fn samples(page: &str) -> u64 {
    page.lines().filter(|line| !line.starts_with('#')).count() as u64
}

/// The page with the samples of each family the other way round.
fn reversed(page: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let mut out = String::with_capacity(page.len());
    for family in lines.chunk_by(|a, b| a.starts_with('#') == b.starts_with('#')) {
        let (comments, samples) = if family[0].starts_with('#') { (family, &[][..]) } else { (&[][..], family) };
        for line in comments.iter().chain(samples.iter().rev()) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The counters and gauges of a page in protocol buffers, and how many samples that are.
fn protobuf(page: &str) -> (Vec<u8>, u64) {
    fn varint(out: &mut Vec<u8>, mut value: usize) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    fn message(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
        out.push(field << 3 | 2);
        varint(out, bytes.len());
        out.extend_from_slice(bytes);
    }
    let (mut body, mut count) = (Vec::new(), 0);
    let (mut family, mut content) = (Vec::new(), 0);
    let mut end = |family: &mut Vec<u8>| {
        if !family.is_empty() {
            varint(&mut body, family.len());
            body.append(family);
        }
    };
    let mut parser = Parser::new(page.as_bytes(), Format::Text);
    while let Some(entry) = parser.entry().expect("the page is well-formed") {
        match entry {
            Entry::Type { family: name, kind } => {
                end(&mut family);
                let (number, field) = if kind == MetricKind::Counter { (0, 3) } else { (1, 2) };
                content = if matches!(kind, MetricKind::Counter | MetricKind::Gauge) { field } else { 0 };
                message(&mut family, 1, name.as_bytes());
                family.extend([0x18, number]);
            }
            Entry::Sample(sample) if content != 0 => {
                let mut metric = Vec::new();
                for (name, value) in parser.labels().skip(1) {
                    let mut pair = Vec::new();
                    message(&mut pair, 1, name.as_bytes());
                    message(&mut pair, 2, value.as_bytes());
                    message(&mut metric, 1, &pair);
                }
                let mut value = vec![9];
                value.extend(sample.value.to_le_bytes());
                message(&mut metric, content, &value);
                message(&mut family, 4, &metric);
                count += 1;
            }
            _ => {}
        }
    }
    end(&mut family);
    (body, count)
}

/// Scrapes a body in protocol buffers again and again.
fn scrape_protobuf(group: &mut BenchmarkGroup<'_, PerSample>, page: &str) {
    let (body, count) = protobuf(page);
    let target = Labels::from_pairs([("instance", "localhost:9100"), ("job", "node")]);
    let rules = SampleRules { target, honor_timestamps: true, ..SampleRules::default() };
    let (mut cache, mut scratch, mut sum) = (TargetCache::default(), Scratch::default(), Sum::default());
    let (mut buffer, mut at) = (Vec::new(), 0);
    group.throughput(Throughput::Elements(count));
    group.bench_function("protobuf/node_exporter", |b| {
        b.iter(|| {
            buffer.clear();
            buffer.extend_from_slice(&body);
            at += 1000;
            let now = Timestamp::from_millis(at);
            let (_, result) = cache.ingest(&buffer, Exposition::Protobuf, &rules, now, &mut scratch, &mut sum);
            result.expect("the body is well-formed");
        });
    });
    black_box(sum.total);
}

fn full(page: &str) -> f64 {
    let mut parser = Parser::new(page.as_bytes(), Format::Text);
    let mut total = 0.0;
    while let Some(entry) = parser.entry().expect("the page is well-formed") {
        if let Entry::Sample(sample) = entry {
            total += sample.value;
            black_box(parser.labels());
        }
    }
    total
}

/// Scrapes the two bodies in turn with one cache.
struct Scrapes {
    cache: SeriesCache,
    scratch: Scratch,
    rules: SampleRules,
    bodies: [Vec<u8>; 2],
    buffer: Vec<u8>,
    turn: usize,
}

impl Scrapes {
    fn new(bodies: [String; 2]) -> Self {
        let target = Labels::from_pairs([("instance", "localhost:9100"), ("job", "node")]);
        Self {
            cache: SeriesCache::new(FamilyTable::default()),
            scratch: Scratch::default(),
            rules: SampleRules { target, honor_timestamps: true, ..SampleRules::default() },
            bodies: bodies.map(String::into_bytes),
            buffer: Vec::new(),
            turn: 0,
        }
    }

    fn scrape(&mut self, sum: &mut Sum) {
        self.turn += 1;
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.bodies[self.turn % 2]);
        let now = Timestamp::from_millis(self.turn as i64 * 1000);
        let (_, result) = self.cache.ingest(&self.buffer, Format::Text, &self.rules, now, &mut self.scratch, sum);
        result.expect("the page is well-formed");
    }
}

fn cached(group: &mut BenchmarkGroup<'_, PerSample>, name: &str, bodies: [String; 2]) {
    let mut scrapes = Scrapes::new(bodies);
    let mut sum = Sum::default();
    for _ in 0..3 {
        scrapes.scrape(&mut sum);
    }
    group.bench_function(name, |b| b.iter(|| scrapes.scrape(&mut sum)));
    black_box(sum.total);
}

fn benches(group: &mut BenchmarkGroup<'_, PerSample>) {
    let [page, next] = PAGES;
    group.bench_function("full/node_exporter", |b| b.iter(|| full(black_box(page))));
    group.bench_function("first_scrape/node_exporter", |b| {
        b.iter_batched(
            || Scrapes::new([page.to_owned(), next.to_owned()]),
            |mut scrapes| scrapes.scrape(&mut Sum::default()),
            criterion::BatchSize::SmallInput,
        );
    });
    cached(group, "same_layout/node_exporter", [page.to_owned(), next.to_owned()]);
    cached(group, "by_text/node_exporter", [page.to_owned(), reversed(next)]);
    group.bench_function("copy_body/node_exporter", |b| {
        let mut buffer = Vec::new();
        b.iter(|| {
            buffer.clear();
            buffer.extend_from_slice(black_box(page.as_bytes()));
            black_box(buffer.len())
        });
    });
    group.bench_function("prometheus_parse/node_exporter", |b| {
        b.iter(|| prometheus_parse::Scrape::parse(black_box(page).lines().map(|line| Ok(line.to_owned()))));
    });
}

fn parse(c: &mut Criterion<PerSample>) {
    for (name, throughput) in
        [("samples", Throughput::Elements(samples(PAGES[0]))), ("bytes", Throughput::Bytes(PAGES[0].len() as u64))]
    {
        let mut group = c.benchmark_group(name);
        group.throughput(throughput).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        benches(&mut group);
        group.finish();
    }
    let mut group = c.benchmark_group("samples");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    scrape_protobuf(&mut group, PAGES[0]);
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().with_measurement(PerSample);
    targets = parse
}
criterion_main!(all);
