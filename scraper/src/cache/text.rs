//! Texts of a body, known by their hash: the body itself is not kept.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::parse::Exemplar;

/// 128 bits of a text's hash: two texts with the same one are taken for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u64; 2]);

impl Key {
    /// A hash of 64 bits.
    #[inline]
    pub(super) fn short(self) -> u64 {
        self.0[0]
    }
}

/// Makes keys: two hashes of 64 bits, seeded at random and each its own way. Those of another cache are others, so no
/// target can know which texts would have the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys([RandomState; 2]);

impl Keys {
    /// The key of a text.
    #[inline]
    pub(super) fn of(&self, text: &[u8]) -> Key {
        Key(self.0.each_ref().map(|state| {
            let mut hasher = state.build_hasher();
            hasher.write(text);
            hasher.finish()
        }))
    }

    /// The key of an exemplar: labels, value and timestamp.
    pub(super) fn of_exemplar(&self, exemplar: &Exemplar<'_>) -> Key {
        let Key([a, b]) = self.of(exemplar.labels);
        let at = exemplar.timestamp.map_or(u64::MAX, |ms| ms as u64);
        Key([a ^ exemplar.value.to_bits(), b ^ at])
    }
}

/// Comments and white space before a sample line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// The line that follows.
    pub(super) line: u32,
    pub(super) bytes: u32,
    pub(super) key: Key,
}

/// The gaps before line `at` and those that follow; `gaps` is in the order of lines.
#[inline]
pub(super) fn gaps_from(gaps: &[Gap], at: usize) -> &[Gap] {
    &gaps[gaps.partition_point(|gap| (gap.line as usize) < at)..]
}
