//! Sorting. The order shows in instant queries only: ranges are always sorted by labels.

mod pdq;

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
    let mut order: Vec<usize> = (0..labels.len()).collect();
    pdq::sort(&mut order, |a, b| {
        let (a, b) = (&labels[*a], &labels[*b]);
        let mut values = names.iter().map(|name| (a.get(name).unwrap_or_default(), b.get(name).unwrap_or_default()));
        match values.find(|(a, b)| a != b) {
            Some((a, b)) => precedes(a, b) != descending,
            None if descending => b < a,
            None => a < b,
        }
    });
    reordered(eval, &table, &order)
}

/// Compares texts piece by piece: runs of digits by their value, the rest as text. Of two that are not equal, the one
/// whose pieces end first precedes.
///
/// Not an order: nothing precedes the empty text, which precedes nothing, and `1` and `01` precede each other. Prometheus
/// has the same.
fn precedes(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let ((x, rest_a), (y, rest_b)) = (piece(a), piece(b));
        match (x.parse::<i64>(), y.parse::<i64>()) {
            (Ok(x), Ok(y)) if x != y => return x < y,
            (Ok(_), Ok(_)) => {}
            _ if x != y => return x < y,
            _ => {}
        }
        if rest_a.is_empty() {
            return true;
        }
        (a, b) = (rest_a, rest_b);
    }
    false
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
    fn digits_compare_as_numbers() {
        let values = ["1.2.3", "1.11.3", "4m5", "4m600", "4m1000", "9", "10", "a", "a2", "a10"];
        for pair in values.windows(2) {
            assert!(precedes(pair[0], pair[1]) && !precedes(pair[1], pair[0]), "{pair:?}");
        }
        assert!(precedes("99999999999999999999", "a") && precedes("10", "99999999999999999999"));
    }

    #[test]
    fn empty_texts_and_leading_zeros_have_no_place_in_the_order() {
        assert!(!precedes("", "x") && !precedes("x", ""));
        assert!(precedes("01", "1") && precedes("1", "01"));
        assert!(precedes("1", "1a") && !precedes("1a", "1"));
    }
}
