//! `count_values`: one series per group and value.

use hashbrown::HashMap;

use tsdb::{Labels, LabelsBuilder};

use super::super::Eval;
use super::super::grid::Rows;
use super::super::group::GroupBy;
use super::super::source::Source;
use super::super::table::{Cell, Table};
use crate::error::Error;
use crate::format::{histogram, plain, quote};
use crate::parser::Aggregate;
use crate::value::is_absent;

/// Evaluates `count_values("label", …)`.
pub(super) fn count<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Table<'q>, Error> {
    let param = e.param.as_deref().ok_or_else(|| Error::Execution("count_values without parameter".into()))?;
    let bytes = eval.text(param)?;
    let label = std::str::from_utf8(bytes).ok().filter(|label| !label.is_empty());
    let label = label.ok_or_else(|| Error::Execution(format!("invalid label name {}", quote(bytes))))?;
    let table = eval.table(&e.expr)?;
    let by = GroupBy::new(e.grouping.as_ref());
    // `without` takes the new label away again if it lists it.
    let is_kept = e.grouping.as_ref().is_none_or(|g| !g.without || !g.labels.iter().any(|l| l == label));
    let steps = eval.grid.count;
    let mut place: HashMap<Labels, usize> = HashMap::new();
    let (mut labels, mut rows) = (Vec::new(), Rows { steps, ..Rows::default() });
    let mut held = eval.query.hold(0)?;
    for series in 0..table.len() {
        eval.query.stop.check("expression evaluation")?;
        let mut builder = LabelsBuilder::new(&by.labels_of(&table, series));
        let mut last: Option<(u64, usize)> = None;
        for step in 0..steps {
            let row = match (table.get(series, step), last) {
                (None, _) => continue,
                (Some(Cell::Float(value)), Some((bits, row))) if value.to_bits() == bits => row,
                (Some(cell), _) => {
                    let text = match cell {
                        Cell::Float(value) => plain(value),
                        Cell::Histogram(value) => histogram(value),
                    };
                    let named = builder.set(label, if is_kept { &text } else { "" }).build();
                    let row = *place.entry(named).or_insert_with_key(|named| {
                        labels.push(named.clone());
                        labels.len() - 1
                    });
                    if let Cell::Float(value) = cell {
                        last = Some((value.to_bits(), row));
                    }
                    row
                }
            };
            if row == rows.values.len() / steps {
                held.grow((steps * size_of::<f64>() + labels[row].size_bytes()) as u64)?;
                rows.values.resize(rows.values.len() + steps, crate::value::ABSENT);
            }
            let cell = &mut rows.row_mut(row)[step];
            *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
        }
    }
    drop(held);
    Table::from_rows(eval.query, labels, rows)
}
