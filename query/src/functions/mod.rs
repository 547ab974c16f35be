//! All functions: one table, used by the parser, the type check, the engine, and whoever completes or documents.

mod absent;
mod buckets;
mod classic;
mod deviation;
mod extended;
mod histogram;
mod info;
mod label;
mod math;
pub(crate) mod numeric;
mod over_time;
mod pairs;
mod rate;
mod regression;
mod running;
mod sliding;
mod sort;
pub(crate) mod time;

use std::fmt;

pub(crate) use rate::Geometry;

use crate::error::Error;
use crate::eval::{Eval, Output};
use crate::parser::{Call, ValueType};
use ValueType::{Matrix, Scalar, String, Vector};

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// As many as are listed.
    Exact,
    /// So many of the last ones may be left out.
    Optional(usize),
    /// The last one any number of times, `least` arguments in all.
    Repeated {
        /// How many arguments there must be.
        least: usize,
    },
}

type EvalFn = for<'q> fn(Eval<'q>, &'q Call) -> Result<Output<'q>, Error>;

/// A function of PromQL.
pub struct Function {
    /// How it is called.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [ValueType],
    /// How many of them there are.
    pub arity: Arity,
    /// What it returns.
    pub returns: ValueType,
    /// Whether Prometheus has it behind a switch.
    pub experimental: bool,
    pub(crate) eval: EvalFn,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Function {
    /// Whether its value depends on the step even if its arguments do not.
    pub(crate) fn depends_on_time(&self, args: usize) -> bool {
        match self.name {
            "time" | "timestamp" | "predict_linear" => true,
            "days_in_month" | "day_of_month" | "day_of_week" | "day_of_year" | "hour" | "minute" | "month" | "year" => {
                args == 0
            }
            _ => false,
        }
    }
}

const fn row(name: &'static str, args: &'static [ValueType], returns: ValueType, eval: EvalFn) -> Function {
    Function { name, args, arity: Arity::Exact, returns, experimental: false, eval }
}

impl Function {
    const fn arity(self, arity: Arity) -> Self {
        Self { arity, ..self }
    }

    const fn experimental(self) -> Self {
        Self { experimental: true, ..self }
    }
}

/// All functions, sorted by name.
pub static FUNCTIONS: &[Function] = &[
    row("abs", &[Vector], Vector, |e, c| math::map(e, c, f64::abs)),
    row("absent", &[Vector], Vector, absent::absent),
    row("absent_over_time", &[Matrix], Vector, absent::absent_over_time),
    row("acos", &[Vector], Vector, |e, c| math::map(e, c, numeric::acos)),
    row("acosh", &[Vector], Vector, |e, c| math::map(e, c, numeric::acosh)),
    row("asin", &[Vector], Vector, |e, c| math::map(e, c, numeric::asin)),
    row("asinh", &[Vector], Vector, |e, c| math::map(e, c, numeric::asinh)),
    row("atan", &[Vector], Vector, |e, c| math::map(e, c, f64::atan)),
    row("atanh", &[Vector], Vector, |e, c| math::map(e, c, numeric::atanh)),
    row("avg_over_time", &[Matrix], Vector, over_time::avg),
    row("ceil", &[Vector], Vector, |e, c| math::map(e, c, f64::ceil)),
    row("changes", &[Matrix], Vector, pairs::changes),
    row("clamp", &[Vector, Scalar, Scalar], Vector, math::clamp),
    row("clamp_max", &[Vector, Scalar], Vector, math::clamp_max),
    row("clamp_min", &[Vector, Scalar], Vector, math::clamp_min),
    row("cos", &[Vector], Vector, |e, c| math::map(e, c, f64::cos)),
    row("cosh", &[Vector], Vector, |e, c| math::map(e, c, numeric::cosh)),
    row("count_over_time", &[Matrix], Vector, over_time::count),
    row("day_of_month", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.day)).arity(Arity::Optional(1)),
    row("day_of_week", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.weekday)).arity(Arity::Optional(1)),
    row("day_of_year", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.yearday)).arity(Arity::Optional(1)),
    row("days_in_month", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.days_in_month)).arity(Arity::Optional(1)),
    row("deg", &[Vector], Vector, |e, c| math::map(e, c, |v| v * 180.0 / std::f64::consts::PI)),
    row("delta", &[Matrix], Vector, |e, c| rate::extrapolated(e, c, rate::DELTA)),
    row("deriv", &[Matrix], Vector, regression::deriv),
    row("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector, regression::smoothing).experimental(),
    row("end", &[], Scalar, time::end).experimental(),
    row("exp", &[Vector], Vector, |e, c| math::map(e, c, numeric::exp)),
    row("first_over_time", &[Matrix], Vector, over_time::first),
    row("floor", &[Vector], Vector, |e, c| math::map(e, c, f64::floor)),
    row("histogram_avg", &[Vector], Vector, |e, c| histogram::stat(e, c, |h| h.sum / h.count)),
    row("histogram_count", &[Vector], Vector, |e, c| histogram::stat(e, c, |h| h.count)),
    row("histogram_fraction", &[Scalar, Scalar, Vector], Vector, classic::fraction),
    row("histogram_quantile", &[Scalar, Vector], Vector, classic::quantile),
    row("histogram_quantiles", &[Vector, String, Scalar], Vector, classic::quantiles)
        .arity(Arity::Repeated { least: 3 })
        .experimental(),
    row("histogram_stddev", &[Vector], Vector, |e, c| histogram::shape(e, c, |h| histogram::variance(h).sqrt())),
    row("histogram_stdvar", &[Vector], Vector, |e, c| histogram::shape(e, c, histogram::variance)),
    row("histogram_sum", &[Vector], Vector, |e, c| histogram::stat(e, c, |h| h.sum)),
    row("hour", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.hour)).arity(Arity::Optional(1)),
    row("idelta", &[Matrix], Vector, |e, c| pairs::instant(e, c, false)),
    row("increase", &[Matrix], Vector, |e, c| rate::extrapolated(e, c, rate::INCREASE)),
    row("info", &[Vector, Vector], Vector, info::info).arity(Arity::Optional(1)).experimental(),
    row("irate", &[Matrix], Vector, |e, c| pairs::instant(e, c, true)),
    row("label_join", &[Vector, String, String, String], Vector, label::join).arity(Arity::Repeated { least: 3 }),
    row("label_replace", &[Vector, String, String, String, String], Vector, label::replace),
    row("last_over_time", &[Matrix], Vector, over_time::last),
    row("ln", &[Vector], Vector, |e, c| math::map(e, c, numeric::ln)),
    row("log10", &[Vector], Vector, |e, c| math::map(e, c, numeric::log10)),
    row("log2", &[Vector], Vector, |e, c| math::map(e, c, numeric::log2)),
    row("mad_over_time", &[Matrix], Vector, over_time::mad).experimental(),
    row("max_of", &[Scalar, Scalar], Scalar, |e, c| math::of_two(e, c, numeric::max)).experimental(),
    row("max_over_time", &[Matrix], Vector, |e, c| sliding::extreme(e, c, true)),
    row("min_of", &[Scalar, Scalar], Scalar, |e, c| math::of_two(e, c, numeric::min)).experimental(),
    row("min_over_time", &[Matrix], Vector, |e, c| sliding::extreme(e, c, false)),
    row("minute", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.minute)).arity(Arity::Optional(1)),
    row("month", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.month)).arity(Arity::Optional(1)),
    row("pi", &[], Scalar, time::pi),
    row("predict_linear", &[Matrix, Scalar], Vector, regression::predict),
    row("present_over_time", &[Matrix], Vector, over_time::present),
    row("quantile_over_time", &[Scalar, Matrix], Vector, over_time::quantile),
    row("rad", &[Vector], Vector, |e, c| math::map(e, c, |v| v * std::f64::consts::PI / 180.0)),
    row("range", &[], Scalar, time::range).experimental(),
    row("rate", &[Matrix], Vector, |e, c| rate::extrapolated(e, c, rate::RATE)),
    row("resets", &[Matrix], Vector, pairs::resets),
    row("round", &[Vector, Scalar], Vector, math::round).arity(Arity::Optional(1)),
    row("scalar", &[Vector], Scalar, math::scalar),
    row("sgn", &[Vector], Vector, |e, c| math::map(e, c, math::sign)),
    row("sin", &[Vector], Vector, |e, c| math::map(e, c, f64::sin)),
    row("sinh", &[Vector], Vector, |e, c| math::map(e, c, numeric::sinh)),
    row("sort", &[Vector], Vector, |e, c| sort::by_value(e, c, false)),
    row("sort_by_label", &[Vector, String], Vector, |e, c| sort::by_label(e, c, false))
        .arity(Arity::Repeated { least: 1 })
        .experimental(),
    row("sort_by_label_desc", &[Vector, String], Vector, |e, c| sort::by_label(e, c, true))
        .arity(Arity::Repeated { least: 1 })
        .experimental(),
    row("sort_desc", &[Vector], Vector, |e, c| sort::by_value(e, c, true)),
    row("sqrt", &[Vector], Vector, |e, c| math::map(e, c, f64::sqrt)),
    row("start", &[], Scalar, time::start).experimental(),
    row("start_timestamp", &[Vector], Vector, |e, c| time::of_sample(e, c, true)).experimental(),
    row("stddev_over_time", &[Matrix], Vector, |e, c| deviation::deviation(e, c, f64::sqrt)),
    row("stdvar_over_time", &[Matrix], Vector, |e, c| deviation::deviation(e, c, |variance| variance)),
    row("step", &[], Scalar, time::step).experimental(),
    row("sum_over_time", &[Matrix], Vector, over_time::sum),
    row("tan", &[Vector], Vector, |e, c| math::map(e, c, f64::tan)),
    row("tanh", &[Vector], Vector, |e, c| math::map(e, c, f64::tanh)),
    row("time", &[], Scalar, time::time),
    row("timestamp", &[Vector], Vector, |e, c| time::of_sample(e, c, false)),
    row("ts_of_first_over_time", &[Matrix], Vector, over_time::time_of_first).experimental(),
    row("ts_of_last_over_time", &[Matrix], Vector, over_time::time_of_last).experimental(),
    row("ts_of_max_over_time", &[Matrix], Vector, |e, c| over_time::time_of_extreme(e, c, true)).experimental(),
    row("ts_of_min_over_time", &[Matrix], Vector, |e, c| over_time::time_of_extreme(e, c, false)).experimental(),
    row("vector", &[Scalar], Vector, math::vector),
    row("year", &[Vector], Vector, |e, c| time::calendar(e, c, |t| t.year)).arity(Arity::Optional(1)),
];

/// The function called `name`, if there is one.
#[must_use]
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(find("rate").map(|f| f.returns), Some(Vector));
        assert!(find("rates").is_none());
    }
}
