//! Time: of the query, of samples, and of the calendar.

use tsdb::Labels;

use super::math::constant;
use crate::error::Error;
use crate::eval::grid::Rows;
use crate::eval::selector::{self, Take};
use crate::eval::source::Mapped;
use crate::eval::{Eval, Output};
use crate::parser::{Call, Expr};
use crate::value::{ABSENT, is_absent};

fn every_step(eval: Eval<'_>, value: f64) -> Output<'_> {
    Output::Scalar(vec![value; eval.grid.count])
}

pub(super) fn time<'q>(eval: Eval<'q>, _: &'q Call) -> Result<Output<'q>, Error> {
    Ok(Output::Scalar((0..eval.grid.count).map(|k| eval.grid.at(k) as f64 / 1000.0).collect()))
}

pub(super) fn pi<'q>(eval: Eval<'q>, _: &'q Call) -> Result<Output<'q>, Error> {
    Ok(every_step(eval, std::f64::consts::PI))
}

pub(super) fn start<'q>(eval: Eval<'q>, _: &'q Call) -> Result<Output<'q>, Error> {
    Ok(every_step(eval, eval.query.start_ms as f64 / 1000.0))
}

pub(super) fn end<'q>(eval: Eval<'q>, _: &'q Call) -> Result<Output<'q>, Error> {
    Ok(every_step(eval, eval.query.end_ms as f64 / 1000.0))
}

pub(super) fn step<'q>(eval: Eval<'q>, _: &'q Call) -> Result<Output<'q>, Error> {
    Ok(every_step(eval, eval.query.times().step))
}

pub(super) fn range<'q>(eval: Eval<'q>, _: &'q Call) -> Result<Output<'q>, Error> {
    Ok(every_step(eval, eval.query.times().range))
}

/// `timestamp`, `start_timestamp`: of the samples that a selector finds; of anything else the time of the step, or
/// nothing.
pub(super) fn of_sample<'q>(eval: Eval<'q>, call: &'q Call, start: bool) -> Result<Output<'q>, Error> {
    if let Expr::Selector(selector) = call.args[0].unwrapped()
        && selector.extension.is_none()
    {
        let take = if start { Take::Start } else { Take::Timestamp };
        return Ok(Output::Series(eval.without_name(selector::open(eval, selector, take)?)?));
    }
    let inner = eval.vector(&call.args[0])?;
    let grid = eval.grid;
    let map = move |rows: &mut Rows| {
        for row in 0..rows.len() {
            for step in 0..rows.steps {
                let present = rows.is_present(row, step);
                rows.row_mut(row)[step] = if present && !start { grid.at(step) as f64 / 1000.0 } else { ABSENT };
            }
        }
        rows.drop_histograms();
        Ok(())
    };
    Ok(Output::Series(eval.without_name(std::sync::Arc::new(Mapped { inner, map }))?))
}

/// A moment on the calendar (UTC).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Civil {
    pub(super) year: f64,
    pub(super) month: f64,
    pub(super) day: f64,
    pub(super) hour: f64,
    pub(super) minute: f64,
    second: f64,
    /// Sunday is 0.
    pub(super) weekday: f64,
    pub(super) yearday: f64,
    pub(super) days_in_month: f64,
}

/// 2⁶³.
const TOO_LATE: f64 = 9_223_372_036_854_775_808.0;

/// Seconds since the Unix epoch on the calendar; fractions are cut off. What no 64-bit count of seconds can hold is all
/// the same moment, the first after the last one that it can, as in Prometheus.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(super) fn civil(seconds: f64) -> Civil {
    let (days, rest) = if (-TOO_LATE..TOO_LATE).contains(&seconds) {
        let seconds = seconds as i64;
        (seconds.div_euclid(86_400), seconds.rem_euclid(86_400))
    } else {
        (106_751_991_167_300, 55_808)
    };
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let yearday = lengths.iter().take(month as usize - 1).sum::<i64>() + day;
    Civil {
        year: year as f64,
        month: month as f64,
        day: day as f64,
        hour: (rest / 3_600) as f64,
        minute: (rest / 60 % 60) as f64,
        second: (rest % 60) as f64,
        weekday: (days + 4).rem_euclid(7) as f64,
        yearday: yearday as f64,
        days_in_month: lengths[month as usize - 1] as f64,
    }
}

/// `2006-01-02T15:04:05Z`
pub(crate) fn rfc3339(millis: i64) -> String {
    let t = civil(millis.div_euclid(1000) as f64);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", t.year, t.month, t.day, t.hour, t.minute, t.second)
}

/// A part of the date of each value, or of the step itself if there is no argument.
pub(super) fn calendar<'q>(eval: Eval<'q>, call: &'q Call, part: fn(Civil) -> f64) -> Result<Output<'q>, Error> {
    let of = move |seconds: f64| part(civil(seconds));
    let Some(arg) = call.args.first() else {
        let values = (0..eval.grid.count).map(|k| of(eval.grid.at(k) as f64 / 1000.0)).collect();
        return Ok(Output::Series(constant(eval, Labels::empty(), values)?));
    };
    let inner = eval.vector(arg)?;
    let map = move |rows: &mut Rows| {
        rows.drop_histograms();
        for value in &mut rows.values {
            if !is_absent(*value) {
                *value = of(*value);
            }
        }
        Ok(())
    };
    Ok(Output::Series(eval.without_name(std::sync::Arc::new(Mapped { inner, map }))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_leap_years_before_the_epoch_and_past_all_time() {
        let t = civil(1_456_790_399.0);
        assert_eq!((t.year, t.month, t.day, t.hour, t.minute), (2016.0, 2.0, 29.0, 23.0, 59.0));
        assert_eq!((t.yearday, t.days_in_month), (60.0, 29.0));
        let t = civil(-1.0);
        assert_eq!((t.year, t.month, t.day, t.weekday), (1969.0, 12.0, 31.0, 3.0));
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30] {
            let t = civil(odd);
            assert_eq!((t.year, t.month, t.day, t.hour, t.minute), (292_277_026_596.0, 12.0, 4.0, 15.0, 30.0));
            assert_eq!((t.weekday, t.yearday, t.days_in_month), (0.0, 339.0, 31.0));
        }
        assert_eq!(rfc3339(1_136_239_445_000), "2006-01-02T22:04:05Z");
    }
}
