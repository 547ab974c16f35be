//! The newest data, in memory: sharded by series, readable while it is written, logged before it is readable.

mod appender;
mod column;
mod commit;
mod index;
mod isolation;
mod read;
mod recover;
mod series;
mod shard;
mod slab;
mod stats;
mod sync;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::db::Options;
use crate::error::Error;
use crate::fs::{AtPath, Fs};
use crate::metadata::Metadata;
use crate::sample::Timestamp;
use crate::wal::{ColumnId, WAL_DIR, Wal};

pub use appender::{AppendError, Appender, Committed};
pub use column::SharedColumn;
pub use commit::CommitTotals;
pub(crate) use read::HeadQuerier;
pub use recover::Recovery;
pub use series::Refusal;
pub use stats::{Cardinality, HeadStats};

use appender::Batch;
use commit::{Committer, Counters, Sealers};
use index::SeriesIndex;
use isolation::{History, Isolation};
use recover::{Recovered, recover};
use sync::Syncer;

/// Lock order: `committer`, then the index, then the chunks of one series.
#[derive(Debug)]
pub(crate) struct Head {
    committer: Mutex<Committer>,
    index: SeriesIndex,
    isolation: Arc<Isolation>,
    history: History,
    syncer: Syncer,
    /// What is known about metric families, by name.
    metadata: RwLock<BTreeMap<String, Metadata>>,
    counters: Counters,
    last_column: AtomicU64,
    batches: Mutex<Vec<Batch>>,
    sealers: Mutex<Sealers>,
}

/// Batches that are kept for the next commits.
const MAX_KEPT: usize = 16;

/// Shards that a head may have.
const MAX_SHARDS: usize = 1 << 12;

impl Head {
    /// The head as the log below `dir` has it, ready for more. `progress` gets the bytes replayed and the bytes there
    /// are.
    pub(crate) fn recover(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        options: &Options,
        progress: impl FnMut(u64, u64),
    ) -> Result<(Self, Recovery), Error> {
        let dir = dir.join(WAL_DIR);
        fs.create_dir_all(&dir).at(&dir)?;
        let shards = match options.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let index = SeriesIndex::new(shards.clamp(1, MAX_SHARDS), options.max_series);
        let history = History::default();
        let Recovered { writers, metadata, last_id, last_column, next_segment, span, found } =
            recover(&**fs, &dir, &index, &history, progress)?;
        let wal = Wal::begin(fs.clone(), dir, next_segment, options.wal_segment_bytes, found.wal_bytes)?;
        let head = Self {
            committer: Mutex::new(Committer::new(wal, writers, last_id, span)),
            index,
            isolation: Arc::default(),
            history,
            syncer: Syncer::new(options.sync),
            metadata: RwLock::new(metadata),
            counters: Counters::default(),
            last_column: AtomicU64::new(last_column),
            batches: Mutex::default(),
            sealers: Mutex::default(),
        };
        Ok((head, found))
    }

    /// An appender; with `column`, one that has a time.
    pub(crate) fn appender<'h>(&'h self, column: Option<(&'h SharedColumn, Timestamp)>) -> Appender<'h> {
        Appender::new(self, column, self.batches.lock().pop().unwrap_or_default())
    }

    fn recycle(&self, mut batch: Batch) {
        batch.clear();
        let mut batches = self.batches.lock();
        if batches.len() < MAX_KEPT {
            batches.push(batch);
        }
    }

    pub(crate) fn column(&self) -> SharedColumn {
        SharedColumn::new(ColumnId(self.last_column.fetch_add(1, Ordering::Relaxed) + 1))
    }

    pub(crate) fn series_count(&self) -> u64 {
        self.index.len()
    }

    /// What is known about the metric families.
    pub(crate) fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.metadata.read().clone()
    }

    /// Makes all that has been committed survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let last = self.committer.lock().last_commit();
        self.syncer.sync(self, last)
    }

    /// Syncs the log and gives back the space that was reserved for more.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.sync()?;
        self.committer.lock().wal().close()
    }
}
