//! `smoothed` instant selectors: values between two samples, interpolated.

use std::sync::Arc;

use tsdb::{Columns, CounterResetHint, FloatHistogram, HistogramSample, IncompatibleBuckets, is_stale};

use super::grid::{Grid, Rows, histogram_points};
use super::notes::{Origin, for_metric};
use super::query::Query;
use crate::parser::Span;
use crate::value::ABSENT;

/// Fills a row with values interpolated between the samples before and after each step, both within the lookback.
/// After the last sample its value holds on. Returns how many samples were looked at.
#[expect(clippy::too_many_arguments, reason = "the context of one row")]
pub(crate) fn interpolate<'a>(
    query: &Query<'_>,
    columns: &Columns,
    grid: Grid,
    offset_ms: i64,
    span: Span,
    name: &dyn Fn() -> &'a str,
    rows: &mut Rows,
    row: usize,
) -> u64 {
    let floats: Vec<(i64, f64)> = columns
        .timestamps_ms
        .iter()
        .copied()
        .zip(columns.values.iter().copied())
        .filter(|(_, value)| !is_stale(*value))
        .collect();
    let histograms: Vec<&HistogramSample> = columns.histograms.iter().filter(|h| !h.histogram.is_stale()).collect();
    let mut samples = 0;
    for step in 0..rows.steps {
        let at = grid.at(step).saturating_sub(offset_ms);
        let (first, last) = (at.saturating_sub(query.lookback_ms), at.saturating_add(query.lookback_ms));
        let within = |times: &dyn Fn(usize) -> i64, len: usize| {
            let low = partition(len, |i| times(i) <= first);
            let high = partition(len, |i| times(i) <= last);
            let next = partition(len, |i| times(i) <= at);
            (low, next, high)
        };
        let (low, next, high) = within(&|i| floats[i].0, floats.len());
        let (h_low, h_next, h_high) = within(&|i| histograms[i].timestamp.millis(), histograms.len());
        if low < high && h_low < h_high {
            let name = crate::format::quote(name().as_bytes());
            query.notes.warn(span, format!("encountered a mix of histograms and floats for metric name {name}"));
            continue;
        }
        if low < next {
            let (time, value) = floats[next - 1];
            rows.row_mut(row)[step] = match floats[..high].get(next) {
                Some(after) if time != at => between((time, value), *after, at, false),
                _ => value,
            };
            samples += (high - low) as u64;
        } else if h_low < h_next {
            let before = histograms[h_next - 1];
            samples += histograms[h_low..h_high].iter().map(|h| histogram_points(&h.histogram)).sum::<u64>();
            let time = before.timestamp.millis();
            let value = match histograms[..h_high].get(h_next) {
                Some(after) if time != at => {
                    let is_counter = after.histogram.counter_reset_hint != CounterResetHint::Gauge;
                    let ends = ((time, &*before.histogram), (after.timestamp.millis(), &*after.histogram));
                    between_histograms(query, span.into(), ends.0, ends.1, at, is_counter).map(Arc::new)
                }
                _ => Ok(before.histogram.clone()),
            };
            match value {
                Ok(histogram) => rows.set_histogram(row, step, histogram),
                Err(IncompatibleBuckets) => {
                    rows.row_mut(row)[step] = ABSENT;
                    warn_mixed_buckets(query, span, name());
                }
            }
        }
    }
    samples
}

fn partition(len: usize, mut test: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = (low + high) / 2;
        if test(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Exponential and custom buckets met.
pub(crate) fn warn_mixed_buckets(query: &Query<'_>, origin: impl Into<Origin>, name: &str) {
    let message = "vector contains a mix of histograms with exponential and custom buckets schemas";
    query.notes.warn(origin, format!("{message}{}", for_metric(name)));
}

/// The value at `at` on the line between two samples. A counter that was reset in between starts at 0.
pub(crate) fn between(before: (i64, f64), after: (i64, f64), at: i64, is_counter: bool) -> f64 {
    let from = if is_counter && after.1 < before.1 { 0.0 } else { before.1 };
    from + (after.1 - from) * (at - before.0) as f64 / (after.0 - before.0) as f64
}

/// The same for histograms.
///
/// # Errors
/// If one has custom buckets and the other has not.
pub(crate) fn between_histograms(
    query: &Query<'_>,
    origin: Origin,
    before: (i64, &FloatHistogram),
    after: (i64, &FloatHistogram),
    at: i64,
    is_counter: bool,
) -> Result<FloatHistogram, IncompatibleBuckets> {
    if at == before.0 {
        return Ok(before.1.clone());
    }
    if at == after.0 {
        return Ok(after.1.clone());
    }
    if before.1.has_custom_buckets() != after.1.has_custom_buckets() {
        return Err(IncompatibleBuckets);
    }
    let fraction = (at - before.0) as f64 / (after.0 - before.0) as f64;
    let mut result = after.1.clone();
    if is_counter && after.1.is_reset_after(before.1) {
        result.mul(fraction);
        return Ok(result);
    }
    if result.sub(before.1)?.bounds_reconciled {
        note_reconciled(query, origin, "subtraction");
    }
    result.mul(fraction);
    if result.add(before.1)?.bounds_reconciled {
        note_reconciled(query, origin, "addition");
    }
    Ok(result)
}

/// Custom bounds differed.
pub(crate) fn note_reconciled(query: &Query<'_>, origin: impl Into<Origin>, operation: &str) {
    query.notes.info(origin, format!("mismatched custom buckets were reconciled during {operation}"));
}
