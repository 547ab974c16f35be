//! OpenMetrics text with the times of its samples: written, and read from a file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use scraper::parse::{Entry, Format, Parser};
use tsdb::{Exemplar, Labels, METRIC_NAME, Timestamp, is_label_name, is_metric_name};

use super::Failure;
use super::source::{disk, number};

/// The bytes of a file.
pub(crate) fn load(path: &Path) -> Result<tsdb::Map, Failure> {
    let fs = disk();
    let read = fs.open_read(path).and_then(|file| file.size()).and_then(|size| fs.map(path, size));
    read.map_err(|error| Failure::Told(format!("{}: {error}", path.display())))
}

/// A sample of a text.
pub(crate) struct Read {
    /// Of its series.
    pub(crate) labels: Labels,
    /// Byte of the text where it begins.
    pub(crate) offset: usize,
    /// None if it says none.
    pub(crate) at: Option<Timestamp>,
    pub(crate) value: f64,
    /// When its counts began, if a `_created` line before it says so.
    pub(crate) start: Option<Timestamp>,
    /// At its own time, or, if it says none, at that of the sample.
    pub(crate) exemplar: Option<Exemplar>,
}

/// Hands every sample of `body` to `each`. `progress` gets the bytes read, now and then.
pub(crate) fn read(
    path: &Path,
    body: &[u8],
    mut each: impl FnMut(Read) -> Result<(), Failure>,
    mut progress: impl FnMut(u64),
) -> Result<(), Failure> {
    let mut parser = Parser::new(body, Format::OpenMetrics);
    // What `_created` says, by the labels without the name, of the family that is being read.
    let mut created: HashMap<Labels, Timestamp> = HashMap::new();
    let mut samples = 0u64;
    loop {
        let entry = parser.entry().map_err(|error| Failure::Told(format!("{}: {error}", path.display())))?;
        let sample = match entry {
            None => return Ok(()),
            Some(Entry::Type { .. }) => {
                created.clear();
                continue;
            }
            Some(Entry::Sample(sample)) => sample,
            Some(_) => continue,
        };
        let offset = sample.series.as_ptr().addr().saturating_sub(body.as_ptr().addr());
        let labels = Labels::from_pairs(parser.labels());
        if labels.len() < parser.labels().filter(|(_, value)| !value.is_empty()).count() {
            let line = line(body, offset);
            return Err(Failure::Told(format!("{}: line {line}: {labels} has a label twice", path.display())));
        }
        if sample.created {
            let at = Timestamp::from_millis((sample.value * 1000.0) as i64);
            // One beyond all times says nothing.
            if Timestamp::MIN < at && at < Timestamp::MAX {
                created.insert(labels.without_metric_name(), at);
            }
        }
        let start = if sample.created || created.is_empty() { None } else { created_of(&created, &labels) };
        let at = sample.timestamp.map(Timestamp::from_millis);
        let exemplar = parser.exemplar().and_then(|written| {
            let timestamp = written.timestamp.map(Timestamp::from_millis).or(at)?;
            Some(Exemplar { labels: Labels::from_pairs(written.pairs()), value: written.value, timestamp })
        });
        each(Read { labels, offset, at, value: sample.value, start, exemplar })?;
        samples += 1;
        if samples.is_multiple_of(4096) {
            progress(offset as u64);
        }
    }
}

/// The line, from 1, of a byte of a text.
pub(crate) fn line(body: &[u8], offset: usize) -> usize {
    1 + body.iter().take(offset).filter(|&&byte| byte == b'\n').count()
}

/// When the counts of a series began: what is said of the series with its labels, less those of a bucket or quantile.
fn created_of(created: &HashMap<Labels, Timestamp>, labels: &Labels) -> Option<Timestamp> {
    let labels = labels.filtered(|name| name != METRIC_NAME && name != "le" && name != "quantile");
    created.get(&labels).copied()
}

/// Appends a line.
pub(crate) fn put_sample(out: &mut String, series: &str, at_ms: i64, value: f64) {
    let at = Timestamp::from_millis(at_ms);
    writeln!(out, "{series} {} {at}", number(value)).expect("a text takes what is written to it");
}

/// A series as a line begins.
pub(crate) fn series(labels: &Labels) -> String {
    let mut out = String::new();
    let name = labels.metric_name();
    let bare = name.filter(|name| is_metric_name(name));
    out.push_str(bare.unwrap_or_default());
    if bare.is_some() && labels.len() == 1 {
        return out;
    }
    out.push('{');
    let mut first = true;
    let quoted_name = name.filter(|_| bare.is_none());
    if let Some(name) = quoted_name {
        let _ = write!(out, "\"{}\"", escaped(name));
        first = false;
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        let written =
            if is_label_name(name) { Cow::Borrowed(name) } else { Cow::Owned(format!("\"{}\"", escaped(name))) };
        let _ = write!(out, "{written}=\"{}\"", escaped(value));
    }
    out.push('}');
    out
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
