//! Test doubles and seeded generators (feature `testing`).

pub mod blocks;
mod checks;
pub mod chunks;
mod faults;

pub use checks::{check_checkpoint, check_chunk, check_files, check_manifest, check_newest, check_wal};
pub use faults::FaultFs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::histogram::{CounterResetHint, FloatHistogram};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::querier::{Columns, Querier, Queryable, SeriesSet};
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// The store as a sorted map: slow, obviously right, and the model that the real one is compared with.
#[derive(Debug, Default)]
pub struct ModelStore {
    series: Mutex<Arc<BTreeMap<Labels, ModelSeries>>>,
}

/// The samples of one series, by time.
type ModelSeries = BTreeMap<i64, ModelSample>;

/// What a series holds at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelValue {
    /// A float, stale markers included.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A value and when its counts began, 0 if unknown.
#[derive(Clone, Debug, PartialEq)]
struct ModelSample {
    value: ModelValue,
    start_ms: i64,
}

impl ModelStore {
    /// Stores a sample; the first of two at the same time stays. `start_ms` is 0 if unknown.
    ///
    /// The counter reset hint of a histogram becomes what a store that keeps histograms in chunks can tell: within a
    /// chunk there is no reset; what begins a chunk is unknown; gauges stay gauges.
    pub fn append(&self, labels: &Labels, timestamp: Timestamp, mut value: ModelValue, start_ms: i64) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = Arc::make_mut(&mut series).entry(labels.clone()).or_default();
        if let ModelValue::Histogram(histogram) = &mut value {
            let before = samples.range(..timestamp.millis()).next_back().map(|(_, sample)| &sample.value);
            let hint = stored_hint(histogram, before);
            Arc::make_mut(histogram).counter_reset_hint = hint;
        }
        samples.entry(timestamp.millis()).or_insert(ModelSample { value, start_ms });
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.series.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }
}

/// The hint that a histogram gets after what is stored before it.
fn stored_hint(histogram: &FloatHistogram, before: Option<&ModelValue>) -> CounterResetHint {
    if histogram.counter_reset_hint == CounterResetHint::Gauge {
        return CounterResetHint::Gauge;
    }
    let Some(ModelValue::Histogram(before)) = before else { return CounterResetHint::Unknown };
    let same_chunk = histogram.counter_reset_hint != CounterResetHint::Reset
        && before.counter_reset_hint != CounterResetHint::Gauge
        && !before.is_stale()
        && before.schema == histogram.schema
        && before.zero_threshold == histogram.zero_threshold
        && before.custom_values == histogram.custom_values
        && !histogram.lost_observations_since(before);
    if same_chunk { CounterResetHint::NotReset } else { CounterResetHint::Unknown }
}

impl Queryable for ModelStore {
    fn querier(&self) -> Result<Arc<dyn Querier>, Error> {
        Ok(Arc::new(ModelView(self.series.lock().unwrap_or_else(PoisonError::into_inner).clone())))
    }
}

struct ModelView(Arc<BTreeMap<Labels, ModelSeries>>);

impl ModelView {
    fn selected<'a>(
        &'a self,
        matchers: &'a [Matcher],
        range: TimeRange,
    ) -> impl Iterator<Item = (&'a Labels, &'a ModelSeries)> {
        self.0.iter().filter(move |(labels, samples)| {
            matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
                && within(samples, range).next().is_some()
        })
    }
}

fn within(samples: &ModelSeries, range: TimeRange) -> impl Iterator<Item = (&i64, &ModelSample)> {
    let (start, end) = (range.start.millis(), range.end.millis());
    (start <= end).then(|| samples.range(start..=end)).into_iter().flatten()
}

impl Querier for ModelView {
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        Ok(Arc::new(ModelSet(self.selected(matchers, range).map(|(l, s)| (l.clone(), s.clone())).collect())))
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, Error> {
        let names: BTreeSet<&str> =
            self.selected(matchers, range).flat_map(|(l, _)| l.iter().map(|(n, _)| n)).collect();
        Ok(names.into_iter().take(limit).map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let values: BTreeSet<&str> = self.selected(matchers, range).filter_map(|(l, _)| l.get(name)).collect();
        Ok(values.into_iter().take(limit).map(str::to_owned).collect())
    }
}

struct ModelSet(Vec<(Labels, ModelSeries)>);

impl SeriesSet for ModelSet {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.0[index].0.clone()
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.0[index].0.get(name)
    }

    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)> {
        self.0[index].0.iter().nth(n)
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        for (&at, sample) in within(&self.0[index].1, range) {
            match &sample.value {
                ModelValue::Float(value) => columns.push(at, *value, sample.start_ms),
                ModelValue::Histogram(histogram) => columns.histograms.push(HistogramSample {
                    timestamp: Timestamp::from_millis(at),
                    start: (sample.start_ms != 0).then(|| Timestamp::from_millis(sample.start_ms)),
                    histogram: histogram.clone(),
                }),
            }
        }
        Ok(())
    }
}
