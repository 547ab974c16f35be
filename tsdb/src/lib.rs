//! The store: labels, samples, Gorilla-compressed chunks, the write-ahead log, the head and the querier.
//!
//! Synchronous and deterministic: no async runtime, no HTTP, no clock; "now" is an argument.

mod block;
mod blocks;
mod chunk;
mod clock;
mod codec;
mod compact;
mod db;
mod error;
mod exemplar;
mod foreign;
mod fs;
mod head;
mod histogram;
mod import;
mod index;
mod labels;
mod live;
mod maintenance;
mod manifest;
mod matcher;
mod memory;
mod merge;
mod metadata;
mod opening;
mod pages;
mod periodic;
mod querier;
mod read_only;
mod sample;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;
mod view;
mod wal;

pub use block::{BadBlockId, BlockId, BlockMeta, BlockRange, BlockStats, Compaction, Parent, verify_blocks};
pub use chunk::HistogramValue;
pub use clock::{Clock, TOLERANCE_MS};
pub use compact::Retention;
pub use db::{Db, Deleted, Future, Options};
pub use error::Error;
pub use exemplar::{Exemplar, FoundExemplars};
pub use foreign::{Beside, Writer};
pub use fs::{DiskFs, File, FileId, Fs, Map};
pub use head::{
    AppendError, Appender, Cardinality, CommitTotals, Committed, FamilyStats, HeadStats, Recovery, Refusal,
    SharedColumn,
};
pub use histogram::{
    Bucket, BucketSide, CUSTOM_BUCKETS_SCHEMA, Combined, CounterResetHint, FloatHistogram, Histogram, HistogramPart,
    IncompatibleBuckets, InvalidHistogram, KahanHistogram, Span,
};
pub use import::{Imported, Importer, LeftOut, Omission, PrometheusDir};
pub use labels::{Label, Labels, LabelsBuilder, METRIC_NAME, is_label_name, is_metric_name};
pub use maintenance::{Held, MaintenanceTotals};
pub use matcher::{MatchOp, Matcher};
pub use memory::MemoryStore;
pub use metadata::{Metadata, MetricKind};
pub use opening::{EarlyReader, Opening};
pub use querier::{Columns, Querier, Queryable, SeriesSet};
pub use read_only::ReadOnlyDb;
pub use sample::{HistogramSample, STALE_NAN, Sample, SeriesRef, TimeRange, Timestamp, is_stale};
pub use verify::{Verified, verify};
pub use wal::SyncPolicy;
