//! Blocks from outside, for tests and benches: write, open, select and read one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::block::{Block, BlockId, BlockMeta, BlockRange, BlockSpec, BlockWriter};
use crate::error::Error;
use crate::fs::{DiskFs, Fs};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::querier::{Columns, SeriesSet};
use crate::sample::{TimeRange, Timestamp};

/// A block that is open.
#[derive(Clone, Debug)]
pub struct OpenedBlock(Arc<Block>);

/// A block that is being written.
#[derive(Debug)]
pub struct WritingBlock(BlockWriter);

impl WritingBlock {
    /// Begins the block of `range` below `blocks_dir`; `entropy` tells it from others.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin(fs: &Arc<dyn Fs>, blocks_dir: &Path, range: BlockRange, entropy: u128) -> Result<Self, Error> {
        let id = BlockId::new(Timestamp::from_millis(range.end_ms), entropy);
        let (labels, replica) = (BTreeMap::new(), String::new());
        let spec = BlockSpec { id, range, level: 1, sources: Vec::new(), parents: Vec::new(), labels, replica };
        BlockWriter::begin(fs, blocks_dir, spec).map(Self)
    }

    /// Adds a series, in the order of labels.
    ///
    /// # Errors
    /// If the disk refuses or series are out of order.
    pub fn add(&mut self, labels: &Labels, columns: &Columns) -> Result<(), Error> {
        self.0.add(labels, columns)
    }

    /// Puts the block in its place; `None` if it would be empty.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(self) -> Result<Option<BlockMeta>, Error> {
        self.0.finish()
    }
}

/// The text of a file of the machine.
///
/// # Errors
/// As the system says.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    let file = DiskFs.open_read(path)?;
    let mut bytes = vec![0; file.size()? as usize];
    let n = file.read_at(0, &mut bytes)?;
    bytes.truncate(n);
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

impl OpenedBlock {
    /// Opens a block.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn open(fs: &Arc<dyn Fs>, blocks_dir: &Path, id: BlockId) -> Result<Self, Error> {
        Block::open(fs, blocks_dir, id).map(|block| Self(Arc::new(block)))
    }

    /// The series that pass all `matchers`.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        self.0.select(matchers, range)
    }

    /// Bytes of the index and of the chunks.
    #[must_use]
    pub fn size_bytes(&self) -> (u64, u64) {
        (self.0.index_bytes(), self.0.size_bytes() - self.0.index_bytes())
    }

    /// The first fault of the block.
    ///
    /// # Errors
    /// That fault.
    pub fn verify(&self) -> Result<(), Error> {
        let mut first = Ok(());
        self.0.verify(|e| {
            if first.is_ok() {
                first = Err(e);
            }
        });
        first
    }
}
