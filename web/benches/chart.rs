//! Charts: drawing 20 series of 500 points, and a sparkline of 240. Pure CPU, from rows of values to SVG text.
//!
//! Run: `cargo bench -p web --bench chart`. Throughput is in points.

#[path = "../../benches/per_sample.rs"]
mod per_sample;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use query::Series;
use tsdb::{Labels, TimeRange};
use web::chart::{ChartOptions, Kind, Line, draw, sparkline};

use per_sample::PerSample;

const START: i64 = 1_790_000_000_000;

fn lines(series: usize, points: i64) -> Vec<Line> {
    let timestamps_ms: Arc<[i64]> = (0..points).map(|i| START + i * 15_000).collect();
    let value = |s: usize, i: i64| ((i as f64 / 30.0 + s as f64).sin() + 1.5) * 1e6;
    (0..series)
        .map(|s| Line {
            name: format!("instance-{s}"),
            series: Series {
                labels: Labels::empty(),
                timestamps_ms: timestamps_ms.clone(),
                values: (0..points).map(|i| value(s, i)).collect(),
                histograms: Vec::new(),
            },
        })
        .collect()
}

fn charts(c: &mut Criterion<PerSample>) {
    let lines = lines(20, 500);
    let range = TimeRange::from_millis(START, START + 500 * 15_000);
    let mut group = c.benchmark_group("chart");
    group.throughput(Throughput::Elements(20 * 500));
    for (name, kind) in [("lines_20x500", Kind::Lines), ("stacked_20x500", Kind::Stacked), ("bars_20x500", Kind::Bars)]
    {
        let options = ChartOptions { kind, ..ChartOptions::default() };
        println!("{name}: {} bytes of SVG", draw(&lines, range, &options).len());
        group.bench_function(name, |b| b.iter(|| draw(black_box(&lines), range, &options)));
    }
    group.throughput(Throughput::Elements(240));
    let values = &lines[0].series.values[..240];
    group.bench_function("sparkline_240", |b| b.iter(|| sparkline(black_box(values), &ChartOptions::default())));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(PerSample);
    targets = charts
}
criterion_main!(benches);
