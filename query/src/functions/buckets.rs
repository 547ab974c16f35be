//! Quantiles and fractions of one classic histogram: cumulative counts by upper bound.
//!
//! Counts come from targets and may be anything, NaN and infinities included. So comparisons are written as Prometheus
//! has them, and the search is its binary search: both decide the result where counts are not ordered.

use crate::eval::notes::Repair;

/// A classic histogram at one step: upper bounds and cumulative counts.
pub(super) type Buckets = Vec<(f64, f64)>;

/// Counts that differ less than this, relatively, differ by rounding.
const SMALL_DELTA: f64 = 1e-12;

/// Sorts by bound; equal bounds keep their order.
///
/// Cost: quadratic if a bound is NaN, which has no place in the order; then an insertion sort gives that of Prometheus.
pub(super) fn sort(buckets: &mut [(f64, f64)]) {
    if buckets.iter().all(|b| !b.0.is_nan()) {
        buckets.sort_by(|a, b| a.0.partial_cmp(&b.0).expect("bounds that are not NaN are ordered"));
        return;
    }
    for end in 1..buckets.len() {
        let mut at = end;
        while at > 0 && buckets[at].0 < buckets[at - 1].0 {
            buckets.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// Adds up buckets of equal bounds. `buckets` is sorted.
fn coalesce(buckets: &mut Buckets) {
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Equality but for rounding.
fn almost_equal(a: f64, b: f64) -> bool {
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// Raises counts that are below those of lower buckets. More than rounding is reported.
fn make_monotonic(buckets: &mut Buckets, at_ms: i64) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut previous = buckets[0].1;
    for (bound, count) in buckets.iter_mut().skip(1) {
        let current = *count;
        if current == previous {
            continue;
        }
        if almost_equal(previous, current) {
            *count = previous;
        } else if current < previous {
            *count = previous;
            let repair = repair.get_or_insert(Repair {
                min_bound: *bound,
                max_bound: *bound,
                max_diff: 0.0,
                first_ms: at_ms,
                last_ms: at_ms,
                samples: 1,
            });
            repair.max_bound = *bound;
            repair.max_diff = repair.max_diff.max(previous - current);
        } else {
            previous = current;
        }
    }
    repair
}

/// Binary search for the first of `counts` that is at least `rank`; their number if there is none.
///
/// Only a count that compares as at least `rank` moves the search to the left: with NaN it ends at the last one.
fn first_at_least(counts: &[(f64, f64)], rank: f64) -> usize {
    let (mut low, mut high) = (0, counts.len());
    while low < high {
        let middle = (low + high) / 2;
        if counts[middle].1 >= rank { high = middle } else { low = middle + 1 }
    }
    low
}

/// The value below which the share `q` of the observations lies: linear interpolation between bounds.
///
/// `buckets` is sorted and has at least one element.
pub(super) fn quantile(q: f64, buckets: &mut Buckets, at_ms: i64) -> (f64, Option<Repair>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let repair = make_monotonic(buckets, at_ms);
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, repair);
    }
    let mut rank = q * observations;
    let found = first_at_least(&buckets[..last], rank);
    if found == last {
        return (buckets[last - 1].0, repair);
    }
    if found == 0 && buckets[0].0 <= 0.0 {
        return (buckets[0].0, repair);
    }
    let (mut start, end, mut count) = (0.0, buckets[found].0, buckets[found].1);
    if found > 0 {
        start = buckets[found - 1].0;
        count -= buckets[found - 1].1;
        rank -= buckets[found - 1].1;
    }
    (start + (end - start) * (rank / count), repair)
}

/// The share of the observations between `lower` and `upper`.
///
/// `buckets` is sorted and has at least one element.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Buckets) -> f64 {
    if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets[buckets.len() - 1].1;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    let mut from = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    for (to, cumulative) in buckets.iter() {
        let rank_at = |value: f64| {
            if from == f64::NEG_INFINITY {
                *cumulative
            } else {
                rank + (cumulative - rank) * (value - from) / (to - from)
            }
        };
        for (bound, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_none() && from >= bound {
                *found = Some(rank);
            } else if found.is_none() && from < bound && *to > bound {
                *found = Some(rank_at(bound));
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank = *cumulative;
        from = *to;
    }
    (at_most(upper_rank, count) - at_most(lower_rank, count)) / count
}

/// A rank, or `count` where there is none or it is greater. NaN stays.
pub(super) fn at_most(rank: Option<f64>, count: f64) -> f64 {
    match rank {
        Some(rank) if rank > count => count,
        Some(rank) => rank,
        None => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    fn of(q: f64, counts: &[f64]) -> f64 {
        let mut buckets: Buckets =
            (1..counts.len()).map(|i| i as f64).chain([INF]).zip(counts.iter().copied()).collect();
        quantile(q, &mut buckets, 0).0
    }

    #[test]
    fn quantiles_of_classic_buckets() {
        let buckets = || vec![(0.0, 0.0), (2.0, 1.0), (4.0, 2.0), (6.0, 3.0), (INF, 3.0)];
        let at = |q| quantile(q, &mut buckets(), 0).0;
        assert_eq!((at(0.5), at(1.0), at(-1.0)), (3.0, 6.0, f64::NEG_INFINITY));
        assert!(quantile(0.5, &mut vec![(1.0, 1.0)], 0).0.is_nan());
    }

    #[test]
    fn quantiles_of_infinite_and_nan_counts_end_where_the_binary_search_ends() {
        assert_eq!(of(0.0, &[INF, INF]), 1.0, "0 times infinity is NaN: no count is at least that");
        assert!(of(0.5, &[INF, INF]).is_nan());
        assert_eq!(of(0.5, &[1.0, 2.0, 3.0, NAN]), 3.0);
        assert_eq!(of(0.75, &[NAN, 2.0, 3.0, 4.0]), 3.0, "only the counts in the middle are looked at");
        assert!(of(0.5, &[1.0, NAN, 3.0, 4.0]).is_nan(), "the bucket that is found begins at a NaN count");
        assert_eq!(of(0.0, &[NAN, NAN, 3.0, INF]), 3.0);
        assert_eq!(of(0.5, &[1.0, 2.0, 3.0, INF]), 3.0);
    }

    #[test]
    fn fractions_of_nan_counts_are_nan() {
        let fraction_of =
            |counts: [f64; 3]| fraction(0.5, 1.5, &mut vec![(1.0, counts[0]), (2.0, counts[1]), (INF, counts[2])]);
        assert_eq!(fraction_of([2.0, 4.0, 4.0]), 0.5);
        assert!(fraction_of([NAN, 4.0, 4.0]).is_nan());
        assert!(fraction_of([2.0, NAN, 4.0]).is_nan());
        assert!(fraction_of([2.0, 4.0, NAN]).is_nan());
        assert_eq!(fraction_of([2.0, 4.0, INF]), 0.0);
    }

    #[test]
    fn bounds_that_are_nan_are_sorted_by_insertion() {
        let mut buckets = vec![(INF, 4.0), (2.0, 2.0), (NAN, 9.0), (1.0, 1.0)];
        sort(&mut buckets);
        let bounds: Vec<String> = buckets.iter().map(|b| b.0.to_string()).collect();
        assert_eq!(bounds, ["2", "inf", "NaN", "1"]);
    }

    #[test]
    fn decreases_are_repaired_and_reported_unless_they_are_rounding() {
        let mut buckets = vec![(1.0, 2.0), (2.0, 1.0), (4.0, 5.0), (INF, 4.0)];
        let repair = make_monotonic(&mut buckets, 7).unwrap();
        assert_eq!(buckets.iter().map(|b| b.1).collect::<Vec<_>>(), [2.0, 2.0, 5.0, 5.0]);
        assert_eq!((repair.min_bound, repair.max_bound, repair.max_diff), (2.0, INF, 1.0));
        let mut rounded = vec![(1.0, 1.0), (2.0, 1.0 - 1e-15), (INF, 2.0)];
        assert!(make_monotonic(&mut rounded, 0).is_none());
        assert_eq!(rounded[1].1, 1.0);
    }
}
