//! The span of time that a page or a picture shows.

use std::sync::Arc;
use std::time::Duration;

use query::Steps;
use tsdb::{TimeRange, Timestamp};

/// The span of time that a page or a picture shows, and its resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) start: Timestamp,
    /// The last whole step.
    pub(crate) end: Timestamp,
    pub(crate) step: Duration,
    /// The end as it was asked for: the moment of the latest numbers.
    pub(crate) at: Timestamp,
}

/// Points over the width of a picture.
const POINTS: i64 = 240;

impl Slice {
    /// From `start` to `end` in steps that suit a picture; moved to whole steps, so that a picture drawn a moment later
    /// shows the same points, and one more at its own end.
    pub(crate) fn new(start: Timestamp, end: Timestamp, step: Option<Duration>) -> Self {
        let span = end.millis().saturating_sub(start.millis()).max(1000);
        let step = step.unwrap_or_else(|| round_step(span / POINTS));
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let whole = |ms: i64| Timestamp::from_millis(ms.div_euclid(step_ms).saturating_mul(step_ms));
        Self { start: whole(start.millis()), end: whole(end.millis()), step, at: end }
    }

    pub(crate) fn range(&self) -> TimeRange {
        TimeRange { start: self.start, end: self.at.max(self.end) }
    }

    /// The whole steps.
    pub(crate) fn steps(&self) -> Steps {
        Steps::Range { start: self.start, end: self.end, step: self.step }
    }

    /// The moment after the last whole step that a picture shows as well: samples that are younger than a step would not be
    /// seen otherwise. `None` if the last step is at the end.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        (self.at > self.end).then_some(self.at)
    }

    /// The whole steps and the newest moment.
    pub(crate) fn moments(&self) -> Arc<[i64]> {
        let step_ms = (self.step.as_millis() as i64).max(1);
        let whole = std::iter::successors(Some(self.start.millis()), |at| at.checked_add(step_ms));
        whole.take_while(|at| *at <= self.end.millis()).chain(self.newest().map(Timestamp::millis)).collect()
    }
}

/// The next round duration.
fn round_step(ms: i64) -> Duration {
    const ROUND: [u64; 17] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400];
    let seconds =
        ROUND.into_iter().find(|&s| s as i64 * 1000 >= ms).unwrap_or_else(|| (ms as u64).div_ceil(86_400_000) * 86_400);
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_whole_steps_and_its_end() {
        let slice = |start, end| Slice::new(Timestamp::from_millis(start), Timestamp::from_millis(end), None);
        let hour = slice(7_000, 3_607_000);
        assert_eq!((hour.step.as_secs(), hour.start.millis(), hour.end.millis()), (15, 0, 3_600_000));
        assert_eq!(hour.newest().map(Timestamp::millis), Some(3_607_000));
        let moments = hour.moments();
        assert_eq!((moments.len(), &moments[239..]), (242, &[3_585_000, 3_600_000, 3_607_000][..]));
        assert_eq!(slice(0, 3_600_000).newest(), None);
        for (start, end) in [(i64::MIN, i64::MAX), (i64::MIN, i64::MIN), (i64::MAX, i64::MAX)] {
            assert!(slice(start, end).moments().len() < 1000, "{start} {end}");
        }
    }
}
