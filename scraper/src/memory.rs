//! The memory that the bodies of all targets take together.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that all bodies under way may take together, where no larger limit of a body is configured.
pub(crate) const BODIES_BYTES: usize = 112 << 20;

/// Bytes that a body may have however many others there are: what a target of usual size sends.
const ALWAYS_BYTES: usize = 256 << 10;

/// A body may take so many times what is left free: alone it gets two thirds of all, and of very many that want as much
/// as they can get each gets little, so that a small one always finds room.
const PARTS_OF_FREE: usize = 2;

/// Counts the bytes of bodies under way. Nobody waits here: a body that finds no room is refused.
#[derive(Debug)]
pub(crate) struct BodiesBudget {
    capacity: AtomicUsize,
    in_use: AtomicUsize,
}

/// What one body takes of a [`BodiesBudget`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct BodyLease<'b> {
    budget: &'b BodiesBudget,
    held: AtomicUsize,
}

impl Default for BodiesBudget {
    fn default() -> Self {
        Self { capacity: AtomicUsize::new(BODIES_BYTES), in_use: AtomicUsize::new(0) }
    }
}

impl BodiesBudget {
    /// Makes room for a body as large as the largest limit that is configured.
    pub(crate) fn set_largest_limit(&self, bytes: usize) {
        self.capacity.store(BODIES_BYTES.max(bytes.saturating_mul(7) / 4), Relaxed);
    }

    /// Bytes of all bodies under way.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    pub(crate) fn lease(&self) -> BodyLease<'_> {
        BodyLease { budget: self, held: AtomicUsize::new(0) }
    }
}

impl BodyLease<'_> {
    /// Takes `bytes` in all, if there is room for them.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.held.load(Relaxed)) else { return true };
        let in_use = self.budget.in_use.fetch_add(more, Relaxed) + more;
        let free = self.budget.capacity.load(Relaxed).saturating_sub(in_use);
        let granted = bytes <= ALWAYS_BYTES || bytes <= free.saturating_mul(PARTS_OF_FREE);
        if granted {
            self.held.store(bytes, Relaxed);
        } else {
            self.budget.in_use.fetch_sub(more, Relaxed);
        }
        granted
    }
}

impl Drop for BodyLease<'_> {
    fn drop(&mut self) {
        self.budget.in_use.fetch_sub(*self.held.get_mut(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn one_body_gets_two_thirds_and_a_small_one_beside_greedy_ones_finds_room() {
        let budget = BodiesBudget::default();
        let alone = budget.lease();
        assert!(alone.grow(64 * MIB) && alone.grow(74 * MIB) && !alone.grow(76 * MIB));
        assert_eq!(budget.in_use(), 74 * MIB);
        drop(alone);
        let greedy: Vec<BodyLease<'_>> = (0..100).map(|_| budget.lease()).collect();
        for mib in 1..100 {
            for lease in &greedy {
                lease.grow(mib * MIB);
            }
        }
        assert!(budget.in_use() <= BODIES_BYTES);
        let good = budget.lease();
        assert!(good.grow(MIB / 2), "{}", budget.in_use());
        drop((good, greedy));
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn a_configured_limit_can_be_reached() {
        let budget = BodiesBudget::default();
        budget.set_largest_limit(500 * MIB);
        assert!(budget.lease().grow(500 * MIB));
        budget.set_largest_limit(MIB);
        assert!(!budget.lease().grow(500 * MIB));
    }
}
