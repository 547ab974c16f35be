//! Sorted lists of series, and what is done with them.

use smallvec::SmallVec;

/// The series of a shard that have one label, ascending by slot.
///
/// Slots are handed out in ascending order, so adding is pushing. Lists of up to four, which most labels with many
/// values have, take no allocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Postings(SmallVec<[u32; 4]>);

impl Postings {
    /// Adds the youngest series.
    pub(crate) fn push(&mut self, slot: u32) {
        debug_assert!(self.0.last().is_none_or(|&last| last < slot));
        if self.0.len() == self.0.capacity() && self.0.spilled() {
            // A quarter instead of twice: most of the memory of an index is here.
            let more = (self.0.len() / 4).max(4);
            self.0.reserve_exact(more);
        }
        self.0.push(slot);
    }

    /// Takes out what is in `slots`, ascending, and gives back memory that is no longer needed.
    pub(crate) fn remove(&mut self, slots: &[u32]) {
        let mut rest = slots;
        self.0.retain(|slot| {
            rest = &rest[gallop(rest, *slot)..];
            rest.first() != Some(slot)
        });
        if self.0.len() < self.0.capacity() / 2 {
            self.0.shrink_to_fit();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes beyond the list's own size.
    pub(crate) fn heap_bytes(&self) -> usize {
        if self.0.spilled() { self.0.capacity() * 4 } else { 0 }
    }
}

/// Keeps in `list` what is in `other` too. Cost: the shorter list times the logarithm of the gaps.
pub(crate) fn intersect(list: &mut Vec<u32>, other: &[u32]) {
    let mut rest = other;
    list.retain(|&slot| {
        rest = &rest[gallop(rest, slot)..];
        rest.first() == Some(&slot)
    });
}

/// Whether two lists have anything in common. Cost: until the first that they have.
pub(crate) fn intersects<'a>(mut a: &'a [u32], mut b: &'a [u32]) -> bool {
    while let (Some(&first), Some(_)) = (a.first(), b.first()) {
        b = &b[gallop(b, first)..];
        if b.first() == Some(&first) {
            return true;
        }
        (a, b) = (b, a);
    }
    false
}

/// Keeps in `list` what is not in `other`.
pub(crate) fn without(list: &mut Vec<u32>, other: &[u32]) {
    let mut rest = other;
    list.retain(|&slot| {
        rest = &rest[gallop(rest, slot)..];
        rest.first() != Some(&slot)
    });
}

/// With so many entries in all, lists are put together as bits.
const MANY: usize = 1024;

/// All that is in any of `lists`, which are sorted. Cost: few nanoseconds per entry, and per 64 slots up to the last.
pub(crate) fn union<'a>(lists: impl Iterator<Item = &'a [u32]> + Clone) -> Vec<u32> {
    let mut more = lists.clone().skip(1);
    if more.next().is_none() {
        return lists.flatten().copied().collect();
    }
    let total: usize = lists.clone().map(<[u32]>::len).sum();
    let last = lists.clone().filter_map(<[u32]>::last).max().map_or(0, |&last| last as usize);
    if total < MANY || last / 64 > total {
        let mut all: Vec<u32> = lists.flatten().copied().collect();
        // Runs that are already sorted are what this sort is best at.
        all.sort();
        all.dedup();
        return all;
    }
    let mut bits = vec![0u64; last / 64 + 1];
    lists.flatten().for_each(|&slot| bits[slot as usize / 64] |= 1 << (slot % 64));
    let mut all = Vec::with_capacity(total);
    for (word, mut left) in (0u32..).zip(bits) {
        while left != 0 {
            all.push(word * 64 + left.trailing_zeros());
            left &= left - 1;
        }
    }
    all
}

/// The first position in the sorted `list` that is not less than `slot`; fast when it is near the front.
fn gallop(list: &[u32], slot: u32) -> usize {
    let mut step = 1;
    while step < list.len() && list[step - 1] < slot {
        step *= 2;
    }
    let (from, to) = (step / 2, step.min(list.len()));
    from + list[from..to].partition_point(|&s| s < slot)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_behave_as_sets(a: BTreeSet<u8>, b: BTreeSet<u8>, c: BTreeSet<u8>) {
            let list = |set: &BTreeSet<u8>| set.iter().map(|&x| u32::from(x)).collect::<Vec<_>>();
            let (la, lb, lc) = (list(&a), list(&b), list(&c));
            let mut both = la.clone();
            prop_assert_eq!(intersects(&la, &lb), !(&a & &b).is_empty());
            intersect(&mut both, &lb);
            prop_assert_eq!(both, list(&(&a & &b)));
            let mut rest = la.clone();
            without(&mut rest, &lb);
            prop_assert_eq!(rest, list(&(&a - &b)));
            prop_assert_eq!(union([&la[..], &lb, &lc].into_iter()), list(&(&(&a | &b) | &c)));
        }

        #[test]
        fn large_lists_have_the_union_of_sets(
            a in prop::collection::btree_set(0u32..5000, 900..1100), b in prop::collection::btree_set(2000u32..9000, 500..900),
        ) {
            let list = |set: &BTreeSet<u32>| set.iter().copied().collect::<Vec<_>>();
            let (la, lb) = (list(&a), list(&b));
            prop_assert_eq!(union([&la[..], &lb, &la[..9]].into_iter()), list(&(&a | &b)));
        }

        #[test]
        fn postings_keep_what_is_pushed(slots: BTreeSet<u32>) {
            let mut postings = Postings::default();
            slots.iter().for_each(|&slot| postings.push(slot));
            prop_assert!(postings.as_slice().iter().eq(&slots));
        }
    }
}
