//! Coarser exponential schemas.

use std::ops::AddAssign;

use super::layout::coarser;
use super::{FloatHistogram, Histogram, MAX_SCHEMA, Span};

impl Histogram {
    /// Merges neighbouring buckets until the schema is [`MAX_SCHEMA`], `levels` below what it was. Spans and buckets must
    /// fit together.
    pub(super) fn reduce_resolution(&mut self, levels: u32) {
        self.schema = MAX_SCHEMA;
        for (spans, deltas) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let counts = deltas.iter().scan(0i64, |count, delta| {
                *count = count.wrapping_add(*delta);
                Some(Wrapping(*count))
            });
            let (merged, counts) = merge(spans, counts, levels);
            let mut last = 0;
            *deltas = counts.iter().map(|n| n.0.wrapping_sub(std::mem::replace(&mut last, n.0))).collect();
            *spans = merged;
        }
    }
}

impl FloatHistogram {
    /// As [`Histogram::reduce_resolution`].
    pub(super) fn reduce_resolution(&mut self, levels: u32) {
        self.schema = MAX_SCHEMA;
        for (spans, buckets) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            (*spans, *buckets) = merge(spans, buckets.iter().copied(), levels);
        }
    }
}

/// A count that wraps instead of panicking; one that did is negative and refused.
#[derive(Clone, Copy)]
struct Wrapping(i64);

impl AddAssign for Wrapping {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// Spans and counts with indices of a schema that is `levels` coarser.
fn merge<N: Copy + AddAssign>(spans: &[Span], counts: impl Iterator<Item = N>, levels: u32) -> (Vec<Span>, Vec<N>) {
    // A shift by 31 leaves the sign only, and so would any wider one.
    let levels = levels.min(31);
    let (mut merged, mut out): (Vec<Span>, Vec<N>) = (Vec::new(), Vec::new());
    let (mut counts, mut index, mut last) = (counts, 0i32, None);
    for span in spans {
        index = index.wrapping_add(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            let target = coarser(index, levels);
            index = index.wrapping_add(1);
            match (last, merged.last_mut(), out.last_mut()) {
                (Some(at), Some(_), Some(bucket)) if at == target => *bucket += count,
                (Some(at), Some(span), _) if target == at + 1 => {
                    span.length += 1;
                    out.push(count);
                }
                (at, ..) => {
                    let next = at.map_or(0, |at: i32| at + 1);
                    merged.push(Span { offset: target - next, length: 1 });
                    out.push(count);
                }
            }
            last = Some(target);
        }
    }
    (merged, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: [Span; 2] = [Span { offset: -3, length: 4 }, Span { offset: 5, length: 2 }];

    #[test]
    fn neighbours_are_merged_and_no_observation_is_lost() {
        // Indices -3 to 0, then 6 and 7.
        let (spans, counts) = merge(&SPANS, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].into_iter(), 1);
        assert_eq!(spans, [Span { offset: -1, length: 2 }, Span { offset: 2, length: 2 }]);
        assert_eq!(counts, [3.0, 7.0, 5.0, 6.0]);
        let (spans, counts) = merge(&SPANS, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].into_iter(), 44);
        assert_eq!((spans, counts), (vec![Span { offset: 0, length: 2 }], vec![10.0, 11.0]));
    }

    #[test]
    fn differences_stay_differences() {
        let mut histogram = Histogram {
            schema: 9,
            count: 21,
            positive_spans: SPANS.to_vec(),
            positive_buckets: vec![1, 1, 1, 1, 1, 1],
            ..Histogram::default()
        };
        histogram.reduce_resolution(1);
        assert_eq!((histogram.schema, histogram.positive_buckets), (8, vec![3, 4, -2, 1]));
    }
}
