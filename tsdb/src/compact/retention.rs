//! Which blocks to drop. Pure.

use crate::block::{BlockId, BlockMeta};

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Blocks that end this many milliseconds before the newest sample go; `None`, and none goes for its age.
    pub retention_ms: Option<i64>,
    /// While blocks and all else together take more, the oldest blocks go.
    pub max_bytes: Option<u64>,
}

/// What the age and the number of blocks is measured by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    /// The moment that the age of blocks is counted from.
    pub(crate) now_ms: i64,
    /// Blocks that begin after this lie in the future: they neither count nor go. Were they counted, real samples would have
    /// to go for them; were they to go, all would while the clock is behind.
    pub(crate) latest_ms: i64,
}

/// The blocks to drop, the oldest first. `other_bytes` are those of the log and of the head's files.
pub(crate) fn expired<'a>(
    blocks: impl IntoIterator<Item = &'a BlockMeta>,
    present: Present,
    other_bytes: u64,
    retention: Retention,
) -> Vec<BlockId> {
    let Present { now_ms, latest_ms } = present;
    let mut blocks: Vec<&BlockMeta> = blocks.into_iter().filter(|meta| meta.range.start_ms <= latest_ms).collect();
    blocks.sort_by_key(|meta| (meta.range.end_ms, meta.range.start_ms, meta.ulid));
    let too_old =
        |meta: &BlockMeta| retention.retention_ms.is_some_and(|ms| meta.range.end_ms <= now_ms.saturating_sub(ms));
    let mut bytes = blocks.iter().fold(other_bytes, |sum, meta| sum.saturating_add(meta.stats.bytes));
    let mut dropped = Vec::new();
    for meta in blocks {
        let too_much = retention.max_bytes.is_some_and(|most| bytes > most);
        if !too_old(meta) && !too_much {
            break;
        }
        bytes -= meta.stats.bytes;
        dropped.push(meta.ulid);
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockRange, BlockStats, Compaction};
    use crate::sample::Timestamp;

    fn blocks() -> Vec<BlockMeta> {
        let block = |n: i64| {
            let id = BlockId::new(Timestamp::from_millis(n), 0);
            let range = BlockRange { start_ms: n * 100, end_ms: n * 100 + 100 };
            let stats = BlockStats { bytes: 10, ..BlockStats::default() };
            BlockMeta::new(id, range, stats, Compaction { level: 1, sources: vec![id], parents: Vec::new() })
        };
        [2, 0, 1].map(block).to_vec()
    }

    fn dropped(newest_ms: i64, other_bytes: u64, retention_ms: Option<i64>, max_bytes: Option<u64>) -> Vec<i64> {
        let retention = Retention { retention_ms, max_bytes };
        let present = Present { now_ms: newest_ms, latest_ms: i64::MAX };
        expired(&blocks(), present, other_bytes, retention).iter().map(|id| id.timestamp().millis()).collect()
    }

    #[test]
    fn a_block_goes_when_its_last_moment_is_too_old() {
        assert_eq!(dropped(300, 0, None, None), [] as [i64; 0]);
        assert_eq!(dropped(300, 0, Some(201), None), [] as [i64; 0]);
        assert_eq!(dropped(300, 0, Some(200), None), [0]);
        assert_eq!(dropped(i64::MAX, 0, Some(0), None), [0, 1, 2]);
    }

    #[test]
    fn blocks_of_the_future_neither_count_nor_go() {
        let retention = Retention { retention_ms: Some(100), max_bytes: Some(20) };
        let present = |now_ms| Present { now_ms, latest_ms: 199 };
        let dropped = |now_ms, most| {
            let retention = Retention { max_bytes: Some(most), ..retention };
            let gone = expired(&blocks(), present(now_ms), 0, retention);
            gone.iter().map(|id| id.timestamp().millis()).collect::<Vec<_>>()
        };
        assert_eq!(dropped(100, 20), [] as [i64; 0], "the third is not counted");
        assert_eq!(dropped(100, 0), [0, 1], "nor does it go for the size");
        assert_eq!(dropped(i64::MAX, 20), [0, 1], "nor for its age");
    }

    #[test]
    fn the_oldest_go_while_all_together_is_too_much() {
        assert_eq!(dropped(300, 0, None, Some(30)), [] as [i64; 0]);
        assert_eq!(dropped(300, 1, None, Some(30)), [0]);
        assert_eq!(dropped(300, 15, None, Some(30)), [0, 1]);
        assert_eq!(dropped(300, 99, Some(250), Some(30)), [0, 1, 2]);
    }
}
