//! The live blocks of a store, as readers see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{self, Block, BlockId, BlockMeta};
use crate::error::Error;
use crate::fs::Fs;
use crate::manifest::State;

/// Directory of the blocks within the data directory.
pub(crate) const BLOCKS_DIR: &str = "blocks";

/// The live blocks of one moment, and up to where they hold all there is.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Those whose samples were accepted first come first: of two samples at one time theirs counts.
    list: Vec<Arc<Block>>,
    /// What is older is in blocks; late samples aside.
    pub(crate) flushed_until_ms: i64,
}

impl Blocks {
    pub(crate) fn new(mut list: Vec<Arc<Block>>, flushed_until_ms: i64) -> Self {
        list.sort_by_key(|block| (block.meta().compaction.sources.iter().min().copied(), block.meta().ulid));
        Self { list, flushed_until_ms }
    }

    pub(crate) fn list(&self) -> &[Arc<Block>] {
        &self.list
    }

    /// What the blocks say of themselves, in order of time.
    pub(crate) fn metas(&self) -> Vec<BlockMeta> {
        let mut metas: Vec<BlockMeta> = self.list.iter().map(|block| block.meta().clone()).collect();
        metas.sort_by_key(|meta| (meta.range, meta.ulid));
        metas
    }

    pub(crate) fn get(&self, id: BlockId) -> Option<&Arc<Block>> {
        self.list.iter().find(|block| block.meta().ulid == id)
    }

    /// The same with some blocks in the place of others.
    pub(crate) fn replace(&self, gone: &[BlockId], come: Vec<Arc<Block>>, flushed_until_ms: i64) -> Self {
        let kept = self.list.iter().filter(|block| !gone.contains(&block.meta().ulid)).cloned();
        Self::new(kept.chain(come).collect(), flushed_until_ms)
    }

    /// Tombstones that the manifest names and that are gone, or are those of before a later deletion.
    pub(crate) fn lost_tombstones(&self, state: &State) -> Vec<Error> {
        let of = |block: &Arc<Block>| state.tombstones.get(&block.meta().ulid).copied().unwrap_or(0);
        let lost = self.list.iter().filter(|block| block.deletions() < of(block));
        lost.map(|block| block.lost_tombstones()).collect()
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.list.iter().map(|block| block.size_bytes()).sum()
    }
}

/// Directory of the blocks of the store in `dir`.
pub(crate) fn blocks_dir(dir: &Path) -> PathBuf {
    dir.join(BLOCKS_DIR)
}

/// Opens what the manifest names.
///
/// # Errors
/// If a block that is named cannot be opened.
pub(crate) fn open(fs: &Arc<dyn Fs>, dir: &Path, state: &State) -> Result<Blocks, Error> {
    let blocks = blocks_dir(dir);
    let open = |&id: &BlockId| Block::open(fs, &blocks, id).map(Arc::new);
    let list = state.blocks.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    Ok(Blocks::new(list, state.flushed_until_ms))
}

/// Removes the blocks that the manifest does not name: what a crash left. One that is damaged was not left by a crash: it stays,
/// and is told of.
pub(crate) fn sweep(fs: &Arc<dyn Fs>, dir: &Path, state: &State, damage: &mut Vec<String>) -> Result<(), Error> {
    let blocks = blocks_dir(dir);
    for id in block::list(&**fs, &blocks)?.into_iter().filter(|id| !state.blocks.contains(id)) {
        match Block::open(fs, &blocks, id) {
            Ok(_) => block::remove(&**fs, &blocks, id)?,
            Err(error) if error.is_refusal() => return Err(error),
            Err(error) => damage.push(format!("{error}; the manifest does not name the block, which is left alone")),
        }
    }
    block::sweep(&**fs, &blocks)
}

/// Opens every block that is there and sound, less those from which another was made: what a store consists of when its
/// manifest is gone. Tells of those that cannot be opened, which are left alone.
pub(crate) fn rebuild(fs: &Arc<dyn Fs>, dir: &Path, damage: &mut Vec<String>) -> Result<Vec<Arc<Block>>, Error> {
    let blocks = blocks_dir(dir);
    let mut found: Vec<Arc<Block>> = Vec::new();
    for id in block::list(&**fs, &blocks)? {
        match Block::open(fs, &blocks, id) {
            Ok(block) => found.push(Arc::new(block)),
            Err(error) if error.is_refusal() => return Err(error),
            Err(error) => damage.push(error.to_string()),
        }
    }
    let merged: Vec<BlockId> =
        found.iter().flat_map(|block| block.meta().compaction.parents.iter().map(|parent| parent.ulid)).collect();
    found.retain(|block| !merged.contains(&block.meta().ulid));
    Ok(found)
}
