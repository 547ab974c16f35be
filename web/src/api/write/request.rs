//! `prometheus.WriteRequest`, version 1.0.

use tsdb::{
    AppendError, Appender, CounterResetHint, Db, FloatHistogram, Histogram, HistogramValue, Labels, METRIC_NAME,
    Metadata, MetricKind, SeriesRef, Span, Timestamp,
};

use super::Skipped;
pub(crate) use super::protobuf::Malformed;
use super::protobuf::{Field, Fields, doubles, varints, zigzag};
use super::series_cache::{Lookup, SeriesCache};

/// Puts all samples of `message` into an appender.
pub(crate) fn append<'d>(
    db: &'d Db,
    cache: &SeriesCache,
    message: &[u8],
) -> Result<(Appender<'d>, Skipped), Malformed> {
    let mut appender = db.appender();
    let mut skipped = Skipped::default();
    let mut fields = Fields::new(message, 0);
    let mut cache = cache.lookup();
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes, base)) => append_series(&mut appender, &mut cache, bytes, base, &mut skipped)?,
            (3, Field::Bytes(bytes, base)) => append_metadata(&mut appender, bytes, base)?,
            _ => {}
        }
    }
    Ok((appender, skipped))
}

/// `prometheus.TimeSeries`.
fn append_series(
    appender: &mut Appender<'_>,
    cache: &mut Lookup<'_>,
    bytes: &[u8],
    base: usize,
    skipped: &mut Skipped,
) -> Result<(), Malformed> {
    let end = labels_end(bytes);
    let (labels, rest) = bytes.split_at(end);
    if has_labels(rest, base + end)? {
        // Every known sender writes the labels first. Where one does not, they are brought to the front.
        let mut sorted = Vec::with_capacity(bytes.len());
        for labels in [true, false] {
            let mut fields = Fields::new(bytes, base);
            let mut from = 0;
            while let Some((number, _)) = fields.next()? {
                if (number == 1) == labels {
                    sorted.extend_from_slice(&bytes[from..fields.position()]);
                }
                from = fields.position();
            }
        }
        return append_series(appender, cache, &sorted, base, skipped);
    }
    let hash = cache.hash(labels);
    let series = match cache.get(hash) {
        Some(series) => series,
        None => match resolve(appender, labels, base)? {
            Ok(series) => {
                cache.insert(hash, series);
                series
            }
            Err(why) => {
                skipped.note(|| why);
                return Ok(());
            }
        },
    };
    append_samples(appender, series, rest, base + end, skipped)
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
fn resolve(appender: &Appender<'_>, labels: &[u8], base: usize) -> Result<Result<SeriesRef, String>, Malformed> {
    let mut pairs = Vec::with_capacity(16);
    let mut fields = Fields::new(labels, base);
    while let Some((number, field)) = fields.next()? {
        if let (1, Field::Bytes(bytes, base)) = (number, field) {
            pairs.push(label(bytes, base)?);
        }
    }
    Ok(check(pairs).and_then(|labels| appender.series(&labels).map_err(|why: AppendError| format!("{labels}: {why}"))))
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
fn check(mut pairs: Vec<(&str, &str)>) -> Result<Labels, String> {
    pairs.retain(|(_, value)| !value.is_empty());
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

/// The samples and histograms of a time series.
fn append_samples(
    appender: &mut Appender<'_>,
    series: SeriesRef,
    bytes: &[u8],
    base: usize,
    skipped: &mut Skipped,
) -> Result<(), Malformed> {
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Bytes(bytes, base)) => {
                let (value, at) = sample(bytes, base)?;
                appender.append_at(series, Timestamp::from_millis(at), None, value);
            }
            (4, Field::Bytes(bytes, base)) => {
                let (at, histogram) = histogram(bytes, base)?;
                if let Err(why) = appender.append_histogram(series, Some(at), None, histogram) {
                    skipped.note(|| why.to_string());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// `prometheus.Sample`: value and time.
#[inline]
fn sample(bytes: &[u8], base: usize) -> Result<(f64, i64), Malformed> {
    let (mut value, mut at) = (0.0, 0);
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Field::Varint(ms)) => at = ms as i64,
            _ => {}
        }
    }
    Ok((value, at))
}

/// `prometheus.Histogram`.
fn histogram(bytes: &[u8], base: usize) -> Result<(Timestamp, HistogramValue), Malformed> {
    let mut at = Timestamp::from_millis(0);
    let mut float = false;
    // Both kinds are filled; which one it is shows by the kind of its count.
    let (mut h, mut f) = (Histogram::default(), FloatHistogram::default());
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(n)) => h.count = n,
            (2, Field::Fixed64(bits)) => (float, f.count) = (true, f64::from_bits(bits)),
            (3, Field::Fixed64(bits)) => h.sum = f64::from_bits(bits),
            (4, Field::Varint(n)) => h.schema = zigzag(n) as i32,
            (5, Field::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
            (6, Field::Varint(n)) => h.zero_count = n,
            (7, Field::Fixed64(bits)) => f.zero_count = f64::from_bits(bits),
            (8, Field::Bytes(bytes, base)) => h.negative_spans.push(span(bytes, base)?),
            (9, field) => varints(field, |n| h.negative_buckets.push(zigzag(n)))?,
            (10, field) => doubles(field, |n| f.negative_buckets.push(n))?,
            (11, Field::Bytes(bytes, base)) => h.positive_spans.push(span(bytes, base)?),
            (12, field) => varints(field, |n| h.positive_buckets.push(zigzag(n)))?,
            (13, field) => doubles(field, |n| f.positive_buckets.push(n))?,
            (14, Field::Varint(n)) => {
                h.counter_reset_hint = match n {
                    1 => CounterResetHint::Reset,
                    2 => CounterResetHint::NotReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                };
            }
            (15, Field::Varint(ms)) => at = Timestamp::from_millis(ms as i64),
            (16, field) => doubles(field, |n| h.custom_values.push(n))?,
            _ => {}
        }
    }
    let value = if float {
        HistogramValue::Float(FloatHistogram {
            counter_reset_hint: h.counter_reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            sum: h.sum,
            positive_spans: h.positive_spans,
            negative_spans: h.negative_spans,
            custom_values: h.custom_values,
            ..f
        })
    } else {
        HistogramValue::Integer(h)
    };
    Ok((at, value))
}

/// `prometheus.BucketSpan`.
fn span(bytes: &[u8], base: usize) -> Result<Span, Malformed> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(n)) => span.offset = zigzag(n) as i32,
            (2, Field::Varint(n)) => {
                span.length = u32::try_from(n).map_err(|_| fields.malformed("bucket span too long"))?;
            }
            _ => {}
        }
    }
    Ok(span)
}

/// `prometheus.MetricMetadata`.
fn append_metadata(appender: &mut Appender<'_>, bytes: &[u8], base: usize) -> Result<(), Malformed> {
    let (mut metadata, mut family) = (Metadata::default(), "");
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(n)) => {
                metadata.kind = match n {
                    1 => MetricKind::Counter,
                    2 => MetricKind::Gauge,
                    3 => MetricKind::Histogram,
                    4 => MetricKind::GaugeHistogram,
                    5 => MetricKind::Summary,
                    6 => MetricKind::Info,
                    7 => MetricKind::StateSet,
                    _ => MetricKind::Unknown,
                };
            }
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
        appender.metadata(family, metadata);
    }
    Ok(())
}
