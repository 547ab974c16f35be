//! What a store does by itself: cuts blocks from the head, lets ended series go, writes checkpoints, compacts blocks and
//! drops what is too old.

mod cut;
mod future;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::block::{self, Block, BlockId, BlockRange};
use crate::blocks::{Blocks, blocks_dir};
use crate::compact::{self, BASE_WIDTH_MS, Candidate, Compacted, Plan, Retention};
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::fs::{AtPath, Fs};
use crate::head::{Head, HeadQuerier, Snapshot, Truncation};
use crate::import::{Imported, Importer};
use crate::labels::Labels;
use crate::manifest::{Manifest, SharedManifest, State};
use crate::matcher::Matcher;
use crate::querier::Querier;
use crate::sample::{SeriesRef, TimeRange, Timestamp};
use crate::view::StoreQuerier;

use cut::Contents;

/// Time that stays in the head when a block is cut from it.
const KEPT_MS: i64 = 3_600_000;
/// A series is let go so long after its stale marker, or, without one, after its last sample.
const STALE_MS: i64 = 5 * 60_000;
const IDLE_MS: i64 = 30 * 60_000;
/// So many series must have ended before a block is cut for them alone.
const ENDED_MIN: u64 = 1000;
/// Ended series are looked for in one of so many passes.
const PASSES_PER_LOOK: u64 = 30;

/// A store's parts that change, and who changes them. Lock order: `working`, `manifest`, `blocks`.
#[derive(Debug)]
pub(crate) struct Maintenance {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    head: Arc<Head>,
    limits: Limits,
    retention: RwLock<Retention>,
    manifest: SharedManifest,
    blocks: RwLock<Arc<Blocks>>,
    /// Held by whoever works on the head: one at a time.
    working: Mutex<Waiting>,
    /// Held by whoever rewrites blocks: one at a time.
    compacting: Mutex<()>,
    cancel: AtomicBool,
    chance: RandomState,
    names: AtomicU64,
    counters: Counters,
}

/// When the head is relieved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of sealed chunks that stay in memory.
    pub(crate) sealed_bytes: usize,
    /// Samples to be replayed after which a checkpoint is written, at the least.
    pub(crate) tail_samples: u64,
}

/// What waits for readers to be done.
#[derive(Debug, Default)]
struct Waiting {
    truncation: Option<(u64, Truncation)>,
    passes: u64,
    /// Whether there were samples of the future at the last pass.
    ahead: bool,
}

/// What was done since the store was opened.
#[derive(Debug, Default)]
struct Counters {
    flushes: AtomicU64,
    checkpoints: AtomicU64,
    compactions: AtomicU64,
    dropped: AtomicU64,
    dropped_samples: AtomicU64,
    held: Mutex<Held>,
    evicted: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

/// Blocks that retention holds back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many there are.
    pub blocks: u64,
    /// Samples in them.
    pub samples: u64,
}

/// What a store did by itself since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaintenanceTotals {
    /// Blocks cut from the head.
    pub flushes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Compactions of blocks.
    pub compactions: u64,
    /// Blocks dropped by retention.
    pub dropped: u64,
    /// Samples in them.
    pub dropped_samples: u64,
    /// Blocks that retention would drop by the wall clock, but does not as long as that is not believed.
    pub held: Held,
    /// Series let go by the head.
    pub evicted: u64,
    /// Times that any of this failed; it is tried again.
    pub failures: u64,
    /// Why, the last time.
    pub last_failure: Option<String>,
}

impl Maintenance {
    pub(crate) fn new(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        head: Arc<Head>,
        limits: Limits,
        retention: Retention,
        manifest: SharedManifest,
        blocks: Arc<Blocks>,
    ) -> Self {
        Self {
            fs: fs.clone(),
            dir: dir.to_owned(),
            head,
            limits,
            retention: RwLock::new(retention),
            manifest,
            blocks: RwLock::new(blocks),
            working: Mutex::default(),
            compacting: Mutex::default(),
            cancel: AtomicBool::new(false),
            chance: RandomState::new(),
            names: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// The live blocks.
    pub(crate) fn blocks(&self) -> Arc<Blocks> {
        self.blocks.read().clone()
    }

    pub(crate) fn retention(&self) -> Retention {
        *self.retention.read()
    }

    pub(crate) fn set_retention(&self, retention: Retention) {
        *self.retention.write() = retention;
    }

    /// Lets what runs end early.
    pub(crate) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> MaintenanceTotals {
        let c = &self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MaintenanceTotals {
            flushes: get(&c.flushes),
            checkpoints: get(&c.checkpoints),
            compactions: get(&c.compactions),
            dropped: get(&c.dropped),
            dropped_samples: get(&c.dropped_samples),
            held: *c.held.lock(),
            evicted: get(&c.evicted),
            failures: get(&c.failures),
            last_failure: c.last_failure.lock().clone(),
        }
    }

    /// Relieves the head where it needs it. A failure is counted, and what was to be done is tried again by the next
    /// call.
    pub(crate) fn relieve_head(&self) {
        self.counted(self.try_relieve_head());
    }

    /// Compacts and drops blocks until there is nothing left to do. A failure is counted.
    pub(crate) fn tidy_blocks(&self) {
        self.counted(self.try_tidy_blocks());
    }

    fn counted(&self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            *self.counters.last_failure.lock() = Some(error.to_string());
        }
    }

    fn try_relieve_head(&self) -> Result<(), Error> {
        let mut waiting = self.working.lock();
        self.must_be_there()?;
        waiting.passes += 1;
        if self.head.needs_fresh_files() {
            let covered = self.checkpoint()?;
            self.head.resume(covered);
        }
        self.head.retry_refused();
        self.head.forget_history();
        self.head.keep_order();
        self.head.sweep_symbols();
        if waiting.passes.is_multiple_of(PASSES_PER_LOOK) {
            self.counters.evicted.fetch_add(self.head.evict_unused(), Ordering::Relaxed);
            self.head.evict_families();
        }
        self.truncate_if_free(&mut waiting)?;
        self.head.spill(self.limits.sealed_bytes)?;
        if waiting.truncation.is_some() {
            return self.checkpoint_if_due();
        }
        let span = self.head.span();
        if span.start > span.end {
            return Ok(());
        }
        if self.rewind_if_ahead(&mut waiting, span.end.millis())? {
            return Ok(());
        }
        let newest = self.head.reference_ms();
        let until = BlockRange::aligned(newest.saturating_sub(self.kept_ms()), BASE_WIDTH_MS).start_ms;
        if until > self.blocks().flushed_until_ms && until > span.start.millis() {
            return self.flush(&mut waiting, until);
        }
        if waiting.passes.is_multiple_of(PASSES_PER_LOOK) {
            let ended = self.head.ended(newest.saturating_sub(STALE_MS), newest.saturating_sub(IDLE_MS), i64::MAX);
            if ended.len() as u64 >= ENDED_MIN.max(self.head.series_count() / 20) {
                return self.flush_ended(&mut waiting, ended);
            }
        }
        self.checkpoint_if_due()
    }

    /// Time that stays in the head.
    fn kept_ms(&self) -> i64 {
        KEPT_MS.max(self.head.late_window_ms())
    }

    /// Cuts blocks of all samples before `until_ms`.
    fn flush(&self, waiting: &mut Waiting, until_ms: i64) -> Result<(), Error> {
        let snapshot = self.head.snapshot(until_ms)?;
        let range = TimeRange { start: Timestamp::MIN, end: Timestamp::from_millis(until_ms).plus_millis(-1) };
        let set = self.head_querier(&snapshot).select(&[], range)?;
        let exemplars = self.all_exemplars();
        let contents = Contents { set: &*set, exemplars, span: snapshot.span(), until_ms };
        let blocks = self.write_blocks(&blocks_dir(&self.dir), &contents)?;
        drop(set);
        // What ended before has nothing left in the head.
        let ended = self.head.ended(until_ms, until_ms, until_ms);
        self.commit(waiting, &snapshot, blocks, until_ms, ended)
    }

    /// Cuts blocks of all samples of series that have ended.
    fn flush_ended(&self, waiting: &mut Waiting, ended: Vec<SeriesRef>) -> Result<(), Error> {
        let snapshot = self.head.snapshot(i64::MIN)?;
        let set = self.head_querier(&snapshot).select_refs(&ended);
        let exemplars = cut::of_series_in(&*set, self.all_exemplars());
        let contents = Contents { set: &*set, exemplars, span: snapshot.span(), until_ms: i64::MAX };
        let blocks = self.write_blocks(&blocks_dir(&self.dir), &contents)?;
        drop(set);
        self.commit(waiting, &snapshot, blocks, i64::MIN, ended)
    }

    /// All exemplars that the head keeps, and goes on to keep: a target shows the same one for hours, and it is only known
    /// again by those.
    fn all_exemplars(&self) -> Vec<(Labels, Vec<Exemplar>)> {
        self.head.exemplars(&[Vec::new()], TimeRange::ALL)
    }

    fn head_querier(&self, snapshot: &Snapshot) -> HeadQuerier {
        HeadQuerier::new(self.head.clone(), snapshot.ticket.clone(), self.blocks().flushed_until_ms)
    }

    /// Makes the blocks live and the head begin at `until_ms`, at one moment.
    fn commit(
        &self,
        waiting: &mut Waiting,
        snapshot: &Snapshot,
        blocks: Vec<BlockId>,
        until_ms: i64,
        ended: Vec<SeriesRef>,
    ) -> Result<(), Error> {
        let dir = blocks_dir(&self.dir);
        let blocks = blocks.into_iter().map(|id| Block::open(&self.fs, &dir, id).map(Arc::new));
        let blocks = blocks.collect::<Result<_, _>>()?;
        let (number, flushed_until_ms) = {
            let manifest = self.manifest.lock();
            (manifest.state().checkpoint + 1, manifest.state().flushed_until_ms.max(until_ms))
        };
        let checkpoint = self.head.write_checkpoint(snapshot, number, flushed_until_ms)?;
        self.change(&[], blocks, |state| {
            state.checkpoint = number;
            state.first_segment = snapshot.first_segment;
            state.flushed_until_ms = flushed_until_ms;
        })?;
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        let truncation = Truncation { until_ms: flushed_until_ms, settled: snapshot.ticket.watermark(), ended };
        waiting.truncation = Some((self.head.mark(), truncation));
        self.head.checkpointed(snapshot, checkpoint)
    }

    /// Writes a checkpoint if replaying what came since the last one would take long.
    fn checkpoint_if_due(&self) -> Result<(), Error> {
        // About half a second on two cores, and at most a tenth of what writing the samples took.
        if self.head.tail_samples() < self.limits.tail_samples.max(40 * self.head.series_count()) {
            return Ok(());
        }
        self.checkpoint().map(drop)
    }

    /// Writes a checkpoint. Answers the newest commit that is in it.
    fn checkpoint(&self) -> Result<u64, Error> {
        let snapshot = self.head.snapshot(i64::MIN)?;
        let (number, flushed_until_ms) = {
            let manifest = self.manifest.lock();
            (manifest.state().checkpoint + 1, manifest.state().flushed_until_ms)
        };
        let checkpoint = self.head.write_checkpoint(&snapshot, number, flushed_until_ms)?;
        self.change(&[], Vec::new(), |state| {
            state.checkpoint = number;
            state.first_segment = snapshot.first_segment;
        })?;
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.head.checkpointed(&snapshot, checkpoint)?;
        Ok(snapshot.ticket.watermark())
    }

    /// Lets go of what blocks hold once the readers that look for it in the head are gone.
    fn truncate_if_free(&self, waiting: &mut Waiting) -> Result<(), Error> {
        if let Some((_, truncation)) = waiting.truncation.take_if(|(mark, _)| self.head.passed(*mark)) {
            let evicted = self.head.truncate(&truncation)?;
            self.counters.evicted.fetch_add(evicted, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Changes the manifest, then what readers see.
    fn change(&self, gone: &[BlockId], come: Vec<Arc<Block>>, edit: impl FnOnce(&mut State)) -> Result<(), Error> {
        let mut manifest = self.manifest.lock();
        let mut state = manifest.state().clone();
        state.blocks.retain(|id| !gone.contains(id));
        state.blocks.extend(come.iter().map(|block| block.meta().ulid));
        edit(&mut state);
        let flushed_until_ms = state.flushed_until_ms;
        manifest.change(state)?;
        let mut blocks = self.blocks.write();
        *blocks = Arc::new(blocks.replace(gone, come, flushed_until_ms));
        Ok(())
    }

    /// Looks whether the data directory is the one that was opened. If it is not, samples are refused for good: nothing is
    /// written to a directory that somebody has deleted, moved or replaced.
    fn must_be_there(&self) -> Result<(), Error> {
        let there = self.manifest.lock().must_be_there();
        if let Err(Error::Deleted { path }) = &there {
            let path = path.display();
            self.head.stop(format!(
                "{path}: the data directory was deleted or replaced while the server runs: start it again"
            ));
        }
        there
    }

    fn try_tidy_blocks(&self) -> Result<(), Error> {
        let _alone = self.compacting.lock();
        self.must_be_there()?;
        loop {
            let retention = *self.retention.read();
            let blocks = self.blocks();
            if self.drop_expired(&blocks, retention)? {
                continue;
            }
            let latest_ms = self.present().latest_ms;
            let of_now = |c: &Candidate<'_>| c.meta.range.start_ms <= latest_ms || c.deleted_samples > 0;
            let candidates: Vec<Candidate<'_>> = blocks.list().iter().map(candidate).filter(of_now).collect();
            let Some(plan) = compact::plan(&candidates, &compact::widths(retention.retention_ms)) else {
                return Ok(());
            };
            if !self.compact(&blocks, &plan)? {
                return Ok(());
            }
        }
    }

    /// Makes one block of those that `plan` names. Answers whether it was done: it may have been cancelled.
    fn compact(&self, blocks: &Blocks, plan: &Plan) -> Result<bool, Error> {
        let sources: Vec<Arc<Block>> = plan.blocks.iter().filter_map(|&id| blocks.get(id).cloned()).collect();
        let id = self.name();
        let dir = blocks_dir(&self.dir);
        let come = match compact::compact(&self.fs, &dir, &sources, id, plan.range, &self.cancel)? {
            Compacted::Block(meta) => vec![Arc::new(Block::open(&self.fs, &dir, meta.ulid)?)],
            Compacted::Nothing => Vec::new(),
            Compacted::Canceled => return Ok(false),
        };
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        self.replace(&plan.blocks, come)?;
        Ok(true)
    }

    /// Puts blocks in the place of others, whose files are removed: who reads in them goes on, they stay mapped.
    fn replace(&self, gone: &[BlockId], come: Vec<Arc<Block>>) -> Result<(), Error> {
        self.change(gone, come, |_| ())?;
        let dir = blocks_dir(&self.dir);
        gone.iter().try_for_each(|&id| block::remove(&*self.fs, &dir, id))
    }

    /// Deletes in the head and in the blocks.
    pub(crate) fn delete(&self, querier: &StoreQuerier, matchers: &[Matcher], range: TimeRange) -> Result<(), Error> {
        // Blocks may not be made from what is being deleted.
        let (_head, _blocks) = (self.working.lock(), self.compacting.lock());
        self.head.delete(querier.head(), matchers, range)?;
        for block in self.blocks().list().iter().filter(|block| block.meta().range.touches(range)) {
            block.delete(matchers, range, false)?;
            // Named once they are there: so a file that is missing later was there.
            self.manifest.lock().deleted(block.meta().ulid, block.deletions())?;
        }
        Ok(())
    }

    /// Rewrites the blocks that hold deleted samples.
    pub(crate) fn clean_tombstones(&self) -> Result<(), Error> {
        let _alone = self.compacting.lock();
        let blocks = self.blocks();
        for block in blocks.list().iter().filter(|block| block.has_deleted()) {
            let plan = Plan { blocks: vec![block.meta().ulid], range: block.meta().range };
            self.compact(&blocks, &plan)?;
        }
        Ok(())
    }

    /// Writes a copy of the store to `to`.
    pub(crate) fn snapshot(&self, to: &Path, skip_head: bool) -> Result<(), Error> {
        let to_blocks = blocks_dir(to);
        self.fs.create_dir_all(&to_blocks).at(&to_blocks)?;
        let _alone = self.compacting.lock();
        let (mut names, mut tombstones) = (Vec::new(), BTreeMap::new());
        if !skip_head {
            let _working = self.working.lock();
            let snapshot = self.head.snapshot(i64::MIN)?;
            let set = self.head_querier(&snapshot).select(&[], TimeRange::ALL)?;
            let exemplars = self.all_exemplars();
            let contents = Contents { set: &*set, exemplars, span: snapshot.span(), until_ms: i64::MAX };
            names = self.write_blocks(&to_blocks, &contents)?;
        }
        for block in self.blocks().list() {
            block.link_to(&to_blocks)?;
            names.push(block.meta().ulid);
            tombstones.extend(Some((block.meta().ulid, block.deletions())).filter(|(_, generation)| *generation > 0));
        }
        let state = State { blocks: names, tombstones, ..State::default() };
        Manifest::begin(&self.fs, to, State::default()).change(state)
    }

    /// Writes blocks of samples from elsewhere; see [`adopt`](Self::adopt).
    pub(crate) fn importer(this: &Arc<Self>, width_ms: i64) -> Importer {
        // Named after all that are there, whose samples therefore stay.
        let newest = this.blocks().list().iter().map(|block| block.meta().ulid.timestamp().plus_millis(1)).max();
        let names = this.clone();
        let name =
            move || names.name_at(newest.map_or(names.head.span().end, |newest| newest.max(names.head.span().end)));
        Importer::new(&this.fs, &blocks_dir(&this.dir), width_ms, name)
    }

    /// Counts the samples of an import at times at which `store` has others of their series.
    pub(crate) fn compare(&self, imported: &mut Imported, store: &dyn Querier) -> Result<(), Error> {
        imported.compare(&self.fs, &blocks_dir(&self.dir), store)
    }

    /// Makes blocks that were imported live.
    pub(crate) fn adopt(&self, imported: &Imported) -> Result<(), Error> {
        let dir = blocks_dir(&self.dir);
        let open = |id| Block::open(&self.fs, &dir, id).map(Arc::new);
        let come = imported.blocks.iter().map(|meta| open(meta.ulid)).collect::<Result<Vec<_>, _>>()?;
        if come.is_empty() { Ok(()) } else { self.change(&[], come, |_| ()) }
    }

    /// A name for a new block, after those given before.
    fn name(&self) -> BlockId {
        let newest = self.blocks().list().iter().map(|block| block.meta().ulid.timestamp()).max();
        let now = Timestamp::from_millis(self.head.reference_ms());
        self.name_at(newest.map_or(now, |newest| newest.max(now)))
    }

    fn name_at(&self, at: Timestamp) -> BlockId {
        let n = self.names.fetch_add(1, Ordering::Relaxed);
        let order = u128::from(self.manifest.lock().state().checkpoint as u32) << 16 | u128::from(n as u16);
        let chance = u128::from(self.chance.hash_one(n) as u32);
        BlockId::new(at, order << 32 | chance)
    }
}

fn candidate(block: &Arc<Block>) -> Candidate<'_> {
    Candidate { meta: block.meta(), deleted_samples: block.deleted_samples() }
}
