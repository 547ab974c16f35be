//! The time as the owner of a store tells it: the store reads no clock.

use crate::sample::Timestamp;

/// How far ahead of the wall clock a sample may lie and still count as one of the present: ten minutes, as much as senders'
/// clocks may differ.
pub const TOLERANCE_MS: i64 = 10 * 60_000;

/// The time of day, and how far it is believed.
///
/// A wall clock that has jumped ahead may be wrong. Nothing that cannot be undone is done by it until it has been right for a
/// while: `steady` and `retention` go on from where the clock was, and each catches up after a delay of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock.
    pub wall: Timestamp,
    /// The time by which blocks are cut and the age of samples is judged; not after `wall`.
    pub steady: Timestamp,
    /// The time by which retention deletes; not after `steady`.
    pub retention: Timestamp,
}

impl Clock {
    /// A clock that is believed.
    #[must_use]
    pub const fn trusted(now: Timestamp) -> Self {
        Self { wall: now, steady: now, retention: now }
    }

    /// The moment that the age of samples is counted from, given the newest sample.
    pub(crate) fn reference_ms(self, newest_ms: i64) -> i64 {
        newest_ms.min(self.steady.plus_millis(TOLERANCE_MS).millis())
    }

    /// The last moment that counts as the present.
    pub(crate) fn latest_ms(self) -> i64 {
        self.wall.plus_millis(TOLERANCE_MS).millis()
    }
}
