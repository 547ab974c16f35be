//! Sums, means and extremes of windows that overlap, in time that does not depend on the overlap.

use std::collections::VecDeque;

use tsdb::Columns;

use super::over_time::windowed;
use crate::error::Error;
use crate::eval::kahan::{Kahan, Mean};
use crate::eval::window::{RowContext, Windows};
use crate::eval::{Eval, Output};
use crate::parser::Call;
use crate::value::is_absent;

/// With less overlap every window is scanned: that is as fast, and simpler.
const SCAN_OVERLAP: i64 = 4;

/// What is made of the floats of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Total {
    Sum,
    Mean,
}

impl Total {
    /// The compensated sum or mean, one value after the other.
    pub(super) fn of(self, values: &[f64]) -> f64 {
        match self {
            Self::Sum => Kahan::default().all(values).map_or_else(
                || {
                    let mut sum = Kahan::default();
                    values.iter().for_each(|v| sum.add(*v));
                    sum.total()
                },
                Kahan::total,
            ),
            Self::Mean => Mean::of(values),
        }
    }
}

/// Adds two numbers exactly: sum and rounding error. (Knuth, TAOCP 2, 4.2.2, theorem B.)
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// Running totals of all values so far, as sum and what rounding took from it: one more than there are values. `None` if
/// a total is not finite.
///
/// The errors are exact and add up in a sum of their own, so that a total is good to about 100 bits.
fn running_totals(values: &[f64], totals: &mut Vec<(f64, f64)>) -> Option<f64> {
    totals.clear();
    totals.reserve(values.len() + 1);
    let (mut sum, mut lost) = (0.0, 0.0);
    let mut largest = 0.0f64;
    totals.push((sum, lost));
    for value in values {
        let (next, error) = two_sum(sum, *value);
        sum = next;
        lost += error;
        largest = largest.max(sum.abs());
        totals.push((sum, lost));
    }
    (largest.is_finite() && sum.is_finite() && lost.is_finite()).then_some(largest)
}

/// Fills a row with sums or means of floats.
///
/// Where windows overlap much, differences of running totals are used. They carry 106 bits; a difference so small that
/// less than 46 of them would be left is computed by a scan of the window instead, so that results agree with a
/// compensated sum of the window to 14 digits.
pub(super) fn totals(columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>, total: Total) {
    let values = &columns.values[..];
    let mut totals = std::mem::take(row.sums);
    let largest = if windows.overlap() > SCAN_OVERLAP { running_totals(values, &mut totals) } else { None };
    let smallest = largest.map(|largest| largest * 2f64.powi(-60));
    row.slide(&columns.timestamps_ms, windows, |row, step, low, high| {
        let window = &values[low..high];
        let value = smallest
            .map(|smallest| {
                let (from, to) = (totals[low], totals[high]);
                let (difference, error) = two_sum(to.0, -from.0);
                let sum = difference + (error + (to.1 - from.1));
                (sum, smallest)
            })
            .filter(|(sum, smallest)| sum.abs() > *smallest)
            .map_or_else(
                || total.of(window),
                |(sum, _)| if total == Total::Sum { sum } else { sum / window.len() as f64 },
            );
        row.set(step, if is_absent(value) { f64::NAN } else { value });
    });
    *row.sums = totals;
}

/// `max_over_time`, `min_over_time`: NaN only if there is nothing else.
pub(super) fn extreme<'q>(eval: Eval<'q>, call: &'q Call, max: bool) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        if columns.histograms.is_empty() && windows.overlap() > SCAN_OVERLAP {
            slide_extreme(columns, windows, row, max);
            return Ok(());
        }
        row.each_window(columns, windows, |row, window| {
            if window.times.is_empty() {
                return;
            }
            if !window.histograms.is_empty() {
                row.info_histograms_ignored();
            }
            row.set(window.step, scan_extreme(window.values, max));
        });
        Ok(())
    })
}

fn scan_extreme(values: &[f64], max: bool) -> f64 {
    let mut best = f64::NAN;
    for value in values {
        if best.is_nan() || (max && *value > best) || (!max && *value < best) {
            best = *value;
        }
    }
    best
}

/// Keeps the values that can still become extreme, best first: each is looked at twice at most.
fn slide_extreme(columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>, max: bool) {
    let values = &columns.values[..];
    let beats = |a: f64, b: f64| if max { a > b } else { a < b };
    let mut best: VecDeque<usize> = VecDeque::new();
    let mut seen = 0;
    row.slide(&columns.timestamps_ms, windows, |row, step, low, high| {
        for index in seen.max(low)..high {
            let value = values[index];
            if value.is_nan() {
                continue;
            }
            while best.back().is_some_and(|last| beats(value, values[*last])) {
                best.pop_back();
            }
            best.push_back(index);
        }
        seen = high;
        while best.front().is_some_and(|first| *first < low) {
            best.pop_front();
        }
        row.set(step, best.front().map_or(f64::NAN, |first| values[*first]));
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values of many sizes, with runs that cancel.
    fn arb_values() -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![
            -1e3..1e3f64,
            (-1_000_000i64..1_000_000).prop_map(|v| v as f64),
            Just(0.0),
            Just(1e100),
            Just(-1e100),
            Just(1e-20),
            Just(f64::NAN),
            Just(f64::INFINITY),
        ];
        prop::collection::vec(value, 1..60)
    }

    proptest! {
        #[test]
        fn differences_of_totals_agree_with_a_scan(values in arb_values(), low in 0usize..60, len in 1usize..60) {
            let mut totals = Vec::new();
            let Some(largest) = running_totals(&values, &mut totals) else { return Ok(()) };
            let low = low.min(values.len() - 1);
            let high = (low + len).min(values.len());
            let (difference, error) = two_sum(totals[high].0, -totals[low].0);
            let sum = difference + (error + (totals[high].1 - totals[low].1));
            if sum.abs() > largest * 2f64.powi(-60) {
                let scanned = Total::Sum.of(&values[low..high]);
                prop_assert!((sum - scanned).abs() <= 1e-13 * scanned.abs(), "{sum} {scanned}");
            }
        }
    }
}
