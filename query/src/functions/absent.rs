//! `absent`, `absent_over_time`: one series where there is none.

use std::sync::Arc;

use hashbrown::HashSet;
use tsdb::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use super::math::has_value;
use crate::error::Error;
use crate::eval::grid::Rows;
use crate::eval::source::Source;
use crate::eval::table::Table;
use crate::eval::window::RangeVector;
use crate::eval::{Eval, Output};
use crate::parser::{Call, Expr};
use crate::value::ABSENT;

/// The labels that the conditions name by equality, and then not again.
fn labels_of(expr: &Expr) -> Labels {
    let matchers: &[Matcher] = match expr.unwrapped() {
        Expr::Selector(selector) => &selector.matchers,
        Expr::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::empty(),
    };
    let (mut builder, mut seen) = (LabelsBuilder::default(), HashSet::new());
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        let named = matcher.op() == MatchOp::Equal && seen.insert(matcher.name());
        builder.set(matcher.name(), if named { matcher.value() } else { "" });
    }
    builder.build()
}

fn ones<'q>(eval: Eval<'q>, expr: &Expr, present: &[bool]) -> Result<Output<'q>, Error> {
    let steps = eval.grid.count;
    let mut rows = Rows { steps, ..Rows::default() };
    let mut labels = Vec::new();
    if present.contains(&false) {
        rows.values = present.iter().map(|p| if *p { ABSENT } else { 1.0 }).collect();
        labels.push(labels_of(expr));
    }
    Ok(Output::Series(Arc::new(Table::from_rows(eval.query, labels, rows)?)))
}

pub(super) fn absent<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let table = eval.table(&call.args[0])?;
    let mut present = vec![false; eval.grid.count];
    for series in 0..table.len() {
        for (step, present) in present.iter_mut().enumerate() {
            *present |= has_value(&table, series, step);
        }
    }
    ones(eval, &call.args[0], &present)
}

pub(super) fn absent_over_time<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let vector = RangeVector::open(eval, &call.args[0])?;
    let present = super::over_time::presence(eval, vector)?;
    ones(eval, &call.args[0], &present)
}
