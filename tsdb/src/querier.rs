//! How samples are read: one view over all that a store holds.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::merge::MergedSet;
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// Something that holds series: a store, a data file, a remote server.
pub trait Queryable: Send + Sync {
    /// Opens a view of what is committed now. What is committed later does not show in it.
    ///
    /// # Errors
    /// If the view cannot be opened.
    fn querier(&self) -> Result<Arc<dyn Querier>, Error>;
}

/// A view of a store as of one moment: however often a series is read, it reads the same.
pub trait Querier: Send + Sync {
    /// The series that pass all `matchers` and may have samples in `range`, in the order of their labels.
    ///
    /// # Errors
    /// If the index cannot be read.
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error>;

    /// The first `limit` of those series, in the same order; all if they are not so many. Cost: that of the series that are
    /// given, and a little for each other one, where the store can tell the first without looking at all.
    ///
    /// # Errors
    /// If the index cannot be read.
    fn select_first(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Arc<dyn SeriesSet>, Error> {
        Ok(MergedSet::cut(self.select(matchers, range)?, limit))
    }

    /// No more series than this pass all `matchers` and may have samples in `range`; the greatest number if it takes more than
    /// a look-up per matcher to tell, or if files would have to be read.
    fn at_most(&self, _matchers: &[Matcher], _range: TimeRange) -> u64 {
        u64::MAX
    }

    /// The label names of the series that pass all `matchers`, sorted, at most `limit` of them.
    ///
    /// # Errors
    /// If the index cannot be read.
    fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, Error>;

    /// The values that label `name` has in those series, sorted, at most `limit` of them.
    ///
    /// # Errors
    /// If the index cannot be read.
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, Error>;
}

/// Selected series, by position. May be read from many threads.
pub trait SeriesSet: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of the series at `index`: ascending with `index`. Makes them anew at each call.
    fn labels(&self, index: usize) -> Labels;

    /// The value of one label of the series at `index`. Makes nothing.
    fn label(&self, index: usize, name: &str) -> Option<&str>;

    /// The `n`-th label of the series at `index`, counted from 0 in the order of names, as name and value; `None` behind
    /// the last. Makes nothing.
    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)>;

    /// Appends the samples of the series at `index` within `range` to `columns`, in ascending time.
    ///
    /// # Errors
    /// If a chunk is damaged or cannot be read.
    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error>;

    /// Appends the end of what [`read`](Self::read) appends: all samples from some moment on, at least the newest one if
    /// there is any. Cost: most often that of one chunk, however long `range` is.
    ///
    /// # Errors
    /// If a chunk is damaged or cannot be read.
    fn read_newest(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        self.read(index, range, columns)
    }

    /// Says that the series of `range`, a few, are going to be read next. Changes nothing; what they need may be fetched together.
    fn prefetch(&self, _range: Range<usize>) {}

    /// A moment behind which no series has a sample; the end of time if that is not known.
    fn latest(&self) -> Timestamp {
        Timestamp::MAX
    }
}

/// Samples of one series, column by column. Made to be cleared and filled again.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// When the float samples were taken, ascending, in milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// Their values, stale markers included; as long as `timestamps_ms`.
    pub values: Vec<f64>,
    /// When the counts of the float samples began, 0 where unknown; empty if unknown for all.
    pub starts_ms: Vec<i64>,
    /// Native histogram samples, ascending in time.
    pub histograms: Vec<HistogramSample>,
    /// Chunks that were decoded. Counts on when the columns are cleared.
    pub chunks_read: u64,
    /// Bytes of those chunks.
    pub bytes_read: u64,
    /// Working memory of the decoders.
    pub(crate) times: Vec<i64>,
    pub(crate) scratch: Vec<i64>,
    /// The column of times decoded last, and where it is from: a file and an offset.
    pub(crate) column: Vec<i64>,
    pub(crate) column_key: (u32, u32),
}

impl Columns {
    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
        self.histograms.clear();
    }

    /// Counts a chunk that is decoded.
    pub(crate) fn count_chunk(&mut self, bytes: usize) {
        self.chunks_read += 1;
        self.bytes_read += bytes as u64;
    }

    /// The first moment of a sample that came after `from`.
    pub(crate) fn first_after(&self, from: Lengths) -> Option<i64> {
        let float = self.timestamps_ms.get(from.floats).copied();
        let histogram = self.histograms.get(from.histograms).map(|sample| sample.timestamp.millis());
        float.into_iter().chain(histogram).min()
    }

    /// Takes out what came after `from`.
    pub(crate) fn truncate(&mut self, from: Lengths) {
        self.timestamps_ms.truncate(from.floats);
        self.values.truncate(from.floats);
        self.starts_ms.truncate(from.floats);
        self.histograms.truncate(from.histograms);
    }

    /// How much there is, to tell later what came after.
    pub(crate) fn lengths(&self) -> Lengths {
        Lengths { floats: self.timestamps_ms.len(), histograms: self.histograms.len() }
    }

    /// Puts the samples of `other` among those that came after `from`; of two at the same time the one that is here
    /// stays. Both are ascending in time. Cost: nothing but a copy where `other` is all later.
    pub(crate) fn absorb(&mut self, from: Lengths, other: &Self) {
        if !other.timestamps_ms.is_empty() {
            let follows = self.timestamps_ms[from.floats..].last().is_none_or(|last| *last < other.timestamps_ms[0]);
            if follows {
                for i in 0..other.timestamps_ms.len() {
                    self.push(other.timestamps_ms[i], other.values[i], other.start(i));
                }
            } else {
                self.merge_floats(from.floats, other);
            }
        }
        if !other.histograms.is_empty() {
            let mut mine = self.histograms.split_off(from.histograms);
            mine.extend_from_slice(&other.histograms);
            // Stable: of equal times the one that was here comes first, and stays.
            mine.sort_by_key(|sample| sample.timestamp);
            mine.dedup_by_key(|sample| sample.timestamp);
            self.histograms.append(&mut mine);
        }
    }

    /// Leaves out, of what came after `from`, the samples within any of `ranges`.
    pub(crate) fn leave_out(&mut self, from: Lengths, ranges: &[TimeRange]) {
        if ranges.is_empty() {
            return;
        }
        let hidden = |at: Timestamp| ranges.iter().any(|range| range.contains(at));
        let mut kept = from.floats;
        for i in from.floats..self.timestamps_ms.len() {
            if !hidden(Timestamp::from_millis(self.timestamps_ms[i])) {
                self.timestamps_ms[kept] = self.timestamps_ms[i];
                self.values[kept] = self.values[i];
                if let Some(&start) = self.starts_ms.get(i) {
                    self.starts_ms[kept] = start;
                }
                kept += 1;
            }
        }
        self.timestamps_ms.truncate(kept);
        self.values.truncate(kept);
        self.starts_ms.truncate(kept);
        let mut at = 0;
        self.histograms.retain(|sample| {
            at += 1;
            at <= from.histograms || !hidden(sample.timestamp)
        });
    }

    fn merge_floats(&mut self, from: usize, other: &Self) {
        let times = self.timestamps_ms.split_off(from);
        let values = self.values.split_off(from);
        let starts = if self.starts_ms.is_empty() { Vec::new() } else { self.starts_ms.split_off(from) };
        let (mut i, mut j) = (0, 0);
        while i < times.len() || j < other.timestamps_ms.len() {
            let mine = times.get(i);
            let theirs = other.timestamps_ms.get(j);
            if mine.is_some_and(|mine| theirs.is_none_or(|theirs| mine <= theirs)) {
                j += usize::from(mine == theirs);
                self.push(times[i], values[i], starts.get(i).copied().unwrap_or(0));
                i += 1;
            } else {
                self.push(other.timestamps_ms[j], other.values[j], other.start(j));
                j += 1;
            }
        }
    }

    /// When the counts of the float at `index` began, 0 if unknown.
    pub(crate) fn start(&self, index: usize) -> i64 {
        self.starts_ms.get(index).copied().unwrap_or(0)
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty() && self.histograms.is_empty()
    }

    /// Adds a float sample; `start_ms` is 0 if unknown.
    pub fn push(&mut self, timestamp_ms: i64, value: f64, start_ms: i64) {
        if start_ms != 0 || !self.starts_ms.is_empty() {
            self.starts_ms.resize(self.timestamps_ms.len(), 0);
            self.starts_ms.push(start_ms);
        }
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }
}

/// How many samples [`Columns`] held at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) floats: usize,
    pub(crate) histograms: usize,
}
