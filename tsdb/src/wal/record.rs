//! What the log says, and how it is written down. Bytes: `docs/format/wal.md`.

use crate::chunk::HistogramValue;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::exemplar::Exemplar;
use crate::histogram::{CounterResetHint, FloatHistogram, Histogram, Span};
use crate::labels::{self, Labels};
use crate::metadata::{Metadata, MetricKind};
use crate::sample::{TimeRange, Timestamp};

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const HISTOGRAM: u8 = 3;
const METADATA: u8 = 4;
const DELETION: u8 = 5;
const STATE: u8 = 6;
const HEAD: u8 = 7;
const EXEMPLAR: u8 = 8;
const EXEMPLAR_DELETION: u8 = 9;

/// Flag of a samples record: the samples are on the column that follows.
const ON_COLUMN: u8 = 1;
/// Flag: every sample says its time, as the difference to the one before.
const TIMED: u8 = 2;
/// Flag: every sample says its start, as the difference to the one before.
const STARTED: u8 = 4;

/// Names a series in the log, for as long as the log names it; never given to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SeriesId(pub(crate) u64);

/// Names a column of times in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ColumnId(pub(crate) u64);

/// A float sample as the log has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedSample {
    pub(crate) series: SeriesId,
    pub(crate) timestamp_ms: i64,
    /// 0 if unknown.
    pub(crate) start_ms: i64,
    pub(crate) value: f64,
}

/// One thing that the log says. What is many borrows from the frame and is decoded as it is walked.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// The series `id` has these labels.
    Series { id: SeriesId, labels: LoggedLabels<'a> },
    /// Floats of one scrape (then on a column of times) or one pushed request.
    Samples { column: Option<ColumnId>, timestamp_ms: i64, samples: LoggedSamples<'a> },
    /// A native histogram.
    Histogram { series: SeriesId, timestamp_ms: i64, start_ms: i64, value: Box<HistogramValue> },
    /// What a metric family is.
    Metadata { family: &'a str, metadata: Metadata },
    /// What a series held within a range of time has been deleted.
    Deletion { series: SeriesId, range: TimeRange },
    /// A single observation, of the series with these labels.
    Exemplar { series: Labels, exemplar: Exemplar },
    /// The exemplars of the series with these labels within a range of time have been deleted.
    ExemplarDeletion { series: Labels, range: TimeRange },
    /// What a checkpoint says of a series: its newest sample and its newest stored chunk.
    State(LoggedState),
    /// What a checkpoint says of the head.
    Head(LoggedHead),
}

/// A series as a checkpoint has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoggedState {
    pub(crate) series: SeriesId,
    /// The newest sample: its time and its bits.
    pub(crate) last: (i64, u64),
    /// The newest stored chunk: number of its file (0 if there is none), offset, time of its last sample.
    pub(crate) stored: (u32, u32, i64),
}

/// A head as a checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedHead {
    pub(crate) last_id: SeriesId,
    pub(crate) last_column: ColumnId,
    /// From the oldest sample to the newest.
    pub(crate) span: TimeRange,
    /// Chunk files that are needed, and the time at which each ends.
    pub(crate) files: Vec<(u32, i64)>,
}

/// Labels of a series record, sorted by name if this program wrote them.
#[derive(Clone, Debug)]
pub(crate) enum LoggedLabels<'a> {
    /// As [`Labels`] has them: so they stand in the log too if no text is long.
    AsSet(labels::Iter<'a>),
    /// `left` of them.
    Any { input: Decoder<'a>, left: usize },
}

impl<'a> LoggedLabels<'a> {
    fn take(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let left = input.count(2)?;
        if let Some(text) = short_texts(input, left * 2) {
            return Ok(Self::AsSet(labels::Iter::new(text)));
        }
        let labels = Self::Any { input: *input, left };
        for _ in 0..left * 2 {
            input.text()?;
        }
        Ok(labels)
    }
}

impl<'a> Iterator for LoggedLabels<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::AsSet(labels) => labels.next(),
            Self::Any { input, left } => {
                *left = left.checked_sub(1)?;
                Some((input.text().ok()?, input.text().ok()?))
            }
        }
    }
}

/// The next `n` texts with the lengths before them, as one text, if each length is one digit of those that [`Labels`] are
/// written with. Cost: a look at each length, and at all bytes once.
fn short_texts<'a>(input: &mut Decoder<'a>, n: usize) -> Option<&'a str> {
    let mut end = *input;
    for _ in 0..n {
        let len = end.u8().ok().filter(|&len| usize::from(len) <= labels::MAX_SHORT)?;
        end.take(len.into()).ok()?;
    }
    // The lengths are characters of one byte: if all is UTF-8, so is what lies between them.
    let text = std::str::from_utf8(input.until(&end)).ok()?;
    *input = end;
    Some(text)
}

/// Samples of a samples record.
#[derive(Clone, Debug)]
pub(crate) struct LoggedSamples<'a> {
    input: Decoder<'a>,
    left: u32,
    flags: u8,
    last: LoggedSample,
}

impl Iterator for LoggedSamples<'_> {
    type Item = Result<LoggedSample, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

impl<'a> LoggedSamples<'a> {
    /// Whether samples have a time or a start of their own; else all have the record's time, and no start is known.
    pub(crate) fn is_each(&self) -> bool {
        self.flags & (TIMED | STARTED) != 0
    }

    #[inline]
    fn read(&mut self) -> Result<LoggedSample, Malformed> {
        let head = self.input.u8()?;
        let step = match head >> 4 {
            0 => self.input.varint()?,
            step => i64::from(step),
        };
        self.last.series.0 = self.last.series.0.wrapping_add_signed(step);
        if self.flags & TIMED != 0 {
            self.last.timestamp_ms = self.last.timestamp_ms.wrapping_add(self.input.varint()?);
        }
        if self.flags & STARTED != 0 {
            self.last.start_ms = self.last.start_ms.wrapping_add(self.input.varint()?);
        }
        let len = value_bytes(head, &self.input)?;
        self.last.value = f64::from_bits(self.input.leading(len)?);
        Ok(self.last)
    }

    /// What follows the samples, all of which can be read if there is an answer.
    fn end(&self) -> Result<Decoder<'a>, Malformed> {
        let mut input = self.input;
        let numbers = u32::from(self.flags & TIMED != 0) + u32::from(self.flags & STARTED != 0);
        for _ in 0..self.left {
            let head = input.u8()?;
            for _ in 0..numbers + u32::from(head >> 4 == 0) {
                input.uvarint()?;
            }
            input.take(value_bytes(head, &input)?)?;
        }
        Ok(input)
    }
}

#[inline]
fn value_bytes(head: u8, input: &Decoder<'_>) -> Result<usize, Malformed> {
    let len = usize::from(head & 15);
    if len > 8 { Err(input.malformed("value of more than 8 bytes")) } else { Ok(len) }
}

/// Writes that series `id` has `labels`, which are sorted by name.
pub(crate) fn put_series<'a>(
    out: &mut Vec<u8>,
    id: SeriesId,
    labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) {
    out.put_u8(SERIES);
    out.put_uvarint(id.0);
    out.put_uvarint(labels.len() as u64);
    for (name, value) in labels {
        out.put_bytes(name.as_bytes());
        out.put_bytes(value.as_bytes());
    }
}

/// Writes what metric family `family` is.
pub(crate) fn put_metadata(out: &mut Vec<u8>, family: &str, metadata: &Metadata) {
    out.put_u8(METADATA);
    out.put_bytes(family.as_bytes());
    out.put_u8(metadata.kind as u8);
    out.put_bytes(metadata.help.as_bytes());
    out.put_bytes(metadata.unit.as_bytes());
}

/// Writes that what a series held within a range has been deleted.
pub(crate) fn put_deletion(out: &mut Vec<u8>, series: SeriesId, range: TimeRange) {
    out.put_u8(DELETION);
    out.put_uvarint(series.0);
    put_range(out, range);
}

/// Writes an exemplar of the series with these labels. It may outlive its series, so the log's name would not do.
pub(crate) fn put_exemplar(out: &mut Vec<u8>, series: &Labels, exemplar: &Exemplar) {
    out.put_u8(EXEMPLAR);
    put_labels(out, series);
    out.put_varint(exemplar.timestamp.millis());
    out.put_f64(exemplar.value);
    put_labels(out, &exemplar.labels);
}

/// Writes that the exemplars of the series with these labels within a range have been deleted.
pub(crate) fn put_exemplar_deletion(out: &mut Vec<u8>, series: &Labels, range: TimeRange) {
    out.put_u8(EXEMPLAR_DELETION);
    put_labels(out, series);
    put_range(out, range);
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.put_uvarint(labels.iter().count() as u64);
    for (name, value) in labels {
        out.put_bytes(name.as_bytes());
        out.put_bytes(value.as_bytes());
    }
}

fn take_labels(input: &mut Decoder<'_>) -> Result<Labels, Malformed> {
    let pairs = (0..input.count(2)?).map(|_| Ok((input.text()?, input.text()?)));
    Ok(Labels::from_pairs(pairs.collect::<Result<Vec<_>, Malformed>>()?))
}

fn take_exemplar(input: &mut Decoder<'_>) -> Result<Exemplar, Malformed> {
    let timestamp = Timestamp::from_millis(input.varint()?);
    Ok(Exemplar { timestamp, value: input.f64()?, labels: take_labels(input)? })
}

/// Writes what a checkpoint says of a series.
pub(crate) fn put_state(out: &mut Vec<u8>, state: &LoggedState) {
    out.put_u8(STATE);
    out.put_uvarint(state.series.0);
    out.put_varint(state.last.0);
    out.put_u64(state.last.1);
    out.put_uvarint(state.stored.0.into());
    if state.stored.0 != 0 {
        out.put_uvarint(state.stored.1.into());
        out.put_varint(state.stored.2);
    }
}

/// Writes what a checkpoint says of the head.
pub(crate) fn put_head(out: &mut Vec<u8>, head: &LoggedHead) {
    out.put_u8(HEAD);
    out.put_uvarint(head.last_id.0);
    out.put_uvarint(head.last_column.0);
    put_range(out, head.span);
    out.put_uvarint(head.files.len() as u64);
    for &(number, max_ms) in &head.files {
        out.put_uvarint(number.into());
        out.put_varint(max_ms);
    }
}

fn put_range(out: &mut Vec<u8>, range: TimeRange) {
    out.put_varint(range.start.millis());
    out.put_varint(range.end.millis());
}

fn take_range(input: &mut Decoder<'_>) -> Result<TimeRange, Malformed> {
    Ok(TimeRange::from_millis(input.varint()?, input.varint()?))
}

fn take_state(input: &mut Decoder<'_>) -> Result<LoggedState, Malformed> {
    let series = SeriesId(input.uvarint()?);
    let last = (input.varint()?, input.u64()?);
    let file: u32 = input.uvarint_as()?;
    let stored = if file == 0 { (0, 0, i64::MIN) } else { (file, input.uvarint_as()?, input.varint()?) };
    Ok(LoggedState { series, last, stored })
}

fn take_head(input: &mut Decoder<'_>) -> Result<LoggedHead, Malformed> {
    let (last_id, last_column) = (SeriesId(input.uvarint()?), ColumnId(input.uvarint()?));
    let span = take_range(input)?;
    let files = (0..input.count(2)?).map(|_| Ok((input.uvarint_as()?, input.varint()?)));
    Ok(LoggedHead { last_id, last_column, span, files: files.collect::<Result<_, Malformed>>()? })
}

/// Writes a samples record, sample by sample. About 5 bytes and 5 ns per sample of a scrape.
#[derive(Debug)]
pub(crate) struct SamplesWriter {
    /// Where in the output the count stands.
    count_at: usize,
    count: u32,
    flags: u8,
    last: LoggedSample,
}

impl SamplesWriter {
    /// Begins a record of samples that all have `timestamp_ms`, or, with `timed`, each its own.
    pub(crate) fn begin(
        out: &mut Vec<u8>,
        column: Option<ColumnId>,
        timestamp_ms: i64,
        timed: bool,
        started: bool,
    ) -> Self {
        let flags = if column.is_some() { ON_COLUMN } else { 0 }
            | if timed { TIMED } else { 0 }
            | if started { STARTED } else { 0 };
        out.put_u8(SAMPLES);
        out.put_u8(flags);
        out.put_varint(timestamp_ms);
        if let Some(column) = column {
            out.put_uvarint(column.0);
        }
        let count_at = out.len();
        out.put_u32(0);
        Self {
            count_at,
            count: 0,
            flags,
            last: LoggedSample { series: SeriesId(0), timestamp_ms, start_ms: 0, value: 0.0 },
        }
    }

    #[inline]
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, sample: LoggedSample) {
        let step = sample.series.0.wrapping_sub(self.last.series.0) as i64;
        let bits = sample.value.to_bits();
        let len = 8 - bits.trailing_zeros().min(64) as usize / 8;
        if (1..16).contains(&step) {
            out.put_u8((step as u8) << 4 | len as u8);
        } else {
            out.put_u8(len as u8);
            out.put_varint(step);
        }
        if self.flags & TIMED != 0 {
            out.put_varint(sample.timestamp_ms.wrapping_sub(self.last.timestamp_ms));
        }
        if self.flags & STARTED != 0 {
            out.put_varint(sample.start_ms.wrapping_sub(self.last.start_ms));
        }
        out.extend_from_slice(&bits.to_be_bytes()[..len]);
        self.last = sample;
        self.count += 1;
    }

    /// Ends the record.
    pub(crate) fn finish(self, out: &mut [u8]) {
        out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
    }
}

/// Writes a native histogram.
pub(crate) fn put_histogram(
    out: &mut Vec<u8>,
    series: SeriesId,
    timestamp_ms: i64,
    start_ms: i64,
    value: &HistogramValue,
) {
    out.put_u8(HISTOGRAM);
    out.put_uvarint(series.0);
    out.put_varint(timestamp_ms);
    out.put_varint(start_ms);
    match value {
        HistogramValue::Integer(h) => {
            out.put_u8(hint_code(h.counter_reset_hint));
            out.put_varint(i64::from(h.schema));
            out.put_f64(h.zero_threshold);
            out.put_f64(h.sum);
            out.put_uvarint(h.count);
            out.put_uvarint(h.zero_count);
            for (spans, buckets) in [(&h.positive_spans, &h.positive_buckets), (&h.negative_spans, &h.negative_buckets)]
            {
                put_spans(out, spans);
                out.put_uvarint(buckets.len() as u64);
                buckets.iter().for_each(|&b| out.put_varint(b));
            }
            put_floats(out, &h.custom_values);
        }
        HistogramValue::Float(h) => {
            out.put_u8(FLOAT_COUNTS | hint_code(h.counter_reset_hint));
            out.put_varint(i64::from(h.schema));
            out.put_f64(h.zero_threshold);
            out.put_f64(h.sum);
            out.put_f64(h.count);
            out.put_f64(h.zero_count);
            for (spans, buckets) in [(&h.positive_spans, &h.positive_buckets), (&h.negative_spans, &h.negative_buckets)]
            {
                put_spans(out, spans);
                put_floats(out, buckets);
            }
            put_floats(out, &h.custom_values);
        }
    }
}

/// Bit of a histogram's first byte: its counts are floats. The bits below are the counter reset hint.
const FLOAT_COUNTS: u8 = 4;

fn hint_code(hint: CounterResetHint) -> u8 {
    match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    }
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    out.put_uvarint(spans.len() as u64);
    for span in spans {
        out.put_varint(i64::from(span.offset));
        out.put_uvarint(u64::from(span.length));
    }
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    out.put_uvarint(values.len() as u64);
    values.iter().for_each(|&v| out.put_f64(v));
}

fn take_floats(input: &mut Decoder<'_>) -> Result<Vec<f64>, Malformed> {
    (0..input.count(8)?).map(|_| input.f64()).collect()
}

fn take_spans(input: &mut Decoder<'_>) -> Result<Vec<Span>, Malformed> {
    (0..input.count(2)?)
        .map(|_| {
            let offset = input.varint()?.try_into().map_err(|_| input.malformed("bucket offset"))?;
            Ok(Span { offset, length: input.uvarint_as()? })
        })
        .collect()
}

fn take_histogram(input: &mut Decoder<'_>) -> Result<HistogramValue, Malformed> {
    let flags = input.u8()?;
    let counter_reset_hint = match flags & 3 {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        _ => CounterResetHint::Gauge,
    };
    let schema = input.varint()?.try_into().map_err(|_| input.malformed("histogram schema"))?;
    let (zero_threshold, sum) = (input.f64()?, input.f64()?);
    if flags & FLOAT_COUNTS != 0 {
        let (count, zero_count) = (input.f64()?, input.f64()?);
        let (positive_spans, positive_buckets) = (take_spans(input)?, take_floats(input)?);
        let (negative_spans, negative_buckets) = (take_spans(input)?, take_floats(input)?);
        Ok(HistogramValue::Float(FloatHistogram {
            counter_reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: take_floats(input)?,
        }))
    } else {
        let (count, zero_count) = (input.uvarint()?, input.uvarint()?);
        let mut side = || -> Result<_, Malformed> {
            let spans = take_spans(input)?;
            Ok((spans, (0..input.count(1)?).map(|_| input.varint()).collect::<Result<Vec<_>, _>>()?))
        };
        let ((positive_spans, positive_buckets), (negative_spans, negative_buckets)) = (side()?, side()?);
        Ok(HistogramValue::Integer(Histogram {
            counter_reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: take_floats(input)?,
        }))
    }
}

/// The records of a frame, one after the other.
#[derive(Debug)]
pub(crate) struct Records<'a>(Decoder<'a>);

impl<'a> Records<'a> {
    pub(crate) fn new(frame: &'a [u8]) -> Self {
        Self(Decoder::new(frame))
    }

    fn read(&mut self) -> Result<Record<'a>, Malformed> {
        let input = &mut self.0;
        let at = *input;
        match input.u8()? {
            SERIES => {
                let id = SeriesId(input.uvarint()?);
                Ok(Record::Series { id, labels: LoggedLabels::take(input)? })
            }
            SAMPLES => {
                let flags = input.u8()?;
                let timestamp_ms = input.varint()?;
                let column = if flags & ON_COLUMN != 0 { Some(ColumnId(input.uvarint()?)) } else { None };
                let left = input.u32()?;
                let last = LoggedSample { series: SeriesId(0), timestamp_ms, start_ms: 0, value: 0.0 };
                let samples = LoggedSamples { input: *input, left, flags, last };
                *input = samples.end()?;
                Ok(Record::Samples { column, timestamp_ms, samples })
            }
            HISTOGRAM => {
                let series = SeriesId(input.uvarint()?);
                let (timestamp_ms, start_ms) = (input.varint()?, input.varint()?);
                Ok(Record::Histogram { series, timestamp_ms, start_ms, value: Box::new(take_histogram(input)?) })
            }
            METADATA => {
                let family = input.text()?;
                let kind = MetricKind::from_code(input.u8()?);
                let (help, unit) = (input.text()?.to_owned(), input.text()?.to_owned());
                Ok(Record::Metadata { family, metadata: Metadata { kind, help, unit } })
            }
            DELETION => Ok(Record::Deletion { series: SeriesId(input.uvarint()?), range: take_range(input)? }),
            EXEMPLAR => Ok(Record::Exemplar { series: take_labels(input)?, exemplar: take_exemplar(input)? }),
            EXEMPLAR_DELETION => {
                Ok(Record::ExemplarDeletion { series: take_labels(input)?, range: take_range(input)? })
            }
            STATE => Ok(Record::State(take_state(input)?)),
            HEAD => Ok(Record::Head(take_head(input)?)),
            _ => Err(at.malformed("unknown kind of record")),
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            // What follows a record that cannot be read has no meaning.
            self.0 = Decoder::new(&[]);
        }
        Some(record)
    }
}
