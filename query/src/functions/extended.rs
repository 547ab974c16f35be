//! `rate`, `increase`, `delta` over `anchored` and `smoothed` windows: no extrapolation, but samples from beyond the edges.

use tsdb::{Columns, CounterResetHint, FloatHistogram, HistogramSample, IncompatibleBuckets};

use super::rate::{Kind, number};
use crate::eval::smoothed::{between, between_histograms};
use crate::eval::window::{RowContext, Window, Windows};
use crate::parser::Extension;

/// Fills a row.
pub(super) fn fill(columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>, kind: Kind) {
    let smoothed = windows.extension == Some(Extension::Smoothed);
    let seconds = windows.range_ms as f64 / 1000.0;
    row.each_window(columns, windows, |row, window| {
        if !window.times.is_empty() && !window.histograms.is_empty() {
            row.warn_mixed_samples();
            return;
        }
        if window.histograms.is_empty() {
            if let Some(value) = floats(&window, smoothed, kind.is_counter) {
                row.set(window.step, number(if kind.is_rate { value / seconds } else { value }));
            }
        } else if let Some(mut result) = histograms(row, &window, smoothed, kind.is_counter) {
            if kind.is_rate {
                result.div(seconds);
            }
            result.counter_reset_hint = CounterResetHint::Gauge;
            result.compact();
            row.set_histogram(window.step, result);
        }
    });
}

/// The samples that the edges of a window are made of: the last one at or before its start (or the first one after), and
/// the last one (smoothed: the first one at or after its end). `None` if nothing lies within.
fn edges(len: usize, time: impl Fn(usize) -> i64, window: &Window<'_>, smoothed: bool) -> Option<(usize, usize)> {
    let last = len - 1;
    let find = |test: &dyn Fn(i64) -> bool| (0..last).find(|i| test(time(*i))).unwrap_or(last);
    let first = find(&|t| t > window.start).saturating_sub(1);
    let last = if smoothed { find(&|t| t >= window.end) } else { last };
    let outside = time(last) <= window.start || (smoothed && time(first) > window.end);
    (!outside).then_some((first, last))
}

fn floats(window: &Window<'_>, smoothed: bool, is_counter: bool) -> Option<f64> {
    let (times, values) = (window.times, window.values);
    let (first, last) = edges(times.len(), |i| times[i], window, smoothed)?;
    let at = |i: usize| (times[i], values[i]);
    let left = if smoothed && times[first] < window.start {
        between(at(first), at(first + 1), window.start, is_counter)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > window.end {
        between(at(last - 1), at(last), window.end, is_counter)
    } else {
        values[last]
    };
    let mut result = right - left;
    if is_counter {
        // Samples at the edges are in `left` and `right` already.
        let from = if times[first] <= window.start { first + 1 } else { first };
        let to = if times[last] >= window.end { last } else { last + 1 };
        let mut correction = 0.0;
        let mut previous = left;
        for value in values.get(from..to).unwrap_or_default().iter().chain([&right]) {
            if *value < previous {
                correction += previous;
            }
            previous = *value;
        }
        result += correction;
    }
    Some(result)
}

fn histograms(
    row: &RowContext<'_, '_>,
    window: &Window<'_>,
    smoothed: bool,
    is_counter: bool,
) -> Option<FloatHistogram> {
    let samples = window.histograms;
    let time = |i: usize| samples[i].timestamp.millis();
    let (first, last) = edges(samples.len(), time, window, smoothed)?;
    let custom = samples[first].histogram.has_custom_buckets();
    let is_gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
    for sample in &samples[first..=last] {
        if sample.histogram.has_custom_buckets() != custom {
            row.warn_mixed_buckets();
            return None;
        }
        if is_counter && is_gauge(&sample.histogram) {
            row.warn_not_a_counter();
        }
    }
    let at = |i: usize| (time(i), &*samples[i].histogram);
    let interpolated = |before: usize, moment: i64| {
        between_histograms(row.query, row.origin, at(before), at(before + 1), moment, is_counter)
    };
    let left = if smoothed && time(first) < window.start {
        noted(row, interpolated(first, window.start))?
    } else {
        (*samples[first].histogram).clone()
    };
    let right = if smoothed && last > 0 && time(last) > window.end {
        noted(row, interpolated(last - 1, window.end))?
    } else {
        (*samples[last].histogram).clone()
    };
    let gauges = is_gauge(&left) && is_gauge(&right);
    if !is_counter && !gauges {
        row.warn_not_a_gauge();
    }
    let mut result = right.clone();
    if noted(row, result.sub(&left))?.bounds_reconciled {
        row.note_reconciled("subtraction");
    }
    if is_counter {
        let skipped = smoothed
            && time(first) < window.start
            && samples[first + 1].histogram.is_reset_after(&samples[first].histogram);
        add_resets(row, &mut result, samples, (first, last), (&left, &right), skipped)?;
    }
    Some(result)
}

fn noted<T>(row: &RowContext<'_, '_>, result: Result<T, IncompatibleBuckets>) -> Option<T> {
    if result.is_err() {
        row.warn_mixed_buckets();
    }
    result.ok()
}

/// Adds what resets between the edges took. `skipped`: the left edge was interpolated across a reset, which is accounted
/// for then.
fn add_resets(
    row: &RowContext<'_, '_>,
    result: &mut FloatHistogram,
    samples: &[HistogramSample],
    (first, last): (usize, usize),
    (left, right): (&FloatHistogram, &FloatHistogram),
    skipped: bool,
) -> Option<()> {
    let from = first + 1 + usize::from(skipped);
    // The right edge inherits the hint of the last sample, which must not be compared with itself.
    let inner = if from < last { &samples[from..last] } else { &[] };
    if from > last {
        return Some(());
    }
    let mut previous = if skipped { &*samples[first + 1].histogram } else { left };
    let mut correction: Option<FloatHistogram> = None;
    let all = inner.iter().map(|s| &*s.histogram).chain([right]);
    for histogram in all {
        if histogram.is_reset_after(previous) {
            match &mut correction {
                None => correction = Some(previous.clone()),
                Some(sum) => {
                    if noted(row, sum.add(previous))?.bounds_reconciled {
                        row.note_reconciled("addition");
                    }
                }
            }
        }
        previous = histogram;
    }
    if let Some(correction) = correction
        && noted(row, result.add(&correction))?.bounds_reconciled
    {
        row.note_reconciled("addition");
    }
    Some(())
}
