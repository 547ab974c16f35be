//! `silverback tsdb dump`

use std::io::{BufWriter, Write};

use serde_json::{Map, Value, json};
use tsdb::{Columns, FloatHistogram, Labels, Queryable, is_stale};

use crate::cli::Failure;
use crate::cli::args::{Dump, DumpFormat};
use crate::cli::openmetrics;
use crate::cli::source::{number, open};

/// What OpenMetrics text cannot say.
#[derive(Debug, Default)]
struct LeftOut {
    stale: u64,
    histograms: u64,
}

/// Writes the samples of a data directory, series by series: in memory is one series at a time.
pub(crate) fn run(dump: &Dump) -> Result<u8, Failure> {
    let db = open(&dump.dir, dump.allow_damage)?;
    let range = dump.part.range();
    let set = db.querier()?.select(&dump.part.matchers.0, range)?;
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let (mut columns, mut text, mut left_out) = (Columns::default(), String::new(), LeftOut::default());
    for index in 0..set.len() {
        columns.clear();
        if let Err(error) = set.read(index, range, &mut columns) {
            if !dump.allow_damage {
                return Err(error.into());
            }
            eprintln!("damaged: {error}");
        }
        if columns.is_empty() {
            continue;
        }
        text.clear();
        match dump.format {
            DumpFormat::Openmetrics => put_openmetrics(&mut text, &set.labels(index), &columns, &mut left_out),
            DumpFormat::Json => put_json(&mut text, &set.labels(index), &columns),
        }
        out.write_all(text.as_bytes())?;
    }
    if dump.format == DumpFormat::Openmetrics {
        out.write_all(b"# EOF\n")?;
    }
    out.flush()?;
    let LeftOut { stale, histograms } = left_out;
    if stale + histograms > 0 {
        eprintln!(
            "left out: {stale} stale markers, {histograms} native histograms, which OpenMetrics text does not have; \
             --format=json has them"
        );
    }
    Ok(0)
}

fn put_openmetrics(out: &mut String, labels: &Labels, columns: &Columns, left_out: &mut LeftOut) {
    let series = openmetrics::series(labels);
    for (&at_ms, &value) in columns.timestamps_ms.iter().zip(&columns.values) {
        if is_stale(value) {
            left_out.stale += 1;
        } else {
            openmetrics::put_sample(out, &series, at_ms, value);
        }
    }
    left_out.histograms += columns.histograms.len() as u64;
}

fn put_json(out: &mut String, labels: &Labels, columns: &Columns) {
    let metric: Map<String, Value> = labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut line = Map::from_iter([("metric".to_owned(), metric.into())]);
    if !columns.values.is_empty() {
        line.insert("values".into(), columns.values.iter().map(|&value| float(value)).collect());
        line.insert("timestamps".into(), columns.timestamps_ms.as_slice().into());
    }
    if !columns.starts_ms.is_empty() {
        line.insert("starts".into(), columns.starts_ms.as_slice().into());
    }
    if !columns.histograms.is_empty() {
        let samples = columns.histograms.iter();
        let samples = samples.map(|sample| json!([sample.timestamp.millis(), histogram(&sample.histogram)]));
        line.insert("histograms".into(), samples.collect());
    }
    out.push_str(&Value::from(line).to_string());
    out.push('\n');
}

/// A number, or the name of one that JSON does not have.
fn float(value: f64) -> Value {
    if is_stale(value) {
        return "stale".into();
    }
    serde_json::Number::from_f64(value).map_or_else(|| number(value).into(), Value::Number)
}

fn histogram(histogram: &FloatHistogram) -> Value {
    if histogram.is_stale() {
        return "stale".into();
    }
    let buckets = histogram.buckets().into_iter().map(|b| json!([float(b.lower), float(b.upper), float(b.count)]));
    json!({ "count": float(histogram.count), "sum": float(histogram.sum), "buckets": buckets.collect::<Vec<_>>() })
}
