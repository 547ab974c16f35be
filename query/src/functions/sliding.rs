//! Sums, means and extremes of windows that overlap, in time that does not depend on the overlap.

use std::collections::VecDeque;

use tsdb::Columns;

use super::over_time::windowed;
use super::running::Running;
use crate::error::Error;
use crate::eval::kahan::{Kahan, Mean};
use crate::eval::window::{RowContext, Windows};
use crate::eval::{Eval, Output};
use crate::parser::Call;
use crate::value::is_absent;

/// With less overlap every window is scanned: that is as fast, and simpler.
pub(super) const SCAN_OVERLAP: i64 = 4;

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

/// Fills a row with sums or means of floats.
///
/// Where windows overlap much, differences of running totals are used. They carry about 100 bits; a difference so small
/// that less than 46 of them would be left is computed by a scan of the window instead, so that results agree with a
/// compensated sum of the window to 14 digits.
pub(super) fn totals(columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>, total: Total) {
    let values = &columns.values[..];
    let running = if windows.overlap() > SCAN_OVERLAP {
        Running::of(values.iter().map(|value| (*value, 0.0)), std::mem::take(row.sums))
    } else {
        None
    };
    row.slide(&columns.timestamps_ms, windows, |row, step, low, high| {
        let window = &values[low..high];
        let sum = running.as_ref().and_then(|running| {
            let (sum, _) = running.between(low, high);
            running.keeps(sum, 60).then_some(sum)
        });
        let value = match (sum, total) {
            (None, _) => total.of(window),
            (Some(sum), Total::Sum) => sum,
            (Some(sum), Total::Mean) => sum / window.len() as f64,
        };
        row.set(step, if is_absent(value) { f64::NAN } else { value });
    });
    if let Some(running) = running {
        *row.sums = running.into_memory();
    }
}

/// `max_over_time`, `min_over_time`: NaN only if there is nothing else.
pub(super) fn extreme<'q>(eval: Eval<'q>, call: &'q Call, max: bool) -> Result<Output<'q>, Error> {
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        if columns.histograms.is_empty() && windows.overlap() > SCAN_OVERLAP {
            if max {
                slide_extreme::<Greatest>(columns, windows, row);
            } else {
                slide_extreme::<Least>(columns, windows, row);
            }
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

/// End of the order of a window's values.
trait End {
    /// Value that no other is worse than.
    const WORST: f64;

    fn beats(a: f64, b: f64) -> bool;
}

struct Greatest;

impl End for Greatest {
    const WORST: f64 = f64::NEG_INFINITY;

    fn beats(a: f64, b: f64) -> bool {
        a > b
    }
}

struct Least;

impl End for Least {
    const WORST: f64 = f64::INFINITY;

    fn beats(a: f64, b: f64) -> bool {
        a < b
    }
}

/// The best of `values`, of equal ones the first; NaN only if there is nothing else.
///
/// Cost: one pass in lanes, which the processor compares at once.
fn best<E: End>(values: &[f64]) -> f64 {
    let mut lanes = [E::WORST; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if E::beats(*value, *lane) { *value } else { *lane };
        }
    }
    let of_lanes = lanes.iter().chain(rest).fold(E::WORST, |best, v| if E::beats(*v, best) { *v } else { best });
    if of_lanes == 0.0 || of_lanes == E::WORST {
        // Zeros of either sign are equal, and the worst value may be none of these.
        return values.iter().copied().find(|v| *v == of_lanes).unwrap_or(f64::NAN);
    }
    of_lanes
}

/// Fills a row with the best value of each window.
///
/// Samples between two edges of windows enter and leave together: such a segment counts by its best value. Of the
/// segments of a window those are kept that can still become best, best first. Cost: one look at each sample.
fn slide_extreme<E: End>(columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>) {
    let values = &columns.values[..];
    row.plan.prepare(&columns.timestamps_ms, windows);
    row.count_planned();
    let plan = std::mem::take(row.plan);
    let mut kept: VecDeque<(usize, f64)> = VecDeque::new();
    let (mut seen, mut next_edge) = (0, 0);
    for (step, (low, high)) in plan.bounds.iter().map(|(low, high)| (*low as usize, *high as usize)).enumerate() {
        if row.query.stop.is_set() {
            break;
        }
        if low == high {
            continue;
        }
        let mut from = seen.max(low);
        while from < high {
            while plan.bounds.get(next_edge).is_some_and(|bound| bound.0 as usize <= from) {
                next_edge += 1;
            }
            let to = plan.bounds.get(next_edge).map_or(high, |bound| high.min(bound.0 as usize));
            let value = best::<E>(&values[from..to]);
            if !value.is_nan() {
                while kept.back().is_some_and(|(_, last)| E::beats(value, *last)) {
                    kept.pop_back();
                }
                kept.push_back((from, value));
            }
            from = to;
        }
        seen = high;
        while kept.front().is_some_and(|(start, _)| *start < low) {
            kept.pop_front();
        }
        row.set(step, kept.front().map_or(f64::NAN, |(_, value)| *value));
    }
    *row.plan = plan;
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
            let Some(running) = Running::of(values.iter().map(|v| (*v, 0.0)), Vec::new()) else { return Ok(()) };
            let low = low.min(values.len() - 1);
            let high = (low + len).min(values.len());
            let (sum, _) = running.between(low, high);
            if running.keeps(sum, 60) {
                let scanned = Total::Sum.of(&values[low..high]);
                prop_assert!((sum - scanned).abs() <= 1e-13 * scanned.abs(), "{sum} {scanned}");
            }
        }
    }

    #[test]
    fn the_best_value_is_the_first_of_equal_ones_and_not_nan() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let zeros = [nan, -1.0, -0.0, 0.0, nan];
        assert!(best::<Greatest>(&zeros).is_sign_negative());
        assert_eq!(best::<Greatest>(&zeros), 0.0);
        assert!(best::<Least>(&[nan; 20]).is_nan() && best::<Greatest>(&[nan; 3]).is_nan());
        assert_eq!((best::<Greatest>(&[-inf, nan]), best::<Least>(&[inf])), (-inf, inf));
        let many: Vec<f64> = (0..100).map(|i| f64::from(i * 37 % 101)).collect();
        assert_eq!((best::<Greatest>(&many), best::<Least>(&many)), (100.0, 0.0));
    }
}
