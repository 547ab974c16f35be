//! What the scraper asks of a store.

use std::borrow::Cow;
use std::sync::Arc;

use tsdb::{
    AppendError, Appender, Committed, Db, HistogramValue, Labels, Metadata, SeriesRef, SharedColumn, Timestamp,
};

/// Where samples go.
pub trait Store: Clone + Send + Sync + 'static {
    /// The timestamps that all series of one target share. One per target, for as long as it is scraped.
    type Column: Send + Sync + 'static;
    /// A write in progress.
    type Batch<'s>: Batch
    where
        Self: 's;

    /// A column for a new target.
    fn column(&self) -> Self::Column;

    /// Begins the write of one scrape, whose samples are of the moment `at` unless they say otherwise.
    fn batch<'s>(&'s self, column: &'s Self::Column, at: Timestamp) -> Self::Batch<'s>;
}

/// One example of what a series has counted: mostly a link to a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar<'e> {
    /// Its labels, in the order in which they were written.
    pub labels: &'e [(Cow<'e, str>, Cow<'e, str>)],
    /// What was observed.
    pub value: f64,
    /// When: as the target says, else when the sample is of.
    pub at: Timestamp,
}

/// Characters that the labels of an exemplar may have, as OpenMetrics and Prometheus have it.
const MAX_EXEMPLAR_CHARS: usize = 128;

impl Exemplar<'_> {
    /// Whether its labels are not too long to be kept.
    pub(crate) fn fits(&self) -> bool {
        let chars = |text: &str| text.chars().count();
        self.labels.iter().map(|(name, value)| chars(name) + chars(value)).sum::<usize>() <= MAX_EXEMPLAR_CHARS
    }
}

/// A write in progress. Dropping it forgets it.
pub trait Batch {
    /// Finds or makes the series of `labels`.
    ///
    /// # Errors
    /// If the store takes no new series.
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError>;

    /// Adds a value at the moment of the scrape.
    fn append(&mut self, series: SeriesRef, value: f64);

    /// Adds a value at a moment that the target has named.
    fn append_at(&mut self, series: SeriesRef, at: Timestamp, value: f64);

    /// Adds a value of a count that began at `start`, at the moment of the scrape or at one that the target has named.
    fn append_started(&mut self, series: SeriesRef, at: Option<Timestamp>, start: Option<Timestamp>, value: f64);

    /// As [`append_started`](Self::append_started), a native histogram.
    ///
    /// # Errors
    /// If its spans and buckets do not fit together.
    fn histogram(
        &mut self,
        series: SeriesRef,
        at: Option<Timestamp>,
        start: Option<Timestamp>,
        value: HistogramValue,
    ) -> Result<(), AppendError>;

    /// Takes an example of what a series has counted; it is kept if it is newer than the last one of its series.
    fn exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar<'_>);

    /// Keeps what a target says about a metric family.
    fn metadata(&mut self, family: &str, metadata: &Metadata);

    /// Makes the batch durable, then readable. Says which series the store no longer knows; their samples are not
    /// stored.
    ///
    /// # Errors
    /// If the store cannot write; nothing of the batch is then stored.
    fn commit(self) -> Result<Committed, tsdb::Error>;
}

impl Store for Arc<Db> {
    type Column = SharedColumn;
    type Batch<'s> = Appender<'s>;

    fn column(&self) -> SharedColumn {
        Db::column(self)
    }

    fn batch<'s>(&'s self, column: &'s SharedColumn, at: Timestamp) -> Appender<'s> {
        self.scrape_appender(column, at)
    }
}

impl Batch for Appender<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        Appender::series(self, labels)
    }

    #[inline]
    fn append(&mut self, series: SeriesRef, value: f64) {
        Appender::append(self, series, value);
    }

    #[inline]
    fn append_at(&mut self, series: SeriesRef, at: Timestamp, value: f64) {
        Appender::append_at(self, series, at, None, value);
    }

    fn append_started(&mut self, series: SeriesRef, at: Option<Timestamp>, start: Option<Timestamp>, value: f64) {
        match at {
            Some(at) => Appender::append_at(self, series, at, start, value),
            None => Appender::append_started(self, series, start, value),
        }
    }

    fn histogram(
        &mut self,
        series: SeriesRef,
        at: Option<Timestamp>,
        start: Option<Timestamp>,
        value: HistogramValue,
    ) -> Result<(), AppendError> {
        self.append_histogram(series, at, start, value)
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar<'_>) {
        let labels = Labels::from_pairs(exemplar.labels.iter().map(|(name, value)| (&**name, &**value)));
        Appender::exemplar(self, series, tsdb::Exemplar { labels, value: exemplar.value, timestamp: exemplar.at });
    }

    fn metadata(&mut self, family: &str, metadata: &Metadata) {
        Appender::metadata(self, family, metadata.clone());
    }

    fn commit(self) -> Result<Committed, tsdb::Error> {
        Appender::commit(self)
    }
}
