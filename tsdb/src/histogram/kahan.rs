//! Compensated sums of histograms.

use super::arithmetic::{Aligned, Combined, IncompatibleBuckets};
use super::layout::{collect, entries, merge};
use super::{FloatHistogram, Span};

/// A running sum of histograms with a compensation term for each of its numbers.
///
/// Kahan's summation as improved by Neumaier ("Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen",
/// 1974), bucket by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KahanHistogram {
    sum: FloatHistogram,
    /// What rounding took from `sum`, in the same layout; its hint and bounds mean nothing.
    lost: FloatHistogram,
}

/// Adds `x` to `sum + lost`.
fn increase(x: f64, sum: &mut f64, lost: &mut f64) {
    let total = *sum + x;
    if total.is_infinite() {
        *lost = 0.0;
    } else if sum.abs() >= x.abs() {
        *lost += (*sum - total) + x;
    } else {
        *lost += (x - total) + *sum;
    }
    *sum = total;
}

impl KahanHistogram {
    /// Starts with `first`.
    #[must_use]
    pub fn new(first: FloatHistogram) -> Self {
        let lost = FloatHistogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom_values: first.custom_values.clone(),
            ..FloatHistogram::default()
        };
        Self { sum: first, lost }
    }

    /// Adds `other`, as [`FloatHistogram::add`] does.
    ///
    /// # Errors
    /// If one has custom buckets and the other has not.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleBuckets> {
        let reset_collision = self.sum.combine_hints(other);
        let Aligned { other, reconciled } = self.sum.align(other)?;
        self.follow_layout(reconciled);
        increase(other.zero_count, &mut self.sum.zero_count, &mut self.lost.zero_count);
        increase(other.count, &mut self.sum.count, &mut self.lost.count);
        increase(other.sum, &mut self.sum.sum, &mut self.lost.sum);
        add_side(
            (&mut self.sum.positive_spans, &mut self.sum.positive_buckets),
            (&mut self.lost.positive_spans, &mut self.lost.positive_buckets),
            (&other.positive_spans, &other.positive_buckets),
        );
        add_side(
            (&mut self.sum.negative_spans, &mut self.sum.negative_buckets),
            (&mut self.lost.negative_spans, &mut self.lost.negative_buckets),
            (&other.negative_spans, &other.negative_buckets),
        );
        Ok(Combined { reset_collision, bounds_reconciled: reconciled })
    }

    /// Brings the compensation to the layout that the sum has after aligning.
    fn follow_layout(&mut self, reconciled: bool) {
        if reconciled {
            self.lost.reduce_to_bounds(&self.sum.custom_values);
        }
        if self.lost.zero_threshold != self.sum.zero_threshold || self.lost.schema != self.sum.schema {
            // An empty histogram of the new layout pulls the compensation along.
            let target = FloatHistogram {
                schema: self.sum.schema,
                zero_threshold: self.sum.zero_threshold,
                custom_values: self.sum.custom_values.clone(),
                ..FloatHistogram::default()
            };
            // Both are exponential, or `align` had failed before.
            let _ = self.lost.align(&target);
        }
    }

    /// Multiplies sum and compensation.
    pub fn mul(&mut self, factor: f64) {
        self.sum.mul(factor);
        self.lost.mul(factor);
    }

    /// Divides sum and compensation by something other than zero.
    pub fn div(&mut self, divisor: f64) {
        self.sum.div(divisor);
        self.lost.div(divisor);
    }

    /// Whether the sum left the range of floats.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        self.sum.has_overflow()
    }

    /// The sum as it stands, without its compensation.
    #[must_use]
    pub fn uncompensated(&self) -> &FloatHistogram {
        &self.sum
    }

    /// The sum with its compensation.
    #[must_use]
    pub fn total(mut self) -> FloatHistogram {
        self.lost.counter_reset_hint = self.sum.counter_reset_hint;
        // The layouts are the same.
        let _ = self.sum.add(&self.lost);
        self.sum
    }
}

type Side<'a> = (&'a mut Vec<Span>, &'a mut Vec<f64>);

fn add_side((sum_spans, sums): Side<'_>, (lost_spans, losts): Side<'_>, other: (&[Span], &[f64])) {
    if *sum_spans == other.0 && *lost_spans == other.0 {
        for ((sum, lost), x) in sums.iter_mut().zip(losts.iter_mut()).zip(other.1) {
            increase(*x, sum, lost);
        }
        return;
    }
    // Merge the compensation in twice: once to pair it with the sum, once to keep it.
    let mut pairs: Vec<(i32, f64, f64)> = Vec::new();
    let mut kept = entries(lost_spans, losts).peekable();
    let indices = merge(entries(sum_spans, sums), entries(lost_spans, losts), |a, _| a);
    for (index, value) in indices {
        let compensation =
            if kept.peek().is_some_and(|(i, _)| *i == index) { kept.next().map_or(0.0, |e| e.1) } else { 0.0 };
        pairs.push((index, value, compensation));
    }
    let mut out: Vec<(i32, f64, f64)> = Vec::with_capacity(pairs.len() + other.1.len());
    let mut own = pairs.into_iter().peekable();
    for (index, x) in entries(other.0, other.1) {
        while let Some(pair) = own.next_if(|p| p.0 < index) {
            out.push(pair);
        }
        let (mut total, mut compensation) = own.next_if(|p| p.0 == index).map_or((0.0, 0.0), |p| (p.1, p.2));
        increase(x, &mut total, &mut compensation);
        out.push((index, total, compensation));
    }
    out.extend(own);
    (*sum_spans, *sums) = collect(out.iter().map(|p| (p.0, p.1)));
    (*lost_spans, *losts) = collect(out.iter().map(|p| (p.0, p.2)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones_that_cancel() {
        let with = |sum: f64, offset: i32| FloatHistogram {
            sum,
            count: 1.0,
            positive_spans: vec![Span { offset, length: 1 }],
            positive_buckets: vec![sum],
            ..FloatHistogram::default()
        };
        let mut total = KahanHistogram::new(with(5.3, 0));
        for (sum, offset) in [(1e100, 0), (1.0, 3), (-1e100, 0), (2.0, 3)] {
            total.add(&with(sum, offset)).unwrap();
        }
        let total = total.total();
        assert_eq!((total.sum, total.count), (8.3, 5.0));
        let buckets: Vec<_> = total.positive().map(|b| (b.index, b.count)).collect();
        assert_eq!(buckets, [(0, 5.3), (3, 3.0)]);
    }
}
