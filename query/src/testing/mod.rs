//! Plays PromQL test scripts (feature `testing`): `load`, `eval`, `expect`, in the language of Prometheus' own.

mod compare;
mod nhcb;
mod promql;
mod run;
mod script;
mod series;
mod series_set;

use std::sync::Arc;

use tsdb::testing::{ModelStore, ModelValue};
use tsdb::{FloatHistogram, Labels, Queryable, Timestamp};

pub use promql::check_promql;
pub use run::{Failure, Outcome, engine_options, play};
pub use script::ScriptError;
pub use series_set::Synthetic;

/// A sample that a script loads.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSample {
    /// When.
    pub timestamp: Timestamp,
    /// What.
    pub value: LoadedValue,
    /// When its counts began, in milliseconds since the Unix epoch; 0 if unknown.
    pub start_ms: i64,
}

/// A float or a histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadedValue {
    /// A float, stale markers included.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A store that scripts can be played against.
pub trait ScriptStore {
    /// Forgets everything.
    fn clear(&mut self);

    /// Appends a `load` block in one commit: series by series, each in ascending time.
    fn append(&mut self, block: &[(Labels, Vec<LoadedSample>)]);

    /// The store to ask.
    fn queryable(&self) -> &dyn Queryable;
}

impl ScriptStore for ModelStore {
    fn clear(&mut self) {
        Self::clear(self);
    }

    fn append(&mut self, block: &[(Labels, Vec<LoadedSample>)]) {
        for (labels, samples) in block {
            for sample in samples {
                let value = match &sample.value {
                    LoadedValue::Float(value) => ModelValue::Float(*value),
                    LoadedValue::Histogram(histogram) => ModelValue::Histogram(histogram.clone()),
                };
                Self::append(self, labels, sample.timestamp, value, sample.start_ms);
            }
        }
    }

    fn queryable(&self) -> &dyn Queryable {
        self
    }
}
