//! Makes the exemplars of one block of those of several.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::block::{Block, BlockWriter, ExemplarSet};
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::labels::Labels;
use crate::sample::TimeRange;

/// Hands the exemplars of `blocks` that lie in `range` to `writer`, less those that are deleted; of two of a series at one
/// time that of the earlier block. Memory: one series. Answers whether all was done: looks at `cancel` at each series.
pub(super) fn add_exemplars(
    blocks: &[Arc<Block>],
    range: TimeRange,
    writer: &mut BlockWriter,
    cancel: &AtomicBool,
) -> Result<bool, Error> {
    let mut sets: Vec<(ExemplarSet<'_>, Option<Labels>)> = Vec::with_capacity(blocks.len());
    for block in blocks {
        let mut set = block.exemplars();
        let labels = set.next()?;
        sets.push((set, labels));
    }
    let mut exemplars: Vec<Exemplar> = Vec::new();
    while let Some(least) = sets.iter().filter_map(|(_, labels)| labels.as_ref()).min().cloned() {
        if cancel.load(Ordering::Relaxed) {
            return Ok(false);
        }
        exemplars.clear();
        for (set, labels) in sets.iter_mut().filter(|(_, labels)| labels.as_ref() == Some(&least)) {
            set.read(range, |exemplar| exemplars.push(exemplar))?;
            *labels = set.next()?;
        }
        // Stable: of equal times the earlier block's stands first.
        exemplars.sort_by_key(|exemplar| exemplar.timestamp);
        exemplars.dedup_by_key(|exemplar| exemplar.timestamp);
        writer.add_exemplars(&least, &exemplars)?;
    }
    blocks.iter().try_for_each(|block| block.exemplars_whole())?;
    Ok(true)
}
