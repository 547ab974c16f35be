//! Functions of single native histograms.

use std::sync::Arc;

use tsdb::{Bucket, BucketSide, FloatHistogram};

use super::buckets::at_most;
use crate::error::Error;
use crate::eval::grid::Rows;
use crate::eval::kahan::Kahan;
use crate::eval::source::Mapped;
use crate::eval::{Eval, Output};
use crate::parser::Call;
use crate::value::{ABSENT, is_absent};

/// Makes a float of every histogram; floats are left out.
pub(super) fn shape<'q>(eval: Eval<'q>, call: &'q Call, f: fn(&FloatHistogram) -> f64) -> Result<Output<'q>, Error> {
    let inner = eval.vector(&call.args[0])?;
    let map = move |rows: &mut Rows| {
        let histograms = std::mem::take(&mut rows.histograms);
        rows.values.fill(ABSENT);
        for (value, histogram) in rows.values.iter_mut().zip(histograms) {
            if let Some(histogram) = histogram {
                let result = f(&histogram);
                *value = if is_absent(result) { f64::NAN } else { result };
            }
        }
        Ok(())
    };
    Ok(Output::Series(eval.without_name(Arc::new(Mapped { inner, map }))?))
}

/// The same for what needs count and sum only.
pub(super) fn stat<'q>(eval: Eval<'q>, call: &'q Call, f: fn(&FloatHistogram) -> f64) -> Result<Output<'q>, Error> {
    shape(Eval { stats_only: true, ..eval }, call, f)
}

/// The buckets that have observations, ascending. As in Prometheus, other buckets may have a negative count, the one
/// around zero may not.
pub(super) fn filled_buckets(histogram: &FloatHistogram) -> Vec<Bucket> {
    let mut buckets = histogram.clipped_buckets();
    buckets.retain(|b| b.count != 0.0 && (b.count > 0.0 || b.side != BucketSide::Zero));
    buckets
}

/// The variance of the observations, each taken to lie in the middle of its bucket.
pub(super) fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut sum = Kahan::default();
    for bucket in filled_buckets(histogram) {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = middle - mean;
        sum.add(bucket.count * delta * delta);
    }
    (sum.sum + sum.lost) / histogram.count
}

/// What NaN observations did to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NanEffect {
    None,
    /// The result is NaN.
    Nan,
    /// The result is higher than without them.
    Skewed,
}

/// Bounds between which observations of a bucket are assumed to lie.
fn assumed_bounds(histogram: &FloatHistogram, bucket: &Bucket) -> (f64, f64) {
    let (mut lower, mut upper) = (bucket.lower, bucket.upper);
    if histogram.has_custom_buckets() {
        if lower == f64::NEG_INFINITY && upper > 0.0 {
            lower = 0.0;
        }
    } else if bucket.side == BucketSide::Zero {
        if histogram.negative_buckets.is_empty() && !histogram.positive_buckets.is_empty() {
            lower = 0.0;
        } else if histogram.positive_buckets.is_empty() && !histogram.negative_buckets.is_empty() {
            upper = 0.0;
        }
    }
    (lower, upper)
}

/// The value below which the share `q` of the observations lies.
///
/// Within a bucket observations are spread evenly: logarithmically for exponential buckets, linearly for custom buckets
/// and the zero bucket.
pub(super) fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, NanEffect) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, NanEffect::None);
    }
    if q > 1.0 {
        return (f64::INFINITY, NanEffect::None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, NanEffect::None);
    }
    let has_nan = histogram.sum.is_nan();
    // From the nearer end: fewer buckets to add up. NaN observations are above all others, so only the lower end counts.
    let forward = has_nan || q < 0.5;
    let mut rank = if forward { q * histogram.count } else { (1.0 - q) * histogram.count };
    let buckets = filled_buckets(histogram);
    let zero = Bucket {
        side: BucketSide::Zero,
        index: 0,
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: true,
        upper_inclusive: true,
        count: 0.0,
    };
    let (mut count, mut bucket) = (0.0, zero);
    let mut visit = |candidate: &Bucket| {
        bucket = *candidate;
        count += candidate.count;
        count >= rank
    };
    let _found = if forward { buckets.iter().any(&mut visit) } else { buckets.iter().rev().any(&mut visit) };
    let (lower, upper) = assumed_bounds(histogram, &bucket);
    if histogram.has_custom_buckets() {
        if lower == f64::NEG_INFINITY {
            return (upper, NanEffect::None);
        }
        if upper == f64::INFINITY {
            return (lower, NanEffect::None);
        }
    }
    // Rounding may make the buckets hold more than there are observations.
    count = count.min(histogram.count);
    if count < rank {
        // Only NaN observations are left.
        return if has_nan { (f64::NAN, NanEffect::Nan) } else { (upper, NanEffect::None) };
    }
    rank = if forward { rank - (count - bucket.count) } else { count - rank };
    // A sum of opposite infinities is NaN, too, but then all observations are in buckets.
    let skewed = has_nan && buckets.iter().map(|b| b.count).sum::<f64>() < histogram.count;
    let effect = if skewed { NanEffect::Skewed } else { NanEffect::None };
    let fraction = rank / bucket.count;
    if histogram.has_custom_buckets() || (lower <= 0.0 && upper >= 0.0) {
        return (lower + (upper - lower) * fraction, effect);
    }
    let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 {
        return ((log_lower + (log_upper - log_lower) * fraction).exp2(), effect);
    }
    (-(log_upper + (log_lower - log_upper) * (1.0 - fraction)).exp2(), effect)
}

/// The share of the observations between `lower` and `upper`, and whether it leaves observations of NaN out.
pub(super) fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, bool) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    for bucket in filled_buckets(histogram) {
        let (from, to) = assumed_bounds(histogram, &bucket);
        let linear = histogram.has_custom_buckets() || bucket.side == BucketSide::Zero;
        let rank_at = |value: f64| rank + bucket.count * share_below(value, from, to, linear);
        for (bound, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_none() && from >= bound {
                *found = Some(rank);
            } else if found.is_none() && from < bound && to > bound {
                *found = Some(rank_at(bound));
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank += bucket.count;
    }
    // Observations of NaN are in no bucket and so in no interval.
    let all = if histogram.sum.is_nan() { histogram.buckets().iter().map(|b| b.count).sum() } else { histogram.count };
    let value = (at_most(upper_rank, all) - at_most(lower_rank, all)) / histogram.count;
    (value, histogram.sum.is_nan() && all < histogram.count)
}

/// Which share of a bucket lies below a value within it. Buckets without lower bound count as below, those without
/// upper bound as above.
fn share_below(value: f64, lower: f64, upper: f64, linear: bool) -> f64 {
    if lower == f64::NEG_INFINITY {
        return 1.0;
    }
    if linear {
        return (value - lower) / (upper - lower);
    }
    let (log_lower, log_upper, log_value) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    if value > 0.0 {
        (log_value - log_lower) / (log_upper - log_lower)
    } else {
        1.0 - (log_value - log_upper) / (log_lower - log_upper)
    }
}
