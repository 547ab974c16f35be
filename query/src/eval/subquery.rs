//! Subqueries: the inner expression evaluated once for all windows, at moments aligned to multiples of the step.

use std::sync::Arc;

use super::window::Windows;
use super::{Eval, Output};
use crate::engine::check_steps;
use crate::error::Error;
use crate::eval::grid::Grid;
use crate::eval::table::Table;
use crate::parser::Subquery;

/// Evaluates the inner expression of `subquery` wherever its windows look: the values, their moments, and the windows.
///
/// # Errors
/// If the inner expression fails.
pub(super) fn evaluate<'q>(eval: Eval<'q>, subquery: &'q Subquery) -> Result<(Table<'q>, Grid, Windows), Error> {
    let query = eval.query;
    let range_ms = eval.range_ms(&subquery.range)?;
    let offset_ms = eval.offset_ms(&subquery.modifiers)?;
    let step_ms = match &subquery.step {
        Some(step) => eval.range_ms(step)?,
        None => i64::try_from(query.options.default_subquery_step.as_millis()).unwrap_or(i64::MAX).max(1),
    };
    let outer = eval.grid_for(&subquery.modifiers);
    let before = outer.start.saturating_sub(offset_ms).saturating_sub(range_ms);
    let start = before.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
    let end = outer.end().saturating_sub(offset_ms);
    let grid =
        if eval.grid.count == 0 { Grid { start, step: step_ms, count: 0 } } else { Grid::range(start, end, step_ms) };
    check_steps(query.options, grid.count, "subquery")?;
    // What a subquery reads counts by its windows, not by its own steps.
    let inner = Eval { grid, stats_only: false, counts: false, ..eval };
    let source = match inner.eval(&subquery.inner)? {
        Output::Series(source) => source,
        Output::Scalar(_) | Output::Text(_) => {
            return Err(Error::Execution("subquery of something other than a vector".into()));
        }
    };
    let table = Table::of(query, Arc::clone(&source), grid.count)?.with_one_name(source.one_name());
    let windows =
        Windows { grid: outer, steps: eval.grid, range_ms, offset_ms, extension: None, lookback_ms: query.lookback_ms };
    Ok((table, grid, windows))
}
