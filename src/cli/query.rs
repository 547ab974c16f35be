//! `silverback query`

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};

use ::query::{Engine, Level, Options, Point, Request, Steps, StopFlag, Value, is_absent};
use tsdb::{Columns, FloatHistogram, Labels, METRIC_NAME, MemoryStore, Queryable, Timestamp};

use super::Failure;
use super::args::{Query, QueryFormat};
use super::openmetrics::{self, Read};
use super::source::{newest, number, open, readable, table};

/// Evaluates an expression and prints what it gives.
pub(crate) fn run(query: &Query) -> Result<u8, Failure> {
    let now = scraper::Clock::system().now();
    let (store, newest): (Box<dyn Queryable>, _) = if query.from.is_dir() {
        let db = open(&query.from, query.allow_damage)?;
        let newest = newest(&db)?;
        (Box::new(db), newest)
    } else {
        let store = load(query, now)?;
        let span = store.span();
        (Box::new(store), (span.start <= span.end).then_some(span.end))
    };
    let at = query.time.or(newest).unwrap_or(now);
    let steps = match (query.start, query.end, query.step) {
        (Some(start), Some(end), Some(step)) if start <= end => Steps::Range { start, end, step },
        (Some(_), Some(_), Some(_)) => return Err(Failure::Told("--end is before --start".into())),
        _ => Steps::Instant(at),
    };
    let engine = Engine::new(Options { lookback: query.lookback, ..Options::default() }, crate::wire::monotonic);
    let request = Request { expr: &query.expr, steps, lookback: None, count_all: false, stop: StopFlag::default() };
    let answer = engine.run(&*store, &request)?;
    for (level, name) in [(Level::Warning, "warning"), (Level::Info, "note")] {
        answer.annotations.of(level).for_each(|text| eprintln!("{name}: {text}"));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    match query.format {
        QueryFormat::Json => {
            let mut text = Vec::new();
            web::put_result(&mut text, answer.value, at);
            text.push(b'\n');
            out.write_all(&text)?;
        }
        QueryFormat::Csv => write_csv(&mut out, &rows(answer.value, at))?,
        QueryFormat::Table => {
            let rows = rows(answer.value, at).into_iter();
            let line = |row: Row| vec![series(&row.labels), readable(row.at), row.value];
            out.write_all(table(&rows.map(line).collect::<Vec<_>>()).as_bytes())?;
        }
    }
    out.flush()?;
    Ok(0)
}

/// The samples of a file; those that say no time are of now.
fn load(query: &Query, now: Timestamp) -> Result<MemoryStore, Failure> {
    let body = openmetrics::load(&query.from)?;
    let mut series: BTreeMap<Labels, Columns> = BTreeMap::new();
    let take = |Read { labels, at, value, start, .. }: Read| {
        let columns = series.entry(labels).or_default();
        columns.push(at.unwrap_or(now).millis(), value, start.map_or(0, Timestamp::millis));
        Ok(())
    };
    openmetrics::read(&query.from, &body, take, |_| ())?;
    Ok(MemoryStore::new(series))
}

/// One value of the result.
struct Row {
    labels: Labels,
    at: Timestamp,
    value: String,
}

fn rows(value: Value, at: Timestamp) -> Vec<Row> {
    match value {
        Value::String(value) => vec![Row { labels: Labels::empty(), at, value }],
        Value::Scalar(value) => vec![Row { labels: Labels::empty(), at, value: number(value) }],
        Value::Vector(samples) => {
            samples.into_iter().map(|sample| Row { labels: sample.labels, at, value: text(&sample.point) }).collect()
        }
        Value::Matrix(series) => {
            let mut rows = Vec::new();
            for one in series {
                let floats = one.timestamps_ms.iter().zip(&one.values).filter(|(_, value)| !is_absent(**value));
                let floats = floats.map(|(&ms, &value)| (Timestamp::from_millis(ms), number(value)));
                let histograms = one.histograms.iter().map(|(at, value)| (*at, histogram_text(value)));
                let mut points: Vec<_> = floats.chain(histograms).collect();
                points.sort_by_key(|(at, _)| *at);
                rows.extend(points.into_iter().map(|(at, value)| Row { labels: one.labels.clone(), at, value }));
            }
            rows
        }
    }
}

fn series(labels: &Labels) -> String {
    if labels.is_empty() { "{}".into() } else { labels.to_string() }
}

fn text(point: &Point) -> String {
    match point {
        Point::Float(value) => number(*value),
        Point::Histogram(histogram) => histogram_text(histogram),
    }
}

/// As Prometheus prints a histogram.
fn histogram_text(histogram: &FloatHistogram) -> String {
    let mut out = format!("{{count:{}, sum:{}", number(histogram.count), number(histogram.sum));
    for bucket in histogram.buckets().into_iter().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (number(bucket.lower), number(bucket.upper));
        out.push_str(&format!(", {open}{lower},{upper}{close}:{}", number(bucket.count)));
    }
    out.push('}');
    out
}

/// A column for each label, time in seconds, value.
fn write_csv(out: &mut impl Write, rows: &[Row]) -> Result<(), Failure> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.labels.iter().map(|(name, _)| name)).collect();
    let named = names.contains(METRIC_NAME).then_some(METRIC_NAME);
    let names: Vec<&str> = named.into_iter().chain(names.into_iter().filter(|name| *name != METRIC_NAME)).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| -> Result<(), Failure> {
        let cells: Vec<String> = cells.map(csv_cell).collect();
        Ok(writeln!(out, "{}", cells.join(","))?)
    };
    line(&mut names.iter().copied().chain(["time", "value"]))?;
    for row in rows {
        let at = row.at.to_string();
        let labels = names.iter().map(|name| row.labels.get(name).unwrap_or_default());
        line(&mut labels.chain([at.as_str(), row.value.as_str()]))?;
    }
    Ok(())
}

fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
