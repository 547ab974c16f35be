//! Draws a chart from made-up samples and writes it to standard output or to the file named on the command line.
//!
//! `cargo run --example render_chart > chart.svg`

use std::io::Write;
use std::sync::Arc;

use query::{ABSENT, Series};
use tsdb::{Labels, TimeRange};
use web::chart::{ChartOptions, Kind, Line, Theme, Unit, draw};

fn main() -> std::io::Result<()> {
    let start = 1_790_000_000_000;
    let timestamps_ms: Arc<[i64]> = (0..360).map(|step| start + step * 60_000).collect();
    let lines: Vec<Line> = (0..4)
        .map(|host| Line {
            name: format!("web-{host}"),
            series: Series {
                labels: Labels::empty(),
                timestamps_ms: timestamps_ms.clone(),
                values: (0..360).map(|step| memory(host, step)).collect(),
                histograms: Vec::new(),
            },
        })
        .collect();
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next();
    let options = ChartOptions {
        title: "Memory in use".into(),
        unit: Unit::Bytes,
        kind: arguments.next().and_then(|kind| Kind::parse(&kind)).unwrap_or_default(),
        theme: arguments.next().and_then(|theme| Theme::parse(&theme)).unwrap_or_default(),
        ..ChartOptions::default()
    };
    let svg = draw(&lines, TimeRange::from_millis(start, start + 360 * 60_000), &options);
    match file {
        Some(path) => std::fs::write(path, svg),
        None => std::io::stdout().write_all(svg.as_bytes()),
    }
}

/// A wave, with a hole where host 2 was away.
fn memory(host: i32, step: i32) -> f64 {
    if host == 2 && (120..180).contains(&step) {
        return ABSENT;
    }
    let phase = f64::from(step) / 40.0 + f64::from(host);
    (3.0 + f64::from(host) * 0.7 + phase.sin() * 0.5) * 1024f64.powi(3)
}
