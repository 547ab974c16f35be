//! A store in a directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::block::BlockMeta;
use crate::blocks::Blocks;
use crate::clock::Clock;
use crate::compact::Retention;
use crate::error::Error;
use crate::exemplar::{FoundExemplars, Newest};
use crate::fs::Fs;
use crate::head::{Appender, Cardinality, FamilyStats, Head, HeadQuerier, HeadStats, Recovery, SharedColumn};
use crate::import::{Imported, Importer};
use crate::maintenance::{Limits, Maintenance, MaintenanceTotals};
use crate::manifest::SharedManifest;
use crate::matcher::Matcher;
use crate::metadata::Metadata;
use crate::opening::{Lock, Opening};
use crate::periodic::Periodic;
use crate::querier::{Querier, Queryable};
use crate::sample::{TimeRange, Timestamp};
use crate::view::StoreQuerier;
use crate::wal::SyncPolicy;

/// How a store works. The defaults suit a server that shares its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Shards of the head; 0 for one per core. May differ at every start.
    pub shards: usize,
    /// When the log is made to survive a power cut.
    pub sync: SyncPolicy,
    /// Bytes of a log segment; reserved when it is begun.
    pub wal_segment_bytes: u64,
    /// Series that the head may hold; 0 for no limit.
    pub max_series: u64,
    /// How much older than the newest sample of the store a sample may be that does not follow the last one of its
    /// series; zero, and none is taken.
    pub late_window: Duration,
    /// Exemplars that the head keeps, the newest, about 200 bytes each, and that one question finds at the most. Blocks
    /// hold more: what the head had when they were cut.
    pub max_exemplars: usize,
    /// How long samples are kept.
    pub retention: Retention,
    /// The time when the store is opened; see [`Db::set_clock`].
    pub clock: Option<Clock>,
    /// Bytes of sealed chunks that stay in memory; beyond, they move to files.
    pub max_sealed_bytes: usize,
    /// A checkpoint is written once so many samples would have to be replayed, or 40 for each series if that is more.
    pub checkpoint_samples: u64,
    /// How often the store looks what there is to do; zero, and it does nothing by itself: see
    /// [`Db::maintain`].
    pub maintain_every: Duration,
}

impl Options {
    pub(crate) fn late_window_ms(&self) -> i64 {
        i64::try_from(self.late_window.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 0,
            sync: SyncPolicy::Interval(Duration::from_secs(1)),
            wal_segment_bytes: 32 << 20,
            max_series: 0,
            late_window: Duration::from_secs(30 * 60),
            max_exemplars: 100_000,
            retention: Retention::default(),
            clock: None,
            max_sealed_bytes: 4 << 20,
            checkpoint_samples: 8 << 20,
            maintain_every: Duration::from_secs(1),
        }
    }
}

/// A store in a directory, which it holds locked. Dropping it stops its threads; [`close`](Self::close) also says
/// whether all went well.
#[derive(Debug)]
pub struct Db {
    head: Arc<Head>,
    maintenance: Arc<Maintenance>,
    dir: PathBuf,
    recovery: Recovery,
    /// `tsdb-wal-sync`, `tsdb-head`, `tsdb-compact`.
    threads: Vec<Periodic>,
    /// Given back last.
    _lock: Lock,
}

/// What a store consists of.
pub(crate) struct Parts {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) lock: Lock,
    pub(crate) head: Arc<Head>,
    pub(crate) manifest: SharedManifest,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) recovery: Recovery,
}

/// What deleting did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Series that have samples in the range.
    pub series: u64,
    /// Their samples in it.
    pub samples: u64,
}

/// Samples of the future that a store holds: a clock was ahead when they were taken, or one is behind now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Future {
    /// Up to where they reach; `None` if there are none.
    pub newest: Option<Timestamp>,
    /// Blocks that hold some.
    pub blocks: u64,
}

impl Db {
    /// Opens the store in `dir`, which is made if need be, and recovers what its log holds. `progress` gets the bytes
    /// replayed and the bytes there are, now and then.
    ///
    /// # Errors
    /// If the directory cannot be used, is in use, or was written by another program or by a version that this one does not
    /// know. A damaged log is no error: what can be is recovered, the rest is told of in [`recovery`](Self::recovery).
    pub fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        options: &Options,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, Error> {
        Opening::begin(fs, dir, options)?.finish(progress)
    }

    /// A store of these parts, which works from now on.
    pub(crate) fn of_parts(parts: Parts, options: &Options) -> Self {
        let Parts { fs, dir, lock, head, manifest, blocks, recovery } = parts;
        let limits = Limits { sealed_bytes: options.max_sealed_bytes, tail_samples: options.checkpoint_samples };
        let maintenance = Maintenance::new(&fs, &dir, head.clone(), limits, options.retention, manifest, blocks);
        let maintenance = Arc::new(maintenance);
        let threads = threads(options, &head, &maintenance);
        Self { head, maintenance, dir, recovery, threads, _lock: lock }
    }

    /// What was found when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Series in the head.
    #[must_use]
    pub fn series_count(&self) -> u64 {
        self.head.series_count()
    }

    /// Where the store is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins a write of samples that each have a time.
    #[must_use]
    pub fn appender(&self) -> Appender<'_> {
        self.head.appender(None)
    }

    /// Begins a write of the samples of one scrape, at `at`, of the target that `column` belongs to.
    #[must_use]
    pub fn scrape_appender<'a>(&'a self, column: &'a SharedColumn, at: Timestamp) -> Appender<'a> {
        self.head.appender(Some((column, at)))
    }

    /// A column of times for one target.
    #[must_use]
    pub fn column(&self) -> SharedColumn {
        self.head.column()
    }

    /// What is known about the metric families, by name.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.head.metadata()
    }

    /// How much is known about metric families.
    #[must_use]
    pub fn family_stats(&self) -> FamilyStats {
        self.head.family_stats()
    }

    /// The exemplars within `range` of the series that pass all matchers of any of `selectors`, of the head and of the
    /// blocks: the newest of them, [`Options::max_exemplars`] at the most.
    ///
    /// # Errors
    /// If what is read of a block is damaged, and [`Error::Cancelled`] once `is_stopped` says so, which is asked at each
    /// series of a block.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        is_stopped: impl Fn() -> bool,
    ) -> Result<FoundExemplars, Error> {
        // The head first: what it lets go of meanwhile is in a block. Added last: what blocks hold was accepted first.
        let of_head = self.head.exemplars(selectors, range);
        let mut found = Newest::new(self.head.max_exemplars());
        for block in self.maintenance.blocks().list() {
            block.find_exemplars(selectors, range, &is_stopped, |labels, exemplar| found.add(labels, exemplar))?;
        }
        for (labels, exemplars) in of_head {
            exemplars.into_iter().for_each(|exemplar| found.add(&labels, exemplar));
        }
        Ok(found.finish())
    }

    /// What the head holds, in numbers.
    #[must_use]
    pub fn head_stats(&self) -> HeadStats {
        self.head.stats()
    }

    /// What the blocks say of themselves, in order of time.
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockMeta> {
        self.maintenance.blocks().metas()
    }

    /// Bytes of the log, of chunks that have left memory, and of blocks.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.head.disk_bytes() + self.maintenance.blocks().size_bytes()
    }

    /// What the store did by itself since it was opened.
    #[must_use]
    pub fn maintenance(&self) -> MaintenanceTotals {
        self.maintenance.totals()
    }

    /// Why samples are not taken now, if so; queries go on, and so does ingestion once the disk allows it.
    #[must_use]
    pub fn paused(&self) -> Option<String> {
        self.head.paused()
    }

    /// What takes the most room, at most `limit` entries per list.
    #[must_use]
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        self.head.cardinality(limit)
    }

    /// How long samples are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.maintenance.retention()
    }

    /// Tells the store the time; to be repeated every second or so. A store that is told no time takes its newest sample for
    /// the present, whatever its time: right for historical data, and for one sender whose clock never errs.
    ///
    /// With a clock, samples of the future decide nothing: not how old others may be, not what retention deletes, not
    /// where blocks are cut.
    pub fn set_clock(&self, clock: Clock) {
        self.head.set_clock(clock);
    }

    /// The samples that lie more than [`TOLERANCE_MS`](crate::TOLERANCE_MS) after the time as it was told last.
    #[must_use]
    pub fn future(&self) -> Future {
        let Some(clock) = self.head.clock() else { return Future::default() };
        let is_future = |at: Timestamp| at.millis() > clock.latest_ms();
        let blocks = self.maintenance.blocks();
        let whole = blocks.list().iter().filter(|b| b.deleted_samples() < b.meta().stats.num_samples);
        // Of one that is not over yet, the end lies in the future as well.
        let ahead = whole.map(|b| b.meta().range.closed()).filter(|range| is_future(range.start));
        let ends: Vec<Timestamp> = ahead.map(|range| range.end).collect();
        let head = Some(self.head.span().end).filter(|&end| is_future(end));
        Future { newest: ends.iter().copied().chain(head).max(), blocks: ends.len() as u64 }
    }

    /// Changes how long samples are kept and how late they may come.
    pub fn configure(&self, retention: Retention, late_window: Duration) {
        self.maintenance.set_retention(retention);
        self.head.set_late_window_ms(i64::try_from(late_window.as_millis()).unwrap_or(i64::MAX));
    }

    /// Deletes what the series that pass `matchers` hold within `range`, up to the newest sample there is, and their
    /// exemplars; or, with `dry_run`, only counts the samples. Space is given back when blocks are compacted.
    ///
    /// # Errors
    /// If a block or the log cannot be written. What was deleted until then stays deleted.
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange, dry_run: bool) -> Result<Deleted, Error> {
        let querier = self.store_querier();
        let deleted = count(&querier, matchers, range)?;
        if !dry_run {
            self.maintenance.delete(&querier, matchers, range)?;
        }
        Ok(deleted)
    }

    /// Rewrites all blocks that hold deleted samples: their space is free afterwards.
    ///
    /// # Errors
    /// If a block cannot be read or written.
    pub fn clean_tombstones(&self) -> Result<(), Error> {
        self.maintenance.clean_tombstones()
    }

    /// Writes a copy of all that the store holds to `to`, a directory that is not there yet: blocks only, to be opened as
    /// a store. With `skip_head`, what is not in blocks yet is left out.
    ///
    /// # Errors
    /// If the copy cannot be written.
    pub fn snapshot(&self, to: &Path, skip_head: bool) -> Result<(), Error> {
        self.maintenance.snapshot(to, skip_head)
    }

    /// Takes in samples of any age, as blocks: what `fill` hands to the importer is there once this returns. A block made
    /// of single samples is `width` long. Where blocks had samples at the same times, those
    /// stay.
    ///
    /// # Errors
    /// What `fill` says, and if the disk refuses; nothing is taken in then.
    pub fn import<E: From<Error>>(
        &self,
        width: Duration,
        fill: impl FnOnce(&mut Importer) -> Result<(), E>,
    ) -> Result<Imported, E> {
        let mut importer =
            Maintenance::importer(&self.maintenance, i64::try_from(width.as_millis()).unwrap_or(i64::MAX));
        fill(&mut importer)?;
        let mut imported = importer.finish()?;
        self.maintenance.compare(&mut imported, &*self.querier()?)?;
        self.maintenance.adopt(&imported)?;
        Ok(imported)
    }

    /// Does what there is to do now: moves chunks out of memory, cuts blocks, writes a checkpoint, compacts and drops
    /// blocks. The store's threads do this by themselves, unless the options say otherwise.
    pub fn maintain(&self) {
        self.maintenance.relieve_head();
        self.maintenance.tidy_blocks();
    }

    /// Makes all that has been committed survive a power cut.
    ///
    /// # Errors
    /// If the disk refuses; nothing can be committed until the store has written all of it to other files.
    pub fn sync(&self) -> Result<(), Error> {
        self.head.sync()
    }

    /// Ends the segment of the log: syncs it, gives back the space that was reserved for more, and names its length in the
    /// manifest. What is committed afterwards begins another.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn end_segment(&self) -> Result<(), Error> {
        self.head.close()
    }

    /// Ends the segment of the log and gives the directory free.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn close(mut self) -> Result<(), Error> {
        self.maintenance.cancel();
        self.threads.clear();
        self.head.close()
    }

    fn store_querier(&self) -> StoreQuerier {
        // The reader first: what is cut from the head after it opens stays there for it, what was cut before is in the
        // blocks.
        let ticket = Arc::new(self.head.open_reader());
        let blocks = self.maintenance.blocks();
        StoreQuerier::new(HeadQuerier::new(self.head.clone(), ticket, blocks.flushed_until_ms), blocks)
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.maintenance.cancel();
    }
}

impl Queryable for Db {
    fn querier(&self) -> Result<Arc<dyn Querier>, Error> {
        Ok(Arc::new(self.store_querier()))
    }
}

fn threads(options: &Options, head: &Arc<Head>, maintenance: &Arc<Maintenance>) -> Vec<Periodic> {
    let mut threads = Vec::new();
    if let SyncPolicy::Interval(every) = options.sync {
        let head = head.clone();
        // A failure is kept by the head and told to the next commit.
        threads.push(Periodic::start("tsdb-wal-sync", every, move || drop(head.sync())));
    }
    if !options.maintain_every.is_zero() {
        let (of_head, of_blocks) = (maintenance.clone(), maintenance.clone());
        threads.push(Periodic::start("tsdb-head", options.maintain_every, move || of_head.relieve_head()));
        threads.push(Periodic::start("tsdb-compact", options.maintain_every, move || of_blocks.tidy_blocks()));
    }
    threads
}

/// Counts the samples of the series that pass `matchers` within `range`.
fn count(querier: &StoreQuerier, matchers: &[Matcher], range: TimeRange) -> Result<Deleted, Error> {
    let set = querier.select(matchers, range)?;
    let mut columns = crate::querier::Columns::default();
    let mut deleted = Deleted::default();
    for index in 0..set.len() {
        columns.clear();
        set.read(index, range, &mut columns)?;
        deleted.series += u64::from(!columns.is_empty());
        deleted.samples += (columns.timestamps_ms.len() + columns.histograms.len()) as u64;
    }
    Ok(deleted)
}
