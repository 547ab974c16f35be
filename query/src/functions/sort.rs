//! Sorting. The order shows in instant queries only: ranges are always sorted by labels.

use std::cmp::Ordering;
use std::sync::Arc;

use tsdb::Labels;

use crate::error::Error;
use crate::eval::grid::Rows;
use crate::eval::source::{Mapped, Source};
use crate::eval::table::{Cell, Table};
use crate::eval::{Eval, Output};
use crate::parser::Call;

/// Notes that sorting does nothing for range queries.
fn warn_range(eval: Eval<'_>, call: &Call) -> bool {
    if eval.query.is_range {
        let message = "sort is ineffective for range queries since results are always ordered by labels";
        eval.query.notes.warn(call.span, message.into());
    }
    eval.query.is_range || eval.grid.count != 1
}

/// The series of a table in another order.
fn reordered<'q>(eval: Eval<'q>, table: &Table<'q>, order: &[usize]) -> Result<Output<'q>, Error> {
    let mut rows = Rows { steps: eval.grid.count, ..Rows::default() };
    for series in order {
        rows.push_row(&table.rows, *series);
    }
    let labels: Vec<Labels> = order.iter().map(|series| table.labels(*series)).collect();
    let drops = order.iter().map(|series| table.drops_name(*series)).collect();
    let sorted = Table::from_rows(eval.query, labels, rows)?.with_drops(drops).with_one_name(table.one_name());
    Ok(Output::Series(Arc::new(sorted)))
}

/// `sort`, `sort_desc`: NaN is last in both; histograms are left out.
pub(super) fn by_value<'q>(eval: Eval<'q>, call: &'q Call, descending: bool) -> Result<Output<'q>, Error> {
    if warn_range(eval, call) {
        let inner = eval.vector(&call.args[0])?;
        let map = |rows: &mut Rows| {
            rows.drop_histograms();
            Ok(())
        };
        return Ok(Output::Series(Arc::new(Mapped { inner, map })));
    }
    let table = eval.table(&call.args[0])?;
    let mut values: Vec<(f64, usize)> = (0..table.len())
        .filter_map(|series| match table.get(series, 0) {
            Some(Cell::Float(value)) => Some((value, series)),
            _ => None,
        })
        .collect();
    values.sort_by(|(a, _), (b, _)| match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.partial_cmp(a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    });
    let order: Vec<usize> = values.into_iter().map(|(_, series)| series).collect();
    reordered(eval, &table, &order)
}

/// `sort_by_label`, `sort_by_label_desc`: digits within values count as numbers.
pub(super) fn by_label<'q>(eval: Eval<'q>, call: &'q Call, descending: bool) -> Result<Output<'q>, Error> {
    if warn_range(eval, call) {
        return eval.eval(&call.args[0]);
    }
    let mut names = Vec::with_capacity(call.args.len());
    for arg in &call.args[1..] {
        names.push(String::from_utf8_lossy(eval.text(arg)?));
    }
    let table = eval.table(&call.args[0])?;
    let labels: Vec<Labels> = (0..table.len()).map(|series| table.labels(series)).collect();
    let compare = |a: &Labels, b: &Labels| {
        let by_names =
            names.iter().map(|name| natural(a.get(name).unwrap_or_default(), b.get(name).unwrap_or_default()));
        by_names.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.cmp(b))
    };
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|a, b| {
        let ascending = compare(&labels[*a], &labels[*b]);
        if descending { ascending.reverse() } else { ascending }
    });
    reordered(eval, &table, &order)
}

/// Compares texts piece by piece: runs of digits by their value, the rest as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let ((x, rest_a), (y, rest_b)) = (piece(a), piece(b));
        let digits = |t: &str| t.bytes().all(|c| c.is_ascii_digit());
        let order = if digits(x) && digits(y) {
            let (p, q) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            p.len().cmp(&q.len()).then_with(|| p.cmp(q)).then_with(|| x.len().cmp(&y.len()))
        } else {
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// The longest beginning that is all digits or has none.
fn piece(text: &str) -> (&str, &str) {
    let first = text.as_bytes()[0].is_ascii_digit();
    let end = text.bytes().position(|c| c.is_ascii_digit() != first).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_sort_as_numbers() {
        let mut values = ["4m1000", "4m5", "10", "9", "4m600", "a", "1.11.3", "1.2.3"];
        values.sort_by(|a, b| natural(a, b));
        assert_eq!(values, ["1.2.3", "1.11.3", "4m5", "4m600", "4m1000", "9", "10", "a"]);
    }
}
