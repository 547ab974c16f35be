//! Whether what came is what was expected.

use tsdb::{FloatHistogram, Labels, is_stale};

use super::LoadedValue;
use super::script::{Eval, When, value_of};
use super::series::Item;
use crate::value::{Point, Series, Value, is_absent};

/// Relative difference that counts as none.
const EPSILON: f64 = 1e-6;

/// Whether two floats are as good as equal.
fn floats_match(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

fn histograms_match(expected: &FloatHistogram, actual: &FloatHistogram, with_hint: bool) -> bool {
    let compact = |h: &FloatHistogram| {
        let mut h = h.clone();
        h.compact();
        h
    };
    let (a, b) = (compact(expected), compact(actual));
    let lists_match = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| floats_match(*a, *b));
    (!with_hint || a.counter_reset_hint == b.counter_reset_hint)
        && a.schema == b.schema
        && floats_match(a.count, b.count)
        && floats_match(a.sum, b.sum)
        && floats_match(a.zero_count, b.zero_count)
        && a.zero_threshold == b.zero_threshold
        && a.custom_values == b.custom_values
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && lists_match(&a.positive_buckets, &b.positive_buckets)
        && lists_match(&a.negative_buckets, &b.negative_buckets)
}

fn points_match(expected: &Item, actual: Option<&Point>) -> bool {
    match (value_of(expected), actual) {
        (None, None) => true,
        (Some(LoadedValue::Float(a)), Some(Point::Float(b))) => floats_match(*a, *b),
        (Some(LoadedValue::Histogram(a)), Some(Point::Histogram(b))) => histograms_match(a, b, expected.has_hint),
        _ => false,
    }
}

fn describe(point: Option<&Point>) -> String {
    match point {
        None => "nothing".into(),
        Some(Point::Float(value)) => value.to_string(),
        Some(Point::Histogram(h)) => format!("{} hint {:?}", crate::format::histogram(h), h.counter_reset_hint),
    }
}

fn describe_expected(item: &Item) -> String {
    match value_of(item) {
        None => "nothing".into(),
        Some(LoadedValue::Float(value)) => value.to_string(),
        Some(LoadedValue::Histogram(h)) => describe(Some(&Point::Histogram(h.clone()))),
    }
}

/// Compares the result of a query with what its `eval` expects.
pub(super) fn check(eval: &Eval, value: &Value) -> Result<(), String> {
    let expected = &eval.expected;
    match (value, expected.scalar, &expected.text) {
        (Value::String(text), _, Some(wanted)) if text == wanted => Ok(()),
        (_, _, Some(wanted)) => Err(format!("expected the string {wanted:?}, got {value:?}")),
        (Value::Scalar(actual), Some(wanted), None) if floats_match(wanted, *actual) => Ok(()),
        (_, Some(wanted), None) => Err(format!("expected the scalar {wanted}, got {value:?}")),
        (Value::Vector(samples), None, None) => {
            let samples: Vec<(&Labels, &Point)> = samples.iter().map(|s| (&s.labels, &s.point)).collect();
            check_vector(&expected.series, &samples, expected.ordered)
        }
        (Value::Matrix(series), None, None) => check_matrix(eval, series),
        _ => Err(format!("got {value:?}")),
    }
}

/// Compares samples of one moment.
pub(super) fn check_vector(
    expected: &[(Labels, Vec<Item>)],
    actual: &[(&Labels, &Point)],
    ordered: bool,
) -> Result<(), String> {
    for (i, (labels, point)) in actual.iter().enumerate() {
        if actual[..i].iter().any(|(other, _)| other == labels) {
            return Err(format!("{labels} came twice"));
        }
        let Some(at) = expected.iter().position(|(wanted, _)| wanted == *labels) else {
            return Err(format!("unexpected {labels} = {}", describe(Some(point))));
        };
        if ordered && at != i {
            return Err(format!("{labels} is number {} instead of {}", i + 1, at + 1));
        }
        let [item] = &expected[at].1[..] else {
            return Err(format!("{labels}: one value expected per line"));
        };
        if !points_match(item, Some(point)) {
            return Err(format!("{labels}: expected {}, got {}", describe_expected(item), describe(Some(point))));
        }
    }
    match expected.iter().find(|(wanted, _)| !actual.iter().any(|(labels, _)| *labels == wanted)) {
        Some((missing, _)) => Err(format!("{missing} is missing")),
        None => Ok(()),
    }
}

/// The points of a series, by time.
pub(super) fn points(series: &Series) -> Vec<(i64, Point)> {
    let mut out: Vec<(i64, Point)> = series
        .timestamps_ms
        .iter()
        .zip(&series.values)
        .filter(|(_, value)| !is_absent(**value))
        .map(|(time, value)| (*time, Point::Float(*value)))
        .collect();
    out.extend(series.histograms.iter().map(|(time, h)| (time.millis(), Point::Histogram(h.clone()))));
    out.sort_by_key(|(time, _)| *time);
    out
}

fn check_matrix(eval: &Eval, actual: &[Series]) -> Result<(), String> {
    let (start, end, step) = match (eval.when, eval.expected.range_vector) {
        (_, Some(range)) => range,
        (When::Range { start, end, step }, None) => (start, end, step),
        (When::Instant(_), None) => return Err("got a range vector".into()),
    };
    if !actual.is_sorted_by(|a, b| a.labels < b.labels) {
        return Err("series are not sorted by labels".into());
    }
    for series in actual {
        let labels = &series.labels;
        let Some((_, items)) = eval.expected.series.iter().find(|(wanted, _)| wanted == labels) else {
            return Err(format!("unexpected series {labels}: {:?}", points(series)));
        };
        if items.len() as i64 > (end - start) / step + 1 {
            return Err(format!("{labels}: more values expected than there are steps"));
        }
        let mut points = points(series).into_iter().peekable();
        for (k, item) in items.iter().enumerate() {
            let at = start + step * k as i64;
            let point = points.next_if(|(time, _)| *time == at).map(|(_, point)| point);
            if !points_match(item, point.as_ref()) {
                let (wanted, got) = (describe_expected(item), describe(point.as_ref()));
                return Err(format!("{labels} at {at} ms: expected {wanted}, got {got}"));
            }
        }
        if let Some((time, point)) = points.next() {
            return Err(format!("{labels}: unexpected {} at {time} ms", describe(Some(&point))));
        }
    }
    let found = |wanted: &Labels| actual.iter().any(|series| series.labels == *wanted);
    match eval.expected.series.iter().find(|(wanted, items)| items.iter().any(|i| i.value.is_some()) && !found(wanted))
    {
        Some((missing, _)) => Err(format!("series {missing} is missing")),
        None => Ok(()),
    }
}
