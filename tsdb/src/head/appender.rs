//! A write in progress.

use super::Head;
use super::column::SharedColumn;
use super::families::cut;
use super::series_writer::Refusal;
use crate::chunk::HistogramValue;
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::histogram::InvalidHistogram;
use crate::labels::Labels;
use crate::metadata::Metadata;
use crate::sample::{SeriesRef, Timestamp};

/// A write in progress: neither durable nor readable until [`commit`](Self::commit). Dropping it forgets it.
///
/// All of it becomes readable at once, also to a query that reads many series, or one series many times.
#[derive(Debug)]
pub struct Appender<'h> {
    head: &'h Head,
    column: Option<(&'h SharedColumn, Timestamp)>,
    batch: Batch,
}

/// What an appender has been given. Kept by the head to be filled again.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Floats at the appender's own time.
    pub(crate) scraped: Vec<BatchSample>,
    /// Floats with times of their own.
    pub(crate) timed: Vec<(BatchSample, i64)>,
    pub(crate) histograms: Vec<BatchHistogram>,
    pub(crate) metadata: Vec<(String, Metadata)>,
    pub(crate) exemplars: Vec<BatchExemplar>,
}

#[derive(Clone, Debug)]
pub(crate) struct BatchExemplar {
    pub(crate) series: SeriesRef,
    /// Those of the series, filled in when it is logged.
    pub(crate) labels: Labels,
    pub(crate) exemplar: Exemplar,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSample {
    pub(crate) series: SeriesRef,
    /// 0 if unknown.
    pub(crate) start_ms: i64,
    pub(crate) value: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct BatchHistogram {
    /// How many timed floats were added before it: a series may have both, in the order in which they came.
    pub(crate) after: usize,
    pub(crate) series: SeriesRef,
    /// `None` for the appender's own time.
    pub(crate) at_ms: Option<i64>,
    pub(crate) start_ms: i64,
    pub(crate) value: HistogramValue,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.scraped.clear();
        self.timed.clear();
        self.histograms.clear();
        self.metadata.clear();
        self.exemplars.clear();
    }

    /// Bytes that it takes when it is empty.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.scraped.capacity() * size_of::<BatchSample>()
            + self.timed.capacity() * size_of::<(BatchSample, i64)>()
            + self.histograms.capacity() * size_of::<BatchHistogram>()
            + self.metadata.capacity() * size_of::<(String, Metadata)>()
            + self.exemplars.capacity() * size_of::<BatchExemplar>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.scraped.is_empty()
            && self.timed.is_empty()
            && self.histograms.is_empty()
            && self.metadata.is_empty()
            && self.exemplars.is_empty()
    }
}

/// Why a sample cannot be taken into a batch.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The store holds as many series as it may; this would be another.
    #[error("the limit of series in the store is reached")]
    TooManySeries,
    /// A native histogram contradicts itself.
    #[error(transparent)]
    InvalidHistogram(#[from] InvalidHistogram),
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Samples that are now durable and readable.
    pub appended: usize,
    /// Samples that were there already, equal bit for bit.
    pub known: usize,
    /// Those of the appended that came after newer ones of their series.
    pub late: usize,
    /// Samples older than the last one of their series, where late ones are not taken.
    pub out_of_order: usize,
    /// Samples older than late ones may be.
    pub too_old: usize,
    /// Samples so old that they may be in a block, where late ones are not taken.
    pub out_of_bounds: usize,
    /// Samples with another value than the one that is there at their time.
    pub duplicate: usize,
    /// Exemplars that are now kept.
    pub exemplars: usize,
    /// Exemplars that are not newer than the last one of their series.
    pub known_exemplars: usize,
    /// References that no longer name a series.
    pub unknown: Vec<SeriesRef>,
    /// The first sample that was refused, for the message to who sent it.
    pub first_refused: Option<(SeriesRef, Timestamp, Refusal)>,
}

impl Committed {
    /// Samples that were refused, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.out_of_order + self.too_old + self.out_of_bounds + self.duplicate + self.unknown.len()
    }

    pub(crate) fn count(&mut self, series: SeriesRef, at_ms: i64, refusal: Refusal) {
        match refusal {
            Refusal::OutOfOrder => self.out_of_order += 1,
            Refusal::TooOld => self.too_old += 1,
            Refusal::OutOfBounds => self.out_of_bounds += 1,
            Refusal::Duplicate => self.duplicate += 1,
            Refusal::UnknownRef => self.unknown.push(series),
        }
        self.first_refused.get_or_insert((series, Timestamp::from_millis(at_ms), refusal));
    }
}

impl<'h> Appender<'h> {
    pub(crate) fn new(head: &'h Head, column: Option<(&'h SharedColumn, Timestamp)>, batch: Batch) -> Self {
        Self { head, column, batch }
    }

    /// The series with these labels; made if it is not there yet.
    ///
    /// Cost: about 0.2 µs if it is there. A series that is made stays in memory also if the appender is dropped, and
    /// is logged with its first sample.
    ///
    /// # Errors
    /// If it would be one series too many.
    pub fn series(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        self.head.index.series(labels)
    }

    /// Adds a float at the appender's own time. About 2 ns.
    ///
    /// # Panics
    /// If the appender was made without a time.
    #[inline]
    pub fn append(&mut self, series: SeriesRef, value: f64) {
        self.append_started(series, None, value);
    }

    /// As [`append`](Self::append), for a count that began at `start`.
    ///
    /// # Panics
    /// If the appender was made without a time.
    #[inline]
    pub fn append_started(&mut self, series: SeriesRef, start: Option<Timestamp>, value: f64) {
        assert!(self.column.is_some(), "append needs an appender that has a time");
        self.batch.scraped.push(BatchSample { series, start_ms: start.map_or(0, Timestamp::millis), value });
    }

    /// Adds a float at a time of its own; of a count that began at `start`, if that is known.
    #[inline]
    pub fn append_at(&mut self, series: SeriesRef, at: Timestamp, start: Option<Timestamp>, value: f64) {
        let sample = BatchSample { series, start_ms: start.map_or(0, Timestamp::millis), value };
        self.batch.timed.push((sample, at.millis()));
    }

    /// Adds a native histogram at `at`, or at the appender's own time.
    ///
    /// One that is finer than the finest schema that is kept is reduced to it. Cost: a pass over the buckets.
    ///
    /// # Errors
    /// If the histogram contradicts itself.
    ///
    /// # Panics
    /// If `at` is not given and the appender was made without a time.
    pub fn append_histogram(
        &mut self,
        series: SeriesRef,
        at: Option<Timestamp>,
        start: Option<Timestamp>,
        value: HistogramValue,
    ) -> Result<(), AppendError> {
        assert!(at.is_some() || self.column.is_some(), "append_histogram needs a time");
        let value = value.validated()?;
        let (at_ms, start_ms) = (at.map(Timestamp::millis), start.map_or(0, Timestamp::millis));
        let after = self.batch.timed.len();
        self.batch.histograms.push(BatchHistogram { after, series, at_ms, start_ms, value });
        Ok(())
    }

    /// Adds an exemplar of a series that has a sample in this batch or had one before. It is kept if it is newer than the
    /// last one of its series.
    pub fn exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        self.batch.exemplars.push(BatchExemplar { series, labels: Labels::empty(), exemplar });
    }

    /// Adds what is known about a metric family; what was known before is replaced. Help texts beyond 4 KiB and units beyond
    /// 256 bytes are cut; a family for which there is no room is refused and counted, see
    /// [`Db::family_stats`](crate::Db::family_stats).
    pub fn metadata(&mut self, family: &str, mut metadata: Metadata) {
        cut(&mut metadata);
        self.batch.metadata.push((family.to_owned(), metadata));
    }

    /// Samples added so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.scraped.len() + self.batch.timed.len() + self.batch.histograms.len()
    }

    /// Whether no sample has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Logs the batch, then makes it readable. Takes `self`, so nothing can follow a commit.
    ///
    /// Samples that do not follow the last one of their series are left out and counted; the rest is committed.
    /// Cost: 60 to 100 ns per sample, the log included.
    ///
    /// # Errors
    /// If the log cannot be written; then nothing of the batch is stored.
    pub fn commit(self) -> Result<Committed, Error> {
        self.head.commit(self.column, self.batch)
    }
}
