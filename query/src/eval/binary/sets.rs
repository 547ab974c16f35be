//! `and`, `or`, `unless`: series by whether the other side has a match, step by step.

use std::sync::Arc;

use tsdb::Labels;

use super::super::grid::Rows;
use super::super::source::{SharedSource, Source};
use super::super::table::{NameOf, Table};
use super::super::{Eval, Output};
use super::signature::Signatures;
use crate::error::Error;
use crate::parser::{Binary, BinaryOp, Matching};

/// Evaluates a set operator.
pub(super) fn eval<'q>(
    eval: Eval<'q>,
    e: &'q Binary,
    matching: &Matching,
    lhs: SharedSource<'q>,
    rhs: SharedSource<'q>,
) -> Result<Output<'q>, Error> {
    let (query, steps) = (eval.query, eval.grid.count);
    let lhs = Table::of(query, lhs, steps)?;
    let rhs = Table::of(query, rhs, steps)?;
    let mut signatures = Signatures::new(matching);
    let (left, right) = (signatures.of(&lhs), signatures.of(&rhs));
    let _held = query.hold((signatures.len() * steps) as u64 + signatures.size_bytes())?;
    let table = match e.op {
        BinaryOp::Or => {
            let taken = presence(&lhs, &left, signatures.len());
            let mut result = Selection::new(steps);
            result.take(&lhs, |_, _| true);
            result.take(&rhs, |series, step| !taken[right[series] as usize * steps + step]);
            result.finish(eval)?
        }
        op => {
            let there = presence(&rhs, &right, signatures.len());
            let wanted = op == BinaryOp::And;
            chosen(eval, lhs, |series, step| there[left[series] as usize * steps + step] == wanted)?
        }
    };
    let source: SharedSource<'q> = Arc::new(table);
    if e.op == BinaryOp::Or {
        return Ok(Output::Series(Arc::new(Table::merged(query, source, steps, NameOf::FirstStep)?)));
    }
    Ok(Output::Series(source))
}

/// Whether any series with a signature has a value at a step: cell `signature * steps + step`.
fn presence(table: &Table<'_>, numbers: &[u32], signatures: usize) -> Vec<bool> {
    let steps = table.rows.steps;
    let mut present = vec![false; signatures * steps];
    for (series, number) in numbers.iter().enumerate() {
        for step in 0..steps {
            present[*number as usize * steps + step] |= table.rows.is_present(series, step);
        }
    }
    present
}

/// Those steps of a table that `keep` names. Labels are made when asked for.
fn chosen<'q>(eval: Eval<'q>, table: Table<'q>, keep: impl Fn(usize, usize) -> bool) -> Result<Table<'q>, Error> {
    let steps = eval.grid.count;
    let (mut rows, mut kept) = (Rows { steps, ..Rows::default() }, Vec::new());
    for series in 0..table.len() {
        eval.query.stop.check("expression evaluation")?;
        if !(0..steps).any(|step| table.rows.is_present(series, step) && keep(series, step)) {
            continue;
        }
        rows.push_row(&table.rows, series);
        (0..steps).filter(|step| !keep(series, *step)).for_each(|step| rows.clear_step(kept.len(), step));
        kept.push(series as u32);
    }
    Table::picked(eval.query, Arc::new(table), kept, rows)
}

/// Series with some of their steps.
struct Selection {
    rows: Rows,
    labels: Vec<Labels>,
    drops: Vec<bool>,
    one_name: bool,
    tables: usize,
}

impl Selection {
    fn new(steps: usize) -> Self {
        Self {
            rows: Rows { steps, ..Rows::default() },
            labels: Vec::new(),
            drops: Vec::new(),
            one_name: true,
            tables: 0,
        }
    }

    fn take(&mut self, table: &Table<'_>, keep: impl Fn(usize, usize) -> bool) {
        self.tables += 1;
        self.one_name &= table.one_name();
        for series in 0..table.len() {
            let last = self.labels.len();
            self.rows.push_row(&table.rows, series);
            for step in 0..self.rows.steps {
                if !keep(series, step) {
                    self.rows.clear_step(last, step);
                }
            }
            if self.rows.any_present(last) {
                self.labels.push(table.labels(series));
                self.drops.push(table.drops_name(series));
            } else {
                let cells = last * self.rows.steps;
                self.rows.values.truncate(cells);
                self.rows.histograms.truncate(cells);
            }
        }
    }

    fn finish<'q>(self, eval: Eval<'q>) -> Result<Table<'q>, Error> {
        let one_name = self.one_name && self.tables == 1;
        Ok(Table::from_rows(eval.query, self.labels, self.rows)?.with_drops(self.drops).with_one_name(one_name))
    }
}
