//! Counter resets between two histograms of a series.

use super::layout::{among_fewer, coarser, common_bounds, entries, remap};
use super::{CounterResetHint, FloatHistogram};

impl FloatHistogram {
    /// Whether the counter was reset between `previous` and this histogram.
    ///
    /// The hint decides if it knows; else a smaller count, a finer resolution, a narrower zero bucket or any bucket
    /// that lost observations tells. Custom bounds that differ are compared at the bounds that both have.
    #[must_use]
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => true,
            CounterResetHint::NotReset => false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => self.lost_observations_since(previous),
        }
    }

    /// Whether this histogram cannot follow `previous` without a reset, whatever the hint says.
    #[must_use]
    pub fn lost_observations_since(&self, previous: &Self) -> bool {
        if self.count < previous.count || self.has_custom_buckets() != previous.has_custom_buckets() {
            return true;
        }
        if self.has_custom_buckets() {
            let (bounds, differ) = common_bounds(&self.custom_values, &previous.custom_values);
            if !differ {
                return any_lost(
                    entries(&self.positive_spans, &self.positive_buckets),
                    entries(&previous.positive_spans, &previous.positive_buckets),
                );
            }
            let moved = |h: &Self| {
                remap(entries(&h.positive_spans, &h.positive_buckets), |i| among_fewer(i, &h.custom_values, &bounds))
            };
            return any_lost(moved(self).into_iter(), moved(previous).into_iter());
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let levels = previous.schema.abs_diff(self.schema).min(31);
        let outside = |lower: f64| lower >= self.zero_threshold;
        let was = |buckets: Vec<(i32, f64)>| remap(buckets.into_iter(), |i| coarser(i, levels));
        let positive: Vec<_> = previous.positive().filter(|b| outside(b.lower)).map(|b| (b.index, b.count)).collect();
        let negative: Vec<_> = previous.negative().filter(|b| outside(-b.upper)).map(|b| (b.index, b.count)).collect();
        any_lost(entries(&self.positive_spans, &self.positive_buckets), was(positive).into_iter())
            || any_lost(entries(&self.negative_spans, &self.negative_buckets), was(negative).into_iter())
    }
}

/// Whether a bucket held more before than it does now.
fn any_lost(now: impl Iterator<Item = (i32, f64)>, mut before: impl Iterator<Item = (i32, f64)>) -> bool {
    let mut now = now.peekable();
    before.any(|(index, count)| {
        while now.next_if(|(i, _)| *i < index).is_some() {}
        let held = now.next_if(|(i, _)| *i == index).map_or(0.0, |(_, held)| held);
        held < count
    })
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;

    fn with(count: f64, offset: i32, buckets: &[f64]) -> FloatHistogram {
        FloatHistogram {
            count,
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            positive_buckets: buckets.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn a_bucket_that_shrinks_is_a_reset_although_the_count_grows() {
        let (before, after) = (with(4.0, 0, &[1.0, 2.0, 1.0]), with(5.0, 0, &[1.0, 1.0, 3.0]));
        assert!(after.is_reset_after(&before));
        assert!(!with(5.0, 0, &[1.0, 2.0, 2.0]).is_reset_after(&before));
        assert!(with(9.0, 1, &[2.0, 7.0]).is_reset_after(&before), "a populated bucket is gone");
    }

    #[test]
    fn a_hint_that_knows_decides() {
        let before = with(4.0, 0, &[4.0]);
        let known = |counter_reset_hint, count| FloatHistogram { counter_reset_hint, ..with(count, 0, &[count]) };
        assert!(known(CounterResetHint::Reset, 9.0).is_reset_after(&before));
        assert!(!known(CounterResetHint::NotReset, 1.0).is_reset_after(&before));
    }

    #[test]
    fn a_finer_resolution_or_a_narrower_zero_bucket_is_a_reset_and_the_reverse_is_not() {
        let coarse = with(4.0, 1, &[4.0]);
        let fine = FloatHistogram { schema: 1, ..with(4.0, 1, &[2.0, 2.0]) };
        assert!(fine.is_reset_after(&coarse));
        assert!(!coarse.is_reset_after(&fine));
        let wide = FloatHistogram { zero_threshold: 2.0, zero_count: 4.0, count: 4.0, ..FloatHistogram::default() };
        assert!(coarse.is_reset_after(&wide));
        assert!(!wide.is_reset_after(&coarse));
    }
}
