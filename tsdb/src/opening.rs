//! A store on the way from its directory to [`Db`]: what few series hold can be asked before the log has been replayed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::blocks::{self, Blocks};
use crate::db::{Db, Options, Parts};
use crate::error::Error;
use crate::foreign::refuse_foreign;
use crate::fs::{AtPath, Fs};
use crate::head::{Head, HeadQuerier, HeadStart, Part};
use crate::live::{Found, Live};
use crate::manifest::{Manifest, State, TornRecord};
use crate::matcher::{MatchOp, Matcher};
use crate::querier::{Querier, Queryable, SeriesSet};
use crate::sample::TimeRange;
use crate::view::StoreQuerier;

/// The lock file of a data directory.
const LOCK_FILE: &str = "lock";
/// Series of the head that are recovered for one selector: about 50 MB at the most.
const EARLY_SERIES: u64 = 50_000;

/// Held while a directory is in use.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Box<dyn Send + Sync>);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// A store whose log has not been replayed yet. It holds its directory locked.
#[derive(Debug)]
pub struct Opening {
    options: Options,
    manifest: Manifest,
    /// What is wrong so far, in words.
    damage: Vec<String>,
    torn_at: Option<TornRecord>,
    early: EarlyReader,
    lock: Lock,
}

impl Opening {
    /// Takes the directory, which is made if need be, and finds out what is in it. Cost: milliseconds.
    ///
    /// # Errors
    /// As [`Db::open`]. [`Error::Foreign`] comes before anything is opened for writing.
    pub fn begin(fs: &Arc<dyn Fs>, dir: &Path, options: &Options) -> Result<Self, Error> {
        refuse_foreign(&**fs, dir)?;
        fs.create_dir_all(dir).at(dir)?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = fs.lock(&lock_path).at(&lock_path)?.ok_or_else(|| Error::Locked { path: dir.to_owned() })?;
        let mut damage = Vec::new();
        let Live { state, blocks, found, torn_at } = Live::find(fs, dir, &mut damage)?;
        let mut manifest = Manifest::begin(fs, dir, state);
        match found {
            Found::Manifest => {
                manifest.is_found();
                blocks::sweep(fs, dir, manifest.state(), &mut damage)?;
            }
            // It says so before it writes anything else: what lies beside a manifest that does not name it is what a crash
            // has left, what lies there without one is all there is.
            Found::Nothing => match manifest.change(State::default()) {
                // Then there is room for nothing else either, and the log begins with it.
                Err(error) if error.is_full_disk() => {}
                other => other?,
            },
            Found::Parts => {}
        }
        let early = EarlyReader(Arc::new(Early {
            fs: fs.clone(),
            dir: dir.to_owned(),
            start: HeadStart::of(manifest.state()),
            blocks: Arc::new(blocks),
            one: Mutex::new(()),
            over: AtomicBool::new(false),
        }));
        Ok(Self { options: options.clone(), manifest, damage, torn_at, early, lock: Lock(lock) })
    }

    /// What can be asked before [`finish`](Self::finish) is done.
    #[must_use]
    pub fn early(&self) -> EarlyReader {
        self.early.clone()
    }

    /// Replays the log. `progress` gets the bytes replayed and the bytes there are, now and then.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn finish(self, progress: impl FnMut(u64, u64)) -> Result<Db, Error> {
        let Self { options, mut manifest, mut damage, torn_at, early, lock } = self;
        let Early { fs, dir, start, blocks, over, .. } = &*early.0;
        let (head, mut recovery, end) = Head::recover(fs, dir, start, Part::All, &options, progress)?;
        // Who still reads the log gives up: from here on it changes.
        over.store(true, Ordering::SeqCst);
        manifest.complete(&end, blocks.list());
        let manifest = manifest.shared();
        head.begin_writing(start, &end, options.wal_segment_bytes, manifest.clone())?;
        head.settle_recovered(recovery.deletions, start.flushed_until_ms);
        damage.append(&mut recovery.damage);
        if let Some(torn) = torn_at {
            torn.blame(&mut damage);
        }
        recovery.damage = damage;
        recovery.unfinished = end.tail.and_then(|tail| tail.unfinished);
        recovery.blocks = blocks.list().len();
        let (fs, dir, blocks, head) = (fs.clone(), dir.clone(), blocks.clone(), Arc::new(head));
        Ok(Db::of_parts(Parts { fs, dir, lock, head, manifest, blocks, recovery }, &options))
    }
}

/// Reads single series of a store while its log is replayed: goes through the log itself and recovers only what passes the
/// matchers. What it finds is what the store will say. Cost: about a tenth of replaying, in time.
///
/// [`Error::Replaying`] is the answer to whatever takes more than that: a selector without an `=`, one that finds more than
/// 50 000 series, label names and values; and to everything once the log has been replayed.
#[derive(Clone, Debug)]
pub struct EarlyReader(Arc<Early>);

#[derive(Debug)]
struct Early {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    start: HeadStart,
    blocks: Arc<Blocks>,
    /// Held while the log is read: replaying shall not wait for many readers.
    one: Mutex<()>,
    /// Set once the log has been replayed.
    over: AtomicBool,
}

impl Early {
    /// The series that pass, as a head of their own.
    fn head_of(&self, matchers: &[Matcher]) -> Result<Head, Error> {
        let is_narrow = matchers.iter().any(|m| m.op() == MatchOp::Equal && !m.value().is_empty());
        if !is_narrow {
            return Err(Error::Replaying);
        }
        let _one = self.one.lock();
        let part = Part::Matching { matchers, most: EARLY_SERIES, over: &self.over };
        let options = Options { shards: 1, max_exemplars: 0, ..Options::default() };
        let recovered = Head::recover(&self.fs, &self.dir, &self.start, part, &options, |_, _| {});
        // It may have read files that had begun to change, and errors may be of files that are gone.
        if self.over.load(Ordering::SeqCst) {
            return Err(Error::Replaying);
        }
        let (head, ..) = recovered?;
        if head.series_count() > EARLY_SERIES { Err(Error::Replaying) } else { Ok(head) }
    }
}

impl Queryable for EarlyReader {
    fn querier(&self) -> Result<Arc<dyn Querier>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

impl Querier for EarlyReader {
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        let head = Arc::new(self.0.head_of(matchers)?);
        let ticket = Arc::new(head.open_reader());
        let head = HeadQuerier::new(head, ticket, self.0.blocks.flushed_until_ms);
        StoreQuerier::new(head, self.0.blocks.clone()).select(matchers, range)
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<String>, Error> {
        Err(Error::Replaying)
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<String>, Error> {
        Err(Error::Replaying)
    }
}
