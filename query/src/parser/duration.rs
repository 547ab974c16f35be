//! Durations: `1h30m`, and the arithmetic that may stand for one.

use std::fmt;

/// An operator between durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
}

impl DurationOp {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }
}

/// What stands where a duration is asked for. All numbers are seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A duration, or a number that stands for one.
    Seconds(f64),
    /// A number within arithmetic.
    Number(f64),
    /// `step()`: the step of the query.
    Step,
    /// `range()`: from the start of the query to its end.
    Range,
    /// `-x`
    Negative(Box<DurationExpr>),
    /// `(x)`
    Paren(Box<DurationExpr>),
    /// `min_of(x, y)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(x, y)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `x + y` and its kin
    Binary(DurationOp, Box<DurationExpr>, Box<DurationExpr>),
}

/// The times of a query that a duration may depend on, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryTimes {
    pub(crate) step: f64,
    pub(crate) range: f64,
}

impl DurationExpr {
    /// A duration of so many milliseconds.
    #[must_use]
    pub fn millis(millis: i64) -> Self {
        Self::Seconds(millis as f64 / 1000.0)
    }

    /// Whether it depends on the query's step or range.
    pub(crate) fn is_fixed(&self) -> bool {
        match self {
            Self::Seconds(_) | Self::Number(_) => true,
            Self::Step | Self::Range => false,
            Self::Negative(x) | Self::Paren(x) => x.is_fixed(),
            Self::MinOf(x, y) | Self::MaxOf(x, y) | Self::Binary(_, x, y) => x.is_fixed() && y.is_fixed(),
        }
    }

    /// Its value in seconds.
    ///
    /// # Errors
    /// If it divides by zero.
    pub(crate) fn seconds(&self, times: QueryTimes) -> Result<f64, &'static str> {
        Ok(match self {
            Self::Seconds(value) | Self::Number(value) => *value,
            Self::Step => times.step,
            Self::Range => times.range,
            Self::Negative(x) => -x.seconds(times)?,
            Self::Paren(x) => x.seconds(times)?,
            Self::MinOf(x, y) => x.seconds(times)?.min(y.seconds(times)?),
            Self::MaxOf(x, y) => x.seconds(times)?.max(y.seconds(times)?),
            Self::Binary(op, x, y) => {
                let (x, y) = (x.seconds(times)?, y.seconds(times)?);
                match op {
                    DurationOp::Add => x + y,
                    DurationOp::Sub => x - y,
                    DurationOp::Mul => x * y,
                    DurationOp::Div if y == 0.0 => return Err("division by zero"),
                    DurationOp::Div => x / y,
                    DurationOp::Mod if y == 0.0 => return Err("modulo by zero"),
                    DurationOp::Mod => x % y,
                    DurationOp::Pow => x.powf(y),
                }
            }
        })
    }

    /// Its value in milliseconds.
    ///
    /// # Errors
    /// If it divides by zero or leaves the range of durations, about 292 years.
    pub(crate) fn to_millis(&self, times: QueryTimes) -> Result<i64, &'static str> {
        let seconds = self.seconds(times)?;
        if seconds.is_nan() || seconds.abs() >= 9_223_372_036.0 {
            return Err("duration out of range");
        }
        // Literals are whole milliseconds divided by 1000: rounding brings those back.
        let millis = seconds * 1000.0;
        Ok(if (millis - millis.round()).abs() < 1e-6 { millis.round() } else { millis.trunc() } as i64)
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => {
                let millis = (seconds * 1000.0).round();
                if millis.abs() < 9e12 && millis / 1000.0 == *seconds {
                    model::duration::write_millis(f, millis as i64)
                } else {
                    f.write_str(&crate::format::shortest(*seconds))
                }
            }
            Self::Number(value) => f.write_str(&crate::format::plain(*value)),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negative(x) => write!(f, "-{x}"),
            Self::Paren(x) => write!(f, "({x})"),
            Self::MinOf(x, y) => write!(f, "min_of({x}, {y})"),
            Self::MaxOf(x, y) => write!(f, "max_of({x}, {y})"),
            Self::Binary(op, x, y) => write!(f, "{x} {} {y}", op.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print() {
        let printed = |millis| DurationExpr::millis(millis).to_string();
        assert_eq!(printed(5_400_000), "1h30m");
        assert_eq!(printed(-90_001), "-1m30s1ms");
        assert_eq!(printed(366 * 86_400_000), "366d");
        assert_eq!(printed(365 * 86_400_000), "1y");
    }

    #[test]
    fn thirds_of_a_second_are_cut_to_milliseconds() {
        let times = QueryTimes { step: 1.0, range: 0.0 };
        let third =
            DurationExpr::Binary(DurationOp::Div, Box::new(DurationExpr::Step), Box::new(DurationExpr::Seconds(3.0)));
        assert_eq!(third.to_millis(times), Ok(333));
        let zero = DurationExpr::Binary(DurationOp::Div, Box::new(DurationExpr::Step), Box::new(DurationExpr::Range));
        assert_eq!(zero.to_millis(times), Err("division by zero"));
    }
}
