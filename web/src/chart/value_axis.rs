//! An axis of values, divided by round numbers of a unit.

use std::ops::Range;

use plotters::coord::ranged1d::{NoDefaultFormatting, Ranged, ValueFormatter};

use super::unit::Unit;

/// A span of values, divided by round numbers of a unit.
///
/// Values near the ends of what a float can hold are drawn times a power of ten, so that neither their differences nor
/// the divisions of these leave its range: `min`, `max`, `step` and everything that [`place`](Self::place) gives are
/// scaled.
#[derive(Clone, Debug)]
pub(crate) struct ValueAxis {
    min: f64,
    max: f64,
    step: f64,
    unit: Unit,
    scale: f64,
    /// Steps from one label to the next.
    every: u32,
}

/// Magnitudes beyond which values are scaled.
const LARGE: f64 = 1e200;
const SMALL: f64 = 1e-200;

/// Pixels from one label to the next, at least.
const LABEL_PIXELS: u32 = 14;

/// The power of ten that takes values of a magnitude to where one can calculate with them.
pub(super) fn scale_of(magnitude: f64) -> f64 {
    if magnitude > LARGE {
        1e-90
    } else if magnitude < SMALL && magnitude > 0.0 {
        1e90
    } else {
        1.0
    }
}

impl ValueAxis {
    /// An axis for values from `min` to `max` with about `wanted` divisions. Zero is on it where that leaves enough for
    /// the values; a bound that is `fixed` is not moved.
    pub(crate) fn new(min: f64, max: f64, fixed: (Option<f64>, Option<f64>), unit: Unit, wanted: usize) -> Self {
        let (min, max) = if min <= max { (min, max) } else { (fixed.0.unwrap_or(0.0), fixed.1.unwrap_or(1.0)) };
        let (low, high) = (fixed.0.unwrap_or(min), fixed.1.unwrap_or(max));
        let scale = scale_of(low.abs().max(high.abs()));
        let (mut min, mut max) = (min * scale, max * scale);
        if min > 0.0 && min <= max * 0.6 {
            min = 0.0;
        }
        if max < 0.0 && max >= min * 0.6 {
            max = 0.0;
        }
        let (min, max) = widened((fixed.0.map_or(min, |b| b * scale), fixed.1.map_or(max, |b| b * scale)), fixed);
        let rough = (max - min) / wanted.max(1) as f64;
        // What is scaled is divided by powers of ten, which remain such.
        let steps = if scale == 1.0 { unit.steps(rough) } else { Unit::Number.steps(rough) };
        let step = steps.into_iter().find(|&step| step >= rough * 0.999).unwrap_or(rough);
        let most = f64::MAX * scale;
        let min = if fixed.0.is_some() { min } else { ((min / step + 1e-9).floor() * step).max(-most) };
        let max = if fixed.1.is_some() { max } else { ((max / step - 1e-9).ceil() * step).min(most) };
        Self { min, max: max.max(min + step * 1e-6), step, unit, scale, every: 1 }
    }

    /// Leaves out labels that would have less than a line in an axis of so many pixels.
    pub(crate) fn fit(&mut self, pixels: u32) {
        while self.every < 64 && self.ticks().len() as u32 > 1 + pixels / LABEL_PIXELS {
            self.every *= 2;
        }
    }

    /// The divisions, ascending, scaled.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        let first = (self.min / self.step - 1e-9).ceil();
        let numbers = (0..64).map(|i| first + f64::from(i));
        let mut ticks: Vec<f64> = numbers
            .take_while(|number| number * self.step <= self.max + self.step * 1e-9)
            .filter(|number| number % f64::from(self.every) == 0.0)
            .map(|number| number * self.step)
            .collect();
        ticks.dedup();
        ticks
    }

    /// Where the axis begins and ends, in the unit of the values.
    pub(crate) fn bounds(&self) -> (f64, f64) {
        (self.value(self.min), self.value(self.max))
    }

    /// Where the axis begins and ends, scaled.
    pub(crate) fn band(&self) -> (f64, f64) {
        (self.min, self.max)
    }

    /// The label of a division.
    pub(crate) fn label(&self, tick: f64) -> String {
        self.unit.format_step(self.value(tick), self.step / self.scale)
    }

    /// Where a value is drawn, scaled.
    pub(crate) fn place(&self, value: f64) -> f64 {
        value * self.scale
    }

    fn value(&self, place: f64) -> f64 {
        (place / self.scale).clamp(-f64::MAX, f64::MAX)
    }
}

/// A span that is wide enough for an axis: differences below the last digits of the values are not. A bound that is
/// `fixed` stays, if the other one may move.
fn widened((min, max): (f64, f64), fixed: (Option<f64>, Option<f64>)) -> (f64, f64) {
    let magnitude = min.abs().max(max.abs());
    let both = fixed.0.is_some() && fixed.1.is_some();
    if max - min > magnitude * 1e-12 || both && max > min {
        return (min, max);
    }
    let room = if magnitude == 0.0 { 1.0 } else { magnitude * 0.1 };
    match fixed {
        (Some(_), _) => (min, min + room),
        (None, Some(_)) => (max - room, max),
        (None, None) if magnitude == 0.0 => (0.0, 1.0),
        (None, None) => (min - room, max + room),
    }
}

impl Ranged for ValueAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        // Within the range of 32 bits, wherever a point lies; no number lies at the least.
        let part = ((*value - self.min) / (self.max - self.min)).clamp(-8.0, 8.0);
        limit.0 + (f64::from(limit.1 - limit.0) * part).round() as i32
    }

    fn key_points<Hint: plotters::coord::ranged1d::KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.min..self.max
    }
}

impl ValueFormatter<f64> for ValueAxis {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_divided_by_round_numbers_of_their_unit() {
        let axis = |min, max, unit| {
            let axis = ValueAxis::new(min, max, (None, None), unit, 5);
            axis.ticks().iter().map(|&t| axis.label(t)).collect::<Vec<_>>()
        };
        assert_eq!(axis(3.0, 97.0, Unit::Number), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(axis(0.0, 3.5e9, Unit::Bytes), ["0 B", "1 GiB", "2 GiB", "3 GiB", "4 GiB"]);
        assert_eq!(axis(0.0, 0.0045, Unit::Seconds), ["0 s", "1 ms", "2 ms", "3 ms", "4 ms", "5 ms"]);
        assert_eq!(axis(5.0, 5.0, Unit::Number), ["4.4", "4.6", "4.8", "5", "5.2", "5.4", "5.6"]);
        assert_eq!(axis(0.0, 0.0, Unit::Number), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(axis(f64::INFINITY, f64::NEG_INFINITY, Unit::Number).len(), 6);
        assert_eq!(axis(1000.0, 1003.0, Unit::Number), ["1k", "1.001k", "1.002k", "1.003k"]);
        assert_eq!(axis(1e-320, 2e-320, Unit::Number), ["0", "5e-321", "1e-320", "1.5e-320", "2e-320"]);
        assert_eq!(axis(f64::MIN, f64::MAX, Unit::Bytes), ["-1e308 B", "0 B", "1e308 B"]);
    }

    #[test]
    fn a_bound_that_is_given_stays_where_the_values_lie_beyond_it() {
        let bounds = |min, max| ValueAxis::new(1.0, 2.0, (min, max), Unit::Number, 5).bounds();
        assert_eq!(bounds(Some(1000.0), None).0, 1000.0);
        assert_eq!(bounds(None, Some(-1000.0)).1, -1000.0);
        assert_eq!(bounds(Some(5.0), Some(6.0)), (5.0, 6.0));
    }

    #[test]
    fn labels_of_a_low_axis_keep_a_line_apart() {
        let mut axis = ValueAxis::new(0.0, 1.0, (None, None), Unit::Number, 8);
        axis.fit(29);
        assert!((2..=3).contains(&axis.ticks().len()), "{:?}", axis.ticks());
    }
}
