//! Functions of neighbouring samples: `irate`, `idelta`, `changes`, `resets`.

use tsdb::{Columns, CounterResetHint, FloatHistogram, HistogramSample};

use super::over_time::windowed;
use super::rate::{is_start_reset, number};
use crate::error::Error;
use crate::eval::window::{RowContext, Window, Windows};
use crate::eval::{Eval, Output};
use crate::parser::Call;

/// One of a window's last samples.
#[derive(Clone, Copy)]
enum Last<'a> {
    Float(i64, f64, i64),
    Histogram(&'a HistogramSample),
}

impl Last<'_> {
    fn time(&self) -> i64 {
        match self {
            Self::Float(time, ..) => *time,
            Self::Histogram(sample) => sample.timestamp.millis(),
        }
    }
}

/// The last two samples of a window, of either kind.
fn last_two<'a>(window: &Window<'a>) -> Option<(Last<'a>, Last<'a>)> {
    let floats = window.times.len();
    let float = |back: usize| {
        let i = floats.checked_sub(back)?;
        Some(Last::Float(window.times[i], window.values[i], window.starts.get(i).copied().unwrap_or(0)))
    };
    let histograms = window.histograms;
    let histogram = |back: usize| Some(Last::Histogram(&histograms[histograms.len().checked_sub(back)?]));
    let (mut last, mut f, mut h) = ([None, None], 1, 1);
    for slot in &mut last {
        *slot = match (float(f), histogram(h)) {
            (Some(a), Some(b)) if b.time() >= a.time() => {
                h += 1;
                Some(b)
            }
            (Some(a), _) => {
                f += 1;
                Some(a)
            }
            (None, b) => {
                h += 1;
                b
            }
        };
    }
    Some((last[1]?, last[0]?))
}

/// `irate`, `idelta`: the difference of the last two samples.
pub(super) fn instant<'q>(eval: Eval<'q>, call: &'q Call, is_rate: bool) -> Result<Output<'q>, Error> {
    let use_starts = eval.query.options.features.use_start_timestamps;
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        row.each_window(columns, windows, |row, window| {
            let Some((a, b)) = last_two(&window) else { return };
            let interval_ms = b.time() - a.time();
            if interval_ms == 0 {
                return;
            }
            let seconds = interval_ms as f64 / 1000.0;
            match (a, b) {
                (Last::Float(at, before, before_start), Last::Float(now, value, start)) => {
                    let reset =
                        is_rate && (value < before || (use_starts && is_start_reset(before_start, at, start, now)));
                    let difference = if reset { value } else { value - before };
                    row.set(window.step, number(if is_rate { difference / seconds } else { difference }));
                }
                (Last::Histogram(a), Last::Histogram(b)) => {
                    if let Some(mut result) = instant_histogram(row, a, b, is_rate, use_starts) {
                        if is_rate {
                            result.div(seconds);
                        }
                        row.set_histogram(window.step, result);
                    }
                }
                _ => row.warn_mixed_samples(),
            }
        });
        Ok(())
    })
}

fn instant_histogram(
    row: &RowContext<'_, '_>,
    a: &HistogramSample,
    b: &HistogramSample,
    is_rate: bool,
    use_starts: bool,
) -> Option<FloatHistogram> {
    let gauges = [a, b].map(|s| s.histogram.counter_reset_hint == CounterResetHint::Gauge);
    if is_rate && gauges.contains(&true) {
        row.warn_not_a_counter();
    }
    if !is_rate && gauges.contains(&false) {
        row.warn_not_a_gauge();
    }
    let start_of = |sample: &HistogramSample| sample.start.map_or(0, tsdb::Timestamp::millis);
    let by_start = use_starts && is_start_reset(start_of(a), a.timestamp.millis(), start_of(b), b.timestamp.millis());
    let mut result = (*b.histogram).clone();
    if !is_rate || !(by_start || b.histogram.is_reset_after(&a.histogram)) {
        match result.sub(&a.histogram) {
            Ok(combined) if combined.bounds_reconciled => row.note_reconciled("subtraction"),
            Ok(_) => {}
            Err(_) => {
                row.warn_mixed_buckets();
                return None;
            }
        }
    }
    result.counter_reset_hint = CounterResetHint::Gauge;
    result.compact();
    Some(result)
}

/// A window's samples of both kinds in the order of time.
fn in_order<'a>(window: &Window<'a>) -> impl Iterator<Item = Last<'a>> {
    let (times, values, histograms) = (window.times, window.values, window.histograms);
    let starts = window.starts;
    let (mut f, mut h) = (0, 0);
    std::iter::from_fn(move || match (times.get(f), histograms.get(h)) {
        (Some(time), Some(histogram)) if histogram.timestamp.millis() < *time => {
            h += 1;
            Some(Last::Histogram(histogram))
        }
        (Some(time), _) => {
            f += 1;
            Some(Last::Float(*time, values[f - 1], starts.get(f - 1).copied().unwrap_or(0)))
        }
        (None, Some(histogram)) => {
            h += 1;
            Some(Last::Histogram(histogram))
        }
        (None, None) => None,
    })
}

/// Counts neighbours for which `differ` holds.
fn count_pairs<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    floats_differ: impl Fn(f64, f64) -> bool + Send + Sync + 'q,
    differ: impl Fn(Last<'_>, Last<'_>) -> bool + Send + Sync + 'q,
    plain: bool,
) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        let anchored = windows.extension.is_some();
        if columns.histograms.is_empty() && !anchored && (plain || columns.starts_ms.is_empty()) {
            // Running counts: the number within a window is a difference.
            let mut counts = std::mem::take(row.indices);
            counts.clear();
            counts.push(0);
            let mut count = 0;
            for pair in columns.values.windows(2) {
                count += u32::from(floats_differ(pair[0], pair[1]));
                counts.push(count);
            }
            row.slide(&columns.timestamps_ms, windows, |row, step, low, high| {
                row.set(step, f64::from(counts[high - 1] - counts[low]));
            });
            *row.indices = counts;
            return Ok(());
        }
        row.each_window(columns, windows, |row, window| {
            let mut samples: Vec<Last<'_>> = in_order(&window).collect();
            if anchored {
                // The last sample before the window starts it; without any within, there is nothing to compare.
                let before = samples.iter().take_while(|s| s.time() <= window.start).count();
                if before == samples.len() {
                    return;
                }
                samples.drain(..before.saturating_sub(1));
            }
            let count = samples.windows(2).filter(|pair| differ(pair[0], pair[1])).count();
            row.set(window.step, count as f64);
        });
        Ok(())
    })
}

/// `changes`: how often a value differs from the one before.
pub(super) fn changes<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let floats_differ = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    let differ = move |a: Last<'_>, b: Last<'_>| match (a, b) {
        (Last::Float(_, a, _), Last::Float(_, b, _)) => floats_differ(a, b),
        (Last::Histogram(a), Last::Histogram(b)) => {
            let bare =
                |h: &FloatHistogram| FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..h.clone() };
            bare(&a.histogram) != bare(&b.histogram)
        }
        _ => true,
    };
    count_pairs(eval, call, floats_differ, differ, true)
}

/// `resets`: how often a counter started anew. From float to histogram and back counts, too.
pub(super) fn resets<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let use_starts = eval.query.options.features.use_start_timestamps;
    let differ = move |a: Last<'_>, b: Last<'_>| match (a, b) {
        (Last::Float(at, a, a_start), Last::Float(now, b, b_start)) => {
            b < a || (use_starts && is_start_reset(a_start, at, b_start, now))
        }
        (Last::Histogram(a), Last::Histogram(b)) => {
            let start = |s: &HistogramSample| s.start.map_or(0, tsdb::Timestamp::millis);
            let by_start = is_start_reset(start(a), a.timestamp.millis(), start(b), b.timestamp.millis());
            (use_starts && by_start) || b.histogram.is_reset_after(&a.histogram)
        }
        _ => true,
    };
    count_pairs(eval, call, |a, b| b < a, differ, !use_starts)
}
