//! What a store consists of, found without changing anything.

use std::path::Path;
use std::sync::Arc;

use crate::blocks::{self, Blocks};
use crate::error::Error;
use crate::fs::Fs;
use crate::head::newest_checkpoint;
use crate::manifest::{MANIFEST, Manifest, State};

/// What the store in a directory consists of.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) state: State,
    pub(crate) blocks: Blocks,
    pub(crate) found: Found,
}

/// How it is known what a store consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// By the manifest: what it does not name is left over.
    Manifest,
    /// By what is there: all of it counts.
    Parts,
    /// Neither block nor checkpoint is there: a new store.
    Nothing,
}

impl Live {
    /// What the manifest in `dir` says. One that is gone or that names what is not there is made anew from the blocks, and
    /// told of.
    pub(crate) fn find(fs: &Arc<dyn Fs>, dir: &Path, damage: &mut Vec<String>) -> Result<Self, Error> {
        let manifest = dir.join(MANIFEST).display().to_string();
        match Manifest::read(&**fs, dir)? {
            Some(state) if newest_checkpoint(&**fs, dir)? >= state.checkpoint => match blocks::open(fs, dir, &state) {
                Ok(blocks) => return Ok(Self { state, blocks, found: Found::Manifest }),
                Err(error) => damage.push(format!("{manifest}: does not hold: {error}")),
            },
            Some(_) => damage.push(format!("{manifest}: names a checkpoint that is not there")),
            None => {}
        }
        let checkpoint = newest_checkpoint(&**fs, dir)?;
        let found = blocks::rebuild(fs, dir, damage)?;
        let how = if found.is_empty() && checkpoint == 0 { Found::Nothing } else { Found::Parts };
        if how == Found::Parts {
            damage.push(format!("{manifest}: made anew from {} blocks and checkpoint {checkpoint}", found.len()));
        }
        let state = State {
            blocks: found.iter().map(|block| block.meta().ulid).collect(),
            checkpoint,
            // What the head holds beside the blocks is merged with them.
            first_segment: 0,
            flushed_until_ms: i64::MIN,
        };
        let blocks = Blocks::new(found, state.flushed_until_ms);
        Ok(Self { state, blocks, found: how })
    }
}
