//! The store: labels, samples, Gorilla-compressed chunks, the write-ahead log, the head and the querier.
//!
//! Synchronous and deterministic: no async runtime, no HTTP, no clock; "now" is an argument.

mod error;
mod histogram;
mod labels;
mod matcher;
mod querier;
mod sample;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::Error;
pub use histogram::{
    Bucket, BucketSide, CUSTOM_BUCKETS_SCHEMA, Combined, CounterResetHint, FloatHistogram, Histogram,
    IncompatibleBuckets, KahanHistogram, Span,
};
pub use labels::{Label, Labels, LabelsBuilder, METRIC_NAME, is_label_name, is_metric_name};
pub use matcher::{MatchOp, Matcher, PatternError};
pub use querier::{Columns, Querier, Queryable, SeriesSet};
pub use sample::{HistogramSample, STALE_NAN, Sample, SeriesRef, TimeRange, Timestamp, is_stale};
