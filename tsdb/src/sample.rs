//! Samples and the time ranges they are asked for by.

use std::fmt;
use std::sync::Arc;

use crate::histogram::FloatHistogram;

/// A moment: milliseconds since the Unix epoch, negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest moment.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment.
    pub const MAX: Self = Self(i64::MAX);

    /// The moment `ms` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The moment `ms` milliseconds later (earlier if negative); stops at the ends of the range.
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    /// Seconds since the Unix epoch with three decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let ms = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", ms / 1000, ms % 1000)
    }
}

/// The NaN that says "this series ends here", with the bits that Prometheus uses.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether `value` is the stale marker, bit for bit: other NaNs are ordinary values.
#[must_use]
#[inline]
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

/// A value at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was taken.
    pub timestamp: Timestamp,
    /// Any float, [`STALE_NAN`] included.
    pub value: f64,
}

/// Equal bit for bit: a NaN equals the same NaN, and 0.0 is not -0.0.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Sample {}

/// A native histogram at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// When it was taken.
    pub timestamp: Timestamp,
    /// When its counts began; `None` if unknown.
    pub start: Option<Timestamp>,
    /// The histogram; one whose sum is [`STALE_NAN`] is a stale marker.
    pub histogram: Arc<FloatHistogram>,
}

/// A span of time, closed at both ends; empty if `end < start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment in it.
    pub start: Timestamp,
    /// The last moment in it.
    pub end: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// No time at all: the span of no samples.
    pub const NONE: Self = Self { start: Timestamp::MAX, end: Timestamp::MIN };

    /// Makes it as long as it takes to hold a moment.
    #[inline]
    pub(crate) fn extend(&mut self, ms: i64) {
        self.start.0 = self.start.0.min(ms);
        self.end.0 = self.end.0.max(ms);
    }

    /// From `start` to `end`, both in it, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(start: i64, end: i64) -> Self {
        Self { start: Timestamp(start), end: Timestamp(end) }
    }

    /// Whether `at` lies in it.
    #[must_use]
    pub const fn contains(&self, at: Timestamp) -> bool {
        self.start.0 <= at.0 && at.0 <= self.end.0
    }

    /// Whether the two have a moment in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start.0 <= other.end.0 && other.start.0 <= self.end.0
    }
}

/// Names a series within one store until it is evicted; never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u64);

impl SeriesRef {
    /// A reference is below two to the power of this.
    pub const BITS: u32 = 48;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_equal_bit_for_bit() {
        let sample = |value| Sample { timestamp: Timestamp::from_millis(1), value };
        assert_eq!(sample(f64::NAN), sample(f64::NAN));
        assert_ne!(sample(f64::NAN), sample(STALE_NAN));
        assert_ne!(sample(0.0), sample(-0.0));
    }

    #[test]
    fn timestamps_print_as_seconds() {
        assert_eq!(Timestamp::from_millis(-1_500).to_string(), "-1.500");
        assert_eq!(Timestamp::from_millis(1_790_000_000_007).to_string(), "1790000000.007");
    }
}
