//! `stddev_over_time`, `stdvar_over_time`.

use tsdb::Columns;

use super::over_time::windowed;
use super::running::{EqualRun, Running, difference, product, two_product, two_sum};
use super::sliding::SCAN_OVERLAP;
use crate::error::Error;
use crate::eval::kahan::Kahan;
use crate::eval::window::{RowContext, Windows};
use crate::eval::{Eval, Output};
use crate::parser::Call;
use crate::value::is_absent;

/// Bits that cancellation may take before a window is scanned: 14 digits are left.
const CANCELLED_BITS: i32 = 46;

/// Squares below this are no normal numbers, whose errors are not exact.
const LEAST_SQUARE: f64 = 1e-280;

/// Variances of the windows of a series, or their square roots.
pub(super) fn deviation<'q>(eval: Eval<'q>, call: &'q Call, finish: fn(f64) -> f64) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        if columns.histograms.is_empty() && windows.overlap() > SCAN_OVERLAP {
            let _held = row.query.hold(Moments::size_bytes(columns.values.len()))?;
            if let Some(moments) = Moments::new(&columns.values) {
                slide(columns, windows, row, &moments, finish);
                return Ok(());
            }
        }
        row.each_window(columns, windows, |row, window| {
            if window.times.is_empty() {
                return;
            }
            if !window.histograms.is_empty() {
                row.info_histograms_ignored();
            }
            let value = finish(variance(window.values));
            row.set(window.step, if is_absent(value) { f64::NAN } else { value });
        });
        Ok(())
    })
}

/// Variance by Welford's method with compensated sums.
fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Kahan::default(), Kahan::default());
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

/// Running totals of values and of their squares.
struct Moments {
    values: Running,
    squares: Running,
}

impl Moments {
    /// Bytes that it takes for a series of so many samples.
    fn size_bytes(samples: usize) -> u64 {
        2 * Running::size_bytes(samples)
    }

    /// `None` if a total is not finite, or too small for exact errors.
    fn new(values: &[f64]) -> Option<Self> {
        // Distances from the first value are smaller, and cancel less; where all of them are exact they are used.
        let first = values.first().copied().unwrap_or_default();
        let shift = if values.iter().all(|v| two_sum(*v, -first).1 == 0.0) { first } else { 0.0 };
        let squares = Running::of(values.iter().map(|v| two_product(v - shift, v - shift)), Vec::new())?;
        let values = Running::of(values.iter().map(|v| (v - shift, 0.0)), Vec::new())?;
        squares.exceeds(LEAST_SQUARE).then_some(Self { values, squares })
    }

    /// The variance of the values from `low` to before `high`; `None` if too few digits would be left.
    fn variance(&self, low: usize, high: usize) -> Option<f64> {
        let count = (high - low) as f64;
        let (sum, square) = (self.values.between(low, high), self.squares.between(low, high));
        // count * variance * count, so that only the last step divides.
        let own = product(square, count);
        let (high_part, error) = two_product(sum.0, sum.0);
        let (result, _) = difference(own, two_sum(high_part, error + 2.0 * sum.0 * sum.1));
        self.squares.keeps(result / count, CANCELLED_BITS).then(|| result / count / count)
    }
}

/// Fills a row in time that does not depend on the overlap of the windows.
fn slide(
    columns: &Columns,
    windows: &Windows,
    row: &mut RowContext<'_, '_>,
    moments: &Moments,
    finish: fn(f64) -> f64,
) {
    let values = &columns.values[..];
    let mut equal = EqualRun::default();
    row.slide(&columns.timestamps_ms, windows, |row, step, low, high| {
        let variance = if equal.covers(values, low, high) {
            0.0
        } else {
            moments.variance(low, high).unwrap_or_else(|| variance(&values[low..high]))
        };
        row.set(step, finish(variance));
    });
}
