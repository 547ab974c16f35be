//! The chunk that a series is writing to: readable up to what has been published, without a lock that the writer holds
//! while it encodes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::gorilla::{self, FloatWriter};
use super::histogram::{self, HistogramValue, Layout, Row};
use super::timestamps::Column;
use super::words::{HasWords, Words};
use crate::querier::Columns;
use crate::sample::{HistogramSample, TimeRange, Timestamp};

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
    const fn pack(self) -> u64 {
        self.commit << 14 | (self.before as u64) << 7 | self.count as u64
    }

    const fn unpack(word: u64) -> Self {
        Self { commit: word >> 14, before: (word >> 7 & 0x7f) as u8, count: (word & 0x7f) as u8 }
    }
}

/// When the counts of samples began: `(index of the first sample concerned, start in milliseconds, 0 if unknown)`,
/// ascending. Before the first entry it is unknown.
pub(crate) type Starts = Vec<(u8, i64)>;

/// Samples of one series, up to [`MAX_SAMPLES`](super::MAX_SAMPLES).
#[derive(Debug)]
pub(crate) struct OpenChunk {
    times: Times,
    /// A packed [`Extent`].
    extent: AtomicU64,
    /// There once a start is known.
    starts: OnceLock<Box<RwLock<Starts>>>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Floats(Words),
    Histograms(Box<Histograms>),
}

/// Rows of histograms, back to back.
#[derive(Debug)]
struct Histograms {
    layout: Layout,
    /// Times of the rows: ordinals or milliseconds since the base, as tsz's time is for floats.
    rows: RwLock<(Vec<u64>, Vec<u8>)>,
}

impl HasWords for Arc<OpenChunk> {
    fn words(&self) -> &Words {
        match &self.body {
            Body::Floats(words) => words,
            Body::Histograms(_) => unreachable!("only a float chunk gets a float writer"),
        }
    }
}

impl OpenChunk {
    fn new(times: Times, body: Body) -> Arc<Self> {
        Arc::new(Self { times, extent: AtomicU64::new(0), starts: OnceLock::new(), body })
    }

    pub(crate) fn times(&self) -> &Times {
        &self.times
    }

    /// What is published.
    pub(crate) fn extent(&self) -> Extent {
        Extent::unpack(self.extent.load(Ordering::Acquire))
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
        self.extent().count > 0
            && match &self.times {
                Times::Shared(column) => column.at(0) <= at.millis(),
                Times::Own(base) => *base <= at.millis(),
            }
    }

    /// Appends the samples within `range` to `columns`: of a chunk with times of its own the first `visible`, of one
    /// on a column those with an ordinal below `visible`. `extent` is what was published when `visible` was found.
    pub(crate) fn read(&self, extent: Extent, visible: usize, range: TimeRange, columns: &mut Columns) {
        let (count, limit) = match &self.times {
            Times::Shared(_) => (usize::from(extent.count), visible as u64),
            Times::Own(_) => (visible, u64::MAX),
        };
        columns.count_chunk(size_of::<Self>() + self.heap_bytes());
        match &self.body {
            Body::Floats(words) => {
                let (start, end) = (range.start.millis(), range.end.millis());
                let starts = self.starts();
                let samples = gorilla::read(words, count).take_while(|&(time, _)| time < limit);
                for (i, (time, value)) in samples.enumerate() {
                    let at = self.moment(time);
                    if at > end {
                        break;
                    }
                    if at >= start {
                        columns.push(at, value, start_of(&starts, i));
                    }
                }
            }
            Body::Histograms(_) => {
                let starts = self.starts();
                let samples = self.histograms(count).into_iter().take_while(|&(time, _)| time < limit);
                for (i, (time, value)) in samples.enumerate() {
                    let timestamp = Timestamp::from_millis(self.moment(time));
                    if range.contains(timestamp) {
                        let start = Some(start_of(&starts, i)).filter(|&s| s != 0).map(Timestamp::from_millis);
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

    fn starts(&self) -> Starts {
        self.starts.get().map(|starts| starts.read().clone()).unwrap_or_default()
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
        out.starts = self.starts();
        let count = usize::from(self.extent().count);
        match &self.body {
            Body::Floats(words) => {
                for (time, value) in gorilla::read(words, count) {
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
        match &self.body {
            Body::Floats(words) => words.linked_bytes(),
            Body::Histograms(histograms) => {
                let rows = histograms.rows.read();
                size_of::<Histograms>() + rows.0.capacity() * 8 + rows.1.capacity()
            }
        }
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

/// The writing end of an [`OpenChunk`].
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    chunk: Arc<OpenChunk>,
    stream: Stream,
    count: u8,
    /// As the stream has it, of the last sample.
    last_time: u64,
}

#[derive(Debug)]
enum Stream {
    Floats(FloatWriter<Arc<OpenChunk>>),
    Histograms(Box<Option<Row>>),
}

impl ChunkWriter {
    /// Opens a chunk for floats.
    pub(crate) fn floats(times: Times) -> Self {
        let chunk = OpenChunk::new(times, Body::Floats(Words::new()));
        Self { stream: Stream::Floats(FloatWriter::new(chunk.clone())), chunk, count: 0, last_time: 0 }
    }

    /// Opens a chunk for histograms of `layout`.
    fn histograms(times: Times, layout: Layout) -> Self {
        let chunk = OpenChunk::new(times, Body::Histograms(Box::new(Histograms { layout, rows: RwLock::default() })));
        Self { stream: Stream::Histograms(Box::new(None)), chunk, count: 0, last_time: 0 }
    }

    pub(crate) fn chunk(&self) -> &Arc<OpenChunk> {
        &self.chunk
    }

    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The last sample's time as the stream has it.
    pub(crate) fn last_time(&self) -> u64 {
        self.last_time
    }

    pub(crate) fn takes_floats(&self) -> bool {
        matches!(self.stream, Stream::Floats(_))
    }

    /// Appends a float. The caller has checked that the chunk takes floats, has room, and that `time` follows.
    #[inline]
    pub(crate) fn push(&mut self, time: u64, value: f64, start_ms: i64) {
        let Stream::Floats(writer) = &mut self.stream else { unreachable!("checked by the caller") };
        writer.push(time, value);
        self.note_start(start_ms);
        self.count += 1;
        self.last_time = time;
    }

    /// Appends a histogram, unless it must begin a chunk: because it is laid out differently, or a count went down.
    /// The caller has checked that there is room and that `time` follows.
    pub(crate) fn push_histogram(&mut self, time: u64, layout: &Layout, row: &Row, stale: bool, start_ms: i64) -> bool {
        let (Stream::Histograms(last), Body::Histograms(body)) = (&mut self.stream, &self.chunk.body) else {
            return false;
        };
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
        histogram::push_row(&body.layout, last.as_ref().as_ref(), row, &mut bytes);
        {
            let mut rows = body.rows.write();
            rows.0.push(time);
            rows.1.extend_from_slice(&bytes);
        }
        **last = Some(row.clone());
        self.note_start(start_ms);
        self.count += 1;
        self.last_time = time;
        true
    }

    /// Opens a chunk that begins with this histogram.
    pub(crate) fn starting_with(times: Times, time: u64, layout: &Layout, row: &Row, start_ms: i64) -> Self {
        let mut writer = Self::histograms(times, layout.clone());
        let taken = writer.push_histogram(time, layout, row, false, start_ms);
        debug_assert!(taken, "an empty chunk of the same layout takes any histogram");
        writer
    }

    fn note_start(&mut self, start_ms: i64) {
        if start_ms == 0 && self.chunk.starts.get().is_none() {
            return;
        }
        let mut starts = self.chunk.starts.get_or_init(Box::default).write();
        if starts.last().map_or(0, |&(_, start)| start) != start_ms {
            starts.push((self.count, start_ms));
        }
    }

    /// Lets readers see what `commit` has appended, once its watermark allows it. When that replaces the extent of
    /// another commit, `keep` gets it first: who sees the new one must find the old one kept.
    #[inline]
    pub(crate) fn publish(&self, commit: u64, keep: impl FnOnce(Extent)) {
        let old = Extent::unpack(self.chunk.extent.load(Ordering::Relaxed));
        let before = if old.commit == commit {
            old.before
        } else {
            keep(old);
            old.count
        };
        self.chunk.extent.store(Extent { commit, before, count: self.count }.pack(), Ordering::Release);
    }
}
