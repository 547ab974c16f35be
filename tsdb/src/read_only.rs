//! A store that is only read, also while a server writes to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{BlockId, BlockMeta};
use crate::blocks::{BLOCKS_DIR, Blocks};
use crate::db::Options;
use crate::error::Error;
use crate::foreign::refuse_foreign_store;
use crate::fs::{AtPath, Fs};
use crate::head::{Head, HeadQuerier, HeadStart, Part, Recovery};
use crate::live::Live;
use crate::manifest::{MANIFEST, Manifest};
use crate::matcher::Matcher;
use crate::querier::{Querier, Queryable, SeriesSet};
use crate::sample::TimeRange;
use crate::view::StoreQuerier;
use crate::wal::WAL_DIR;

/// How often a store is opened anew that changes meanwhile.
const TRIES: usize = 8;

/// What a data directory held at one moment. Takes no lock and writes nothing: a server may have the directory open, and the
/// permission to read it is enough.
///
/// Memory: as a server that has just been started with it. What is removed later stays readable, it is mapped.
#[derive(Debug)]
pub struct ReadOnlyDb {
    head: Arc<Head>,
    blocks: Arc<Blocks>,
    dir: PathBuf,
    recovery: Recovery,
    unfinished: Option<String>,
}

/// Refuses a directory that holds no store, or that of another program.
pub(crate) fn is_store(fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
    let names = fs.list(dir).at(dir)?;
    refuse_foreign_store(fs, dir)?;
    let is_part = |name: &String| [MANIFEST, WAL_DIR, BLOCKS_DIR].contains(&name.as_str());
    if names.iter().any(is_part) { Ok(()) } else { Err(Error::NoStore { path: dir.to_owned() }) }
}

impl ReadOnlyDb {
    /// Opens what the manifest in `dir` names, and reads the log up to its last whole commit. `progress` gets the bytes of
    /// the log read and the bytes there are.
    ///
    /// If the server writes a checkpoint or a block meanwhile, what is to be read goes: then all is opened anew.
    ///
    /// # Errors
    /// If there is no store in the directory, it cannot be read, or a server changes it faster than it can be read. Damage
    /// is no error: see [`recovery`](Self::recovery).
    pub fn open(fs: &Arc<dyn Fs>, dir: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Self, Error> {
        is_store(&**fs, dir)?;
        for _ in 0..TRIES {
            let before = Manifest::read(&**fs, dir, &mut Vec::new())?;
            let opened = Self::try_open(fs, dir, &mut progress);
            let after = Manifest::read(&**fs, dir, &mut Vec::new())?;
            let is_same = match (&before, &after) {
                (Some(before), Some(after)) => before.state.names_the_same(&after.state),
                (before, after) => before == after,
            };
            if is_same {
                return opened;
            }
            // The log begins with the first segment that the manifest asks for, so nothing was gone.
            let begins = before.is_some_and(|said| said.state.first_segment > 0);
            if let Ok(db) = opened
                && begins
                && db.recovery.damage.is_empty()
            {
                return Ok(db);
            }
        }
        Err(Error::changing(dir))
    }

    fn try_open(fs: &Arc<dyn Fs>, dir: &Path, progress: impl FnMut(u64, u64)) -> Result<Self, Error> {
        let mut damage = Vec::new();
        let Live { state, blocks, torn_at, .. } = Live::find(fs, dir, &mut damage)?;
        let (head, mut recovery, end) =
            Head::recover(fs, dir, &HeadStart::of(&state), Part::All, &Options::default(), progress)?;
        damage.append(&mut recovery.damage);
        if let Some(torn) = torn_at {
            torn.blame(&mut damage);
        }
        recovery.damage = damage;
        recovery.blocks = blocks.list().len();
        let unfinished = end.tail.and_then(|tail| tail.unfinished);
        Ok(Self { head: Arc::new(head), blocks: Arc::new(blocks), dir: dir.to_owned(), recovery, unfinished })
    }

    /// Where the store is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was found. Its damage is what could not be read, and is missing in answers.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What follows the last whole commit of the log, if anything does: what a server is writing now or a crash has left, or
    /// a last commit that was damaged.
    #[must_use]
    pub fn unfinished(&self) -> Option<&str> {
        self.unfinished.as_deref()
    }

    /// What the blocks say of themselves, in order of time.
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockMeta> {
        self.blocks.metas()
    }

    /// From the oldest sample that is not in blocks to the newest; empty if there is none.
    #[must_use]
    pub fn head_span(&self) -> TimeRange {
        self.head.span()
    }

    /// Series of the head.
    #[must_use]
    pub fn head_series(&self) -> u64 {
        self.head.series_count()
    }

    /// The series of one block that pass all `matchers`; none if there is no such block.
    ///
    /// # Errors
    /// If the block's index is damaged.
    pub fn block_series(&self, id: BlockId, matchers: &[Matcher]) -> Result<Option<Arc<dyn SeriesSet>>, Error> {
        self.blocks.get(id).map(|block| block.select(matchers, TimeRange::ALL)).transpose()
    }
}

impl Queryable for ReadOnlyDb {
    fn querier(&self) -> Result<Arc<dyn Querier>, Error> {
        let ticket = Arc::new(self.head.open_reader());
        let head = HeadQuerier::new(self.head.clone(), ticket, self.blocks.flushed_until_ms);
        Ok(Arc::new(StoreQuerier::new(head, self.blocks.clone())))
    }
}
