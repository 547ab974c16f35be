//! Native histograms held to a resolution and to a number of buckets.

use tsdb::{FloatHistogram, Histogram, HistogramValue, Span};

/// The coarsest and the finest exponential schema.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// The finest schema whose buckets grow by `factor` at least; `None` if that is any.
#[must_use]
pub fn schema_of_factor(factor: f64) -> Option<i32> {
    if factor.is_nan() || factor <= 1.0 {
        return None;
    }
    let schema = (-factor.log2().log2()).floor();
    Some(schema.clamp(f64::from(*SCHEMAS.start()), f64::from(*SCHEMAS.end())) as i32)
}

/// `value` at a schema of `finest` at most, and as much coarser as it takes to have no more than `most` buckets (0: any
/// number); `None` if the coarsest still has more.
///
/// A histogram that contradicts itself comes back as it is: the store refuses it.
pub(super) fn held(mut value: HistogramValue, finest: Option<i32>, most: usize) -> Option<HistogramValue> {
    if !is_sound(&value) {
        return Some(value);
    }
    let schema = schema(&value);
    let exponential = SCHEMAS.contains(&schema);
    if let Some(finest) = finest.filter(|finest| exponential && *finest < schema) {
        reduce(&mut value, finest);
    }
    while most > 0 && buckets(&value) > most {
        let coarser = self::schema(&value) - 1;
        if !exponential || !SCHEMAS.contains(&coarser) {
            return None;
        }
        reduce(&mut value, coarser);
    }
    Some(value)
}

fn schema(value: &HistogramValue) -> i32 {
    match value {
        HistogramValue::Integer(h) => h.schema,
        HistogramValue::Float(h) => h.schema,
    }
}

fn buckets(value: &HistogramValue) -> usize {
    match value {
        HistogramValue::Integer(h) => h.positive_buckets.len() + h.negative_buckets.len(),
        HistogramValue::Float(h) => h.positive_buckets.len() + h.negative_buckets.len(),
    }
}

/// Whether the spans are those of the buckets.
fn is_sound(value: &HistogramValue) -> bool {
    let fits = |spans: &[Span], buckets: usize| {
        let length: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        length == buckets as u64 && spans.iter().skip(1).all(|span| span.offset >= 0)
    };
    match value {
        HistogramValue::Integer(h) => {
            fits(&h.positive_spans, h.positive_buckets.len()) && fits(&h.negative_spans, h.negative_buckets.len())
        }
        HistogramValue::Float(h) => {
            fits(&h.positive_spans, h.positive_buckets.len()) && fits(&h.negative_spans, h.negative_buckets.len())
        }
    }
}

fn reduce(value: &mut HistogramValue, to: i32) {
    match value {
        HistogramValue::Integer(h) => reduce_integer(h, to),
        HistogramValue::Float(h) => reduce_float(h, to),
    }
}

fn reduce_integer(h: &mut Histogram, to: i32) {
    let levels = (h.schema - to) as u32;
    for (spans, deltas) in
        [(&mut h.positive_spans, &mut h.positive_buckets), (&mut h.negative_spans, &mut h.negative_buckets)]
    {
        let mut count = 0i64;
        let counts = deltas.iter().map(|delta| {
            count = count.wrapping_add(*delta);
            count
        });
        let merged = merged(spans, counts, levels, i64::wrapping_add);
        *spans = spans_of(&merged);
        let mut last = 0i64;
        *deltas = merged.iter().map(|(_, n)| n.wrapping_sub(std::mem::replace(&mut last, *n))).collect();
    }
    h.schema = to;
}

fn reduce_float(h: &mut FloatHistogram, to: i32) {
    let levels = (h.schema - to) as u32;
    for (spans, counts) in
        [(&mut h.positive_spans, &mut h.positive_buckets), (&mut h.negative_spans, &mut h.negative_buckets)]
    {
        let merged = merged(spans, counts.iter().copied(), levels, |a, b| a + b);
        *spans = spans_of(&merged);
        *counts = merged.iter().map(|(_, n)| *n).collect();
    }
    h.schema = to;
}

/// Index and count of each bucket, so many schemas coarser.
fn merged<T: Copy>(
    spans: &[Span],
    counts: impl Iterator<Item = T>,
    levels: u32,
    add: impl Fn(T, T) -> T,
) -> Vec<(i64, T)> {
    let mut merged: Vec<(i64, T)> = Vec::new();
    let mut next = 0i64;
    let indices = spans.iter().flat_map(|span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    });
    for (index, count) in indices.zip(counts) {
        let index = ((index - 1) >> levels) + 1;
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum = add(*sum, count),
            _ => merged.push((index, count)),
        }
    }
    merged
}

/// The spans of buckets with these indices, which ascend.
fn spans_of<T>(buckets: &[(i64, T)]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i64;
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(last) if *index == next => last.length += 1,
            _ => spans.push(Span { offset: (index - next) as i32, length: 1 }),
        }
        next = index + 1;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i32, spans: &[(i32, u32)], deltas: &[i64]) -> HistogramValue {
        let positive_spans = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
        HistogramValue::Integer(Histogram {
            schema,
            positive_spans,
            positive_buckets: deltas.to_vec(),
            ..Histogram::default()
        })
    }

    #[test]
    fn the_factor_gives_the_schema_that_prometheus_picks() {
        let picked = [1.0, 1.1, 1.5, 2.0, 3.0, 4.0, 65536.0, 1e9].map(schema_of_factor);
        assert_eq!(picked, [None, Some(2), Some(0), Some(0), Some(-1), Some(-1), Some(-4), Some(-4)]);
    }

    #[test]
    fn buckets_are_merged_until_they_are_few_enough() {
        // Buckets 0, 1, 2, 5 with the counts 1, 2, 3, 4.
        let value = || histogram(1, &[(0, 3), (2, 1)], &[1, 1, 1, 1]);
        assert_eq!(held(value(), None, 0), Some(value()));
        assert_eq!(held(value(), None, 4), Some(value()));
        assert_eq!(held(value(), None, 3), Some(histogram(0, &[(0, 2), (1, 1)], &[1, 4, -1])));
        assert_eq!(held(value(), Some(0), 0), held(value(), None, 3));
        assert_eq!(held(value(), None, 1), None, "0 and 1 stay apart at every schema");
        assert_eq!(held(histogram(-53, &[(0, 2)], &[1, 1]), Some(0), 1), None, "custom buckets cannot be merged");
    }

    #[test]
    fn a_histogram_that_contradicts_itself_comes_back_as_it_is() {
        for bad in [histogram(3, &[(0, 5)], &[1, 1]), histogram(3, &[(0, 1), (-9, 1)], &[1, 1])] {
            assert_eq!(held(bad.clone(), Some(0), 1), Some(bad));
        }
    }
}
