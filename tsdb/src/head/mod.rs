//! The newest data, in memory: sharded by series, readable while it is written, logged before it is readable.

mod appender;
mod checkpoint;
mod column;
mod commit;
mod delete;
mod families;
mod files;
mod gc;
mod id_table;
mod index;
mod isolation;
mod late;
mod order;
mod read;
mod recover;
mod restore;
mod rewind;
mod series;
mod series_writer;
mod shard;
mod slab;
mod stats;
mod sync;
mod texts;
mod values;
mod verify;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::clock::Clock;
use crate::db::Options;
use crate::error::Error;
use crate::exemplar::{Exemplar, Exemplars};
use crate::fs::{AtPath, Fs};
use crate::labels::Labels;
use crate::manifest::{SharedManifest, State};
use crate::matcher::Matcher;
use crate::metadata::Metadata;
use crate::sample::{SeriesRef, TimeRange, Timestamp};
use crate::wal::{ColumnId, LogExtent, LogFile, WAL_DIR, Wal, WalOptions, ended, remove_before, segment_path};

pub use appender::{AppendError, Appender, Committed};
pub use column::SharedColumn;
pub use commit::CommitTotals;
pub use families::FamilyStats;
pub(crate) use read::HeadQuerier;
pub use recover::Recovery;
pub use series_writer::Refusal;
pub use stats::{Cardinality, HeadStats};
pub(crate) use verify::{HeadFound, verify_checkpoint};

use appender::Batch;
use checkpoint::sweep_checkpoints;
pub(crate) use checkpoint::{CHECKPOINTS_DIR, Snapshot, checkpoints, finished_checkpoint};
use commit::{Committer, CommitterState, Counters, Sealers};
use families::Families;
use files::ChunkFiles;
pub(crate) use files::{CHUNKS_DIR, is_chunk_file};
pub(crate) use gc::Truncation;
use index::SeriesIndex;
use isolation::{History, Isolation, ReadTicket};
use order::Order;
pub(crate) use recover::{LogEnd, Part};
use recover::{Recovered, Recovering, recover};
use sync::Syncer;
use values::ValueOrder;

/// Lock order: `committer`, then the index, then the chunks of one series.
#[derive(Debug)]
pub(crate) struct Head {
    fs: Arc<dyn Fs>,
    /// The data directory.
    dir: PathBuf,
    committer: Mutex<Committer>,
    index: SeriesIndex,
    isolation: Arc<Isolation>,
    history: History,
    syncer: Syncer,
    /// What is known about metric families, by name.
    metadata: RwLock<Families>,
    exemplars: Mutex<Exemplars>,
    counters: Counters,
    last_column: AtomicU64,
    batches: Mutex<Vec<Batch>>,
    sealers: Mutex<Sealers>,
    /// Sealed chunks that have left memory.
    files: ChunkFiles,
    /// Bytes of sealed chunks in memory.
    sealed_bytes: AtomicUsize,
    order: RwLock<Arc<Order>>,
    value_order: Mutex<ValueOrder>,
    /// Why the last commit could not be logged.
    refused: Mutex<Option<String>>,
    /// Chunk files that only the last checkpoint needs.
    partial: Mutex<Vec<NonZeroU32>>,
    /// A mark behind which series were taken out whose texts are still there.
    texts_left: Mutex<Option<u64>>,
    /// Series that had no sample when they were last looked for, ascending.
    unused: Mutex<Vec<SeriesRef>>,
}

/// Where the head begins: what the manifest says of it.
#[derive(Clone, Debug)]
pub(crate) struct HeadStart {
    /// The checkpoint to begin with.
    pub(crate) checkpoint: Option<u64>,
    /// The first segment of the log that is needed.
    pub(crate) first_segment: u64,
    /// What is older is in blocks; late samples aside.
    pub(crate) flushed_until_ms: i64,
    /// Segments of the log that there must be.
    pub(crate) log: Arc<LogExtent>,
}

impl HeadStart {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            checkpoint: Some(state.checkpoint).filter(|&number| number > 0),
            first_segment: state.first_segment,
            flushed_until_ms: state.flushed_until_ms,
            log: Arc::new(state.log.clone()),
        }
    }
}

/// Batches that are kept for the next commits.
const MAX_KEPT: usize = 16;

/// Shards that a head may have.
const MAX_SHARDS: usize = 1 << 12;

impl Head {
    /// The head, or a part of it, as checkpoint and log below `dir` have it, to be read; see [`begin_writing`](Self::begin_writing). Writes
    /// nothing. `progress` gets the bytes replayed and the bytes there are.
    pub(crate) fn recover(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        start: &HeadStart,
        part: Part<'_>,
        options: &Options,
        progress: impl FnMut(u64, u64),
    ) -> Result<(Self, Recovery, LogEnd), Error> {
        let shards = match options.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let files = ChunkFiles::open(fs, dir.join(CHUNKS_DIR))?;
        let index = SeriesIndex::new(shards.clamp(1, MAX_SHARDS), options.max_series);
        let history = History::default();
        let into = Recovering { index: &index, history: &history, files: &files, part };
        let recovered = recover(&**fs, dir, start, into, options.max_exemplars, progress)?;
        let Recovered { writers, metadata, last_id, last_column, end, span, found, sealed_bytes, exemplars } =
            recovered;
        let state = CommitterState {
            span,
            flushed_until_ms: start.flushed_until_ms,
            late_window_ms: options.late_window_ms(),
            clock: options.clock,
            tail_samples: found.samples,
        };
        let head = Self {
            fs: fs.clone(),
            dir: dir.to_owned(),
            committer: Mutex::new(Committer::new(writers, last_id, state)),
            index,
            isolation: Arc::default(),
            history,
            syncer: Syncer::new(options.sync),
            metadata: RwLock::new(metadata),
            exemplars: Mutex::new(exemplars),
            counters: Counters::default(),
            last_column: AtomicU64::new(last_column),
            batches: Mutex::default(),
            sealers: Mutex::default(),
            files,
            sealed_bytes: AtomicUsize::new(sealed_bytes),
            order: RwLock::default(),
            value_order: Mutex::default(),
            refused: Mutex::default(),
            partial: Mutex::default(),
            texts_left: Mutex::default(),
            unused: Mutex::default(),
        };
        Ok((head, found, end))
    }

    /// Begins to write where the log ends: cuts off what was left unfinished there, and removes what nothing names. Where the
    /// disk is full, the head takes no samples until [`retry_refused`](Self::retry_refused) finds room.
    pub(crate) fn begin_writing(
        &self,
        start: &HeadStart,
        end: &LogEnd,
        segment_bytes: u64,
        manifest: SharedManifest,
    ) -> Result<(), Error> {
        let wal_dir = self.dir.join(WAL_DIR);
        end.tail.as_ref().map_or(Ok(()), |tail| tail.cut(&*self.fs))?;
        self.files.sweep()?;
        sweep_checkpoints(&*self.fs, &self.dir, start.checkpoint)?;
        remove_before(&*self.fs, &wal_dir, start.first_segment)?;
        let ended = self.unnamed_ends(start, end, &wal_dir)?;
        let options = WalOptions {
            next_segment: end.next_segment,
            segment_bytes,
            older_bytes: end.bytes,
            sync: self.syncer.policy(),
        };
        let mut wal = Wal::new(self.fs.clone(), wal_dir, options, manifest);
        let begun = wal.begin(&ended);
        self.committer.lock().begin(wal);
        match begun {
            Err(error) if error.is_full_disk() => {
                *self.refused.lock() = Some(error.to_string());
                Ok(())
            }
            other => other,
        }
    }

    /// Lengths of the segments that the manifest does not say to have ended. From here on they survive a power cut.
    fn unnamed_ends(&self, start: &HeadStart, end: &LogEnd, wal_dir: &Path) -> Result<Vec<(u64, u64)>, Error> {
        let unnamed = end.ends.iter().filter(|(number, _)| !start.log.ended.contains_key(number));
        let unnamed = unnamed.map(|(&number, &bytes)| {
            let path = segment_path(wal_dir, number);
            self.fs.open(&path).and_then(|file| file.sync()).at(&path)?;
            Ok((number, bytes))
        });
        unnamed.collect()
    }

    /// Lets the manifest name the lengths of segments that have ended and been synced. What cannot be named now is at the next
    /// start.
    fn name_ended(&self, files: &[LogFile]) {
        let ended = ended(files);
        if !ended.is_empty() {
            let manifest = self.committer.lock().wal().manifest();
            let _ = manifest.lock().ended(&ended);
        }
    }

    /// Lets nothing be committed until all there is has been written to other files.
    pub(crate) fn stop(&self, reason: String) {
        self.committer.lock().fail(reason.clone());
        self.syncer.fail(reason);
    }

    /// An appender; with `column`, one that has a time.
    pub(crate) fn appender<'h>(&'h self, column: Option<(&'h SharedColumn, Timestamp)>) -> Appender<'h> {
        Appender::new(self, column, self.batches.lock().pop().unwrap_or_default())
    }

    fn recycle(&self, mut batch: Batch) {
        batch.clear();
        let mut batches = self.batches.lock();
        if batches.len() < MAX_KEPT && batch.capacity_bytes() <= commit::MAX_KEPT_BYTES {
            batches.push(batch);
        }
    }

    pub(crate) fn column(&self) -> SharedColumn {
        SharedColumn::new(ColumnId(self.last_column.fetch_add(1, Ordering::Relaxed) + 1))
    }

    pub(crate) fn series_count(&self) -> u64 {
        self.index.len()
    }

    /// Why samples are not taken now: what the disk said to the last commit, or to the last sync.
    pub(crate) fn paused(&self) -> Option<String> {
        let refused = self.refused.lock().clone();
        refused.or_else(|| self.committer.lock().failed().map(str::to_owned))
    }

    /// Looks whether the disk takes samples again after it refused some, so that a pause ends also where nobody tries.
    pub(crate) fn retry_refused(&self) {
        if self.refused.lock().is_none() {
            return;
        }
        // A new segment has its space reserved: what fits is taken.
        let mut committer = self.committer.lock();
        if committer.wal().roll().is_ok() {
            *self.refused.lock() = None;
        }
    }

    /// Whether a sync has failed: nothing is accepted until a checkpoint has been written and [`resume`](Self::resume)
    /// called.
    pub(crate) fn needs_fresh_files(&self) -> bool {
        self.syncer.has_failed()
    }

    /// Goes on after a failed sync. All that was committed up to `commit` is in a checkpoint, and nothing came since.
    pub(crate) fn resume(&self, commit: u64) {
        self.committer.lock().resume();
        self.syncer.resume(commit);
        self.isolation.publish(commit);
    }

    /// From the oldest sample to the newest; empty if there is none.
    pub(crate) fn span(&self) -> TimeRange {
        self.committer.lock().span()
    }

    /// How much older than the newest sample a late one may be, in milliseconds.
    pub(crate) fn late_window_ms(&self) -> i64 {
        self.committer.lock().late_window_ms()
    }

    /// The time as it was told last.
    pub(crate) fn clock(&self) -> Option<Clock> {
        self.committer.lock().clock()
    }

    pub(crate) fn set_clock(&self, clock: Clock) {
        self.committer.lock().set_clock(clock);
    }

    /// The moment that the age of samples is counted from: the newest sample, unless that lies in the future.
    pub(crate) fn reference_ms(&self) -> i64 {
        self.committer.lock().reference_ms()
    }

    pub(crate) fn set_late_window_ms(&self, ms: i64) {
        self.committer.lock().set_late_window(ms);
    }

    /// Samples logged since the last checkpoint.
    pub(crate) fn tail_samples(&self) -> u64 {
        self.committer.lock().tail_samples()
    }

    /// Bytes of the log, and of the chunks that have left memory.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.committer.lock().wal().size_bytes() + self.files.size_bytes()
    }

    /// Opens a reader.
    pub(crate) fn open_reader(&self) -> ReadTicket {
        self.isolation.open()
    }

    /// A mark that tells readers opened before from those that come.
    pub(crate) fn mark(&self) -> u64 {
        self.isolation.mark()
    }

    /// Whether all readers that were open at `mark` are gone.
    pub(crate) fn passed(&self, mark: u64) -> bool {
        self.isolation.passed(mark)
    }

    /// Lets go of what was kept for readers that are gone. Each commit does so too: this is for when none comes.
    pub(crate) fn forget_history(&self) {
        // With the committer locked, as commits add to it.
        let _committer = self.committer.lock();
        let mut watched = Vec::new();
        self.isolation.watched(&mut watched);
        self.history.prune(&watched);
    }

    /// What is known about the metric families.
    pub(crate) fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.metadata.read().entries().clone()
    }

    /// Makes all that has been committed survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let last = self.committer.lock().last_commit();
        self.syncer.sync(self, last)
    }

    /// The labels of a series.
    fn labels_of(&self, series: SeriesRef) -> Option<Labels> {
        let (shard, slot) = index::place(series);
        self.index.labels(shard, slot)
    }

    /// The exemplars within `range` of the series that pass all matchers of any of `selectors`: by series in label order,
    /// each series' in ascending time.
    pub(crate) fn exemplars(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let mut found = self.exemplars.lock().select(selectors, range);
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Exemplars that are kept at the most.
    pub(crate) fn max_exemplars(&self) -> usize {
        self.exemplars.lock().limit()
    }

    /// Syncs the log and gives back the space that was reserved for more.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.sync()?;
        self.committer.lock().wal().close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::testing::FaultFs;

    #[test]
    fn what_is_kept_for_readers_goes_with_them_though_no_commit_comes() {
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(FaultFs::default()), Path::new("/data"));
        let start = HeadStart::of(&State::default());
        let (head, _, end) = Head::recover(&fs, dir, &start, Part::All, &Options::default(), |_, _| {}).unwrap();
        fs.create_dir_all(dir).unwrap();
        let manifest = Manifest::begin(&fs, dir, State::default()).shared();
        head.begin_writing(&start, &end, 1 << 20, manifest).unwrap();
        let mut series = SeriesRef(0);
        let mut commit = |at_ms| {
            let mut appender = head.appender(None);
            series = appender.series(&Labels::from_pairs([("__name__", "up")])).unwrap();
            appender.append_at(series, Timestamp::from_millis(at_ms), None, 1.0);
            appender.commit().unwrap();
            series
        };
        commit(1000);
        let reader = head.open_reader();
        commit(2000);
        let series = commit(3000);
        head.forget_history();
        assert_eq!(head.history.before(series, 1000, reader.watermark()), Some(1), "the reader is still there");
        let watermark = reader.watermark();
        drop(reader);
        head.forget_history();
        assert_eq!(head.history.before(series, 1000, watermark), None);
    }
}
