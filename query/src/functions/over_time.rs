//! Functions that look at each window by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tsdb::{Columns, CounterResetHint, FloatHistogram, HistogramSample, IncompatibleBuckets, KahanHistogram};

use super::sliding;
use crate::error::Error;
use crate::eval::aggregate::{self, HistogramMean};
use crate::eval::notes::Origin;
use crate::eval::source::for_each_batch;
use crate::eval::window::{RangeFunction, RangeVector, RowContext, Window, WindowSource, Windows};
use crate::eval::{Eval, Output};
use crate::format::general;
use crate::parser::{Call, Extension};
use crate::value::is_absent;

/// Opens the range vector among the arguments, unless it has a modifier that the function cannot work with.
pub(super) fn open<'q>(eval: Eval<'q>, call: &'q Call, arg: usize) -> Result<RangeVector<'q>, Error> {
    let mut vector = RangeVector::open(eval, &call.args[arg])?;
    vector.origin = vector.origin.noted_by(call.span);
    let (extension, allowed): (_, &[&str]) = match vector.windows.extension {
        None => return Ok(vector),
        Some(Extension::Anchored) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Some(Extension::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    let name = call.function.name;
    if allowed.contains(&name) {
        return Ok(vector);
    }
    let list = allowed.join(", ");
    Err(Error::Execution(format!("{extension} modifier can only be used with: {list} - not with {name}")))
}

/// Evaluates `function` over the range vector in argument `arg`. The metric name goes unless it is kept.
pub(super) fn windowed<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    arg: usize,
    keep_name: bool,
    function: impl RangeFunction + 'q,
) -> Result<Output<'q>, Error> {
    over(eval, open(eval, call, arg)?, keep_name, function)
}

/// Evaluates `function` over a range vector.
fn over<'q>(
    eval: Eval<'q>,
    vector: RangeVector<'q>,
    keep_name: bool,
    function: impl RangeFunction + 'q,
) -> Result<Output<'q>, Error> {
    let source = WindowSource::shared(vector, function);
    Ok(Output::Series(if keep_name { source } else { eval.without_name(source)? }))
}

/// A function of the floats of a window. Histograms beside them are ignored, and noted.
pub(super) fn of_floats<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    arg: usize,
    f: impl Fn(&Window<'_>, &mut Vec<f64>) -> f64 + Send + Sync + 'q,
) -> Result<Output<'q>, Error> {
    of_floats_in(eval, open(eval, call, arg)?, f)
}

/// The same over a range vector that is already open.
fn of_floats_in<'q>(
    eval: Eval<'q>,
    vector: RangeVector<'q>,
    f: impl Fn(&Window<'_>, &mut Vec<f64>) -> f64 + Send + Sync + 'q,
) -> Result<Output<'q>, Error> {
    over(eval, vector, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        row.each_window(columns, windows, |row, window| {
            if window.times.is_empty() {
                return;
            }
            if !window.histograms.is_empty() {
                row.info_histograms_ignored();
            }
            let value = f(&window, row.floats);
            row.set(window.step, if is_absent(value) { f64::NAN } else { value });
        });
        Ok(())
    })
}

/// A number of every window that has a sample of either kind.
fn of_any<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    f: impl Fn(&Window<'_>) -> f64 + Send + Sync + 'q,
) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        row.each_window(columns, windows, |row, window| row.set(window.step, f(&window)));
        Ok(())
    })
}

pub(super) fn count<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    of_any(eval, call, |w| (w.times.len() + w.histograms.len()) as f64)
}

pub(super) fn present<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    of_any(eval, call, |_| 1.0)
}

pub(super) fn time_of_first<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    of_any(eval, call, |w| {
        let histogram = w.histograms.first().map(|h| h.timestamp.millis());
        let first = w.times.first().copied().into_iter().chain(histogram).min();
        first.unwrap_or_default() as f64 / 1000.0
    })
}

pub(super) fn time_of_last<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    of_any(eval, call, |w| {
        let histogram = w.histograms.last().map(|h| h.timestamp.millis());
        let last = w.times.last().copied().into_iter().chain(histogram).max();
        last.unwrap_or_default() as f64 / 1000.0
    })
}

/// When the highest or lowest float was taken; of equal ones the last.
pub(super) fn time_of_extreme<'q>(eval: Eval<'q>, call: &'q Call, max: bool) -> Result<Output<'q>, Error> {
    of_floats(eval, call, 0, move |w, _| {
        let (mut best, mut at) = (w.values[0], w.times[0]);
        for (value, time) in w.values.iter().zip(w.times) {
            if best.is_nan() || (max && *value >= best) || (!max && *value <= best) {
                (best, at) = (*value, *time);
            }
        }
        at as f64 / 1000.0
    })
}

/// `first_over_time`, `last_over_time`: whichever sample it is, as it is.
fn one_sample<'q>(
    eval: Eval<'q>,
    vector: RangeVector<'q>,
    pick: fn(&Window<'_>) -> Result<f64, Arc<FloatHistogram>>,
) -> Result<Output<'q>, Error> {
    over(eval, vector, true, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        row.each_window(columns, windows, |row, window| match pick(&window) {
            Ok(value) => row.set(window.step, value),
            Err(histogram) => row.rows.set_histogram(row.row, window.step, histogram),
        });
        Ok(())
    })
}

pub(super) fn first<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    one_sample(eval, open(eval, call, 0)?, |w| match (w.times.first(), w.histograms.first()) {
        (Some(time), Some(h)) if *time >= h.timestamp.millis() => Err(h.histogram.clone()),
        (None, Some(h)) => Err(h.histogram.clone()),
        _ => Ok(w.values[0]),
    })
}

pub(super) fn last<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    one_sample(eval, open(eval, call, 0)?.newest_only(), |w| match (w.times.last(), w.histograms.last()) {
        (Some(time), Some(h)) if *time <= h.timestamp.millis() => Err(h.histogram.clone()),
        (None, Some(h)) => Err(h.histogram.clone()),
        _ => Ok(w.values[w.values.len() - 1]),
    })
}

/// Which windows of any series have a sample.
pub(super) fn presence<'q>(eval: Eval<'q>, vector: RangeVector<'q>) -> Result<Vec<bool>, Error> {
    let present: Vec<AtomicBool> = (0..eval.grid.count).map(|_| AtomicBool::new(false)).collect();
    let steps = eval.grid.count;
    let mark = |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        row.each_window(columns, windows, |_, window| present[window.step].store(true, Ordering::Relaxed));
        Ok(())
    };
    let source = WindowSource { vector, function: mark };
    for_each_batch(eval.query, &source, steps, |_, _, _| Ok(()), |()| Ok(()))?;
    drop(source);
    Ok(present.into_iter().map(AtomicBool::into_inner).collect())
}

pub(super) fn quantile<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let q = eval.scalar(&call.args[0])?;
    let origin = Origin::new(call.span, call.args[0].unwrapped().span());
    let query = eval.query;
    let mut vector = open(eval, call, 1)?;
    // As in Prometheus, notes about the samples point at the first argument, too.
    vector.origin = origin;
    of_floats_in(eval, vector, move |w, values| {
        let q = q[w.step];
        if !(0.0..=1.0).contains(&q) {
            query.notes.warn(origin, format!("quantile value should be between 0 and 1, got {}", general(q)));
        }
        values.clear();
        values.extend_from_slice(w.values);
        aggregate::quantile(q, values)
    })
}

/// The median distance from the median.
pub(super) fn mad<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    of_floats(eval, call, 0, |w, values| {
        if w.values.iter().any(|v| v.is_nan()) {
            return f64::NAN;
        }
        values.clear();
        values.extend_from_slice(w.values);
        let median = aggregate::quantile(0.5, values);
        values.iter_mut().for_each(|v| *v = (*v - median).abs());
        aggregate::quantile(0.5, values)
    })
}

/// `sum_over_time`, `avg_over_time`: floats or histograms, not both.
fn sum_like<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    floats: sliding::Total,
    histograms: fn(&[HistogramSample], &mut Seen) -> Result<FloatHistogram, IncompatibleBuckets>,
) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        if columns.histograms.is_empty() {
            sliding::totals(columns, windows, row, floats);
            return Ok(());
        }
        row.each_window(columns, windows, |row, window| {
            if !window.times.is_empty() && !window.histograms.is_empty() {
                row.warn_mixed_samples();
                return;
            }
            if window.histograms.is_empty() {
                row.set(window.step, floats.of(window.values));
                return;
            }
            let mut seen = Seen::default();
            let result = histograms(window.histograms, &mut seen);
            match result {
                Ok(histogram) => {
                    if seen.reset && seen.no_reset {
                        let message = "conflicting counter resets during histogram aggregation";
                        row.query.notes.warn(row.origin, message.into());
                    }
                    if seen.reconciled {
                        row.note_reconciled("aggregation");
                    }
                    row.set_histogram(window.step, histogram);
                }
                Err(IncompatibleBuckets) => row.warn_mixed_buckets(),
            }
        });
        Ok(())
    })
}

/// What came up while histograms were added.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    reset: bool,
    no_reset: bool,
    reconciled: bool,
}

impl Seen {
    fn hint(&mut self, histogram: &FloatHistogram) {
        self.reset |= histogram.counter_reset_hint == CounterResetHint::Reset;
        self.no_reset |= histogram.counter_reset_hint == CounterResetHint::NotReset;
    }
}

fn sum_of(samples: &[HistogramSample], seen: &mut Seen) -> Result<FloatHistogram, IncompatibleBuckets> {
    let mut sum = KahanHistogram::new((*samples[0].histogram).clone());
    seen.hint(&samples[0].histogram);
    for sample in &samples[1..] {
        seen.hint(&sample.histogram);
        seen.reconciled |= sum.add(&sample.histogram)?.bounds_reconciled;
    }
    Ok(sum.total())
}

fn mean_of(samples: &[HistogramSample], seen: &mut Seen) -> Result<FloatHistogram, IncompatibleBuckets> {
    let mut mean = HistogramMean::new((*samples[0].histogram).clone());
    seen.hint(&samples[0].histogram);
    for sample in &samples[1..] {
        seen.hint(&sample.histogram);
        seen.reconciled |= mean.add(&sample.histogram)?;
    }
    Ok(mean.value())
}

pub(super) fn sum<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    sum_like(eval, call, sliding::Total::Sum, sum_of)
}

pub(super) fn avg<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    sum_like(eval, call, sliding::Total::Mean, mean_of)
}
