//! Which series belong together.

use hashbrown::HashTable;
use tsdb::{Labels, METRIC_NAME};

use super::source::Source;
use crate::parser::Grouping;

/// The labels that an aggregation groups by.
#[derive(Clone, Debug)]
pub(crate) struct GroupBy<'q> {
    without: bool,
    /// Sorted, each once.
    names: Vec<&'q str>,
}

impl<'q> GroupBy<'q> {
    pub(crate) fn new(grouping: Option<&'q Grouping>) -> Self {
        let mut names: Vec<&str> = grouping.map_or_else(Vec::new, |g| g.labels.iter().map(String::as_str).collect());
        names.sort_unstable();
        names.dedup();
        Self { without: grouping.is_some_and(|g| g.without), names }
    }

    /// Whether all series make one group.
    pub(crate) fn is_single(&self) -> bool {
        !self.without && self.names.is_empty()
    }

    /// The labels of the group that a series belongs to.
    pub(crate) fn labels_of(&self, source: &dyn Source, index: usize) -> Labels {
        if self.without {
            let keep = |name: &str| name != METRIC_NAME && self.names.binary_search(&name).is_err();
            return source.labels(index).filtered(keep);
        }
        let pairs = self.names.iter().filter_map(|name| Some((*name, source.label(index, name)?)));
        Labels::from_sorted(pairs)
    }

    /// Hash of the group's labels. Allocates nothing when grouping by labels.
    fn hash(&self, source: &dyn Source, index: usize) -> u64 {
        if self.without {
            return self.labels_of(source, index).hash();
        }
        let mut hash = 0u64;
        for name in &self.names {
            let value = source.label(index, name).unwrap_or_default();
            hash =
                hash.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ xxhash_rust::xxh3::xxh3_64(value.as_bytes());
        }
        hash
    }

    fn is_same(&self, source: &dyn Source, a: usize, b: usize) -> bool {
        if self.without {
            return self.labels_of(source, a) == self.labels_of(source, b);
        }
        self.names.iter().all(|name| source.label(a, name) == source.label(b, name))
    }
}

/// Groups in the order in which their first series came.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    table: HashTable<(u64, u32)>,
    /// The first series of each.
    pub(crate) first: Vec<u32>,
    hashes: Vec<u64>,
}

impl Groups {
    /// The group of the series at `index`; the series makes a new one if need be.
    pub(crate) fn group_of(&mut self, by: &GroupBy<'_>, source: &dyn Source, index: usize) -> usize {
        if by.is_single() {
            if self.first.is_empty() {
                self.first.push(index as u32);
                self.hashes.push(0);
            }
            return 0;
        }
        let hash = by.hash(source, index);
        self.entry(hash, by, source, index)
    }

    /// The groups of `other`, found among or added to these.
    pub(crate) fn adopt(&mut self, other: &Self, by: &GroupBy<'_>, source: &dyn Source) -> Vec<usize> {
        let found = other.first.iter().zip(&other.hashes);
        found.map(|(index, hash)| self.entry(*hash, by, source, *index as usize)).collect()
    }

    fn entry(&mut self, hash: u64, by: &GroupBy<'_>, source: &dyn Source, index: usize) -> usize {
        let first = &self.first;
        let same = |entry: &(u64, u32)| entry.0 == hash && by.is_same(source, first[entry.1 as usize] as usize, index);
        if let Some((_, group)) = self.table.find(hash, same) {
            return *group as usize;
        }
        let group = self.first.len();
        self.table.insert_unique(hash, (hash, group as u32), |entry| entry.0);
        self.first.push(index as u32);
        self.hashes.push(hash);
        group
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len()
    }
}
