//! Time that small work may take of the threads that serve connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// One core's time in this many parts, of which small work gets one.
const PART: u64 = 2;
/// Time that may be taken ahead.
const BURST: Duration = Duration::from_millis(5);

/// A leaky bucket of time: few clients find it always open; with many clients it closes before the threads have no time for
/// anything else. Lock-free.
#[derive(Debug)]
pub(crate) struct Allowance {
    since: Instant,
    /// When all that was taken has leaked away, in nanoseconds since `since`.
    empty_at: AtomicU64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { since: Instant::now(), empty_at: AtomicU64::new(0) }
    }
}

impl Allowance {
    /// Whether work may be done now.
    pub(crate) fn is_open(&self) -> bool {
        self.empty_at.load(Relaxed) < self.elapsed() + nanos(BURST)
    }

    /// Does work and takes its time.
    pub(crate) fn spend<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = self.elapsed();
        let done = work();
        let now = self.elapsed();
        let taken = now.saturating_sub(begun).saturating_mul(PART);
        // Work that another thread does at the same time may be forgotten: the bound is rough.
        self.empty_at.store(self.empty_at.load(Relaxed).max(begun).saturating_add(taken), Relaxed);
        done
    }

    fn elapsed(&self) -> u64 {
        nanos(self.since.elapsed())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_its_time_and_closes_the_allowance_once_it_has_taken_too_much() {
        let allowance = Allowance::default();
        assert!(allowance.is_open());
        allowance.spend(|| std::thread::sleep(BURST));
        assert!(allowance.empty_at.load(Relaxed) >= nanos(BURST) * PART);
        allowance.empty_at.store(u64::MAX, Relaxed);
        assert!(!allowance.is_open());
        allowance.empty_at.store(0, Relaxed);
        assert!(allowance.is_open(), "what was taken leaks away");
    }
}
