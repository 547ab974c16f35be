//! Functions of single values.

use std::sync::Arc;

use tsdb::Labels;

use super::numeric::{max, min};
use crate::error::Error;
use crate::eval::grid::Rows;
use crate::eval::source::{Mapped, SharedSource};
use crate::eval::table::{Cell, Table};
use crate::eval::{Eval, Output};
use crate::parser::Call;
use crate::value::{ABSENT, is_absent};

/// Applies `f(step, value)` to every float; histograms are left out. The metric name goes.
fn map_steps<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    f: impl Fn(usize, f64) -> f64 + Send + Sync + 'q,
) -> Result<Output<'q>, Error> {
    let inner = eval.vector(&call.args[0])?;
    let map = move |rows: &mut Rows| {
        rows.drop_histograms();
        for row in rows.values.chunks_mut(rows.steps.max(1)) {
            for (step, value) in row.iter_mut().enumerate() {
                let result = f(step, *value);
                *value = if is_absent(*value) { ABSENT } else { result };
            }
        }
        Ok(())
    };
    Ok(Output::Series(eval.without_name(Arc::new(Mapped { inner, map }))?))
}

/// Applies `f` to every float.
pub(super) fn map<'q>(eval: Eval<'q>, call: &'q Call, f: fn(f64) -> f64) -> Result<Output<'q>, Error> {
    map_steps(eval, call, move |_, value| f(value))
}

/// -1, 0 or 1; NaN and both zeros stay.
pub(super) fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

fn limited<'q>(eval: Eval<'q>, call: &'q Call, low: Vec<f64>, high: Vec<f64>) -> Result<Output<'q>, Error> {
    map_steps(
        eval,
        call,
        move |step, value| {
            if high[step] < low[step] { ABSENT } else { max(low[step], min(high[step], value)) }
        },
    )
}

pub(super) fn clamp<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    limited(eval, call, eval.scalar(&call.args[1])?, eval.scalar(&call.args[2])?)
}

pub(super) fn clamp_min<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    limited(eval, call, eval.scalar(&call.args[1])?, vec![f64::INFINITY; eval.grid.count])
}

pub(super) fn clamp_max<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    limited(eval, call, vec![f64::NEG_INFINITY; eval.grid.count], eval.scalar(&call.args[1])?)
}

/// Rounds to the nearest multiple, halves upwards.
pub(super) fn round<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let nearest = match call.args.get(1) {
        Some(arg) => eval.scalar(arg)?,
        None => vec![1.0; eval.grid.count],
    };
    // Multiplying by the inverse loses less than dividing: 0.1 is not exact, 10 is.
    let inverse: Vec<f64> = nearest.into_iter().map(|n| 1.0 / n).collect();
    map_steps(eval, call, move |step, value| (value * inverse[step] + 0.5).floor() / inverse[step])
}

/// The value of the only float, or NaN.
pub(super) fn scalar<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let table = eval.table(&call.args[0])?;
    let mut found = vec![0u32; eval.grid.count];
    let mut values = vec![f64::NAN; eval.grid.count];
    for row in table.rows.values.chunks(eval.grid.count.max(1)) {
        for ((value, found), cell) in values.iter_mut().zip(&mut found).zip(row) {
            if !is_absent(*cell) {
                *value = *cell;
                *found += 1;
            }
        }
    }
    for (value, found) in values.iter_mut().zip(found) {
        if found != 1 {
            *value = f64::NAN;
        }
    }
    Ok(Output::Scalar(values))
}

/// A number as a series without labels.
pub(super) fn vector<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let values = eval.scalar(&call.args[0])?;
    Ok(Output::Series(constant(eval, Labels::empty(), values)?))
}

/// One series of given values; NaN of any kind is a value.
pub(super) fn constant<'q>(eval: Eval<'q>, labels: Labels, mut values: Vec<f64>) -> Result<SharedSource<'q>, Error> {
    for value in &mut values {
        if is_absent(*value) {
            *value = f64::NAN;
        }
    }
    let rows = Rows { steps: eval.grid.count, values, histograms: Vec::new() };
    let labels = if eval.grid.count == 0 { Vec::new() } else { vec![labels] };
    Ok(Arc::new(Table::from_rows(eval.query, labels, rows)?))
}

/// `min_of`, `max_of`.
pub(super) fn of_two<'q>(eval: Eval<'q>, call: &'q Call, pick: fn(f64, f64) -> f64) -> Result<Output<'q>, Error> {
    let (mut a, b) = (eval.scalar(&call.args[0])?, eval.scalar(&call.args[1])?);
    for (a, b) in a.iter_mut().zip(b) {
        *a = pick(*a, b);
    }
    Ok(Output::Scalar(a))
}

/// Whether a table has a float or histogram anywhere at a step.
pub(super) fn has_value(table: &Table<'_>, series: usize, step: usize) -> bool {
    matches!(table.get(series, step), Some(Cell::Float(_) | Cell::Histogram(_)))
}
