//! The messages that both versions of remote write have in common: samples, histograms, exemplars.

use tsdb::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, MetricKind, Span, Timestamp};

use super::protobuf::{Field, Fields, Malformed, doubles, varints, zigzag};

/// A float with its times. Version 1.0 knows no start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Float {
    pub(super) value: f64,
    pub(super) at_ms: i64,
    /// When its count began; 0 if unknown.
    pub(super) start_ms: i64,
}

/// `Sample` of either version.
#[inline]
pub(super) fn float(bytes: &[u8], base: usize) -> Result<Float, Malformed> {
    let mut float = Float::default();
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Fixed64(bits)) => float.value = f64::from_bits(bits),
            (2, Field::Varint(ms)) => float.at_ms = ms as i64,
            (3, Field::Varint(ms)) => float.start_ms = ms as i64,
            _ => {}
        }
    }
    Ok(float)
}

/// A native histogram with its times, as [`Float`].
pub(super) struct Observed {
    pub(super) value: HistogramValue,
    pub(super) at_ms: i64,
    pub(super) start_ms: i64,
}

/// `Histogram` of either version.
pub(super) fn histogram(bytes: &[u8], base: usize) -> Result<Observed, Malformed> {
    let (mut at_ms, mut start_ms, mut float) = (0, 0, false);
    // Both kinds are filled; which one it is shows by the kind of its count.
    let (mut h, mut f) = (Histogram::default(), FloatHistogram::default());
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            // Of the two kinds of count the last one written is meant.
            (1, Field::Varint(n)) => (float, h.count) = (false, n),
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
            (15, Field::Varint(ms)) => at_ms = ms as i64,
            (16, field) => doubles(field, |n| h.custom_values.push(n))?,
            (17, Field::Varint(ms)) => start_ms = ms as i64,
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
    Ok(Observed { value, at_ms, start_ms })
}

/// `prometheus.BucketSpan`.
fn span(bytes: &[u8], base: usize) -> Result<Span, Malformed> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(n)) => span.offset = zigzag(n) as i32,
            // A longer one covers more buckets than a message can hold, and is refused for that.
            (2, Field::Varint(n)) => span.length = u32::try_from(n).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    Ok(span)
}

/// Value and time of an `Exemplar`, which are the same fields in both versions. Its labels, field 1, go to `labels`.
pub(super) fn exemplar<'m>(
    bytes: &'m [u8],
    base: usize,
    mut labels: impl FnMut(Field<'m>) -> Result<(), Malformed>,
) -> Result<(f64, Timestamp), Malformed> {
    let (mut value, mut at) = (0.0, Timestamp::from_millis(0));
    let mut fields = Fields::new(bytes, base);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, field) => labels(field)?,
            (2, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Field::Varint(ms)) => at = Timestamp::from_millis(ms as i64),
            _ => {}
        }
    }
    Ok((value, at))
}

/// `MetricMetadata.MetricType` of 1.0 and `Metadata.MetricType` of 2.0.
pub(super) const fn metric_kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}
