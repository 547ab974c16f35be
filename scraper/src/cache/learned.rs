//! Series that refused bodies have shown.

use std::hash::Hash;

use hashbrown::HashSet;

/// Keys of series that bodies which were refused have brought: Prometheus knows them at the next scrape, and does not
/// count them as added again.
///
/// Bounded by the series of the last good body and of the last refused one.
#[derive(Debug)]
pub(super) struct Learned<K>(HashSet<K>);

/// Keys kept beyond twice the series of the last good body, as Prometheus has it.
const SPARE: usize = 1000;

impl<K> Default for Learned<K> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<K: Copy + Eq + Hash> Learned<K> {
    /// Whether a refused body has brought the series.
    #[inline]
    pub(super) fn has(&self, key: K) -> bool {
        !self.0.is_empty() && self.0.contains(&key)
    }

    /// A body has been refused that brought the new series `keys`; the last good one had so many.
    pub(super) fn extend(&mut self, keys: impl Iterator<Item = K>, good: usize) {
        if self.0.len() > 2 * good + SPARE {
            self.0 = HashSet::new();
        }
        self.0.extend(keys);
    }

    /// A body has been good.
    pub(super) fn clear(&mut self) {
        if !self.0.is_empty() {
            self.0 = HashSet::new();
        }
    }
}
