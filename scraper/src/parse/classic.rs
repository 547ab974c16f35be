//! Classic histograms, and what becomes of them as native ones with listed bounds.

use tsdb::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, HistogramValue, Span};

/// A classic histogram as its series say it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Classic {
    /// Upper bound and cumulative count of each bucket, in the order in which they were written.
    pub(crate) buckets: Vec<(f64, f64)>,
    pub(crate) sum: f64,
    /// The last bucket's count if there is none.
    pub(crate) count: Option<f64>,
}

impl Classic {
    /// The native histogram that says the same; `None` if the numbers make none: counts that fall from one bucket to
    /// the next, bounds that are there twice.
    pub(crate) fn convert(&self) -> Option<HistogramValue> {
        self.as_native()?.validated().ok()
    }

    fn as_native(&self) -> Option<HistogramValue> {
        let mut buckets = self.buckets.clone();
        buckets.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let count = self.count.or(buckets.last().map(|(_, count)| *count))?;
        if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            buckets.push((f64::INFINITY, count));
        }
        let grows = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let sound = buckets.iter().all(|(bound, n)| !bound.is_nan() && n.is_finite() && *n >= 0.0);
        let (_, last) = *buckets.last()?;
        if !grows || !sound || !count.is_finite() || last > count {
            return None;
        }
        // Observations that no bucket counted lie in the last.
        if let Some(infinite) = buckets.last_mut() {
            infinite.1 = count;
        }
        let custom_values = buckets[..buckets.len() - 1].iter().map(|(bound, _)| *bound).collect();
        let positive_spans = vec![Span { offset: 0, length: u32::try_from(buckets.len()).ok()? }];
        let before = std::iter::once(0.0).chain(buckets.iter().map(|(_, count)| *count));
        let counts: Vec<f64> = buckets.iter().zip(before).map(|((_, count), before)| count - before).collect();
        let whole = |n: f64| n.fract() == 0.0 && n < 9_007_199_254_740_992.0;
        if counts.iter().all(|&n| whole(n)) && whole(count) {
            let mut last = 0i64;
            let deltas = counts.iter().map(|&n| n as i64 - std::mem::replace(&mut last, n as i64)).collect();
            return Some(HistogramValue::Integer(Histogram {
                schema: CUSTOM_BUCKETS_SCHEMA,
                count: count as u64,
                sum: self.sum,
                positive_spans,
                positive_buckets: deltas,
                custom_values,
                ..Histogram::default()
            }));
        }
        Some(HistogramValue::Float(FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans,
            positive_buckets: counts,
            custom_values,
            ..FloatHistogram::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn convert(buckets: &[(f64, f64)], count: Option<f64>) -> Option<HistogramValue> {
        Classic { buckets: buckets.to_vec(), sum: 7.5, count }.convert()
    }

    #[test]
    fn bounds_are_listed_and_counts_become_differences() {
        let converted = convert(&[(0.5, 2.0), (1.0, 5.0), (INF, 6.0)], Some(6.0));
        let Some(HistogramValue::Integer(h)) = &converted else { panic!("{converted:?}") };
        assert_eq!((h.count, h.sum, h.schema), (6, 7.5, CUSTOM_BUCKETS_SCHEMA));
        assert_eq!((&h.custom_values[..], &h.positive_buckets[..]), (&[0.5, 1.0][..], &[2, 1, -2][..]));
        assert_eq!(convert(&[(1.0, 5.0), (0.5, 2.0)], Some(6.0)), converted, "in any order, without the last");
        assert!(matches!(convert(&[(1.0, 2.5)], None), Some(HistogramValue::Float(h)) if h.count == 2.5));
    }

    #[test]
    fn what_makes_no_histogram_is_none() {
        assert_eq!(convert(&[(1.0, 5.0), (2.0, 4.0)], Some(6.0)), None, "counts fall");
        assert_eq!(convert(&[(1.0, 5.0), (1.0, 5.0)], Some(6.0)), None, "a bound twice");
        assert_eq!(convert(&[(1.0, 7.0)], Some(6.0)), None, "more than all");
        assert_eq!(convert(&[(f64::NAN, 1.0)], Some(1.0)), None);
        assert_eq!(convert(&[(f64::NEG_INFINITY, 1.0), (1.0, 1.0)], Some(1.0)), None, "an infinite bound");
        assert_eq!(convert(&[], None), None);
    }
}
