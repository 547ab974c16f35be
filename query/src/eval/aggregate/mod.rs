//! Aggregations. Those that keep only their groups consume the series as they stream.

mod cells;
mod histograms;
mod pick;
mod quantile;
mod values;

use std::sync::Arc;

use super::group::{GroupBy, Groups, NameDrops};
use super::notes::Origin;
use super::source::{SharedSource, Source, for_each_batch};
use super::table::Table;
use super::{Eval, Output};
use crate::error::Error;
use crate::parser::{Aggregate, AggregateOp};
use cells::Cells;
use histograms::HistogramCells;
pub(crate) use histograms::HistogramMean;
pub(crate) use quantile::quantile;

/// Evaluates an aggregation.
///
/// # Errors
/// If its operand cannot be evaluated, or its parameter cannot be used.
pub(super) fn eval<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Output<'q>, Error> {
    let table = match e.op {
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Count
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Group
        | AggregateOp::Stddev
        | AggregateOp::Stdvar => fold(eval, e)?,
        AggregateOp::Topk | AggregateOp::Bottomk => pick::extremes(eval, e)?,
        AggregateOp::Limitk => pick::limit(eval, e)?,
        AggregateOp::LimitRatio => pick::limit_ratio(eval, e)?,
        AggregateOp::Quantile => quantile::eval(eval, e)?,
        AggregateOp::CountValues => values::count(eval, e)?,
    };
    Ok(Output::Series(Arc::new(table)))
}

/// Aggregations whose state is a few numbers per group and step.
fn fold<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Table<'q>, Error> {
    let query = eval.query;
    let source = eval.vector(&e.expr)?;
    let by = GroupBy::new(e.grouping.as_ref());
    let steps = eval.grid.count;
    let mut groups = Groups::default();
    let mut cells = Cells::new(e.op, steps);
    let mut histograms = HistogramCells::new(query, e, steps);
    let (mut names, delays) = (NameDrops::default(), query.delays_name_removal());
    let mut held = query.hold(0)?;
    for_each_batch(
        query,
        &*source,
        steps,
        |range, rows, _| {
            let (mut local, mut part) = (Groups::default(), Cells::new(e.op, steps));
            let (mut members, mut local_names) = (Vec::with_capacity(range.len()), NameDrops::default());
            for (row, index) in range.clone().enumerate() {
                // Series without values make no group.
                if !rows.any_present(row) {
                    members.push(usize::MAX);
                    continue;
                }
                let group = local.group_of(&by, &*source, index);
                part.grow(local.len());
                part.add_row(group, rows.row(row));
                if delays && let Some(step) = rows.last_present(row) {
                    local_names.add(group, step, source.drops_name(index));
                }
                members.push(group);
            }
            part.repair_overflow(rows, &members);
            let found = histograms::in_rows(rows, &members, range.start);
            Ok((local, part, local_names, found))
        },
        |(local, part, local_names, found)| {
            let place = groups.adopt(&local);
            names.adopt(&local_names, &place);
            held.grow(cells.grow(groups.len()))?;
            for (group, place) in place.iter().enumerate() {
                cells.merge_row(*place, &part, group);
            }
            for cell in found {
                held.grow(cell.histogram.size_bytes() as u64)?;
                histograms.add(&*source, place[cell.group], cell);
            }
            Ok(())
        },
    )?;
    let (labels, drops) = (group_labels(&groups, &by, &source), names.finish(groups.len()));
    let mut rows = cells.finish(&histograms);
    histograms.finish(&mut rows)?;
    drop(held);
    Ok(Table::from_rows(query, labels, rows)?.with_drops(drops))
}

/// The labels of the groups.
fn group_labels(groups: &Groups, by: &GroupBy<'_>, source: &SharedSource<'_>) -> Vec<tsdb::Labels> {
    groups.first.iter().map(|index| by.labels_of(&**source, *index as usize)).collect()
}

/// Marks of the groups of a table whose name is dropped at the end; series `i` belongs to group `members[i]`.
fn group_drops(table: &Table<'_>, members: &[usize], groups: usize) -> Vec<bool> {
    let mut names = NameDrops::default();
    for (series, group) in members.iter().enumerate() {
        if let Some(step) = table.rows.last_present(series) {
            names.add(*group, step, table.drops_name(series));
        }
    }
    names.finish(groups)
}

/// Sorts the series of a table into groups; series `i` belongs to group `result.1[i]`.
fn grouped(table: &Table<'_>, by: &GroupBy<'_>) -> (Groups, Vec<usize>) {
    let mut groups = Groups::default();
    let members = (0..table.len()).map(|index| groups.group_of(by, table, index)).collect();
    (groups, members)
}

/// Notes of an aggregation point at its operand, without parentheses.
fn operand(e: &Aggregate) -> Origin {
    Origin::new(e.span, e.expr.unwrapped().span())
}

/// Histograms were met where only floats count. Of aggregations that pick series the note points at their own place.
fn info_histograms_ignored(eval: Eval<'_>, e: &Aggregate) {
    let picks = matches!(e.op, AggregateOp::Topk | AggregateOp::Bottomk);
    let origin = if picks { e.span.into() } else { operand(e) };
    eval.query.notes.info(origin, format!("ignored histogram in {} aggregation", e.op.as_str()));
}
