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
        grouping.map_or_else(|| Self::labels(false, &[]), |g| Self::labels(g.without, &g.labels))
    }

    /// By the labels that are listed, or by all others but the name.
    pub(crate) fn labels(without: bool, names: &'q [String]) -> Self {
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        Self { without, names }
    }

    /// Whether a label is listed if the listed ones count, or not if all others do.
    pub(crate) fn lists(&self, name: &str) -> bool {
        self.names.binary_search(&name).is_ok() != self.without
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

    /// What tells the groups apart, as bytes: the values of the labels, their lengths before them.
    fn key(&self, source: &dyn Source, index: usize, key: &mut Vec<u8>) {
        key.clear();
        if self.without {
            for text in self.labels_of(source, index).iter().flat_map(|(name, value)| [name, value]) {
                push_text(key, text);
            }
            return;
        }
        for name in &self.names {
            push_text(key, source.label(index, name).unwrap_or_default());
        }
    }
}

/// Marks of groups whose name is dropped at the end: some series that has a value where the group has its last one is
/// marked.
#[derive(Debug, Default)]
pub(crate) struct NameDrops(Vec<Option<(usize, bool)>>);

impl NameDrops {
    /// Counts a series in whose last value is at `step`.
    pub(crate) fn add(&mut self, group: usize, step: usize, drops: bool) {
        if group >= self.0.len() {
            self.0.resize(group + 1, None);
        }
        match &mut self.0[group] {
            Some((last, _)) if *last > step => {}
            Some((last, any)) if *last == step => *any |= drops,
            slot => *slot = Some((step, drops)),
        }
    }

    /// Takes over the groups of `other`, which are at `places` here.
    pub(crate) fn adopt(&mut self, other: &Self, places: &[usize]) {
        for (seen, place) in other.0.iter().zip(places) {
            if let Some((step, drops)) = seen {
                self.add(*place, *step, *drops);
            }
        }
    }

    /// One for each of `groups` groups.
    pub(crate) fn finish(mut self, groups: usize) -> Vec<bool> {
        self.0.resize(groups, None);
        self.0.into_iter().map(|seen| seen.is_some_and(|(_, drops)| drops)).collect()
    }
}

/// The texts that [`push_text`] has put into a key.
#[derive(Clone)]
struct Texts<'k>(&'k [u8]);

impl<'k> Iterator for Texts<'k> {
    type Item = &'k str;

    fn next(&mut self) -> Option<&'k str> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (text, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        self.0 = rest;
        Some(std::str::from_utf8(text).expect("keys are made of texts"))
    }
}

fn push_text(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&(text.len() as u32).to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// Groups in the order in which their first series came.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    table: HashTable<u32>,
    /// The first series of each.
    pub(crate) first: Vec<u32>,
    hashes: Vec<u64>,
    /// The keys of all groups, one behind the other; each ends where `ends` says.
    keys: Vec<u8>,
    ends: Vec<usize>,
    /// The key that is looked for.
    wanted: Vec<u8>,
}

impl Groups {
    /// The labels of a group that was made with the same `by`.
    pub(crate) fn labels(&self, by: &GroupBy<'_>, group: usize) -> Labels {
        let mut texts = Texts(self.key(group));
        if by.without {
            return Labels::from_sorted(std::iter::from_fn(move || Some((texts.next()?, texts.next()?))));
        }
        Labels::from_sorted(by.names.iter().copied().zip(texts).filter(|(_, value)| !value.is_empty()))
    }

    /// The group of the series at `index`; the series makes a new one if need be.
    pub(crate) fn group_of(&mut self, by: &GroupBy<'_>, source: &dyn Source, index: usize) -> usize {
        if by.is_single() {
            if self.first.is_empty() {
                self.insert(0, index as u32, &[]);
            }
            return 0;
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        by.key(source, index, &mut wanted);
        let group = self.entry(xxhash_rust::xxh3::xxh3_64(&wanted), index as u32, &wanted);
        self.wanted = wanted;
        group
    }

    /// The groups of `other`, found among or added to these.
    pub(crate) fn adopt(&mut self, other: &Self) -> Vec<usize> {
        (0..other.len()).map(|group| self.entry(other.hashes[group], other.first[group], other.key(group))).collect()
    }

    fn key(&self, group: usize) -> &[u8] {
        let start = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.keys[start..self.ends[group]]
    }

    fn entry(&mut self, hash: u64, first: u32, key: &[u8]) -> usize {
        let same = |group: &u32| self.hashes[*group as usize] == hash && self.key(*group as usize) == key;
        match self.table.find(hash, same) {
            Some(group) => *group as usize,
            None => self.insert(hash, first, key),
        }
    }

    fn insert(&mut self, hash: u64, first: u32, key: &[u8]) -> usize {
        let group = self.first.len();
        self.first.push(first);
        self.hashes.push(hash);
        self.keys.extend_from_slice(key);
        self.ends.push(self.keys.len());
        let hashes = &self.hashes;
        self.table.insert_unique(hash, group as u32, |group| hashes[*group as usize]);
        group
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len()
    }

    /// Bytes that they take in memory, about.
    pub(crate) fn size_bytes(&self) -> u64 {
        (self.keys.capacity() + self.first.len() * 40) as u64
    }
}
