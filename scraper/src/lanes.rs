//! Turns of large bodies: unpacking and parsing them takes long, and so few do it at a time.

use std::num::NonZero;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Cores per body in a lane.
const CORES_PER_BODY: usize = 4;

/// A target's way of answering, as its last scrape has shown it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It has not been scraped, or its last scrape failed.
    #[default]
    Unproven,
    /// It answered well, and reading the answer took long.
    Slow,
    /// It answered well, and reading the answer took little time.
    Fast,
}

impl Pace {
    /// Bytes, unpacked, up to which a body is read where it came in, without waiting for a turn.
    pub(crate) const fn inline_bytes(self) -> usize {
        match self {
            Self::Unproven => 64 << 10,
            Self::Slow => 16 << 10,
            Self::Fast => 1 << 20,
        }
    }
}

/// The lanes: one for targets whose last scrape went well, one for all others. Those that always fail wait for each
/// other only.
#[derive(Debug)]
pub(crate) struct Lanes {
    proven: Semaphore,
    unproven: Semaphore,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let turns = || Semaphore::new(cores.div_ceil(CORES_PER_BODY));
        Self { proven: turns(), unproven: turns() }
    }

    /// Waits for a turn, first come, first served; `None` if it does not come before `deadline`.
    pub(crate) async fn turn(&self, pace: Pace, deadline: Instant) -> Option<SemaphorePermit<'_>> {
        let lane = match pace {
            Pace::Unproven => &self.unproven,
            Pace::Slow | Pace::Fast => &self.proven,
        };
        timeout_at(deadline, lane.acquire()).await.ok()?.ok()
    }
}
