//! One view over the head and the blocks.

use std::sync::Arc;

use crate::block::{self, Block};
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

    /// What the head and the blocks say, each sorted, together, at most `limit`.
    fn union(
        &self,
        range: TimeRange,
        limit: usize,
        head: impl FnOnce(&HeadQuerier) -> Result<Vec<String>, Error>,
        block: impl Fn(&Block, &mut dyn FnMut(&str)) -> Result<(), Error>,
    ) -> Result<Vec<String>, Error> {
        let mut found = head(&self.head)?;
        for each in self.blocks_in(range) {
            // Most often it says what is known already.
            let (known, mut next) = (found.len(), 0);
            block(each, &mut |text| {
                while next < known && found[next].as_str() < text {
                    next += 1;
                }
                if next == known || found[next] != text {
                    found.push(text.to_owned());
                }
            })?;
            if found.len() > known {
                found.sort();
            }
            found.truncate(limit);
        }
        Ok(found)
    }
}

impl Querier for StoreQuerier {
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        self.select_first(matchers, range, usize::MAX)
    }

    fn select_first(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Arc<dyn SeriesSet>, Error> {
        // What is among the first of all is among the first of its part. In order of time; where they overlap, blocks hold
        // what came first.
        let sets = block::select_in(self.blocks_in(range), matchers, range, limit)?;
        let mut parts: Vec<Arc<dyn SeriesSet>> = Vec::with_capacity(sets.len() + 1);
        parts.extend(sets.iter().map(|set| set.clone() as Arc<dyn SeriesSet>));
        let head = self.head.select_first(matchers, range, limit)?;
        if !head.is_empty() || parts.is_empty() {
            parts.push(head);
        }
        Ok(MergedSet::join_first(parts, limit, |(part, index), (other, its)| match (sets.get(part), sets.get(other)) {
            (Some(set), Some(other)) => set.is_same(index, other, its),
            _ => false,
        }))
    }

    fn at_most(&self, matchers: &[Matcher], range: TimeRange) -> u64 {
        if self.blocks_in(range).next().is_some() {
            return u64::MAX;
        }
        self.head.at_most(matchers, range)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, Error> {
        self.union(
            range,
            limit,
            |head| head.label_names(matchers, range, limit),
            |block, each| block.label_names(matchers, range, each),
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
            |block, each| block.label_values(name, matchers, range, limit, each),
        )
    }
}
