//! One shard's index: which series there are, and which have which labels.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet, HashTable};
use rustc_hash::FxBuildHasher;

use super::series::MemSeries;
use super::slab::Slab;
use crate::index::{Postings, Symbol, SymbolsView, intersect, intersects, union, without};
use crate::labels::Labels;
use crate::matcher::Matcher;

/// The series of a shard by slot, by label set and by label.
#[derive(Debug, Default)]
pub(crate) struct ShardIndex {
    series: Slab<Arc<MemSeries>>,
    by_labels: HashTable<Entry>,
    by_name: HashMap<Symbol, Values, FxBuildHasher>,
    /// Values of labels that have come or gone so far, and how many that were the last time for each name.
    changes: u64,
    changed: HashMap<Symbol, u64, FxBuildHasher>,
}

/// A series in the table of label sets: the upper half of the set's hash, and the slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// Series whose labels are looked up in the time that a list of series is looked through for a common one.
const POSTINGS_PER_SERIES: usize = 4;

/// The values of one label name, with their series.
type Values = HashMap<Symbol, Postings, FxBuildHasher>;

impl Entry {
    fn table_hash(self) -> u64 {
        // The table uses the top bits and the bottom ones.
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

impl ShardIndex {
    /// Slots given so far: the next series gets this one.
    pub(crate) fn slots(&self) -> usize {
        self.series.len()
    }

    /// Series that are there.
    pub(crate) fn live(&self) -> usize {
        self.series.live()
    }

    pub(crate) fn series(&self, slot: u32) -> Option<&Arc<MemSeries>> {
        self.series.get(slot)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<MemSeries>> {
        self.series.iter()
    }

    /// The series with these labels. `text` gives the text of a symbol.
    pub(crate) fn find<'t>(
        &self,
        labels: &Labels,
        hash: u64,
        text: impl Fn(Symbol) -> &'t str,
    ) -> Option<&Arc<MemSeries>> {
        self.find_by(hash, |series| {
            let mut pairs = labels.iter();
            series
                .labels
                .iter()
                .all(|&(n, v)| pairs.next().is_some_and(|(name, value)| text(n) == name && text(v) == value))
                && pairs.next().is_none()
        })
    }

    /// The series with these labels, sorted by the text of the names.
    pub(crate) fn find_pairs(&self, pairs: &[(Symbol, Symbol)], hash: u64) -> Option<&Arc<MemSeries>> {
        self.find_by(hash, |series| *series.labels == *pairs)
    }

    fn find_by(&self, hash: u64, same: impl Fn(&MemSeries) -> bool) -> Option<&Arc<MemSeries>> {
        let wanted = Entry { hash: (hash >> 32) as u32, slot: 0 };
        let entry = self.by_labels.find(wanted.table_hash(), |entry| {
            entry.hash == wanted.hash && self.series.get(entry.slot).is_some_and(|series| same(series))
        })?;
        self.series.get(entry.slot)
    }

    /// Adds a series that is not there yet, in the next slot.
    pub(crate) fn insert(&mut self, series: Arc<MemSeries>, hash: u64) {
        let slot = u32::try_from(self.series.len()).expect("a shard holds fewer than 2^32 series");
        let entry = Entry { hash: (hash >> 32) as u32, slot };
        self.by_labels.insert_unique(entry.table_hash(), entry, |entry| entry.table_hash());
        for &(name, value) in &series.labels {
            let postings = self.by_name.entry(name).or_default().entry(value).or_default();
            if postings.is_empty() {
                self.changes += 1;
                self.changed.insert(name, self.changes);
            }
            postings.push(slot);
        }
        self.series.push(series);
    }

    /// Takes series out, whose slots are ascending. Cost: a walk over the postings of their labels.
    pub(crate) fn remove(&mut self, slots: &[u32]) {
        let mut pairs: HashSet<(Symbol, Symbol), FxBuildHasher> = HashSet::default();
        for &slot in slots {
            if let Some(series) = self.series.remove(slot) {
                pairs.extend(series.labels.iter().copied());
            }
        }
        for (name, value) in pairs {
            let Some(values) = self.by_name.get_mut(&name) else { continue };
            if let Some(postings) = values.get_mut(&value) {
                postings.remove(slots);
                if postings.is_empty() {
                    values.remove(&value);
                    self.changes += 1;
                    self.changed.insert(name, self.changes);
                }
            }
            if values.is_empty() {
                self.by_name.remove(&name);
                self.changed.remove(&name);
            }
        }
        let Self { series, by_labels, by_name, .. } = self;
        by_labels.retain(|entry| series.get(entry.slot).is_some());
        // What stays after many have gone gets tables of its size.
        by_labels.shrink_to(by_labels.len() * 2, |entry| entry.table_hash());
        by_name.values_mut().for_each(|values| values.shrink_to(values.len() * 2));
    }

    /// The slots of the series that pass all `matchers`, ascending. `find` gives the symbol of a text.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        symbols: &SymbolsView,
        find: impl Fn(&str) -> Option<Symbol>,
    ) -> Vec<u32> {
        let (absent_passes, absent_fails): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.matches_empty());
        let mut lists: Vec<Vec<&[u32]>> = absent_fails.iter().map(|m| self.lists(m, symbols, &find, true)).collect();
        // The cheapest first: what it leaves bounds the work of the others.
        lists.sort_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        let mut slots = None;
        for lists in lists {
            match &mut slots {
                None => slots = Some(union(lists.into_iter())),
                Some(slots) => match *lists {
                    [list] => intersect(slots, list),
                    _ => intersect(slots, &union(lists.into_iter())),
                },
            }
        }
        let mut slots = slots.unwrap_or_else(|| self.series.slots().collect());
        for matcher in absent_passes {
            if slots.is_empty() {
                break;
            }
            for list in self.lists(matcher, symbols, &find, false) {
                without(&mut slots, list);
            }
        }
        slots
    }

    /// The postings of the values that pass `matcher` (or that fail it).
    fn lists(
        &self,
        matcher: &Matcher,
        symbols: &SymbolsView,
        find: &impl Fn(&str) -> Option<Symbol>,
        passing: bool,
    ) -> Vec<&[u32]> {
        let Some(values) = find(matcher.name()).and_then(|name| self.by_name.get(&name)) else { return Vec::new() };
        // What the literals speak of is what passes, or for a negative matcher what fails.
        if passing != matcher.op().is_negative()
            && let Some(literals) = matcher.literals()
        {
            let list = |text: &str| values.get(&find(text)?).map(Postings::as_slice);
            return literals.into_iter().filter_map(list).collect();
        }
        values
            .iter()
            .filter(|(value, _)| matcher.matches(symbols.text(**value)) == passing)
            .map(|(_, postings)| postings.as_slice())
            .collect()
    }

    /// How many series have the label.
    pub(crate) fn count(&self, name: Symbol, value: Symbol) -> usize {
        self.by_name.get(&name).and_then(|values| values.get(&value)).map_or(0, Postings::len)
    }

    /// The names of all labels.
    pub(crate) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.by_name.keys().copied()
    }

    /// The values of the label `name`.
    pub(crate) fn values(&self, name: Symbol) -> impl ExactSizeIterator<Item = Symbol> {
        self.by_name.get(&name).map(Values::keys).unwrap_or_default().copied()
    }

    /// Another number after each change of the values of the label `name`; 0 if it has none.
    pub(crate) fn values_version(&self, name: Symbol) -> u64 {
        self.changed.get(&name).copied().unwrap_or(0)
    }

    /// The values of the label `name` that any of the series in `slots` has, which ascend.
    pub(crate) fn values_in(&self, name: Symbol, slots: &[u32]) -> Vec<Symbol> {
        let Some(values) = self.by_name.get(&name) else { return Vec::new() };
        if values.len() < slots.len() / POSTINGS_PER_SERIES {
            let common = values.iter().filter(|(_, postings)| intersects(postings.as_slice(), slots));
            return common.map(|(value, _)| *value).collect();
        }
        slots.iter().filter_map(|&slot| self.series.get(slot)?.label(name)).collect()
    }

    /// The names of the labels that the series in `slots` have.
    pub(crate) fn names_in(&self, slots: &[u32]) -> Vec<Symbol> {
        let (mut found, mut last): (Vec<Symbol>, &[(Symbol, Symbol)]) = (Vec::new(), &[]);
        for series in slots.iter().filter_map(|&slot| self.series.get(slot)) {
            if found.len() == self.by_name.len() {
                break;
            }
            // Most have the names of the one before.
            if last.len() != series.labels.len() || !last.iter().zip(&series.labels).all(|(a, b)| a.0 == b.0) {
                for &(name, _) in &series.labels {
                    if !found.contains(&name) {
                        found.push(name);
                    }
                }
            }
            last = &series.labels;
        }
        found
    }

    /// All names and values of labels, some of them more than once.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.by_name.iter().flat_map(|(name, values)| std::iter::once(*name).chain(values.keys().copied()))
    }

    /// Every label pair with how many series have it.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Symbol, Symbol, usize)> {
        self.by_name.iter().flat_map(|(name, values)| values.iter().map(|(value, p)| (*name, *value, p.len())))
    }

    /// Bytes that tables and postings take, about.
    pub(crate) fn size_bytes(&self) -> usize {
        let lists: usize = self
            .by_name
            .values()
            .map(|values| values.capacity() * 33 + values.values().map(Postings::heap_bytes).sum::<usize>())
            .sum();
        lists + self.by_labels.capacity() * 9 + self.series.live() * 8
    }
}
