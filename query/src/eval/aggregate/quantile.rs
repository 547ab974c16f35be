//! `quantile`: keeps all values of a group.

use std::cmp::Ordering;

use super::super::Eval;
use super::super::grid::Rows;
use super::super::group::GroupBy;
use super::super::notes::Origin;
use super::super::table::{Cell, Table};
use super::{group_drops, group_labels, grouped, info_histograms_ignored};
use crate::error::Error;
use crate::format::general;
use crate::parser::Aggregate;

/// Evaluates `quantile(q, …)`.
pub(super) fn eval<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Table<'q>, Error> {
    let param = e.param.as_deref().ok_or_else(|| Error::Execution("quantile without parameter".into()))?;
    let q = eval.scalar(param)?;
    warn_out_of_range(eval, Origin::new(e.span, param.unwrapped().span()), &q);
    let table = std::sync::Arc::new(eval.table(&e.expr)?);
    let by = GroupBy::new(e.grouping.as_ref());
    let (groups, members) = grouped(&table, &by);
    let steps = eval.grid.count;
    let mut rows = Rows::new(groups.len(), steps);
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); groups.len()];
    let mut ignored = false;
    for (step, q) in q.iter().enumerate() {
        eval.query.stop.check("expression evaluation")?;
        for (series, group) in members.iter().enumerate() {
            match table.get(series, step) {
                Some(Cell::Float(value)) => values[*group].push(value),
                Some(Cell::Histogram(_)) => ignored = true,
                None => {}
            }
        }
        for (group, values) in values.iter_mut().enumerate().filter(|(_, values)| !values.is_empty()) {
            rows.row_mut(group)[step] = quantile(*q, values);
            values.clear();
        }
    }
    if ignored {
        info_histograms_ignored(eval, e);
    }
    let drops = group_drops(&table, &members, groups.len());
    let source: super::SharedSource<'q> = table;
    let labels = group_labels(&groups, &by, &source);
    Ok(Table::from_rows(eval.query, labels, rows)?.with_drops(drops))
}

/// Warns about quantiles that are not between 0 and 1.
fn warn_out_of_range(eval: Eval<'_>, origin: Origin, q: &[f64]) {
    let max = q.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = q.iter().copied().fold(f64::INFINITY, f64::min);
    let nan = q.iter().any(|q| q.is_nan());
    for bad in [(nan, f64::NAN), (max > 1.0, max), (min < 0.0, min)].into_iter().filter(|bad| bad.0) {
        eval.query.notes.warn(origin, format!("quantile value should be between 0 and 1, got {}", general(bad.1)));
    }
}

/// NaN sorts before everything.
fn nan_first(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    }
}

/// The `q` quantile of `values`, interpolated linearly between neighbours. Sorts them.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = (rank.floor() as usize).min(values.len() - 1);
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    let (_, low, above) = values.select_nth_unstable_by(lower, nan_first);
    let low = *low;
    let high = if upper == lower { low } else { above.iter().copied().min_by(nan_first).unwrap_or(low) };
    low * (1.0 - weight) + high * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_and_nan_is_smallest() {
        assert_eq!(quantile(0.5, &mut [4.0, 0.0, 1.0]), 1.0);
        assert_eq!(quantile(0.75, &mut [4.0, 0.0, 1.0]), 2.5);
        assert!(quantile(0.2, &mut [f64::NAN, 0.0, 1.0]).is_nan());
        assert_eq!(quantile(1.0, &mut [f64::NAN, 0.0, 1.0]), 1.0);
        assert_eq!((quantile(-1.0, &mut [1.0]), quantile(2.0, &mut [1.0])), (f64::NEG_INFINITY, f64::INFINITY));
    }
}
