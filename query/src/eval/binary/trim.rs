//! `</` and `>/`: the part of a histogram below or above a value.

use tsdb::{Bucket, BucketSide, FloatHistogram, Span};

/// Keeps the observations below `cutoff` (`upper`), or above it; `None` if that is all of them.
///
/// Within a bucket observations are assumed to lie evenly: on a logarithmic scale for exponential buckets, on a linear
/// one for custom buckets and the zero bucket. Count and sum are estimated anew from what is left.
pub(super) fn trim(histogram: &FloatHistogram, cutoff: f64, upper: bool) -> Option<FloatHistogram> {
    let mut trimmer = Trimmer { histogram, cutoff, upper, count: 0.0, sum: 0.0, changed: false };
    let zero_count = histogram.zero_bucket().map_or(0.0, |bucket| trimmer.keep(bucket));
    let positive: Vec<f64> = histogram.positive().map(|bucket| trimmer.keep(bucket)).collect();
    let negative: Vec<f64> = histogram.negative().map(|bucket| trimmer.keep(bucket)).collect();
    if !trimmer.changed {
        return None;
    }
    let mut result = FloatHistogram {
        zero_count,
        count: trimmer.count,
        sum: trimmer.sum,
        positive_buckets: positive,
        negative_buckets: negative,
        positive_spans: clip(&histogram.positive_spans, histogram.positive_buckets.len()),
        negative_spans: clip(&histogram.negative_spans, histogram.negative_buckets.len()),
        ..histogram.clone()
    };
    result.compact();
    Some(result)
}

/// Spans that cover no more than `buckets` buckets.
fn clip(spans: &[Span], buckets: usize) -> Vec<Span> {
    let mut left = u32::try_from(buckets).unwrap_or(u32::MAX);
    let mut out = spans.to_vec();
    for span in &mut out {
        span.length = span.length.min(left);
        left -= span.length;
    }
    out
}

struct Trimmer<'h> {
    histogram: &'h FloatHistogram,
    cutoff: f64,
    upper: bool,
    count: f64,
    sum: f64,
    changed: bool,
}

impl Trimmer<'_> {
    /// How many observations of a bucket are kept. Adds them to count and sum.
    fn keep(&mut self, bucket: Bucket) -> f64 {
        if bucket.count == 0.0 {
            return 0.0;
        }
        let (share, middle) = self.share(bucket);
        let kept = bucket.count * share;
        self.changed |= share != 1.0;
        if share > 0.0 {
            self.count += kept;
            self.sum += kept * middle;
        }
        kept
    }

    /// Which share of a bucket is kept, and where the middle of that share lies.
    fn share(&self, bucket: Bucket) -> (f64, f64) {
        let (lower, upper) = (bucket.lower, bucket.upper);
        if self.upper && lower >= self.cutoff || !self.upper && upper <= self.cutoff {
            return (0.0, 0.0);
        }
        if self.histogram.has_custom_buckets() {
            return self.custom(lower, upper);
        }
        if bucket.side == BucketSide::Zero {
            // With observations on one side only, those near zero are assumed to be on that side, too.
            let one_sided = |own: &[f64], other: &[f64]| own.is_empty() && !other.is_empty();
            let h = self.histogram;
            let lower = if one_sided(&h.negative_buckets, &h.positive_buckets) { 0.0 } else { lower };
            let upper = if one_sided(&h.positive_buckets, &h.negative_buckets) { 0.0 } else { upper };
            return self.linear(lower, upper);
        }
        let (from, to) = self.clipped(lower, upper);
        let share = if (from, to) == (lower, upper) {
            1.0
        } else {
            let log = |v: f64| v.abs().log2();
            ((log(to) - log(from)) / (log(upper) - log(lower))).abs()
        };
        let middle = (from * to).sqrt();
        (share, if upper <= 0.0 { -middle } else { middle })
    }

    /// The part of an interval that is kept.
    fn clipped(&self, lower: f64, upper: f64) -> (f64, f64) {
        if self.upper { (lower, upper.min(self.cutoff)) } else { (lower.max(self.cutoff), upper) }
    }

    fn linear(&self, lower: f64, upper: f64) -> (f64, f64) {
        let (from, to) = self.clipped(lower, upper);
        if from >= to {
            // An interval without width is kept whole or not at all.
            let kept = lower == upper && from == to;
            return (f64::from(u8::from(kept)), from);
        }
        let share = if (from, to) == (lower, upper) { 1.0 } else { (to - from) / (upper - lower) };
        (share, from.midpoint(to))
    }

    /// Buckets without lower or upper bound cannot be cut: they are kept whole if their known bound allows it.
    fn custom(&self, lower: f64, upper: f64) -> (f64, f64) {
        let finite = self.cutoff.is_finite();
        match (lower == f64::NEG_INFINITY, upper == f64::INFINITY) {
            (true, true) => (if finite { 0.0 } else { 1.0 }, 0.0),
            (false, true) if self.upper => (if finite { 0.0 } else { 1.0 }, lower),
            (false, true) => (1.0, lower.max(self.cutoff)),
            // The first bucket starts at zero if it ends above it.
            (true, false) if upper > 0.0 => {
                if self.cutoff < 0.0 && finite {
                    (0.0, 0.0)
                } else {
                    self.linear(0.0, upper)
                }
            }
            (true, false) if self.upper => (1.0, upper.min(self.cutoff)),
            (true, false) => (if finite { 0.0 } else { 1.0 }, upper),
            (false, false) => self.linear(lower, upper),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_make_the_whole() {
        let histogram = FloatHistogram {
            schema: 1,
            zero_threshold: 0.01,
            zero_count: 3.0,
            count: 19.0,
            positive_spans: vec![Span { offset: -2, length: 3 }],
            positive_buckets: vec![1.0, 5.0, 2.0],
            negative_spans: vec![Span { offset: 0, length: 2 }],
            negative_buckets: vec![4.0, 4.0],
            ..FloatHistogram::default()
        };
        for cutoff in [-1.2, -1.0, -0.005, 0.0, 0.3, 0.6, 0.9] {
            let below = trim(&histogram, cutoff, true).unwrap();
            let above = trim(&histogram, cutoff, false).unwrap();
            assert!((below.count + above.count - 19.0).abs() < 1e-12, "{cutoff}");
        }
        assert_eq!(trim(&histogram, f64::INFINITY, true), None);
        assert_eq!(trim(&histogram, f64::INFINITY, false).unwrap().count, 0.0);
    }
}
