//! An axis of time, divided where a clock on the wall or a calendar divides it.

use std::ops::Range;

use jiff::civil::{self, Date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Moment};
use plotters::coord::ranged1d::{NoDefaultFormatting, Ranged, ValueFormatter};

use super::text::{SMALL, width_of};

/// A span of time, divided where a clock or a calendar divides it.
#[derive(Clone, Debug)]
pub(crate) struct TimeAxis {
    start_ms: i64,
    end_ms: i64,
    zone: TimeZone,
    /// `None` beyond the calendar.
    divided_by: Option<Division>,
    ticks: Vec<i64>,
}

/// The unit that an axis of time is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Division {
    /// Milliseconds of the clock; they divide a day.
    Clock(i64),
    Days(i64),
    Months(i64),
    Years(i64),
}

use Division::{Clock, Days, Months, Years};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const DIVISIONS: [Division; 45] = [
    Clock(1),
    Clock(2),
    Clock(5),
    Clock(10),
    Clock(20),
    Clock(50),
    Clock(100),
    Clock(200),
    Clock(500),
    Clock(SECOND),
    Clock(2 * SECOND),
    Clock(5 * SECOND),
    Clock(10 * SECOND),
    Clock(15 * SECOND),
    Clock(30 * SECOND),
    Clock(MINUTE),
    Clock(2 * MINUTE),
    Clock(5 * MINUTE),
    Clock(10 * MINUTE),
    Clock(15 * MINUTE),
    Clock(30 * MINUTE),
    Clock(HOUR),
    Clock(2 * HOUR),
    Clock(3 * HOUR),
    Clock(6 * HOUR),
    Clock(12 * HOUR),
    Days(1),
    Days(2),
    Days(7),
    Days(14),
    Months(1),
    Months(3),
    Months(6),
    Years(1),
    Years(2),
    Years(5),
    Years(10),
    Years(20),
    Years(50),
    Years(100),
    Years(200),
    Years(500),
    Years(1000),
    Years(2000),
    Years(5000),
];

/// Pixels from one label to the next, at least.
const LABEL_PIXELS: u32 = 80;
/// Pixels at the beginning of the axis without a label; a fourth of them at its end, where there is a margin.
const EDGE_PIXELS: u32 = 24;
/// Pixels between two labels, at least.
const GAP_PIXELS: f64 = 4.0;
/// Divisions of an axis, at most.
const MAX_TICKS: usize = 200;

/// The place of an axis in its picture, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Length of the axis.
    pub(crate) pixels: u32,
    /// Free pixels before it, beyond the name of the zone.
    pub(crate) before: u32,
    /// Free pixels behind it.
    pub(crate) behind: u32,
}

impl Division {
    /// Its usual length.
    fn millis(self) -> i64 {
        match self {
            Clock(ms) => ms,
            Days(n) => n * DAY,
            Months(n) => n * 30 * DAY,
            Years(n) => n * 365 * DAY,
        }
    }

    /// The format of its labels.
    fn format(self) -> &'static str {
        match self {
            Clock(ms) if ms < SECOND => "%H:%M:%S.%3f",
            Clock(ms) if ms < MINUTE => "%H:%M:%S",
            Clock(_) => "%H:%M",
            Days(_) => "%b %-d",
            Months(_) => "%b %Y",
            Years(_) => "%Y",
        }
    }

    /// The last date at or before `date` that begins a division of the calendar; `None` where the calendar begins later.
    fn floor(self, date: Date) -> Option<Date> {
        match self {
            Clock(_) => Some(date),
            Days(n) => {
                // Weeks begin on Mondays.
                let since = civil::date(1970, 1, 5).until(date).ok()?.get_days();
                date.checked_sub(Span::new().days(i64::from(since).rem_euclid(n))).ok()
            }
            Months(n) => {
                let back = i64::from(date.month() - 1) % n;
                date.first_of_month().checked_sub(Span::new().months(back)).ok()
            }
            Years(n) => {
                let back = i64::from(date.year()).rem_euclid(n);
                date.first_of_year().checked_sub(Span::new().years(back)).ok()
            }
        }
    }

    /// The first date of the next division of the calendar.
    fn next(self, date: Date) -> Option<Date> {
        let span = match self {
            Clock(_) => Span::new().days(1),
            Days(n) => Span::new().days(n),
            Months(n) => Span::new().months(n),
            Years(n) => Span::new().years(n),
        };
        date.checked_add(span).ok()
    }
}

impl TimeAxis {
    /// From `start_ms` to `end_ms` in the time of `zone`. No label meets another one, the name of the zone, or the edge of
    /// the picture.
    pub(crate) fn new(start_ms: i64, end_ms: i64, zone: TimeZone, room: Room) -> Self {
        let end_ms = end_ms.max(start_ms.saturating_add(1));
        let start_ms = start_ms.min(end_ms - 1);
        let span = end_ms.saturating_sub(start_ms);
        let most = i64::from((room.pixels / LABEL_PIXELS).max(1));
        let divided_by = DIVISIONS.into_iter().find(|d| d.millis() >= span / most);
        let mut axis = Self { start_ms, end_ms, zone, divided_by, ticks: Vec::new() };
        let ticks = divided_by.map(|division| axis.divide(division)).unwrap_or_default();
        axis.ticks = axis.labelled(&ticks, room);
        axis
    }

    /// The divisions within the axis, ascending: made from what the clock and the calendar show, not from one another, so
    /// that they stay on the grid of the clock where its offset changes.
    fn divide(&self, division: Division) -> Vec<i64> {
        let start = self.start_ms.max(Moment::MIN.as_millisecond() + DAY);
        let end = self.end_ms.min(Moment::MAX.as_millisecond() - DAY);
        if start > end {
            return Vec::new();
        }
        match division {
            Clock(unit_ms) => self.clock_ticks(unit_ms, start, end),
            _ => self.calendar_ticks(division, start, end),
        }
    }

    /// The moments at which the clock shows a multiple of `unit_ms` since midnight, and those at which a day begins later
    /// than at midnight.
    fn clock_ticks(&self, unit_ms: i64, start: i64, end: i64) -> Vec<i64> {
        let mut ticks: Vec<i64> = Vec::new();
        let mut push = |tick: i64| {
            // Where clocks go back, the same hours come again: what falls short of a division is left out.
            if ticks.last().is_none_or(|last| (tick - last) * 5 >= unit_ms * 3) {
                ticks.push(tick);
            }
            ticks.len() < MAX_TICKS
        };
        let mut from = start;
        while let Ok(moment) = Moment::from_millisecond(from) {
            let offset_ms = i64::from(self.zone.to_offset(moment).seconds()) * SECOND;
            let change = self.zone.following(moment).next().map(|change| change.timestamp().as_millisecond());
            let until = change.map_or(end, |change| end.min(change - 1));
            if from > start && self.begins_day(from) && !push(from) {
                break;
            }
            let first = from + (-(from + offset_ms)).rem_euclid(unit_ms);
            if !(first..=until).step_by(unit_ms as usize).all(&mut push) {
                break;
            }
            match change {
                Some(change) if change <= end && change > from => from = change,
                _ => break,
            }
        }
        ticks
    }

    /// The first moments of the days that begin a division of the calendar.
    fn calendar_ticks(&self, division: Division, start: i64, end: i64) -> Vec<i64> {
        let mut ticks: Vec<i64> = Vec::new();
        let Ok(moment) = Moment::from_millisecond(start) else { return ticks };
        let first = moment.to_zoned(self.zone.clone()).date();
        let mut next = division.floor(first).or_else(|| division.floor(division.next(first)?));
        while let Some(date) = next {
            match self.start_of(date) {
                Some(at) if at > end => break,
                Some(at) if at >= start && ticks.last().is_none_or(|last| at > *last) => ticks.push(at),
                _ => {}
            }
            if ticks.len() >= MAX_TICKS {
                break;
            }
            next = division.next(date);
        }
        ticks
    }

    /// The first moment of a date; of the day after, if a zone has left the date out.
    fn start_of(&self, date: Date) -> Option<i64> {
        let at = date.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?;
        Some(at.timestamp().as_millisecond())
    }

    fn begins_day(&self, at_ms: i64) -> bool {
        let Ok(moment) = Moment::from_millisecond(at_ms) else { return false };
        self.start_of(moment.to_zoned(self.zone.clone()).date()) == Some(at_ms)
    }

    /// Those of `ticks` whose labels have room.
    fn labelled(&self, ticks: &[i64], room: Room) -> Vec<i64> {
        let (length, before) = (f64::from(room.pixels), -f64::from(room.before));
        let mut free_from = before;
        let mut kept = Vec::new();
        for &tick in ticks {
            let at = self.part(tick) * length;
            let half = f64::from(width_of(&self.format_ext(&tick), SMALL)) / 2.0;
            let at_edge = at < f64::from(EDGE_PIXELS) || length - at < f64::from(EDGE_PIXELS / 4);
            if at_edge || at - half < free_from || at + half > length + f64::from(room.behind) {
                continue;
            }
            free_from = at + half + GAP_PIXELS;
            kept.push(tick);
        }
        kept
    }

    /// Where a moment lies between the start and the end, as a part of the whole.
    fn part(&self, at_ms: i64) -> f64 {
        (at_ms as f64 - self.start_ms as f64) / (self.end_ms as f64 - self.start_ms as f64).max(1.0)
    }

    /// The name that a zone has at a moment: `UTC`, `CET`, `-03`. Empty beyond the calendar.
    pub(crate) fn zone_name(zone: &TimeZone, at_ms: i64) -> String {
        let Ok(at) = Moment::from_millisecond(at_ms) else { return String::new() };
        zone.to_offset_info(at).abbreviation().to_owned()
    }
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = i64;

    fn map(&self, value: &i64, limit: (i32, i32)) -> i32 {
        // Within the range of 32 bits, wherever a point lies.
        let part = self.part(*value).clamp(-8.0, 8.0);
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
        let Some(division) = self.divided_by else { return String::new() };
        let at = moment.to_zoned(self.zone.clone());
        let format = match division {
            Clock(unit_ms) if unit_ms >= MINUTE && self.begins_day(*value) => "%b %-d",
            _ => division.format(),
        };
        at.strftime(format).to_string()
    }
}

#[cfg(test)]
mod tests;
