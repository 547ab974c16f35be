//! Sums, differences and multiples of histograms.

use super::layout::{among_fewer, coarser, collect, common_bounds, entries, merge, remap};
use super::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram};

/// One side has exponential buckets, the other custom ones: they cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleBuckets;

/// What combining two histograms brought up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One was known to follow a counter reset, the other known not to.
    pub reset_collision: bool,
    /// The custom bounds differed; only those that both had are left.
    pub bounds_reconciled: bool,
}

impl FloatHistogram {
    /// Drops empty buckets and joins neighbouring spans.
    pub fn compact(&mut self) {
        (self.positive_spans, self.positive_buckets) = collect(entries(&self.positive_spans, &self.positive_buckets));
        (self.negative_spans, self.negative_buckets) = collect(entries(&self.negative_spans, &self.negative_buckets));
    }

    /// Merges buckets down to a coarser exponential `schema`; does nothing if it has that or a coarser one already.
    pub fn reduce_to_schema(&mut self, schema: i32) {
        if self.has_custom_buckets() || schema >= self.schema {
            return;
        }
        let levels = self.schema.abs_diff(schema).min(31);
        (self.positive_spans, self.positive_buckets) =
            collect(remap(entries(&self.positive_spans, &self.positive_buckets), |i| coarser(i, levels)).into_iter());
        (self.negative_spans, self.negative_buckets) =
            collect(remap(entries(&self.negative_spans, &self.negative_buckets), |i| coarser(i, levels)).into_iter());
        self.schema = schema;
    }

    /// Merges custom buckets down to `bounds`, which are some of its own.
    pub(super) fn reduce_to_bounds(&mut self, bounds: &[f64]) {
        let own = std::mem::take(&mut self.custom_values);
        let moved = remap(entries(&self.positive_spans, &self.positive_buckets), |i| among_fewer(i, &own, bounds));
        (self.positive_spans, self.positive_buckets) = collect(moved.into_iter());
        self.custom_values = bounds.to_vec();
    }

    /// Adds `other`, at the coarser of the two resolutions and the wider of the two zero buckets.
    ///
    /// # Errors
    /// If one has custom buckets and the other has not.
    pub fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        let reset_collision = self.combine_hints(other);
        let bounds_reconciled = self.combine(other, |a, b| a + b)?;
        Ok(Combined { reset_collision, bounds_reconciled })
    }

    /// Subtracts `other`; the result is a gauge.
    ///
    /// # Errors
    /// If one has custom buckets and the other has not.
    pub fn sub(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        let reset_collision = self.combine_hints(other);
        self.counter_reset_hint = CounterResetHint::Gauge;
        let bounds_reconciled = self.combine(other, |a, b| a - b)?;
        Ok(Combined { reset_collision, bounds_reconciled })
    }

    /// Multiplies all counts and the sum; a negative factor makes it a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.scale(|count| count * factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. Division by zero leaves no bucket but the zero bucket; a negative divisor makes
    /// it a gauge.
    pub fn div(&mut self, divisor: f64) {
        self.scale(|count| count / divisor);
        if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        }
    }

    fn scale(&mut self, f: impl Fn(f64) -> f64) {
        // Custom buckets have no zero bucket: 0/0 must not make one.
        let zero = (self.schema != CUSTOM_BUCKETS_SCHEMA).then_some(&mut self.zero_count);
        for value in [&mut self.count, &mut self.sum]
            .into_iter()
            .chain(zero)
            .chain(&mut self.positive_buckets)
            .chain(&mut self.negative_buckets)
        {
            *value = f(*value);
        }
    }

    /// Whether a count, the sum or a bucket is infinite.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(&self.positive_buckets)
            .chain(&self.negative_buckets)
            .any(|value| value.is_infinite())
    }

    /// Gauge wins, then unknown; a known reset against a known absence of one is unknown, and a collision.
    pub(super) fn combine_hints(&mut self, other: &Self) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let (own, its) = (self.counter_reset_hint, other.counter_reset_hint);
        self.counter_reset_hint = match (own, its) {
            (a, b) if a == b => a,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        own != its && ![own, its].contains(&Gauge) && ![own, its].contains(&Unknown)
    }

    /// Combines all fields but the hint; says whether custom bounds had to be reconciled.
    fn combine(&mut self, other: &Self, f: impl Fn(f64, f64) -> f64 + Copy) -> Result<bool, IncompatibleBuckets> {
        let Aligned { other, reconciled } = self.align(other)?;
        let other = &*other;
        self.zero_count = f(self.zero_count, other.zero_count);
        self.count = f(self.count, other.count);
        self.sum = f(self.sum, other.sum);
        if self.positive_spans == other.positive_spans && self.negative_spans == other.negative_spans {
            let pairs = self.positive_buckets.iter_mut().zip(&other.positive_buckets);
            for (own, its) in pairs.chain(self.negative_buckets.iter_mut().zip(&other.negative_buckets)) {
                *own = f(*own, *its);
            }
            return Ok(reconciled);
        }
        let positive = merge(
            entries(&self.positive_spans, &self.positive_buckets),
            entries(&other.positive_spans, &other.positive_buckets),
            f,
        );
        let negative = merge(
            entries(&self.negative_spans, &self.negative_buckets),
            entries(&other.negative_spans, &other.negative_buckets),
            f,
        );
        (self.positive_spans, self.positive_buckets) = collect(positive.into_iter());
        (self.negative_spans, self.negative_buckets) = collect(negative.into_iter());
        Ok(reconciled)
    }

    /// Brings both to one layout: self in place, `other` in a copy if it has to change.
    pub(super) fn align<'a>(&mut self, other: &'a Self) -> Result<Aligned<'a>, IncompatibleBuckets> {
        use std::borrow::Cow;
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(IncompatibleBuckets);
        }
        let mut other = Cow::Borrowed(other);
        if self.has_custom_buckets() {
            let (bounds, reconciled) = common_bounds(&self.custom_values, &other.custom_values);
            if reconciled {
                self.reduce_to_bounds(&bounds);
                other.to_mut().reduce_to_bounds(&bounds);
            }
            return Ok(Aligned { other, reconciled });
        }
        if self.zero_threshold != other.zero_threshold {
            let threshold = common_threshold(self, &other);
            self.widen_zero_bucket(threshold);
            other.to_mut().widen_zero_bucket(threshold);
        }
        let schema = self.schema.min(other.schema);
        if other.schema != schema {
            other.to_mut().reduce_to_schema(schema);
        }
        self.reduce_to_schema(schema);
        Ok(Aligned { other, reconciled: false })
    }

    /// The zero bucket if its threshold were raised to `threshold`, or to the end of the populated bucket that
    /// `threshold` falls into: (count, threshold).
    pub(super) fn zero_count_within(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold;
        if threshold <= self.zero_threshold {
            return (self.zero_count, self.zero_threshold);
        }
        'again: loop {
            let mut count = self.zero_count;
            for bucket in self.positive() {
                if bucket.lower >= threshold {
                    break;
                }
                count += bucket.count;
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for bucket in self.negative() {
                if bucket.upper <= -threshold {
                    break;
                }
                count += bucket.count;
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return (count, threshold);
        }
    }

    /// Moves all buckets within `threshold` into the zero bucket; no populated bucket crosses it.
    fn widen_zero_bucket(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        (self.zero_count, self.zero_threshold) = self.zero_count_within(threshold);
        let positive: Vec<_> = self.positive().filter(|b| b.lower >= threshold).map(|b| (b.index, b.count)).collect();
        let negative: Vec<_> = self.negative().filter(|b| b.upper <= -threshold).map(|b| (b.index, b.count)).collect();
        (self.positive_spans, self.positive_buckets) = collect(positive.into_iter());
        (self.negative_spans, self.negative_buckets) = collect(negative.into_iter());
    }
}

/// The other histogram in the layout that both now have.
pub(super) struct Aligned<'a> {
    pub(super) other: std::borrow::Cow<'a, FloatHistogram>,
    pub(super) reconciled: bool,
}

/// The smallest zero threshold that cuts through no populated bucket of either.
fn common_threshold(a: &FloatHistogram, b: &FloatHistogram) -> f64 {
    let mut threshold = a.zero_threshold.max(b.zero_threshold);
    loop {
        let raised = a.zero_count_within(threshold).1;
        let raised = b.zero_count_within(raised).1;
        if raised <= threshold {
            return threshold;
        }
        threshold = raised;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CUSTOM_BUCKETS_SCHEMA, Span};
    use super::*;

    fn exponential(schema: i32, offset: i32, buckets: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema,
            count: buckets.iter().sum(),
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            positive_buckets: buckets.to_vec(),
            ..FloatHistogram::default()
        }
    }

    fn listed(histogram: &FloatHistogram) -> Vec<(i32, f64)> {
        histogram.positive().filter(|b| b.count != 0.0).map(|b| (b.index, b.count)).collect()
    }

    #[test]
    fn a_sum_has_the_coarser_resolution() {
        let mut sum = exponential(-1, 1, &[1.0]);
        sum.add(&exponential(0, 1, &[2.0, 2.0])).unwrap();
        assert_eq!((sum.schema, sum.count), (-1, 5.0));
        assert_eq!(listed(&sum), [(1, 5.0)]);
    }

    #[test]
    fn a_sum_has_the_wider_zero_bucket_and_cuts_no_bucket() {
        let mut narrow = exponential(0, 0, &[1.0, 2.0, 4.0]);
        let wide = FloatHistogram { zero_threshold: 1.5, zero_count: 10.0, count: 10.0, ..FloatHistogram::default() };
        narrow.add(&wide).unwrap();
        assert_eq!((narrow.zero_threshold, narrow.zero_count), (2.0, 13.0));
        assert_eq!(listed(&narrow), [(2, 4.0)]);
    }

    #[test]
    fn custom_bounds_are_reduced_to_the_common_ones() {
        let custom = |bounds: &[f64], buckets: &[f64]| FloatHistogram {
            custom_values: bounds.to_vec(),
            ..exponential(CUSTOM_BUCKETS_SCHEMA, 0, buckets)
        };
        let mut sum = custom(&[2.0, 4.0, 6.0], &[1.0, 2.0, 5.0, 7.0]);
        let combined = sum.add(&custom(&[1.0, 2.0, 6.0], &[10.0, 20.0, 30.0, 40.0])).unwrap();
        assert!(combined.bounds_reconciled);
        assert_eq!(sum.custom_values, [2.0, 6.0]);
        assert_eq!(listed(&sum), [(0, 31.0), (1, 37.0), (2, 47.0)]);
        assert_eq!(sum.add(&exponential(0, 0, &[1.0])), Err(IncompatibleBuckets));
    }

    #[test]
    fn hints_of_a_sum() {
        use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
        let cases = [
            (Unknown, Unknown, Unknown, false),
            (NotReset, NotReset, NotReset, false),
            (Reset, NotReset, Unknown, true),
            (Reset, Unknown, Unknown, false),
            (Gauge, Reset, Gauge, false),
            (NotReset, Gauge, Gauge, false),
        ];
        for (a, b, expected, collision) in cases {
            let hinted = |counter_reset_hint| FloatHistogram { counter_reset_hint, ..FloatHistogram::default() };
            let mut sum = hinted(a);
            assert_eq!(sum.add(&hinted(b)).unwrap().reset_collision, collision, "{a:?} {b:?}");
            assert_eq!(sum.counter_reset_hint, expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn division_by_zero_leaves_no_bucket() {
        let mut histogram = exponential(0, 0, &[1.0, 2.0]);
        histogram.div(0.0);
        assert!(histogram.count.is_infinite() && histogram.positive_buckets.is_empty());
    }
}
