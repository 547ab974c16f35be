//! Lines and curves through the samples of a window.

use tsdb::Columns;

use super::over_time::windowed;
use super::rate::number;
use super::running::{EqualRun, Running, difference, product, two_product};
use super::sliding::SCAN_OVERLAP;
use crate::error::Error;
use crate::eval::kahan::Kahan;
use crate::eval::window::{RowContext, Windows};
use crate::eval::{Eval, Output};
use crate::parser::Call;

/// A line of least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    /// Per second.
    slope: f64,
    /// The value at the origin.
    intercept: f64,
}

impl Line {
    /// The line through equal values. None if they are infinite.
    fn constant(value: f64) -> Self {
        if value.is_infinite() {
            return Self { slope: f64::NAN, intercept: f64::NAN };
        }
        Self { slope: 0.0, intercept: value }
    }

    /// The line of `count` samples with these sums of times, values, products and squared times.
    fn of_sums(count: f64, x: f64, y: f64, xy: f64, xx: f64) -> Self {
        let slope = (xy - x * y / count) / (xx - x * x / count);
        Self { slope, intercept: y / count - slope * x / count }
    }

    fn through(times: &[i64], values: &[f64], origin_ms: i64) -> Self {
        let first = values[0];
        if values.iter().all(|v| *v == first) {
            return Self::constant(first);
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
        let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(|s| s.sum + s.lost);
        Self::of_sums(values.len() as f64, x, y, xy, xx)
    }
}

/// Bits that cancellation may take from a sum before a window is scanned. More than 53 are left, so that lines are those
/// of a scan.
const CANCELLED_BITS: i32 = 40;

/// Times from the first sample on that are added up exactly, squared: 2^40 ms are 34 years.
const MAX_SPAN_MS: i64 = 1 << 40;

/// Running totals of times, values, and their products.
struct Moments {
    first_ms: i64,
    /// Totals of milliseconds since the first sample, and of their squares.
    times: Vec<(i128, i128)>,
    values: Running,
    products: Running,
}

impl Moments {
    /// Bytes that it takes for a series of so many samples.
    fn size_bytes(samples: usize) -> u64 {
        2 * Running::size_bytes(samples) + ((samples + 1) * size_of::<(i128, i128)>()) as u64
    }

    /// `None` if a total is not finite, or samples lie too far apart.
    fn new(times: &[i64], values: &[f64]) -> Option<Self> {
        let (first_ms, last_ms) = (*times.first()?, *times.last()?);
        if last_ms.checked_sub(first_ms)? > MAX_SPAN_MS {
            return None;
        }
        let products = times.iter().zip(values).map(|(time, value)| two_product((time - first_ms) as f64, *value));
        let products = Running::of(products, Vec::new())?;
        let values = Running::of(values.iter().map(|value| (*value, 0.0)), Vec::new())?;
        let (mut sum, mut squares) = (0i128, 0i128);
        let totals = times.iter().map(|time| {
            let ms = i128::from(time - first_ms);
            sum += ms;
            squares += ms * ms;
            (sum, squares)
        });
        let times = std::iter::once((0, 0)).chain(totals).collect();
        Some(Self { first_ms, times, values, products })
    }

    /// The line through the samples from `low` to before `high`; `None` if too few digits would be left.
    fn line(&self, low: usize, high: usize, origin_ms: i64) -> Option<Line> {
        let origin = i128::from(origin_ms) - i128::from(self.first_ms);
        if origin.unsigned_abs() > u128::from(MAX_SPAN_MS.unsigned_abs()) {
            return None;
        }
        let count = (high - low) as i128;
        let (sum, squares) = (self.times[high].0 - self.times[low].0, self.times[high].1 - self.times[low].1);
        let x = sum - count * origin;
        let xx = squares - 2 * origin * sum + count * origin * origin;
        let y = self.values.between(low, high);
        let xy = difference(self.products.between(low, high), product(y, origin as f64));
        let kept = self.values.keeps(y.0, CANCELLED_BITS) && self.products.keeps(xy.0, CANCELLED_BITS);
        kept.then(|| Line::of_sums(count as f64, x as f64 / 1e3, y.0, xy.0 / 1e3, xx as f64 / 1e6))
    }
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

/// Reading of the line through the samples of a window.
trait Reading: Send + Sync {
    /// Origin of the line's time at a step whose window begins with a sample at `first_ms`.
    fn origin_ms(&self, step: usize, first_ms: i64, windows: &Windows) -> i64;

    /// Result of a step.
    fn read(&self, step: usize, line: Line) -> f64;
}

/// Fills rows with readings of lines.
fn of_lines<'q>(eval: Eval<'q>, call: &'q Call, reading: impl Reading + 'q) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        let (times, values) = (&columns.timestamps_ms[..], &columns.values[..]);
        if columns.histograms.is_empty() && windows.overlap() > SCAN_OVERLAP {
            let _held = row.query.hold(Moments::size_bytes(values.len()))?;
            let moments = Moments::new(times, values);
            let mut equal = EqualRun::default();
            row.slide(times, windows, |row, step, low, high| {
                let constant = equal.covers(values, low, high);
                if high - low < 2 {
                    return;
                }
                let origin_ms = reading.origin_ms(step, times[low], windows);
                let line = match &moments {
                    _ if constant => Some(Line::constant(values[low])),
                    Some(moments) => moments.line(low, high, origin_ms),
                    None => None,
                };
                let line = line.unwrap_or_else(|| Line::through(&times[low..high], &values[low..high], origin_ms));
                row.set(step, number(reading.read(step, line)));
            });
            return Ok(());
        }
        row.each_window(columns, windows, |row, window| {
            if !window.times.is_empty() && !window.histograms.is_empty() {
                row.info_histograms_ignored();
            }
            if window.times.len() < 2 {
                return;
            }
            let origin_ms = reading.origin_ms(window.step, window.times[0], windows);
            let line = Line::through(window.times, window.values, origin_ms);
            row.set(window.step, number(reading.read(window.step, line)));
        });
        Ok(())
    })
}

/// The slope, around the first sample, where numbers are small.
struct Slope;

impl Reading for Slope {
    fn origin_ms(&self, _: usize, first_ms: i64, _: &Windows) -> i64 {
        first_ms
    }

    fn read(&self, _: usize, line: Line) -> f64 {
        line.slope
    }
}

pub(super) fn deriv<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    of_lines(eval, call, Slope)
}

/// The line continued from the moment of the step, so many seconds ahead.
struct Ahead(Vec<f64>);

impl Reading for Ahead {
    fn origin_ms(&self, step: usize, _: i64, windows: &Windows) -> i64 {
        windows.steps.at(step)
    }

    fn read(&self, step: usize, line: Line) -> f64 {
        line.slope * self.0[step] + line.intercept
    }
}

/// `predict_linear`.
pub(super) fn predict<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    of_lines(eval, call, Ahead(eval.scalar(&call.args[1])?))
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
