//! The chunk that a series is writing to: readable up to what has been published, without a lock that the writer holds
//! while it encodes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::gorilla::{self, FloatEncoder};
use super::histogram::{self, HistogramValue, Layout, Row};
use super::newest::{Newest, newest};
use super::timestamps::Column;
use super::words::{self, Words};
use crate::querier::Columns;
use crate::sample::{HistogramSample, TimeRange, Timestamp, is_stale};

/// Where the times of a chunk are kept.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// In the column of a target; the chunk holds ordinals.
    Shared(Arc<Column>),
    /// In the chunk itself, in milliseconds since this moment: that of its first sample.
    Own(i64),
}

/// How much of a chunk is there: `count` samples, of which `before` were there before `commit`, the last to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) commit: u64,
    pub(crate) before: u8,
    pub(crate) count: u8,
}

impl Extent {
    /// Into one word, so that a reader gets all three of the same moment. Commits take 50 bits.
    pub(crate) const fn pack(self) -> u64 {
        self.commit << 14 | (self.before as u64) << 7 | self.count as u64
    }

    pub(crate) const fn unpack(word: u64) -> Self {
        Self { commit: word >> 14, before: (word >> 7 & 0x7f) as u8, count: (word & 0x7f) as u8 }
    }
}

/// When the counts of samples began: `(index of the first sample concerned, start in milliseconds, 0 if unknown)`,
/// ascending. Before the first entry it is unknown.
pub(crate) type Starts = Vec<(u8, i64)>;

/// Samples of one series, up to [`MAX_SAMPLES`](super::MAX_SAMPLES): as their writer left them, or as a reader found them.
#[derive(Debug)]
pub(crate) struct OpenChunk {
    times: Times,
    extent: Extent,
    starts: Starts,
    body: Body,
}

/// Where the samples are, for readers and writer alike.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Of a chunk with times of its own the first word is the time of the first sample.
    Floats(Words),
    Histograms(Arc<Histograms>),
}

/// Rows of histograms, back to back.
#[derive(Debug)]
pub(crate) struct Histograms {
    layout: Layout,
    /// The time of the first one, if the chunk has times of its own.
    base_ms: i64,
    /// Times of the rows: ordinals or milliseconds since the base, as tsz's time is for floats.
    rows: RwLock<(Vec<u64>, Vec<u8>)>,
}

impl Body {
    /// Where the times are, given the column if they are on one.
    pub(crate) fn times(&self, column: Option<&Arc<Column>>) -> Times {
        column.map_or_else(|| Times::Own(self.base_ms()), |column| Times::Shared(column.clone()))
    }

    /// Of a chunk with times of its own, the time of the first sample.
    fn base_ms(&self) -> i64 {
        match self {
            Self::Floats(words) => words[0].load(Ordering::Relaxed) as i64,
            Self::Histograms(histograms) => histograms.base_ms,
        }
    }

    /// Whether the first sample may lie at or before `at`, given the column of the times.
    pub(crate) fn begins_before(&self, column: Option<&Column>, at: Timestamp) -> bool {
        column.map_or_else(|| self.base_ms(), |column| column.at(0)) <= at.millis()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Floats(words) => words::bytes_of(words),
            Self::Histograms(histograms) => {
                let rows = histograms.rows.read();
                size_of::<Histograms>() + rows.0.capacity() * 8 + rows.1.capacity()
            }
        }
    }
}

impl OpenChunk {
    /// The first samples of `body`, as `extent` has it.
    pub(crate) fn new(times: Times, extent: Extent, starts: Starts, body: Body) -> Self {
        Self { times, extent, starts, body }
    }

    pub(crate) fn times(&self) -> &Times {
        &self.times
    }

    /// What is published.
    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    /// The floats that are there, with their times as the stream has them.
    fn floats(&self, words: &Words, count: usize) -> impl Iterator<Item = (u64, f64)> {
        let from = usize::from(matches!(self.times, Times::Own(_)));
        gorilla::read(&words[from..], count)
    }

    /// The moment of a sample from what the stream holds as its time.
    fn moment(&self, time: u64) -> i64 {
        match &self.times {
            Times::Shared(column) => column.at(time as usize),
            Times::Own(base) => base.wrapping_add(time as i64),
        }
    }

    /// Whether the first sample may lie at or before `at`.
    pub(crate) fn begins_before(&self, at: Timestamp) -> bool {
        let column = if let Times::Shared(column) = &self.times { Some(&**column) } else { None };
        self.extent.count > 0 && self.body.begins_before(column, at)
    }

    /// Appends the samples within `range` to `columns`: of a chunk with times of its own the first `visible`, of one
    /// on a column those with an ordinal below `visible`.
    pub(crate) fn read(&self, visible: usize, range: TimeRange, columns: &mut Columns) {
        let (count, limit) = match &self.times {
            Times::Shared(_) => (usize::from(self.extent.count), visible as u64),
            Times::Own(_) => (visible, u64::MAX),
        };
        columns.count_chunk(size_of::<Self>() + self.heap_bytes());
        match &self.body {
            Body::Floats(words) => {
                let (start, end) = (range.start.millis(), range.end.millis());
                let samples = self.floats(words, count).take_while(|&(time, _)| time < limit);
                for (i, (time, value)) in samples.enumerate() {
                    let at = self.moment(time);
                    if at > end {
                        break;
                    }
                    if at >= start {
                        columns.push(at, value, start_of(&self.starts, i));
                    }
                }
            }
            Body::Histograms(_) => {
                let samples = self.histograms(count).into_iter().take_while(|&(time, _)| time < limit);
                for (i, (time, value)) in samples.enumerate() {
                    let timestamp = Timestamp::from_millis(self.moment(time));
                    if range.contains(timestamp) {
                        let start = Some(start_of(&self.starts, i)).filter(|&s| s != 0).map(Timestamp::from_millis);
                        columns.histograms.push(HistogramSample {
                            timestamp,
                            start,
                            histogram: value.into_float().into(),
                        });
                    }
                }
            }
        }
    }

    /// Appends the newest of the samples that [`read`](Self::read) appends; all where that is a stale marker, as who asks may
    /// look for what is before it, and all histograms.
    pub(crate) fn read_newest(&self, visible: usize, range: TimeRange, columns: &mut Columns) {
        let Body::Floats(words) = &self.body else { return self.read(visible, range, columns) };
        let end = range.end.millis();
        let found = match &self.times {
            Times::Shared(column) => {
                let latest = (0..visible).rev().find(|&ordinal| column.at(ordinal) <= end);
                latest.and_then(|latest| newest(words, self.extent.count.into(), latest as u64))
            }
            Times::Own(base) => {
                let latest = u64::try_from(end.saturating_sub(*base)).ok();
                latest.and_then(|latest| newest(&words[1..], visible, latest))
            }
        };
        if let Some(Newest { index, time, value }) = found {
            if is_stale(value) {
                return self.read(visible, range, columns);
            }
            let at = self.moment(time);
            if at >= range.start.millis() {
                columns.push(at, value, start_of(&self.starts, index));
            }
        }
        columns.count_chunk(size_of::<Self>() + self.heap_bytes());
    }

    /// The first `count` histograms with the times of the stream; none of a float chunk.
    fn histograms(&self, count: usize) -> Vec<(u64, HistogramValue)> {
        let Body::Histograms(histograms) = &self.body else { return Vec::new() };
        let (times, bytes) = histograms.rows.read().clone();
        let values = histogram::read_rows(&histograms.layout, &bytes, count)
            .expect("rows that never left memory are as they were written");
        times.into_iter().zip(values).collect()
    }

    /// What a sealed chunk is made of.
    pub(crate) fn contents(&self, out: &mut Contents) {
        out.clear();
        out.starts.extend_from_slice(&self.starts);
        let count = usize::from(self.extent.count);
        match &self.body {
            Body::Floats(words) => {
                for (time, value) in self.floats(words, count) {
                    out.times.push(time as i64);
                    out.values.push(value);
                }
            }
            Body::Histograms(histograms) => {
                let rows = histograms.rows.read();
                out.times.extend(rows.0.iter().take(count).map(|&time| time as i64));
                out.rows = Some((histograms.layout.clone(), rows.1.clone()));
            }
        }
    }

    /// Bytes that the chunk takes beyond its own size.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.body.heap_bytes()
    }
}

/// A chunk's samples, decoded: times as the stream has them, values or histogram rows. Made to be filled again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) rows: Option<(Layout, Vec<u8>)>,
    pub(crate) starts: Starts,
}

impl Contents {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.rows = None;
        self.starts.clear();
    }
}

/// The start that holds for the sample at `index`.
pub(crate) fn start_of(starts: &Starts, index: usize) -> i64 {
    let upto = starts.partition_point(|&(from, _)| usize::from(from) <= index);
    if upto == 0 { 0 } else { starts[upto - 1].1 }
}

/// The writing end of the chunk that a series is writing to; none before the first sample. What readers need is kept with
/// the series, who owns the writer tells it.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    stream: Stream,
    /// Of floats.
    words: Option<Words>,
    /// The number of the column, else the time of the first sample in milliseconds.
    home: u64,
    /// As the stream has it, of the last sample.
    last_time: u32,
    /// Bits of the words that are taken.
    taken: u16,
    count: u8,
    flags: u8,
}

#[derive(Debug)]
enum Stream {
    None,
    Floats(FloatEncoder),
    Histograms(Box<HistogramWriter>),
}

#[derive(Debug)]
struct HistogramWriter {
    body: Arc<Histograms>,
    last: Option<Row>,
}

const ON_COLUMN: u8 = 1;
/// A start of one of its counts is known.
const STARTED: u8 = 2;
/// The bits from here on are the owner's.
const NOTE_SHIFT: u32 = 2;

impl ChunkWriter {
    /// Takes nothing.
    pub(crate) fn none() -> Self {
        Self { stream: Stream::None, words: None, home: 0, last_time: 0, taken: 0, count: 0, flags: 0 }
    }

    fn at(times: &Times) -> Self {
        let (home, flags) = match times {
            Times::Shared(column) => (column.number(), ON_COLUMN),
            Times::Own(base_ms) => (*base_ms as u64, 0),
        };
        Self { home, flags, ..Self::none() }
    }

    /// Opens a chunk for floats.
    pub(crate) fn floats(times: &Times) -> Self {
        let words = words::new_words();
        let mut taken = 0;
        if let Times::Own(base_ms) = times {
            words[0].store(*base_ms as u64, Ordering::Relaxed);
            taken = 64;
        }
        Self { stream: Stream::Floats(FloatEncoder::new()), words: Some(words), taken, ..Self::at(times) }
    }

    /// Opens a chunk that begins with this histogram.
    pub(crate) fn starting_with(times: &Times, time: u64, layout: &Layout, row: &Row) -> Self {
        let base_ms = if let Times::Own(base_ms) = times { *base_ms } else { 0 };
        let body = Arc::new(Histograms { layout: layout.clone(), base_ms, rows: RwLock::default() });
        let stream = Stream::Histograms(Box::new(HistogramWriter { body, last: None }));
        let mut writer = Self { stream, ..Self::at(times) };
        let taken = writer.push_histogram(time, layout, row, false);
        debug_assert!(taken, "an empty chunk of the same layout takes any histogram");
        writer
    }

    /// Where the samples are; nowhere before the first chunk.
    pub(crate) fn body(&self) -> Option<Body> {
        match &self.stream {
            Stream::Histograms(writer) => Some(Body::Histograms(writer.body.clone())),
            Stream::None | Stream::Floats(_) => self.words.clone().map(Body::Floats),
        }
    }

    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The last sample's time as the stream has it.
    pub(crate) fn last_time(&self) -> u64 {
        self.last_time.into()
    }

    pub(crate) fn takes_floats(&self) -> bool {
        matches!(self.stream, Stream::Floats(_))
    }

    /// Whether the times are on this column.
    pub(crate) fn is_on(&self, column: &Column) -> bool {
        self.flags & ON_COLUMN != 0 && self.home == column.number()
    }

    /// The time of the first sample, if the chunk has times of its own.
    pub(crate) fn base_ms(&self) -> Option<i64> {
        (self.flags & ON_COLUMN == 0).then_some(self.home as i64)
    }

    /// Whether a start of one of its counts is known.
    pub(crate) fn is_started(&self) -> bool {
        self.flags & STARTED != 0
    }

    pub(crate) fn set_started(&mut self) {
        self.flags |= STARTED;
    }

    /// What the owner has noted: six bits, for which there is room here and none beside it.
    pub(crate) fn note(&self) -> u8 {
        self.flags >> NOTE_SHIFT
    }

    pub(crate) fn set_note(&mut self, note: u8) {
        self.flags = self.flags & (ON_COLUMN | STARTED) | note << NOTE_SHIFT;
    }

    /// Something of the memory that the next sample goes to.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        let words = self.words.as_ref();
        words.and_then(|words| words.get(usize::from(self.taken) / 64)).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Appends a float. The caller has checked that the chunk takes floats, has room, and that `time` follows. Answers where
    /// the samples are now if that is another place than before.
    #[inline]
    pub(crate) fn push(&mut self, time: u64, value: f64) -> Option<&Words> {
        let (Stream::Floats(encoder), Some(words)) = (&mut self.stream, &mut self.words) else {
            unreachable!("checked by the caller")
        };
        let sample = encoder.encode(time, value);
        let grown = words::put(words, self.taken.into(), sample);
        self.taken += sample.len as u16;
        self.count += 1;
        self.last_time = time as u32;
        self.words.as_ref().filter(|_| grown)
    }

    /// Appends a histogram, unless it must begin a chunk: because it is laid out differently, or a count went down.
    /// The caller has checked that there is room and that `time` follows.
    pub(crate) fn push_histogram(&mut self, time: u64, layout: &Layout, row: &Row, stale: bool) -> bool {
        let Stream::Histograms(writer) = &mut self.stream else { return false };
        let HistogramWriter { body, last } = &mut **writer;
        let mut bytes = Vec::new();
        let kept;
        let row = match last.as_ref() {
            Some(last) if stale => {
                kept = histogram::stale_row(last);
                &kept
            }
            _ if *layout != body.layout => return false,
            Some(last) if !layout.is_gauge() && layout.resets(last, row) => return false,
            _ => row,
        };
        histogram::push_row(&body.layout, last.as_ref(), row, &mut bytes);
        {
            let mut rows = body.rows.write();
            rows.0.push(time);
            rows.1.extend_from_slice(&bytes);
        }
        *last = Some(row.clone());
        self.count += 1;
        self.last_time = time as u32;
        true
    }

    /// A copy of the chunk, of which commit 0 has written all.
    pub(crate) fn chunk(&self, times: Times, starts: Starts) -> Option<OpenChunk> {
        let extent = Extent { commit: 0, before: 0, count: self.count };
        Some(OpenChunk::new(times, extent, starts, self.body()?))
    }
}

/// Notes that from the sample at `index` on counts began at `start_ms`.
pub(crate) fn note_start(starts: &mut Starts, index: usize, start_ms: i64) {
    if starts.last().map_or(0, |&(_, start)| start) != start_ms {
        starts.push((index as u8, start_ms));
    }
}
