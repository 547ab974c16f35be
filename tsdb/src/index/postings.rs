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

/// All that is in any of `lists`, which are sorted.
pub(crate) fn union<'a>(lists: impl Iterator<Item = &'a [u32]>) -> Vec<u32> {
    let mut lists = lists.peekable();
    let mut all = lists.next().map(<[u32]>::to_vec).unwrap_or_default();
    if lists.peek().is_some() {
        lists.for_each(|list| all.extend_from_slice(list));
        // Runs that are already sorted are what this sort is best at.
        all.sort();
        all.dedup();
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
        fn postings_keep_what_is_pushed(slots: BTreeSet<u32>) {
            let mut postings = Postings::default();
            slots.iter().for_each(|&slot| postings.push(slot));
            prop_assert!(postings.as_slice().iter().eq(&slots));
        }
    }
}
