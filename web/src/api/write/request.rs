//! `prometheus.WriteRequest`, version 1.0.

use tsdb::{Labels, METRIC_NAME, Metadata, SeriesRef, Timestamp};

use super::protobuf::{Field, Fields, Malformed};
use super::series_cache::{Lookup, SeriesCache};
use super::sink::{MAX_EXEMPLAR_CHARS, Sink};
use super::values::{exemplar, float, histogram, metric_kind};

/// Bytes that the name of a label may have.
const MAX_NAME_BYTES: usize = 1024;
/// Bytes that the value of a label may have.
const MAX_VALUE_BYTES: usize = 64 << 10;

/// Puts all samples of `message` into `sink`; with `only_new` those of series only that `cache` does not know.
pub(super) fn read(sink: &mut Sink<'_>, cache: &SeriesCache, message: &[u8], only_new: bool) -> Result<(), Malformed> {
    let mut fields = Fields::new(message, 0);
    let mut cache = cache.lookup();
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes, base)) => read_series(sink, &mut cache, bytes, base, only_new)?,
            (3, Field::Bytes(bytes, base)) => read_metadata(sink, bytes, base)?,
            _ => {}
        }
    }
    Ok(())
}

/// `prometheus.TimeSeries`.
fn read_series(
    sink: &mut Sink<'_>,
    cache: &mut Lookup<'_>,
    bytes: &[u8],
    base: usize,
    only_new: bool,
) -> Result<(), Malformed> {
    let end = labels_end(bytes);
    let (labels, rest) = bytes.split_at(end);
    if has_labels(rest, base + end)? {
        let (sorted, end) = labels_first(bytes, base)?;
        let (labels, rest) = sorted.split_at(end);
        return read_samples(sink, cache, (labels, rest), base, only_new);
    }
    read_samples(sink, cache, (labels, rest), base, only_new)
}

/// The fields of a time series with the labels at the front, and where they end. Every known sender writes them so.
#[cold]
fn labels_first(bytes: &[u8], base: usize) -> Result<(Vec<u8>, usize), Malformed> {
    let mut sorted = Vec::with_capacity(bytes.len());
    let mut end = 0;
    for labels in [true, false] {
        let mut fields = Fields::new(bytes, base);
        let mut from = 0;
        while let Some((number, _)) = fields.next()? {
            if (number == 1) == labels {
                sorted.extend_from_slice(&bytes[from..fields.position()]);
            }
            from = fields.position();
        }
        if labels {
            end = sorted.len();
        }
    }
    Ok((sorted, end))
}

/// A time series whose labels have been split from the rest.
#[inline]
fn read_samples(
    sink: &mut Sink<'_>,
    cache: &mut Lookup<'_>,
    (labels, rest): (&[u8], &[u8]),
    base: usize,
    only_new: bool,
) -> Result<(), Malformed> {
    let hash = cache.hash(labels);
    let series = match cache.get(hash) {
        Some(_) if only_new => return Ok(()),
        Some(series) => series,
        None => match resolve(sink, labels, base)? {
            Ok(series) => {
                cache.insert(hash, series);
                series
            }
            Err(why) => {
                if !only_new {
                    sink.skip(|| why);
                }
                return Ok(());
            }
        },
    };
    let mut fields = Fields::new(rest, base + labels.len());
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Bytes(bytes, base)) => {
                let sample = float(bytes, base)?;
                sink.float(series, Timestamp::from_millis(sample.at_ms), None, sample.value);
            }
            (3, Field::Bytes(bytes, base)) => {
                let mut pairs = Vec::new();
                let (value, at) = exemplar(bytes, base, |field| {
                    // One with more labels is too long, also if they are empty.
                    if let Field::Bytes(bytes, base) = field
                        && pairs.len() <= MAX_EXEMPLAR_CHARS
                    {
                        pairs.push(label(bytes, base)?);
                    }
                    Ok(())
                })?;
                if pairs.len() <= MAX_EXEMPLAR_CHARS {
                    sink.exemplar(series, pairs.iter().copied(), value, at);
                }
            }
            (4, Field::Bytes(bytes, base)) if sink.reads_histogram(bytes.len()) => {
                let sample = histogram(bytes, base)?;
                sink.histogram(series, Timestamp::from_millis(sample.at_ms), None, sample.value);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where the labels that a time series begins with end.
#[inline]
fn labels_end(series: &[u8]) -> usize {
    let mut end = 0;
    loop {
        // Field 1 in bytes; nearly every length takes one byte, none more than five.
        let next = match series[end..] {
            [0x0a, len @ 0..0x80, ..] => end + 2 + usize::from(len),
            [0x0a, ..] => {
                let mut fields = Fields::new(&series[end..], 0);
                match fields.next() {
                    Ok(Some(_)) => end + fields.position(),
                    // What is malformed is told of when the rest is read.
                    _ => return end,
                }
            }
            _ => return end,
        };
        if next > series.len() {
            return end;
        }
        end = next;
    }
}

/// Whether there is a label among these fields.
#[inline]
fn has_labels(rest: &[u8], base: usize) -> Result<bool, Malformed> {
    // One sample to the end: what nearly every series of a scrape is.
    if let [0x12, len @ 0..0x80, ..] = *rest
        && rest.len() == 2 + usize::from(len)
    {
        return Ok(false);
    }
    let mut fields = Fields::new(rest, base);
    while let Some((number, _)) = fields.next()? {
        if number == 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Finds or makes the series with these labels; why not, if it cannot be.
fn resolve(sink: &mut Sink<'_>, labels: &[u8], base: usize) -> Result<Result<SeriesRef, String>, Malformed> {
    if !sink.hold_labels(labels.len()) {
        return Ok(Err("there is no memory for its labels".into()));
    }
    let mut pairs = Vec::with_capacity(16);
    let mut fields = Fields::new(labels, base);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Bytes(bytes, base)) = (number, field) {
            pairs.push(label(bytes, base)?);
        }
    }
    Ok(check(pairs).and_then(|labels| sink.series(&labels)))
}

/// Name and value of a label.
fn label(bytes: &[u8], base: usize) -> Result<(&str, &str), Malformed> {
    let mut fields = Fields::new(bytes, base);
    let (mut name, mut value) = ("", "");
    while let Some((number, field)) = fields.next()? {
        if let Field::Bytes(bytes, base) = field {
            let text = std::str::from_utf8(bytes).map_err(|_| Malformed { offset: base, what: "text is not UTF-8" });
            match number {
                1 => name = text?,
                2 => value = text?,
                _ => {}
            }
        }
    }
    Ok((name, value))
}

/// The labels as a set, if they make one that names a metric.
pub(super) fn check(mut pairs: Vec<(&str, &str)>) -> Result<Labels, String> {
    pairs.retain(|(_, value)| !value.is_empty());
    for (name, value) in &pairs {
        if name.len() > MAX_NAME_BYTES {
            let (bytes, start) = (name.len(), name.chars().take(64).collect::<String>());
            return Err(format!("a label name of {bytes} bytes is over the limit of {MAX_NAME_BYTES}: {start:?}…"));
        }
        if value.len() > MAX_VALUE_BYTES {
            let bytes = value.len();
            return Err(format!("label {name:?} has a value of {bytes} bytes, over the limit of {MAX_VALUE_BYTES}"));
        }
    }
    if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
        pairs.sort_unstable_by_key(|(name, _)| *name);
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("label {:?} is there twice", twice[0].0));
        }
    }
    let labels = Labels::from_sorted(pairs.into_iter());
    if labels.iter().any(|(name, _)| name.is_empty()) {
        return Err(format!("{labels}: a label has no name"));
    }
    if labels.get(METRIC_NAME).is_none() {
        return Err(format!("{labels}: there is no metric name"));
    }
    Ok(labels)
}

/// `prometheus.MetricMetadata`.
fn read_metadata(sink: &mut Sink<'_>, bytes: &[u8], base: usize) -> Result<(), Malformed> {
    let (mut metadata, mut family) = (Metadata::default(), "");
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(n)) => metadata.kind = metric_kind(n),
            (number @ (2 | 4 | 5), Field::Bytes(bytes, base)) => {
                let text = std::str::from_utf8(bytes);
                let text = text.map_err(|_| Malformed { offset: base, what: "text is not UTF-8" })?;
                match number {
                    2 => family = text,
                    4 => text.clone_into(&mut metadata.help),
                    _ => text.clone_into(&mut metadata.unit),
                }
            }
            _ => {}
        }
    }
    if !family.is_empty() {
        sink.metadata(family, metadata);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_are_too_long_are_refused_with_the_reason() {
        let (name, value) = ("n".repeat(MAX_NAME_BYTES), "v".repeat(MAX_VALUE_BYTES));
        assert!(check(vec![(METRIC_NAME, "m"), (&name, &value)]).is_ok());
        let long_value = format!("{value}v");
        let why = check(vec![(METRIC_NAME, "m"), ("a", &long_value)]).unwrap_err();
        assert_eq!(why, "label \"a\" has a value of 65537 bytes, over the limit of 65536");
        let long_name = format!("{name}n");
        let why = check(vec![(METRIC_NAME, "m"), (&long_name, "v")]).unwrap_err();
        assert!(why.starts_with("a label name of 1025 bytes is over the limit of 1024"), "{why}");
    }
}
