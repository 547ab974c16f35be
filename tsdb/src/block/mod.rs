//! Blocks: all samples of a span of time, immutable on disk. A directory `<ULID>/{meta.json,index,chunks,exemplars}` that appears
//! whole or not at all. Bytes: `docs/format/block.md`, `docs/format/index.md`.

mod chunk;
mod deletion;
mod exemplar_set;
mod exemplars;
mod meta;
mod reader;
mod set;
mod tombstones;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use exemplar_set::ExemplarSet;
#[cfg(feature = "testing")]
pub(crate) use exemplars::{EXEMPLARS_FILE, EXEMPLARS_KIND};
pub use meta::{BadBlockId, BlockId, BlockMeta, BlockRange, BlockStats, Compaction, Parent};
pub(crate) use reader::Block;
pub(crate) use set::select_in;
pub(crate) use writer::{BlockSpec, BlockWriter};

use crate::error::Error;
use crate::fs::{AtPath, Fs, names_in};
use crate::pages::FileKind;

const META_FILE: &str = "meta.json";
pub(crate) const INDEX_FILE: &str = "index";
pub(crate) const CHUNKS_FILE: &str = "chunks";

pub(crate) const CHUNKS_KIND: FileKind = FileKind { magic: *b"SBck", version: 1 };

/// What the names of directories end with that are being written or removed.
const TEMPORARY: &str = ".tmp";

/// Where the block `id` lies below `blocks_dir`.
pub(crate) fn block_dir(blocks_dir: &Path, id: BlockId) -> PathBuf {
    blocks_dir.join(id.to_string())
}

fn temporary_dir(blocks_dir: &Path, id: BlockId) -> PathBuf {
    blocks_dir.join(format!("{id}{TEMPORARY}"))
}

/// The blocks below `blocks_dir`, sorted; none if there is no such directory.
pub(crate) fn list(fs: &dyn Fs, blocks_dir: &Path) -> Result<Vec<BlockId>, Error> {
    Ok(names_in(fs, blocks_dir)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Removes what unfinished writers and removals have left below `blocks_dir`. Nobody writes blocks there meanwhile.
pub(crate) fn sweep(fs: &dyn Fs, blocks_dir: &Path) -> Result<(), Error> {
    for name in names_in(fs, blocks_dir)? {
        if name.strip_suffix(TEMPORARY).is_some_and(|id| id.parse::<BlockId>().is_ok()) {
            let dir = blocks_dir.join(name);
            fs.remove_dir_all(&dir).at(&dir)?;
        }
    }
    Ok(())
}

/// Checks every byte of the blocks below `blocks_dir`, the `blocks` of a data directory: each checksum, label, list of
/// series, time and sample, and the counts. Each fault goes to `each`. Gives how many blocks there are.
///
/// Reads only; a server may run on them, but a block that it removes meanwhile counts as a fault.
///
/// # Errors
/// If the directory cannot be read.
pub fn verify_blocks(fs: &Arc<dyn Fs>, blocks_dir: &Path, mut each: impl FnMut(Error)) -> Result<usize, Error> {
    let ids = list(&**fs, blocks_dir)?;
    for &id in &ids {
        match Block::open(fs, blocks_dir, id) {
            Ok(block) => block.verify(&mut each),
            Err(e) => each(e),
        }
    }
    Ok(ids.len())
}

/// Removes a block, in one step; it is no error if it is not there. Who has it open can go on reading.
pub(crate) fn remove(fs: &dyn Fs, blocks_dir: &Path, id: BlockId) -> Result<(), Error> {
    let (dir, temporary) = (block_dir(blocks_dir, id), temporary_dir(blocks_dir, id));
    fs.remove_dir_all(&temporary).at(&temporary)?;
    match fs.rename(&dir, &temporary) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at(&dir)?,
    }
    fs.sync_dir(blocks_dir).at(blocks_dir)?;
    fs.remove_dir_all(&temporary).at(&temporary)
}

#[cfg(test)]
mod tests;
