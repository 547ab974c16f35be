//! What the scraper asks of a store.

use tsdb::{Labels, SeriesRef, Timestamp};

use crate::parse::MetricKind;

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

/// A write in progress. Dropping it forgets it.
pub trait Batch {
    /// Finds or makes the series of `labels`.
    ///
    /// # Errors
    /// If the store takes no new series.
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, Refusal>;

    /// Adds a value at the moment of the scrape.
    ///
    /// # Errors
    /// [`Refusal::UnknownRef`] if the store has let go of the series: find it anew.
    fn append(&mut self, series: SeriesRef, value: f64) -> Result<(), Refusal>;

    /// Adds a value at a moment that the target has named.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn append_at(&mut self, series: SeriesRef, at: Timestamp, value: f64) -> Result<(), Refusal>;

    /// Keeps what a target says about a metric family.
    fn metadata(&mut self, family: &str, metadata: &Metadata);

    /// Makes the batch durable, then readable.
    ///
    /// # Errors
    /// If the store cannot write; nothing of the batch is then stored.
    fn commit(self) -> Result<Committed, tsdb::Error>;
}

/// Why a store does not take a sample or a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The series is not, or no longer, known by this reference.
    #[error("unknown series reference")]
    UnknownRef,
    /// The limit of series is reached.
    #[error("the store takes no more series")]
    TooManySeries,
    /// The series has too many labels, or too long ones, for the store.
    #[error("the labels are too large for the store")]
    LabelsTooLarge,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Samples stored.
    pub appended: u64,
    /// Samples refused: older than the last of their series.
    pub out_of_order: u64,
    /// Samples refused: another value at the same moment.
    pub duplicate: u64,
    /// Samples refused: too old, or too far ahead of now.
    pub out_of_bounds: u64,
}

/// What a target says about a metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// From `TYPE`.
    pub kind: MetricKind,
    /// From `HELP`, unescaped.
    pub help: String,
    /// From `UNIT`.
    pub unit: String,
}
