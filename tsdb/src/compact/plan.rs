//! Which blocks to make one of next. Pure.

use crate::block::{BlockId, BlockMeta, BlockRange};

/// The span of a block that is cut from the head: two hours.
pub(crate) const BASE_WIDTH_MS: i64 = 2 * 3_600_000;

/// How much wider each kind of block is than the one before; from the last on, the last.
const FACTORS: [i64; 3] = [3, 4, 3];

/// The widest that a block gets where nothing limits it: 27 days.
const WIDEST_MS: i64 = 27 * 86_400_000;

/// One in so many samples deleted makes a block worth rewriting.
const DELETED_SHARE: u64 = 20;

/// A block that may be compacted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) meta: &'a BlockMeta,
    /// Samples that are deleted but still in it.
    pub(crate) deleted_samples: u64,
}

/// What is to be made one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Those whose samples were accepted first come first: of two samples at one time theirs stays.
    pub(crate) blocks: Vec<BlockId>,
    /// The shortest that holds them all.
    pub(crate) range: BlockRange,
}

/// The spans of blocks, ascending: 2 h, 6 h, 1 d, 3 d, …, at most a tenth of the retention.
pub(crate) fn widths(retention_ms: Option<i64>) -> Vec<i64> {
    let most = retention_ms.map_or(WIDEST_MS, |ms| (ms / 10).clamp(BASE_WIDTH_MS, WIDEST_MS));
    let factors = FACTORS.iter().chain(std::iter::repeat(&FACTORS[FACTORS.len() - 1]));
    let wider = factors.scan(BASE_WIDTH_MS, |width, factor| {
        *width *= factor;
        Some(*width)
    });
    std::iter::once(BASE_WIDTH_MS).chain(wider).take_while(|&width| width <= most).collect()
}

/// What to compact next; `None` if there is nothing to do. Call it again when that has been done.
///
/// Blocks that overlap come first, for they make every query merge. Then those that lie in one range of the next width,
/// narrow ranges first, old ones first, once blocks reach to the end of that range. Then blocks of which more than one
/// sample in twenty is deleted. Wider blocks never reach across a multiple of their width, unless they were imported so.
pub(crate) fn plan(candidates: &[Candidate<'_>], widths: &[i64]) -> Option<Plan> {
    let mut all: Vec<Candidate<'_>> = candidates.to_vec();
    all.sort_by_key(|c| (c.meta.range, c.meta.ulid));
    overlapping(&all).or_else(|| neighbours(&all, widths)).or_else(|| with_deletions(&all)).map(of)
}

fn of(mut group: Vec<&BlockMeta>) -> Plan {
    let range = group.iter().map(|meta| meta.range).reduce(|a, b| a.hull(&b)).expect("a group has blocks");
    group.sort_by_key(|meta| (meta.compaction.sources.iter().min().copied(), meta.ulid));
    Plan { blocks: group.iter().map(|meta| meta.ulid).collect(), range }
}

/// The first blocks that overlap each other, directly or by others between them. `all` ascend by their start.
fn overlapping<'a>(all: &[Candidate<'a>]) -> Option<Vec<&'a BlockMeta>> {
    let mut group: Vec<&BlockMeta> = Vec::new();
    let mut end_ms = i64::MIN;
    for Candidate { meta, .. } in all {
        if meta.range.start_ms >= end_ms {
            if group.len() > 1 {
                break;
            }
            group.clear();
        }
        end_ms = end_ms.max(meta.range.end_ms);
        group.push(meta);
    }
    (group.len() > 1).then_some(group)
}

/// The first blocks that lie in one range of the next width, if that is over.
fn neighbours<'a>(all: &[Candidate<'a>], widths: &[i64]) -> Option<Vec<&'a BlockMeta>> {
    let newest_ms = all.iter().map(|c| c.meta.range.end_ms).max()?;
    for &width in widths.iter().skip(1) {
        let place = |c: &Candidate<'_>| {
            let range = BlockRange::aligned(c.meta.range.start_ms, width);
            (c.meta.range.end_ms <= range.end_ms && range.end_ms <= newest_ms).then_some(range)
        };
        let groups = all.chunk_by(|a, b| place(a).is_some() && place(a) == place(b));
        if let Some(group) = groups.into_iter().find(|group| group.len() > 1) {
            return Some(group.iter().map(|c| c.meta).collect());
        }
    }
    None
}

fn with_deletions<'a>(all: &[Candidate<'a>]) -> Option<Vec<&'a BlockMeta>> {
    let worth = |c: &&Candidate<'_>| c.deleted_samples.saturating_mul(DELETED_SHARE) > c.meta.stats.num_samples;
    all.iter().find(worth).map(|c| vec![c.meta])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockStats, Compaction};
    use crate::sample::Timestamp;

    const HOUR: i64 = 3_600_000;

    fn block(number: u128, from_h: i64, to_h: i64) -> BlockMeta {
        let id = BlockId::new(Timestamp::from_millis(0), number);
        let stats = BlockStats { num_samples: 1000, ..BlockStats::default() };
        let range = BlockRange { start_ms: from_h * HOUR, end_ms: to_h * HOUR };
        BlockMeta::new(id, range, stats, Compaction { level: 1, sources: vec![id], parents: Vec::new() })
    }

    fn planned(blocks: &[BlockMeta], deleted: u64) -> Option<(Vec<u128>, i64, i64)> {
        let candidates: Vec<_> = blocks.iter().map(|meta| Candidate { meta, deleted_samples: deleted }).collect();
        let plan = plan(&candidates, &widths(None))?;
        let number = |id: &BlockId| (0..100).find(|&n| BlockId::new(Timestamp::from_millis(0), n) == *id).unwrap();
        Some((plan.blocks.iter().map(number).collect(), plan.range.start_ms / HOUR, plan.range.end_ms / HOUR))
    }

    #[test]
    fn blocks_widen_up_to_a_tenth_of_the_retention() {
        let hours = |retention: Option<i64>| widths(retention).iter().map(|w| w / HOUR).collect::<Vec<_>>();
        assert_eq!(hours(Some(15 * 24 * HOUR)), [2, 6, 24]);
        assert_eq!(hours(None), [2, 6, 24, 72, 216, 648]);
        assert_eq!(hours(Some(HOUR)), [2]);
    }

    #[test]
    fn a_range_is_compacted_when_blocks_reach_its_end() {
        assert_eq!(planned(&[], 0), None);
        assert_eq!(planned(&[block(1, 0, 2), block(2, 2, 4)], 0), None);
        assert_eq!(planned(&[block(1, 0, 2), block(2, 2, 4), block(3, 4, 6)], 0), Some((vec![1, 2, 3], 0, 6)));
        assert_eq!(planned(&[block(1, 0, 2), block(2, 2, 4), block(3, 8, 10)], 0), Some((vec![1, 2], 0, 4)));
        assert_eq!(planned(&[block(1, 4, 6), block(2, 6, 8), block(3, 8, 10)], 0), None, "two ranges of 6 h");
        let six: Vec<_> = (0..4).map(|i| block(i as u128, i * 6, i * 6 + 6)).collect();
        assert_eq!(planned(&six, 0), Some((vec![0, 1, 2, 3], 0, 24)));
        assert_eq!(planned(&six[..3], 0), None);
    }

    #[test]
    fn what_overlaps_comes_first_and_the_first_accepted_takes_precedence() {
        let blocks = [
            block(9, 0, 2),
            block(2, 2, 4),
            block(3, 4, 6),
            block(5, 9, 11),
            block(4, 10, 12),
            block(8, 11, 13),
            block(7, 20, 22),
        ];
        assert_eq!(planned(&blocks, 0), Some((vec![4, 5, 8], 9, 13)));
        let mut compacted = block(50, 10, 12);
        compacted.compaction.sources = vec![block(6, 0, 1).ulid, block(1, 0, 1).ulid];
        assert_eq!(planned(&[block(2, 10, 12), compacted], 0), Some((vec![50, 2], 10, 12)));
    }

    #[test]
    fn a_block_with_many_deletions_is_rewritten() {
        assert_eq!(planned(&[block(1, 0, 2)], 50), None);
        assert_eq!(planned(&[block(1, 0, 2), block(2, 2, 4)], 51), Some((vec![1], 0, 2)));
    }

    #[test]
    fn what_was_imported_across_a_boundary_stays_as_it_is() {
        assert_eq!(
            planned(&[block(1, 5, 7), block(2, 7, 9), block(3, 9, 11), block(4, 12, 14)], 0),
            Some((vec![2, 3], 7, 11))
        );
        assert_eq!(planned(&[block(1, 5, 7), block(2, 11, 13), block(3, 14, 16)], 0), None);
    }

    #[test]
    fn planning_ends_with_blocks_that_do_not_overlap() {
        let mut blocks: Vec<BlockMeta> = (0..60).map(|i| block(i as u128, i * 2 % 90, i * 2 % 90 + 2)).collect();
        for round in 0.. {
            let candidates: Vec<_> = blocks.iter().map(|meta| Candidate { meta, deleted_samples: 0 }).collect();
            let Some(plan) = plan(&candidates, &widths(None)) else { break };
            assert!(round < 100);
            assert!(plan.blocks.len() > 1);
            blocks.retain(|meta| !plan.blocks.contains(&meta.ulid));
            let mut made = block(1000 + round, 0, 0);
            made.range = plan.range;
            blocks.push(made);
        }
        blocks.sort_by_key(|meta| meta.range);
        assert!(blocks.windows(2).all(|w| w[0].range.end_ms <= w[1].range.start_ms), "{blocks:?}");
        assert!(blocks.len() < 10, "{}", blocks.len());
    }
}
