//! The labels of series that the log names, as symbols.

use super::index::SeriesIndex;
use crate::index::Symbol;
use crate::labels::{Labels, split_text};
use crate::wal::LoggedLabels;

/// Interns one label set after the other. Most have most of their labels in common with the one before, at the same places:
/// those are not looked up. About 100 ns for a set of seven labels, two of them others than before.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The last set as [`Labels`] are written, and where in it each label ends.
    last: String,
    ends: Vec<usize>,
    pairs: Vec<(Symbol, Symbol)>,
    /// What the next set is put together in.
    next_ends: Vec<usize>,
    next_pairs: Vec<(Symbol, Symbol)>,
}

impl Texts {
    /// The symbols of the labels, sorted by the text of the names, and the hash of the set. They are sorted in the log if
    /// this program wrote them.
    pub(super) fn intern(&mut self, labels: LoggedLabels<'_>, index: &SeriesIndex) -> (&[(Symbol, Symbol)], u64) {
        let hash = match &labels {
            LoggedLabels::AsSet(set) if self.intern_set(set.text(), index) => Labels::hash_of(set.text()),
            _ => {
                let set = Labels::from_pairs(labels);
                self.intern_set(set.iter().text(), index);
                set.hash()
            }
        };
        (&self.pairs, hash)
    }

    /// Whether `text` is that of a set: sorted by name, no name twice, no value empty.
    fn intern_set(&mut self, text: &str, index: &SeriesIndex) -> bool {
        let (mut rest, mut last_name, mut old_from) = (text, None, 0);
        self.next_ends.clear();
        self.next_pairs.clear();
        while !rest.is_empty() {
            let (name, after_name) = split_text(rest);
            let (value, after) = split_text(after_name);
            if last_name.replace(name).is_some_and(|last| last >= name) || value.is_empty() {
                return false;
            }
            let label = &rest[..rest.len() - after.len()];
            let place = self.next_ends.len();
            let (old, old_pair) = match (self.ends.get(place), self.pairs.get(place)) {
                (Some(&end), Some(&pair)) => (&self.last[std::mem::replace(&mut old_from, end)..end], Some(pair)),
                _ => ("", None),
            };
            let pair = match old_pair {
                Some(pair) if old == label => pair,
                // A text has its length before it: none is the beginning of another.
                Some((symbol, _)) if old.starts_with(&rest[..rest.len() - after_name.len()]) => {
                    (symbol, index.intern(value))
                }
                _ => (index.intern(name), index.intern(value)),
            };
            rest = after;
            self.next_ends.push(text.len() - rest.len());
            self.next_pairs.push(pair);
        }
        self.last.clear();
        self.last.push_str(text);
        std::mem::swap(&mut self.ends, &mut self.next_ends);
        std::mem::swap(&mut self.pairs, &mut self.next_pairs);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wal::{Record, Records, SeriesId, put_series};

    proptest! {
        #[test]
        fn sets_in_any_form_are_interned_as_they_are(
            sets in prop::collection::vec(prop::collection::vec(("[ab]{0,3}|é{30,35}", "[xy]{0,3}|z{60,130}"), 0..5), 0..12),
        ) {
            let (index, mut texts) = (SeriesIndex::new(1, 0), Texts::default());
            for set in sets {
                let mut logged = Vec::new();
                put_series(&mut logged, SeriesId(1), set.iter().map(|(n, v)| (n.as_str(), v.as_str())));
                let Some(Ok(Record::Series { labels, .. })) = Records::new(&logged).next() else { panic!("one record") };
                let (pairs, hash) = texts.intern(labels, &index);
                let symbols = index.symbols();
                let found = Labels::from_sorted(pairs.iter().map(|&(n, v)| (symbols.text(n), symbols.text(v))));
                let set = Labels::from_pairs(set);
                prop_assert_eq!(hash, set.hash());
                prop_assert_eq!(found, set);
            }
        }
    }
}
