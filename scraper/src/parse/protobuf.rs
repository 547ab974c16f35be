//! The exposition format in protocol buffers: `io.prometheus.client.MetricFamily` messages, each with its length before
//! it. Definition: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>.
//!
//! Read in place; a family's samples come out one by one, in the order in which the text format has them.

use std::borrow::Cow;

use tsdb::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, MetricKind, Span};

use super::classic::Classic;
use super::labels::MAX_LABELS;
use super::number::NORMAL_NAN;
use super::point::{Metric, Pair, Point, PointExemplar, PointValue};
use super::wire::{Field, Fields, Malformed, Message, zigzag};

/// Which histograms are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Histograms {
    /// Native ones (`scrape_native_histograms`).
    pub native: bool,
    /// Classic ones also where there is a native one (`always_scrape_classic_histograms`).
    pub always_classic: bool,
    /// Classic ones become native ones with listed bounds (`convert_classic_histograms_to_nhcb`).
    pub convert_classic: bool,
}

/// Why a body was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}, metric family {family:?}: {what}")]
pub struct ProtobufError {
    /// Byte of the uncompressed body.
    pub offset: usize,
    /// The family that was being read; empty if none was.
    pub family: String,
    /// What is wrong.
    pub what: &'static str,
}

/// A family of metrics.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) name: &'a str,
    pub(crate) help: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) kind: MetricKind,
    message: Message<'a>,
}

/// Most parts of a kind (buckets, spans, quantiles, labels, exemplars) that a message may have: each takes many times the
/// memory of the two bytes that it may be written in.
const MAX_PARTS: usize = 1 << 16;
const MAX_EXEMPLARS: usize = 1 << 10;

/// Adds `part`, unless there are too many by now.
fn push<T>(parts: &mut Vec<T>, most: usize, part: T, message: Message<'_>) -> Result<(), Malformed> {
    if parts.len() >= most {
        return Err(Malformed { offset: message.base, what: "too many parts in a message" });
    }
    parts.push(part);
    Ok(())
}

/// Walks the families of a body.
#[derive(Debug)]
pub(crate) struct Families<'a>(Fields<'a>);

/// Memory for reading metrics.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    key: Vec<u8>,
}

impl<'a> Families<'a> {
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self(Message { bytes: body, base: 0 }.fields())
    }

    /// The next family that has metrics; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Family<'a>>, ProtobufError> {
        loop {
            let mut family = Family { name: "", help: "", unit: "", kind: MetricKind::Counter, message: NOTHING };
            match family.read(&mut self.0) {
                Ok(None) => return Ok(None),
                Ok(Some(Metrics::None)) => {}
                Ok(Some(Metrics::Some)) => return Ok(Some(family)),
                Err(why) => return Err(family.error(why)),
            }
        }
    }
}

/// Whether a family has metrics.
enum Metrics {
    None,
    Some,
}

const NOTHING: Message<'static> = Message { bytes: &[], base: 0 };

const fn metric_kind(number: u64) -> Option<MetricKind> {
    Some(match number {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Summary,
        3 => MetricKind::Unknown,
        4 => MetricKind::Histogram,
        5 => MetricKind::GaugeHistogram,
        _ => return None,
    })
}

/// The field of a metric that holds its content.
const fn content_field(kind: MetricKind) -> u64 {
    match kind {
        MetricKind::Gauge => 2,
        MetricKind::Counter => 3,
        MetricKind::Summary => 4,
        MetricKind::Histogram | MetricKind::GaugeHistogram => 7,
        MetricKind::Unknown | MetricKind::Info | MetricKind::StateSet => 5,
    }
}

impl<'a> Family<'a> {
    /// Reads the family that comes next; `None` at the end.
    fn read(&mut self, families: &mut Fields<'a>) -> Result<Option<Metrics>, Malformed> {
        let Some(message) = families.next_delimited()? else { return Ok(None) };
        self.message = message;
        let malformed = |what| Malformed { offset: message.base, what };
        let (mut kind, mut metrics) = (Some(MetricKind::Counter), Metrics::None);
        let mut fields = message.fields();
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Message(text)) => self.name = text.text()?,
                (2, Field::Message(text)) => self.help = text.text()?,
                (3, Field::Varint(number)) => kind = metric_kind(number),
                (4, Field::Message(_)) => metrics = Metrics::Some,
                (5, Field::Message(text)) => self.unit = text.text()?,
                _ => {}
            }
        }
        if let Metrics::None = metrics {
            return Ok(Some(metrics));
        }
        self.kind = kind.ok_or_else(|| malformed("unknown metric type"))?;
        if self.name.is_empty() {
            return Err(malformed("invalid metric name"));
        }
        let name = match self.kind {
            MetricKind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            _ => self.name,
        };
        let has_unit = name.strip_suffix(self.unit).is_some_and(|name| name.ends_with('_'));
        if !self.unit.is_empty() && !has_unit {
            return Err(malformed("unit not a suffix of metric"));
        }
        Ok(Some(metrics))
    }

    fn error(&self, why: Malformed) -> ProtobufError {
        ProtobufError { offset: why.offset, family: self.name.chars().take(200).collect(), what: why.what }
    }

    /// Hands every sample of the family to `each`.
    pub(crate) fn points<E: From<ProtobufError>>(
        &self,
        wanted: Histograms,
        scratch: &mut Scratch,
        mut each: impl FnMut(Point<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut labels = Vec::new();
        let mut fields = self.message.fields();
        while let Some((number, field)) = fields.next().map_err(|why| self.error(why))? {
            if let (4, Field::Message(message)) = (number, field) {
                let read = ReadMetric::new(message, self.kind, labels).map_err(|why| self.error(why))?;
                let metric = Metric::new(Cow::Borrowed(self.name), read.labels, &mut scratch.key);
                let content = Content { kind: self.kind, fields: read.content, timestamp: read.timestamp };
                content.points(&metric, wanted, &mut each, |why| self.error(why))?;
                labels = metric.into_labels();
                labels.clear();
            }
        }
        Ok(())
    }
}

/// What all kinds of metrics have in common.
struct ReadMetric<'a> {
    labels: Vec<Pair<'a>>,
    /// Empty if it is not there: all its numbers are zero then.
    content: Message<'a>,
    timestamp: Option<i64>,
}

impl<'a> ReadMetric<'a> {
    fn new(message: Message<'a>, kind: MetricKind, mut labels: Vec<Pair<'a>>) -> Result<Self, Malformed> {
        let (mut content, mut timestamp) = (NOTHING, None);
        let content_field = content_field(kind);
        let mut fields = message.fields();
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Message(pair)) => push(&mut labels, MAX_LABELS, label(pair)?, pair)?,
                (number, Field::Message(value)) if number == content_field => content = value,
                (6, Field::Varint(ms)) if ms != 0 => timestamp = Some(ms as i64),
                _ => {}
            }
        }
        Ok(Self { labels, content, timestamp })
    }
}

/// `LabelPair`.
fn label(message: Message<'_>) -> Result<Pair<'_>, Malformed> {
    let (mut name, mut value) = ("", "");
    let mut fields = message.fields();
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Message(text)) => name = text.text()?,
            (2, Field::Message(text)) => value = text.text()?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(Malformed { offset: message.base, what: "invalid label name" });
    }
    Ok((Cow::Borrowed(name), Cow::Borrowed(value)))
}

/// The message of a kind of metric: `Counter`, `Gauge`, `Summary`, `Untyped`, `Histogram`.
struct Content<'a> {
    kind: MetricKind,
    fields: Message<'a>,
    timestamp: Option<i64>,
}

impl<'a> Content<'a> {
    fn points<E: From<ProtobufError>>(
        &self,
        metric: &Metric<'_>,
        wanted: Histograms,
        each: &mut impl FnMut(Point<'_>) -> Result<(), E>,
        error: impl Fn(Malformed) -> ProtobufError,
    ) -> Result<(), E> {
        let (message, timestamp) = (self.fields, self.timestamp);
        match self.kind {
            MetricKind::Summary => {
                let summary = Summary::read(message).map_err(error)?;
                let mut put = |labels, value| {
                    let value = PointValue::Float(value);
                    each(Point { labels, value, timestamp, start: summary.start, exemplars: &[] })
                };
                put(metric.sample("_count", None), summary.count)?;
                put(metric.sample("_sum", None), summary.sum)?;
                for (quantile, value) in summary.quantiles {
                    put(metric.sample("", Some(("quantile", quantile))), value)?;
                }
            }
            MetricKind::Histogram | MetricKind::GaugeHistogram => {
                let mut read = ReadHistogram::new(message).map_err(error)?;
                if self.kind == MetricKind::GaugeHistogram {
                    read.native.counter_reset_hint = CounterResetHint::Gauge;
                }
                read.points(metric, wanted, timestamp, each)?;
            }
            MetricKind::Counter | MetricKind::Gauge | MetricKind::Unknown | MetricKind::Info | MetricKind::StateSet => {
                let single = Single::read(message).map_err(error)?;
                let exemplars: &[PointExemplar<'_>] = single.exemplar.as_slice();
                let value = PointValue::Float(single.value);
                each(Point { labels: metric.sample("", None), value, timestamp, start: single.start, exemplars })?;
            }
        }
        Ok(())
    }
}

/// `value`, never the stale marker: that is not for targets to write.
fn plain(value: f64) -> f64 {
    if value.is_nan() { NORMAL_NAN } else { value }
}

/// `Counter`, `Gauge`, `Untyped`.
#[derive(Default)]
struct Single<'a> {
    value: f64,
    exemplar: Option<PointExemplar<'a>>,
    start: Option<i64>,
}

impl<'a> Single<'a> {
    fn read(message: Message<'a>) -> Result<Self, Malformed> {
        let mut single = Self::default();
        let mut fields = message.fields();
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Fixed64(bits)) => single.value = plain(f64::from_bits(bits)),
                (2, Field::Message(message)) => single.exemplar = Some(exemplar(message)?),
                (3, Field::Message(message)) => single.start = Some(moment(message)?),
                _ => {}
            }
        }
        Ok(single)
    }
}

/// `Summary`.
#[derive(Default)]
struct Summary {
    count: f64,
    sum: f64,
    quantiles: Vec<(f64, f64)>,
    start: Option<i64>,
}

impl Summary {
    fn read(message: Message<'_>) -> Result<Self, Malformed> {
        let mut summary = Self::default();
        let mut fields = message.fields();
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Varint(count)) => summary.count = count as f64,
                (2, Field::Fixed64(bits)) => summary.sum = plain(f64::from_bits(bits)),
                (3, Field::Message(message)) => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut fields = message.fields();
                    while let Some((number, field)) = fields.next()? {
                        match (number, field) {
                            (1, Field::Fixed64(bits)) => quantile = f64::from_bits(bits),
                            (2, Field::Fixed64(bits)) => value = plain(f64::from_bits(bits)),
                            _ => {}
                        }
                    }
                    push(&mut summary.quantiles, MAX_PARTS, (quantile, value), message)?;
                }
                (4, Field::Message(message)) => summary.start = Some(moment(message)?),
                _ => {}
            }
        }
        Ok(summary)
    }
}

/// `Exemplar`.
fn exemplar(message: Message<'_>) -> Result<PointExemplar<'_>, Malformed> {
    let mut exemplar = PointExemplar { labels: Vec::new(), value: 0.0, timestamp: None };
    let mut fields = message.fields();
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Message(pair)) => push(&mut exemplar.labels, MAX_LABELS, label(pair)?, pair)?,
            (2, Field::Fixed64(bits)) => exemplar.value = plain(f64::from_bits(bits)),
            (3, Field::Message(message)) => exemplar.timestamp = Some(moment(message)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

/// `google.protobuf.Timestamp`, in milliseconds.
fn moment(message: Message<'_>) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut fields = message.fields();
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(n)) => seconds = n as i64,
            (2, Field::Varint(n)) => nanos = n as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

/// Bucket counts that may be added to those.
fn room<T>(counts: &[T]) -> usize {
    MAX_PARTS - counts.len().min(MAX_PARTS)
}

/// `Histogram`: classic buckets, native ones, or both.
#[derive(Default)]
struct ReadHistogram<'a> {
    classic: Classic,
    native: Histogram,
    /// The native one in floats, if it is one.
    float: FloatHistogram,
    start: Option<i64>,
    /// By bucket of the classic one.
    bucket_exemplars: Vec<Option<PointExemplar<'a>>>,
    /// Those of the native one.
    exemplars: Vec<PointExemplar<'a>>,
}

impl<'a> ReadHistogram<'a> {
    fn new(message: Message<'a>) -> Result<Self, Malformed> {
        let mut read = Self::default();
        let mut count = (0u64, 0.0f64);
        let mut fields = message.fields();
        while let Some((number, field)) = fields.next()? {
            let (h, f) = (&mut read.native, &mut read.float);
            match (number, field) {
                (1, Field::Varint(n)) => count.0 = n,
                (4, Field::Fixed64(bits)) => count.1 = f64::from_bits(bits),
                (2, Field::Fixed64(bits)) => h.sum = plain(f64::from_bits(bits)),
                (3, Field::Message(message)) => read.bucket(message)?,
                (15, Field::Message(message)) => read.start = Some(moment(message)?),
                (5, Field::Varint(n)) => h.schema = zigzag(n) as i32,
                (6, Field::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
                (7, Field::Varint(n)) => h.zero_count = n,
                (8, Field::Fixed64(bits)) => f.zero_count = f64::from_bits(bits),
                (9, Field::Message(message)) => push(&mut h.negative_spans, MAX_PARTS, span(message)?, message)?,
                (10, field) => field.varints(room(&h.negative_buckets), |n| h.negative_buckets.push(zigzag(n)))?,
                (11, field) => field.doubles(room(&f.negative_buckets), |n| f.negative_buckets.push(n))?,
                (12, Field::Message(message)) => push(&mut h.positive_spans, MAX_PARTS, span(message)?, message)?,
                (13, field) => field.varints(room(&h.positive_buckets), |n| h.positive_buckets.push(zigzag(n)))?,
                (14, field) => field.doubles(room(&f.positive_buckets), |n| f.positive_buckets.push(n))?,
                (16, Field::Message(message)) => push(&mut read.exemplars, MAX_EXEMPLARS, exemplar(message)?, message)?,
                _ => {}
            }
        }
        read.native.count = count.0;
        read.float.count = count.1;
        read.classic.count = Some(if count.1 > 0.0 { count.1 } else { count.0 as f64 });
        read.classic.sum = read.native.sum;
        Ok(read)
    }

    /// `Bucket`.
    fn bucket(&mut self, message: Message<'a>) -> Result<(), Malformed> {
        let (mut count, mut float, mut bound, mut example) = (0u64, 0.0, 0.0, None);
        let mut fields = message.fields();
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Varint(n)) => count = n,
                (4, Field::Fixed64(bits)) => float = f64::from_bits(bits),
                (2, Field::Fixed64(bits)) => bound = f64::from_bits(bits),
                (3, Field::Message(message)) => example = Some(exemplar(message)?),
                _ => {}
            }
        }
        push(&mut self.classic.buckets, MAX_PARTS, (bound, if float > 0.0 { float } else { count as f64 }), message)?;
        self.bucket_exemplars.push(example);
        Ok(())
    }

    /// Whether there is a native histogram: one without a bucket still has a zero threshold or an empty span.
    fn is_native(&self) -> bool {
        let h = &self.native;
        h.zero_threshold > 0.0
            || h.zero_count > 0
            || self.float.zero_count > 0.0
            || !h.negative_spans.is_empty()
            || !h.positive_spans.is_empty()
    }

    fn points<E>(
        mut self,
        metric: &Metric<'_>,
        wanted: Histograms,
        timestamp: Option<i64>,
        each: &mut impl FnMut(Point<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.start;
        let native = wanted.native && self.is_native();
        let is_gauge = self.native.counter_reset_hint == CounterResetHint::Gauge;
        let converts = !native && !is_gauge && wanted.convert_classic;
        let converted = if converts { self.classic.convert() } else { None };
        if native || converted.is_some() {
            let value = Box::new(converted.unwrap_or_else(|| self.take_native()));
            // Where a native histogram has no examples of its own, those of its classic buckets are taken.
            let from_buckets: Vec<_> = self.bucket_exemplars.iter().flatten().cloned().collect();
            let exemplars = if self.exemplars.is_empty() { &from_buckets } else { &self.exemplars };
            let labels = metric.sample("", None);
            each(Point { labels, value: PointValue::Histogram(value), timestamp, start, exemplars })?;
            if !wanted.always_classic {
                return Ok(());
            }
            if native && self.classic.buckets.is_empty() {
                return Ok(());
            }
        }
        let mut put = |labels, value, exemplars: &[PointExemplar<'_>]| {
            each(Point { labels, value: PointValue::Float(value), timestamp, start, exemplars })
        };
        let count = self.classic.count.unwrap_or(0.0);
        put(metric.sample("_count", None), count, &[])?;
        put(metric.sample("_sum", None), self.classic.sum, &[])?;
        let mut last = f64::NEG_INFINITY;
        for (&(bound, count), example) in self.classic.buckets.iter().zip(&self.bucket_exemplars) {
            put(metric.sample("_bucket", Some(("le", bound))), count, example.as_slice())?;
            last = bound;
        }
        if last != f64::INFINITY {
            put(metric.sample("_bucket", Some(("le", f64::INFINITY))), count, &[])?;
        }
        Ok(())
    }

    fn take_native(&mut self) -> HistogramValue {
        let h = std::mem::take(&mut self.native);
        let f = std::mem::take(&mut self.float);
        if f.count > 0.0 || f.zero_count > 0.0 {
            HistogramValue::Float(FloatHistogram {
                counter_reset_hint: h.counter_reset_hint,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                sum: h.sum,
                positive_spans: h.positive_spans,
                negative_spans: h.negative_spans,
                ..f
            })
        } else {
            HistogramValue::Integer(h)
        }
    }
}

/// `BucketSpan`.
fn span(message: Message<'_>) -> Result<Span, Malformed> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = message.fields();
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Varint(n)) => span.offset = zigzag(n) as i32,
            (2, Field::Varint(n)) => {
                let what = "bucket span too long";
                span.length = u32::try_from(n).map_err(|_| Malformed { offset: message.base, what })?;
            }
            _ => {}
        }
    }
    Ok(span)
}
