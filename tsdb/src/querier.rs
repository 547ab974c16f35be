//! How samples are read: one view over all that a store holds.

use std::sync::Arc;

use crate::error::Error;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::{HistogramSample, TimeRange};

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

    /// The label names of those series, sorted, at most `limit` of them.
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
    /// Working memory of the decoders.
    pub(crate) times: Vec<i64>,
    pub(crate) scratch: Vec<i64>,
}

impl Columns {
    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
        self.histograms.clear();
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
