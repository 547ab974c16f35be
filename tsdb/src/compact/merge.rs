//! Makes one block of several.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::block::{Block, BlockId, BlockMeta, BlockRange, BlockSpec, BlockWriter, Parent};
use crate::error::Error;
use crate::fs::Fs;
use crate::merge::MergedSet;
use crate::querier::Columns;
use crate::sample::TimeRange;

use super::exemplars::add_exemplars;

/// What came of a compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compacted {
    /// This block, which is in its place.
    Block(Box<BlockMeta>),
    /// Nothing: all samples were deleted. Exemplars that were left go with them.
    Nothing,
    /// It was told to stop. Nothing is left behind.
    Canceled,
}

/// Writes the samples and exemplars of `blocks` that lie in `range` as one block `id` below `blocks_dir`. Of two samples, or
/// exemplars, of a series at one time that of the earlier block stays. The blocks are left as they are.
///
/// Memory: one series, and the label sets and index of the new block. Looks at `cancel` at each series.
///
/// # Errors
/// If a block is damaged or the disk refuses. Nothing is left behind then, as far as the disk allows.
pub(crate) fn compact(
    fs: &Arc<dyn Fs>,
    blocks_dir: &Path,
    blocks: &[Arc<Block>],
    id: BlockId,
    range: BlockRange,
    cancel: &AtomicBool,
) -> Result<Compacted, Error> {
    let Some(first) = blocks.first() else { return Ok(Compacted::Nothing) };
    let metas = || blocks.iter().map(|block| block.meta());
    let mut sources: Vec<BlockId> = metas().flat_map(|meta| &meta.compaction.sources).copied().collect();
    sources.sort_unstable();
    sources.dedup();
    let spec = BlockSpec {
        id,
        range,
        level: metas().map(|meta| meta.compaction.level).max().unwrap_or(0).saturating_add(1),
        sources,
        parents: metas().map(|meta| Parent { ulid: meta.ulid, range: meta.range }).collect(),
        labels: first.meta().labels.clone(),
        replica: first.meta().replica.clone(),
    };
    let sets = blocks.iter().map(|block| block.select(&[], TimeRange::ALL)).collect::<Result<_, Error>>()?;
    let all = MergedSet::join(sets);
    let mut writer = BlockWriter::begin(fs, blocks_dir, spec)?;
    let mut columns = Columns::default();
    for index in 0..all.len() {
        if cancel.load(Ordering::Relaxed) {
            return Ok(Compacted::Canceled);
        }
        columns.clear();
        all.read(index, range.closed(), &mut columns)?;
        writer.add(&all.labels(index), &columns)?;
    }
    if !add_exemplars(blocks, range.closed(), &mut writer, cancel)? {
        return Ok(Compacted::Canceled);
    }
    Ok(writer.finish()?.map_or(Compacted::Nothing, |meta| Compacted::Block(Box::new(meta))))
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::labels::Labels;
    use crate::matcher::Matcher;
    use crate::sample::Timestamp;
    use crate::testing::FaultFs;

    const HOUR: i64 = 3_600_000;

    fn written(fs: &Arc<dyn Fs>, number: u128, range: BlockRange, series: &[(&str, i64, f64)]) -> Arc<Block> {
        let id = BlockId::new(Timestamp::from_millis(number as i64), number);
        let (labels, replica) = (BTreeMap::from([("zone".into(), "a".into())]), "r1".to_owned());
        let spec = BlockSpec { labels, replica, ..BlockSpec::new(id, range) };
        let mut writer = BlockWriter::begin(fs, Path::new("/blocks"), spec).unwrap();
        for &(name, step, value) in series {
            let mut columns = Columns::default();
            let times = (range.start_ms..range.end_ms).step_by(step as usize);
            times.for_each(|t| columns.push(t, value, 0));
            writer.add(&Labels::from_pairs([("__name__", name)]), &columns).unwrap();
        }
        writer.finish().unwrap();
        Arc::new(Block::open(fs, Path::new("/blocks"), id).unwrap())
    }

    #[test]
    fn a_compacted_block_reads_as_the_blocks_together_less_what_is_deleted() {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        let range = |from: i64, to: i64| BlockRange { start_ms: from * HOUR, end_ms: to * HOUR };
        let blocks = [
            written(&fs, 1, range(0, 2), &[("a", 15_000, 1.0), ("b", 60_000, 1.0)]),
            written(&fs, 2, range(0, 4), &[("a", 30_000, 2.0), ("c", 15_000, 2.0)]),
        ];
        blocks[1].delete(&[Matcher::equal("__name__", "c")], TimeRange::from_millis(HOUR, 9 * HOUR), false).unwrap();
        let id = BlockId::new(Timestamp::from_millis(9), 9);
        let run = |cancel: bool| {
            compact(&fs, Path::new("/blocks"), &blocks, id, range(0, 4), &AtomicBool::new(cancel)).unwrap()
        };
        assert_eq!(run(true), Compacted::Canceled);
        assert_eq!(fs.list(Path::new("/blocks")).unwrap().len(), 2);
        let Compacted::Block(meta) = run(false) else { panic!("no block") };
        let ids: Vec<BlockId> = blocks.iter().map(|b| b.meta().ulid).collect();
        assert_eq!((meta.compaction.level, &meta.compaction.sources), (2, &ids));
        assert_eq!((meta.labels.len(), meta.replica.as_str(), meta.range), (1, "r1", range(0, 4)));
        let compacted = Arc::new(Block::open(&fs, Path::new("/blocks"), id).unwrap());
        compacted.verify(|e| panic!("{e}"));
        let set = compacted.select(&[], TimeRange::ALL).unwrap();
        let mut sums = Vec::new();
        for i in 0..set.len() {
            let mut columns = Columns::default();
            set.read(i, TimeRange::ALL, &mut columns).unwrap();
            sums.push((columns.values.len(), columns.values.iter().sum::<f64>()));
        }
        // a: 2 h at 15 s, then 2 h at 30 s of twice the value; b; an hour of c.
        assert_eq!(sums, [(720, 480.0 + 2.0 * 240.0), (120, 120.0), (240, 480.0)]);
    }

    #[test]
    fn a_block_whose_samples_are_all_deleted_becomes_nothing() {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        let range = BlockRange { start_ms: 0, end_ms: HOUR };
        let block = written(&fs, 1, range, &[("a", 15_000, 1.0)]);
        block.delete(&[], TimeRange::ALL, false).unwrap();
        let id = BlockId::new(Timestamp::from_millis(9), 9);
        let none = AtomicBool::new(false);
        assert_eq!(compact(&fs, Path::new("/blocks"), &[block], id, range, &none).unwrap(), Compacted::Nothing);
        assert_eq!(fs.list(Path::new("/blocks")).unwrap().len(), 1);
    }
}
