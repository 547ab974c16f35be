//! Lines and curves through the samples of a window.

use tsdb::Columns;

use super::over_time::windowed;
use super::rate::number;
use crate::error::Error;
use crate::eval::kahan::Kahan;
use crate::eval::window::{RowContext, Windows};
use crate::eval::{Eval, Output};
use crate::parser::Call;

/// Least squares: slope per second, and the value at `origin_ms`.
fn line(times: &[i64], values: &[f64], origin_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|v| *v == first) {
        // A constant is a line, unless it is infinite.
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Kahan::default(), Kahan::default(), Kahan::default(), Kahan::default());
    for (time, value) in times.iter().zip(values) {
        let x = (time - origin_ms) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(*value);
        xy_sum.add(x * value);
        xx_sum.add(x * x);
    }
    let n = values.len() as f64;
    let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(|s| s.sum + s.lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// A function of the floats of windows that have two of them. `check` is asked at every window that has anything.
fn of_two_floats<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    check: impl Fn(usize) -> Result<(), Error> + Send + Sync + 'q,
    f: impl Fn(&[i64], &[f64], usize, &Windows) -> f64 + Send + Sync + 'q,
) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        let mut failed = None;
        row.each_window(columns, windows, |row, window| {
            if let Err(error) = check(window.step) {
                failed = Some(error);
                return;
            }
            if !window.times.is_empty() && !window.histograms.is_empty() {
                row.info_histograms_ignored();
            }
            if window.times.len() < 2 {
                return;
            }
            row.set(window.step, number(f(window.times, window.values, window.step, windows)));
        });
        failed.map_or(Ok(()), Err)
    })
}

pub(super) fn deriv<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    // Around the first sample, where numbers are small.
    of_two_floats(eval, call, |_| Ok(()), |times, values, _, _| line(times, values, times[0]).0)
}

/// `predict_linear`: the line continued from the moment of the step.
pub(super) fn predict<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let ahead = eval.scalar(&call.args[1])?;
    let value = move |times: &[i64], values: &[f64], step: usize, windows: &Windows| {
        let (slope, intercept) = line(times, values, windows.steps.at(step));
        slope * ahead[step] + intercept
    };
    of_two_floats(eval, call, |_| Ok(()), value)
}

/// `double_exponential_smoothing`, also known as Holt's linear method.
pub(super) fn smoothing<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let factors: Vec<(f64, f64)> = eval.scalar(&call.args[1])?.into_iter().zip(eval.scalar(&call.args[2])?).collect();
    let checked = factors.clone();
    let check = move |step: usize| {
        let (sf, tf) = checked[step];
        for (factor, name, short) in [(sf, "smoothing", "sf"), (tf, "trend", "tf")] {
            if factor <= 0.0 || factor >= 1.0 {
                let message = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
                return Err(Error::Execution(message));
            }
        }
        Ok(())
    };
    of_two_floats(eval, call, check, move |_, values, step, _| {
        let (sf, tf) = factors[step];
        let (mut before, mut level, mut slope) = (0.0, values[0], values[1] - values[0]);
        for (i, value) in values.iter().enumerate().skip(1) {
            if i > 1 {
                slope = tf * (level - before) + (1.0 - tf) * slope;
            }
            let next = sf * value + (1.0 - sf) * (level + slope);
            (before, level) = (level, next);
        }
        level
    })
}
