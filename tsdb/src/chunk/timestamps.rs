//! When the samples of a chunk were taken: a column shared by all series of one target, or the chunk's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::MAX_SAMPLES;
use crate::sample::Timestamp;

/// Scrape times of one target, shared by the open chunks of its series: one scrape gives one time, so a series needs
/// only to know which scrapes it was in.
///
/// Written by one committer at a time, read without a lock: an entry is complete before `len` counts it. An entry's
/// commit tells from which watermark on it may be seen.
#[derive(Debug)]
pub(crate) struct Column {
    /// No other column has it.
    number: u64,
    entries: Box<[Entry]>,
    len: AtomicU32,
}

#[derive(Debug, Default)]
struct Entry {
    timestamp_ms: AtomicI64,
    commit: AtomicU64,
}

impl Column {
    /// A column for `capacity` scrapes, at most [`MAX_SAMPLES`].
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        debug_assert!((1..=MAX_SAMPLES).contains(&capacity));
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Self { number, entries: (0..capacity).map(|_| Entry::default()).collect(), len: AtomicU32::new(0) })
    }

    /// What tells it from all other columns.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire) as usize
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.entries.len()
    }

    /// Whether its last scrape is later than `at`.
    pub(crate) fn ends_after(&self, at: Timestamp) -> bool {
        self.len().checked_sub(1).is_some_and(|last| self.at(last) > at.millis())
    }

    /// Adds a scrape and gives its ordinal. The caller is the only writer and has checked that there is room.
    pub(crate) fn push(&self, at: Timestamp, commit: u64) -> usize {
        let ordinal = self.len();
        let entry = &self.entries[ordinal];
        entry.timestamp_ms.store(at.millis(), Ordering::Relaxed);
        entry.commit.store(commit, Ordering::Relaxed);
        self.len.store(ordinal as u32 + 1, Ordering::Release);
        ordinal
    }

    /// The time of the scrape `ordinal`, which is below [`len`](Self::len).
    #[inline]
    pub(crate) fn at(&self, ordinal: usize) -> i64 {
        self.entries[ordinal].timestamp_ms.load(Ordering::Relaxed)
    }

    /// How many scrapes a reader may see: those of commits up to `watermark`.
    pub(crate) fn visible(&self, watermark: u64) -> usize {
        let mut len = self.len();
        // Commits ascend; at most the last few are too new.
        while len > 0 && self.entries[len - 1].commit.load(Ordering::Relaxed) > watermark {
            len -= 1;
        }
        len
    }
}
