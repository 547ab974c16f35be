//! Axes with round numbers: moments that people name, values in a unit.

use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Moment, Zoned};
use plotters::coord::ranged1d::{NoDefaultFormatting, Ranged, ValueFormatter};

use super::unit::Unit;

/// A span of time, divided where a clock or a calendar divides it.
#[derive(Clone, Debug)]
pub(crate) struct TimeAxis {
    start_ms: i64,
    end_ms: i64,
    zone: TimeZone,
    divided_by: Division,
    ticks: Vec<i64>,
}

/// What an axis of time is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Division {
    Milliseconds(i64),
    Seconds(i64),
    Minutes(i64),
    Hours(i64),
    Days(i64),
    Months(i64),
    Years(i64),
}

use Division::{Days, Hours, Milliseconds, Minutes, Months, Seconds, Years};

const DIVISIONS: [Division; 35] = [
    Milliseconds(1),
    Milliseconds(2),
    Milliseconds(5),
    Milliseconds(10),
    Milliseconds(50),
    Milliseconds(100),
    Milliseconds(200),
    Milliseconds(500),
    Seconds(1),
    Seconds(2),
    Seconds(5),
    Seconds(10),
    Seconds(15),
    Seconds(30),
    Minutes(1),
    Minutes(2),
    Minutes(5),
    Minutes(10),
    Minutes(15),
    Minutes(30),
    Hours(1),
    Hours(2),
    Hours(3),
    Hours(6),
    Hours(12),
    Days(1),
    Days(2),
    Days(7),
    Days(14),
    Months(1),
    Months(3),
    Months(6),
    Years(1),
    Years(5),
    Years(20),
];

/// Pixels from one label to the next, at least.
const LABEL_PIXELS: u32 = 80;
/// Pixels at the beginning of the axis without a label; a fourth of them at its end, where there is a margin.
const EDGE_PIXELS: u32 = 24;

impl Division {
    /// About how long it is.
    fn millis(self) -> i64 {
        match self {
            Milliseconds(n) => n,
            Seconds(n) => n * 1000,
            Minutes(n) => n * 60_000,
            Hours(n) => n * 3_600_000,
            Days(n) => n * 86_400_000,
            Months(n) => n * 30 * 86_400_000,
            Years(n) => n * 365 * 86_400_000,
        }
    }

    /// The last division at or before `at`.
    fn floor(self, at: &Zoned) -> Option<Zoned> {
        let day = at.start_of_day().ok()?;
        let within_day = |unit_ms: i64| -> Option<Zoned> {
            let time = at.time();
            let ms = ((i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second())) * 1000
                + i64::from(time.millisecond());
            let since = ms % unit_ms;
            let sub_ms = i64::from(time.subsec_nanosecond() % 1_000_000);
            at.checked_sub(Span::new().milliseconds(since).nanoseconds(sub_ms)).ok()
        };
        match self {
            Milliseconds(_) | Seconds(_) | Minutes(_) => within_day(self.millis()),
            // By the clock on the wall, so that a day of 23 hours keeps its divisions.
            Hours(n) => {
                let hour = i64::from(at.hour()) / n * n;
                day.date().at(hour as i8, 0, 0, 0).to_zoned(at.time_zone().clone()).ok()
            }
            Days(n) => {
                let since = jiff::civil::date(1970, 1, 5).until(day.date()).ok()?.get_days();
                day.checked_sub(Span::new().days(i64::from(since).rem_euclid(n))).ok()
            }
            Months(n) => {
                let date = day.date().first_of_month();
                let back = i64::from(date.month() - 1) % n;
                date.checked_sub(Span::new().months(back)).ok()?.to_zoned(at.time_zone().clone()).ok()
            }
            Years(n) => {
                let date = day.date().first_of_year();
                let back = i64::from(date.year()).rem_euclid(n);
                date.checked_sub(Span::new().years(back)).ok()?.to_zoned(at.time_zone().clone()).ok()
            }
        }
    }

    fn span(self) -> Span {
        match self {
            Milliseconds(n) => Span::new().milliseconds(n),
            Seconds(n) => Span::new().seconds(n),
            Minutes(n) => Span::new().minutes(n),
            Hours(n) => Span::new().hours(n),
            Days(n) => Span::new().days(n),
            Months(n) => Span::new().months(n),
            Years(n) => Span::new().years(n),
        }
    }
}

impl TimeAxis {
    /// From `start_ms` to `end_ms` in the time of `zone`, over `pixels`. There is room for a label at every division.
    pub(crate) fn new(start_ms: i64, end_ms: i64, zone: TimeZone, pixels: u32) -> Self {
        let end_ms = end_ms.max(start_ms.saturating_add(1));
        let span = end_ms.saturating_sub(start_ms);
        let most = i64::from((pixels / LABEL_PIXELS).max(1));
        let divided_by = DIVISIONS.into_iter().find(|d| d.millis() >= span / most).unwrap_or(Years(20));
        let mut axis = Self { start_ms, end_ms, zone, divided_by, ticks: Vec::new() };
        let ticks = axis.divide().unwrap_or_default();
        // A label at an edge would be cut there, or meet the other axis'.
        let edge = (span as f64 * f64::from(EDGE_PIXELS) / f64::from(pixels.max(1))) as i64;
        axis.ticks = ticks.into_iter().filter(|&t| t - start_ms >= edge && end_ms - t >= edge / 4).collect();
        axis
    }

    /// The divisions within the axis; `None` beyond the calendar.
    fn divide(&self) -> Option<Vec<i64>> {
        let start = Moment::from_millisecond(self.start_ms).ok()?.to_zoned(self.zone.clone());
        let mut at = self.divided_by.floor(&start)?;
        let mut ticks = Vec::new();
        while at.timestamp().as_millisecond() <= self.end_ms && ticks.len() < 100 {
            let ms = at.timestamp().as_millisecond();
            if ms >= self.start_ms {
                ticks.push(ms);
            }
            let next = at.checked_add(self.divided_by.span()).ok()?;
            // After a change to or from summer time hours are counted anew.
            at = match self.divided_by {
                Hours(_) => self.divided_by.floor(&next).filter(|floor| *floor > at).unwrap_or(next),
                _ => next,
            };
        }
        Some(ticks)
    }

    /// The name of the zone as of the end of the axis: `UTC`, `CET`, `-03`.
    pub(crate) fn zone_name(&self) -> String {
        let Ok(end) = Moment::from_millisecond(self.end_ms) else { return String::new() };
        self.zone.to_offset_info(end).abbreviation().to_owned()
    }
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = i64;

    fn map(&self, value: &i64, limit: (i32, i32)) -> i32 {
        let part = (*value - self.start_ms) as f64 / (self.end_ms - self.start_ms) as f64;
        limit.0 + (f64::from(limit.1 - limit.0) * part).round() as i32
    }

    fn key_points<Hint: plotters::coord::ranged1d::KeyPointHint>(&self, _: Hint) -> Vec<i64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<i64> {
        self.start_ms..self.end_ms
    }
}

impl ValueFormatter<i64> for TimeAxis {
    fn format_ext(&self, value: &i64) -> String {
        let Ok(moment) = Moment::from_millisecond(*value) else { return String::new() };
        let at = moment.to_zoned(self.zone.clone());
        let midnight = at.hour() == 0 && at.minute() == 0 && at.second() == 0 && at.subsec_nanosecond() == 0;
        let format = match self.divided_by {
            Milliseconds(_) => "%H:%M:%S.%3f",
            Seconds(_) => "%H:%M:%S",
            Minutes(_) | Hours(_) if midnight => "%b %-d",
            Minutes(_) | Hours(_) => "%H:%M",
            Days(_) => "%b %-d",
            Months(_) => "%b %Y",
            Years(_) => "%Y",
        };
        at.strftime(format).to_string()
    }
}

/// A span of values, divided by round numbers of a unit.
#[derive(Clone, Debug)]
pub(crate) struct ValueAxis {
    min: f64,
    max: f64,
    step: f64,
    unit: Unit,
}

impl ValueAxis {
    /// An axis for values from `min` to `max` with about `wanted` divisions. Zero is on it where that leaves enough for
    /// the values; a bound that is `fixed` is not moved.
    pub(crate) fn new(min: f64, max: f64, fixed: (Option<f64>, Option<f64>), unit: Unit, wanted: usize) -> Self {
        // Twice this is still finite.
        let within = |value: f64| value.clamp(-1e300, 1e300);
        let (mut min, mut max) = if min <= max { (within(min), within(max)) } else { (0.0, 1.0) };
        if min > 0.0 && min <= max * 0.6 {
            min = 0.0;
        }
        if max < 0.0 && max >= min * 0.6 {
            max = 0.0;
        }
        (min, max) = (fixed.0.map_or(min, within), fixed.1.map_or(max, within));
        // Differences below the last digits of the values are not worth an axis.
        let least = (min.abs().max(max.abs()) * 1e-12).max(f64::MIN_POSITIVE);
        if max - min <= least {
            let room = if max == 0.0 { 1.0 } else { max.abs() * 0.1 };
            (min, max) = if max == 0.0 { (0.0, 1.0) } else { (min - room, max + room) };
        }
        let rough = (max - min) / wanted.max(1) as f64;
        let step = unit.steps(rough).into_iter().find(|&step| step >= rough * 0.999).unwrap_or(rough);
        let min = if fixed.0.is_some() { min } else { (min / step + 1e-9).floor() * step };
        let max = if fixed.1.is_some() { max } else { (max / step - 1e-9).ceil() * step };
        Self { min, max: max.max(min + step * 1e-6), step, unit }
    }

    /// The divisions, ascending.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        let first = (self.min / self.step - 1e-9).ceil();
        (0..64)
            .map(|i| (first + f64::from(i)) * self.step)
            .take_while(|&tick| tick <= self.max + self.step * 1e-9)
            .collect()
    }

    /// Where the axis begins and ends.
    pub(crate) fn bounds(&self) -> (f64, f64) {
        (self.min, self.max)
    }

    /// As it stands beside its division.
    pub(crate) fn label(&self, value: f64) -> String {
        self.unit.format_step(value, self.step)
    }

    pub(crate) fn clamp(&self, value: f64) -> f64 {
        value.clamp(self.min, self.max)
    }
}

impl Ranged for ValueAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (*value - self.min) / (self.max - self.min);
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

    fn labels(start: &str, hours: f64, zone: &str, pixels: u32) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let start: Moment = start.parse().unwrap();
        let end = start.as_millisecond() + (hours * 3_600_000.0) as i64;
        let axis = TimeAxis::new(start.as_millisecond(), end, zone, pixels);
        axis.ticks.iter().map(|t| axis.format_ext(t)).collect()
    }

    #[test]
    fn time_is_divided_where_the_clock_of_the_zone_divides_it() {
        assert_eq!(
            labels("2026-11-22T10:06:13Z", 1.0, "UTC", 500),
            ["10:10", "10:20", "10:30", "10:40", "10:50", "11:00"]
        );
        assert_eq!(labels("2026-11-22T20:00:00Z", 12.0, "UTC", 340), ["21:00", "Nov 23", "03:00", "06:00"]);
        // Six-hour divisions fall on the same hours in a zone that is off by half an hour.
        assert_eq!(labels("2026-11-22T10:00:00Z", 24.0, "Asia/Kolkata", 340), ["18:00", "Nov 23", "06:00", "12:00"]);
        assert_eq!(labels("2026-11-22T10:00:00Z", 0.002, "UTC", 340), ["10:00:02", "10:00:04", "10:00:06"]);
        assert_eq!(
            labels("2026-01-15T00:00:00Z", 24.0 * 365.0, "UTC", 420),
            ["Apr 2026", "Jul 2026", "Oct 2026", "Jan 2027"]
        );
    }

    #[test]
    fn summer_time_moves_no_division_off_its_hour() {
        // Clocks in Berlin go from 2:00 to 3:00 on 29 March 2026.
        let ticks = labels("2026-03-28T22:00:00Z", 12.0, "Europe/Berlin", 500);
        assert_eq!(
            ticks,
            ["Mar 29", "03:00", "04:00", "06:00", "08:00", "10:00", "12:00"].map(str::to_owned)[..ticks.len()]
        );
    }

    #[test]
    fn axes_beyond_the_calendar_have_no_divisions_but_do_not_fail() {
        assert!(TimeAxis::new(i64::MIN / 2, i64::MAX / 2, TimeZone::UTC, 500).ticks.is_empty());
    }

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
    }
}
