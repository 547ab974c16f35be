//! Chunks: filling, sealing, reading. 120 samples of one series at 15 s, eight kinds of values as hosts expose them.
//!
//! Run: `cargo bench -p tsdb --features testing --bench chunks`. Throughput is in samples; bytes per sample are printed
//! first. Seed: fixed.

#[path = "../../benches/per_sample.rs"]
mod per_sample;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tsdb::Columns;
use tsdb::testing::chunks::{OpenedChunk, SealerMemory, column};

use per_sample::PerSample;

const SAMPLES: usize = 120;

/// A small generator: the same numbers everywhere (splitmix64).
fn noise(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn corpora() -> Vec<(&'static str, Vec<f64>)> {
    let mut seed = 1;
    let mut make = |f: &mut dyn FnMut(f64, f64) -> f64| (0..SAMPLES).map(|i| f(i as f64, noise(&mut seed))).collect();
    vec![
        ("constant", make(&mut |_, _| 1.0)),
        ("counter_15s", make(&mut |i, r| (1e6 + i * 9000.0 + r * 9000.0).floor())),
        ("cpu_seconds", make(&mut |i, r| ((1e5 + i * 12.0 + r * 4.0) * 100.0).floor() / 100.0)),
        ("bytes_by_page", make(&mut |_, r| (2e10 / 4096.0 + r * 500.0).floor() * 4096.0)),
        ("bucket", make(&mut |i, r| (1e5 + i * 60.0 + r * 60.0).floor())),
        ("load_2_decimals", make(&mut |_, r| ((2.0 + r) * 100.0).round() / 100.0)),
        ("nanoseconds", make(&mut |i, r| ((5e4 + i * 3.0 + r) * 1e9).floor() / 1e9)),
        ("full_precision", make(&mut |_, r| 1.0 + r)),
    ]
}

fn chunks(c: &mut Criterion<PerSample>) {
    let times = column(SAMPLES);
    let mut memory = SealerMemory::default();
    let mut columns = Columns::default();
    for (name, values) in corpora() {
        let open = OpenedChunk::fill(&times, &values);
        let sealed = open.seal(&mut memory);
        let per_sample = |bytes: usize| bytes as f64 / SAMPLES as f64;
        println!(
            "{name}: {:.2} bytes per sample open, {:.2} sealed",
            per_sample(open.bytes()),
            per_sample(sealed.bytes())
        );
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(SAMPLES as u64));
        group.bench_function("fill", |b| b.iter(|| OpenedChunk::fill(&times, black_box(&values))));
        group.bench_function("seal", |b| b.iter(|| black_box(&open).seal(&mut memory)));
        group.bench_function("read_open", |b| {
            b.iter(|| {
                columns.clear();
                black_box(&open).read(&mut columns);
            });
        });
        group.bench_function("read_sealed", |b| {
            b.iter(|| {
                columns.clear();
                black_box(&sealed).read(&mut columns);
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(PerSample);
    targets = chunks
}
criterion_main!(benches);
