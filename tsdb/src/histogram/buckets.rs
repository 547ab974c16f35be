//! Buckets with their bounds, in ascending order.

use super::FloatHistogram;
use super::layout::{entries, upper_bound};

/// Which of a histogram's three parts a bucket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketSide {
    /// The negative buckets.
    Negative,
    /// The zero bucket.
    Zero,
    /// The positive buckets, custom ones included.
    Positive,
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The part it belongs to.
    pub side: BucketSide,
    /// Its index within that part; 0 for the zero bucket.
    pub index: i32,
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation equal to `lower` belongs to it.
    pub lower_inclusive: bool,
    /// Whether an observation equal to `upper` belongs to it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl FloatHistogram {
    /// The positive (or custom) buckets, ascending, empty ones included where a span covers them.
    pub fn positive(&self) -> impl Iterator<Item = Bucket> {
        let custom = self.has_custom_buckets();
        entries(&self.positive_spans, &self.positive_buckets).map(move |(index, count)| {
            let lower = upper_bound(index.wrapping_sub(1), self.schema, &self.custom_values);
            let upper = upper_bound(index, self.schema, &self.custom_values);
            Bucket {
                side: BucketSide::Positive,
                index,
                lower,
                upper,
                lower_inclusive: custom && index == 0,
                upper_inclusive: true,
                count,
            }
        })
    }

    /// The negative buckets from zero outwards: bounds descend.
    pub fn negative(&self) -> impl Iterator<Item = Bucket> {
        entries(&self.negative_spans, &self.negative_buckets).map(move |(index, count)| Bucket {
            side: BucketSide::Negative,
            index,
            lower: -upper_bound(index, self.schema, &[]),
            upper: -upper_bound(index.wrapping_sub(1), self.schema, &[]),
            lower_inclusive: true,
            upper_inclusive: false,
            count,
        })
    }

    /// The zero bucket, unless it is empty.
    #[must_use]
    pub fn zero_bucket(&self) -> Option<Bucket> {
        (self.zero_count != 0.0).then_some(Bucket {
            side: BucketSide::Zero,
            index: 0,
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        })
    }

    /// All buckets in ascending order. Cost: one allocation.
    #[must_use]
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut out = Vec::with_capacity(self.positive_buckets.len() + self.negative_buckets.len() + 1);
        out.extend(self.negative());
        out.reverse();
        out.extend(self.zero_bucket());
        out.extend(self.positive());
        out
    }

    /// All buckets in ascending order, those that reach into the zero bucket clipped to its edge. Cost: one allocation.
    #[must_use]
    pub fn clipped_buckets(&self) -> Vec<Bucket> {
        let edge = self.zero_threshold;
        let mut out = self.buckets();
        for bucket in &mut out {
            if bucket.side != BucketSide::Positive && bucket.upper < 0.0 && bucket.upper > -edge {
                bucket.upper = -edge;
            } else if bucket.side == BucketSide::Positive && bucket.lower > 0.0 && bucket.lower < edge {
                bucket.lower = edge;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;

    #[test]
    fn buckets_ascend_over_all_three_parts() {
        let histogram = FloatHistogram {
            zero_threshold: 0.001,
            zero_count: 4.0,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            negative_spans: vec![Span { offset: 1, length: 1 }],
            negative_buckets: vec![3.0],
            ..FloatHistogram::default()
        };
        let bounds: Vec<_> = histogram.buckets().iter().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(bounds, [(-2.0, -1.0, 3.0), (-0.001, 0.001, 4.0), (0.5, 1.0, 1.0), (1.0, 2.0, 2.0)]);
    }

    #[test]
    fn buckets_that_reach_into_the_zero_bucket_are_clipped() {
        let histogram = FloatHistogram {
            zero_threshold: 0.75,
            zero_count: 4.0,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            negative_spans: vec![Span { offset: 0, length: 2 }],
            negative_buckets: vec![3.0, 5.0],
            ..FloatHistogram::default()
        };
        let bounds: Vec<_> = histogram.clipped_buckets().iter().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(
            bounds,
            [(-2.0, -1.0, 5.0), (-1.0, -0.75, 3.0), (-0.75, 0.75, 4.0), (0.75, 1.0, 1.0), (1.0, 2.0, 2.0)]
        );
    }
}
