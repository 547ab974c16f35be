//! One view over the head and the blocks.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::block::Block;
use crate::blocks::Blocks;
use crate::error::Error;
use crate::head::HeadQuerier;
use crate::matcher::Matcher;
use crate::merge::MergedSet;
use crate::querier::{Querier, SeriesSet};
use crate::sample::TimeRange;

/// A view of a store as of one moment.
#[derive(Debug)]
pub(crate) struct StoreQuerier {
    head: HeadQuerier,
    blocks: Arc<Blocks>,
}

impl StoreQuerier {
    pub(crate) fn new(head: HeadQuerier, blocks: Arc<Blocks>) -> Self {
        Self { head, blocks }
    }

    pub(crate) fn head(&self) -> &HeadQuerier {
        &self.head
    }

    fn blocks_in(&self, range: TimeRange) -> impl Iterator<Item = &Arc<Block>> {
        self.blocks.list().iter().filter(move |block| block.meta().range.touches(range))
    }

    /// What the head and the blocks say, together, at most `limit`.
    fn union(
        &self,
        range: TimeRange,
        limit: usize,
        head: impl FnOnce(&HeadQuerier) -> Result<Vec<String>, Error>,
        block: impl Fn(&Block) -> Result<Vec<String>, Error>,
    ) -> Result<Vec<String>, Error> {
        let found = head(&self.head)?;
        let mut blocks = self.blocks_in(range).peekable();
        if blocks.peek().is_none() {
            return Ok(found);
        }
        let mut all: BTreeSet<String> = found.into_iter().collect();
        for each in blocks {
            all.extend(block(each)?);
        }
        Ok(all.into_iter().take(limit).collect())
    }
}

impl Querier for StoreQuerier {
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        // In order of time; where they overlap, blocks hold what came first.
        let mut sets = Vec::new();
        for block in self.blocks_in(range) {
            let set = block.select(matchers, range)?;
            if !set.is_empty() {
                sets.push(set);
            }
        }
        let head = self.head.select(matchers, range)?;
        if !head.is_empty() || sets.is_empty() {
            sets.push(head);
        }
        Ok(MergedSet::join(sets))
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, Error> {
        self.union(
            range,
            limit,
            |head| head.label_names(matchers, range, limit),
            |block| block.label_names(matchers, range, limit),
        )
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        self.union(
            range,
            limit,
            |head| head.label_values(name, matchers, range, limit),
            |block| block.label_values(name, matchers, range, limit),
        )
    }
}
