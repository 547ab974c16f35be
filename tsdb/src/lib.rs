//! The store: labels, samples, Gorilla-compressed chunks, the write-ahead log, the head and the querier.
//!
//! Synchronous and deterministic: no async runtime, no HTTP, no clock; "now" is an argument.

#[allow(dead_code, unused_imports, reason = "the store does not write blocks yet")]
mod block;
mod chunk;
mod codec;
#[allow(dead_code, unused_imports, reason = "the store does not write blocks yet")]
mod compact;
mod db;
mod error;
mod fs;
mod head;
mod histogram;
mod import;
#[allow(dead_code, reason = "the store does not write blocks yet")]
mod index;
mod labels;
mod matcher;
#[allow(dead_code, reason = "the store does not write blocks yet")]
mod merge;
mod metadata;
#[allow(dead_code, reason = "the store does not write blocks yet")]
mod pages;
mod querier;
mod sample;
#[cfg(feature = "testing")]
pub mod testing;
mod wal;

pub use block::{BadBlockId, BlockId, BlockMeta, BlockRange, BlockStats, Compaction, Parent};
pub use chunk::HistogramValue;
pub use db::{Db, Options};
pub use error::Error;
pub use fs::{DiskFs, File, Fs, Map};
pub use head::{
    AppendError, Appender, Cardinality, CommitTotals, Committed, HeadStats, Recovery, Refusal, SharedColumn,
};
pub use histogram::{
    Bucket, BucketSide, CUSTOM_BUCKETS_SCHEMA, Combined, CounterResetHint, FloatHistogram, Histogram,
    IncompatibleBuckets, KahanHistogram, Span,
};
pub use import::{Imported, Importer, PrometheusDir};
pub use labels::{Label, Labels, LabelsBuilder, METRIC_NAME, is_label_name, is_metric_name};
pub use matcher::{MatchOp, Matcher, PatternError};
pub use metadata::{Metadata, MetricKind};
pub use querier::{Columns, Querier, Queryable, SeriesSet};
pub use sample::{HistogramSample, STALE_NAN, Sample, SeriesRef, TimeRange, Timestamp, is_stale};
pub use wal::SyncPolicy;
