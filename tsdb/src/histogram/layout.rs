//! Spans and buckets ⇄ (index, count) pairs, and the maps between bucket layouts.

use super::bounds::FRACTIONS;
use super::{CUSTOM_BUCKETS_SCHEMA, MAX_SCHEMA, Span};

/// The buckets of one side with their indices, ascending.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a> {
    spans: std::slice::Iter<'a, Span>,
    buckets: std::slice::Iter<'a, f64>,
    left: u32,
    index: i32,
}

/// Walks the buckets that `spans` place; stops where either list ends.
pub(super) fn entries<'a>(spans: &'a [Span], buckets: &'a [f64]) -> Entries<'a> {
    Entries { spans: spans.iter(), buckets: buckets.iter(), left: 0, index: 0 }
}

impl Iterator for Entries<'_> {
    type Item = (i32, f64);

    fn next(&mut self) -> Option<Self::Item> {
        while self.left == 0 {
            let span = self.spans.next()?;
            self.left = span.length;
            self.index = self.index.wrapping_add(span.offset);
        }
        let count = *self.buckets.next()?;
        let index = self.index;
        self.left -= 1;
        self.index = self.index.wrapping_add(1);
        Some((index, count))
    }
}

/// Puts spans and buckets together from ascending indices. Empty buckets are left out.
pub(super) fn collect(entries: impl Iterator<Item = (i32, f64)>) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut buckets) = (Vec::<Span>::new(), Vec::new());
    let mut next = 0i32;
    for (index, count) in entries {
        if count == 0.0 {
            continue;
        }
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            Some(_) => spans.push(Span { offset: index.wrapping_sub(next), length: 1 }),
            None => spans.push(Span { offset: index, length: 1 }),
        }
        buckets.push(count);
        next = index.wrapping_add(1);
    }
    (spans, buckets)
}

/// Merges two ascending lists; `combine` gets 0 for the side that lacks an index.
pub(super) fn merge(
    left: impl Iterator<Item = (i32, f64)>,
    right: impl Iterator<Item = (i32, f64)>,
    mut combine: impl FnMut(f64, f64) -> f64,
) -> Vec<(i32, f64)> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    let mut out = Vec::with_capacity(left.size_hint().0.max(right.size_hint().0));
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (Some((i, a)), Some((j, b))) if i == j => {
                out.push((i, combine(a, b)));
                left.next();
                right.next();
            }
            (Some((i, a)), Some((j, _))) if i < j => {
                out.push((i, combine(a, 0.0)));
                left.next();
            }
            (Some((i, a)), None) => {
                out.push((i, combine(a, 0.0)));
                left.next();
            }
            (_, Some((j, b))) => {
                out.push((j, combine(0.0, b)));
                right.next();
            }
            (None, None) => return out,
        }
    }
}

/// Sums up neighbours whose new index is the same; `map` keeps the order.
pub(super) fn remap(entries: impl Iterator<Item = (i32, f64)>, map: impl Fn(i32) -> i32) -> Vec<(i32, f64)> {
    let mut out: Vec<(i32, f64)> = Vec::new();
    for (index, count) in entries {
        let index = map(index);
        match out.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => out.push((index, count)),
        }
    }
    out
}

/// The index in the coarser schema of the bucket that holds bucket `index` of a schema `levels` finer.
pub(super) const fn coarser(index: i32, levels: u32) -> i32 {
    ((index.wrapping_sub(1)) >> levels) + 1
}

/// The bounds that both lists hold, and whether the lists differ. Both are ascending.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> (Vec<f64>, bool) {
    if a == b {
        return (a.to_vec(), false);
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            out.push(a[i]);
            i += 1;
            j += 1;
        } else if a[i] < b[j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    (out, true)
}

/// Where bucket `index` of a histogram with `bounds` lies among `fewer` of these bounds.
pub(super) fn among_fewer(index: i32, bounds: &[f64], fewer: &[f64]) -> i32 {
    let upper = usize::try_from(index).ok().and_then(|i| bounds.get(i)).copied().unwrap_or(f64::INFINITY);
    fewer.partition_point(|bound| *bound < upper) as i32
}

/// Upper bound of bucket `index`; for the custom schema +Inf past the last bound and -Inf before the first.
pub(super) fn upper_bound(index: i32, schema: i32, custom: &[f64]) -> f64 {
    if schema == CUSTOM_BUCKETS_SCHEMA {
        return match usize::try_from(index) {
            Ok(i) => custom.get(i).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }
    exponential_bound(index, schema)
}

/// `2^(index · 2^-schema)`; where that is just too large for a float, the largest float.
fn exponential_bound(index: i32, schema: i32) -> f64 {
    let index = i64::from(index);
    if schema <= 0 {
        let exponent = index.checked_shl(schema.unsigned_abs()).unwrap_or(i64::MAX);
        return if exponent == 1024 { f64::MAX } else { power_of_two(exponent) };
    }
    let schema = schema.min(MAX_SCHEMA);
    let (whole, part) = (index >> schema, index & ((1 << schema) - 1));
    if part == 0 && whole == 1024 {
        return f64::MAX;
    }
    // The fraction is doubled first: the power alone may be too large.
    power_of_two(whole) * (2.0 * FRACTIONS[(part << (MAX_SCHEMA - schema)) as usize])
}

fn power_of_two(exponent: i64) -> f64 {
    2f64.powi(exponent.clamp(-2000, 2000) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_collect_are_inverse_but_for_empty_buckets() {
        let spans = [Span { offset: -3, length: 2 }, Span { offset: 4, length: 3 }];
        let listed: Vec<_> = entries(&spans, &[1.0, 2.0, 0.0, 3.0, 4.0]).collect();
        assert_eq!(listed, [(-3, 1.0), (-2, 2.0), (3, 0.0), (4, 3.0), (5, 4.0)]);
        let (spans, buckets) = collect(listed.into_iter());
        assert_eq!(spans, [Span { offset: -3, length: 2 }, Span { offset: 5, length: 2 }]);
        assert_eq!(buckets, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn bounds_of_exponential_buckets() {
        assert_eq!(upper_bound(0, 0, &[]), 1.0);
        assert_eq!(upper_bound(3, 0, &[]), 8.0);
        assert_eq!(upper_bound(-1, 0, &[]), 0.5);
        assert_eq!(upper_bound(1, -1, &[]), 4.0);
        assert!((upper_bound(1, 1, &[]) - std::f64::consts::SQRT_2).abs() < 1e-15);
        assert_eq!(upper_bound(1024, 0, &[]), f64::MAX);
        assert_eq!(upper_bound(i32::MAX, 8, &[]), f64::INFINITY);
        assert_eq!(upper_bound(i32::MIN, -4, &[]), 0.0);
    }

    #[test]
    fn coarser_buckets_contain_the_finer_ones() {
        for index in -9..9 {
            let (fine, coarse) = (upper_bound(index, 2, &[]), upper_bound(coarser(index, 2), 0, &[]));
            assert!(fine <= coarse && fine > coarse / 2.0, "{index}");
        }
    }

    #[test]
    fn custom_buckets_move_to_the_next_common_bound() {
        let (fewer, differ) = common_bounds(&[1.0, 2.0, 4.0], &[2.0, 3.0, 4.0, 9.0]);
        assert_eq!((fewer.as_slice(), differ), (&[2.0, 4.0][..], true));
        let moved: Vec<i32> = (0..4).map(|i| among_fewer(i, &[1.0, 2.0, 4.0], &fewer)).collect();
        assert_eq!(moved, [0, 0, 1, 2]);
    }
}
