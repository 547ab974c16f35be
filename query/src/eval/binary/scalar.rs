//! Operators with a number on at least one side.

use std::sync::Arc;

use super::super::grid::Rows;
use super::super::source::{Mapped, SharedSource};
use super::super::table::Cell;
use super::super::{Eval, Output};
use super::cells::{Outcome, apply};
use crate::error::Error;
use crate::functions::numeric::pow;
use crate::parser::{Binary, BinaryOp};
use crate::value::{ABSENT, is_absent};

/// An arithmetic operator on two numbers.
#[inline]
pub(super) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => pow(a, b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::NAN,
    }
}

/// A comparison of two numbers.
#[inline]
pub(super) fn compares(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterEqual => a >= b,
        _ => false,
    }
}

pub(super) fn between_scalars(op: BinaryOp, mut lhs: Vec<f64>, rhs: &[f64]) -> Vec<f64> {
    for (a, b) in lhs.iter_mut().zip(rhs) {
        *a = if op.is_comparison() { f64::from(u8::from(compares(op, *a, *b))) } else { arithmetic(op, *a, *b) };
    }
    lhs
}

/// A vector and a number per step; `swapped` if the number stands on the left.
pub(super) fn with_vector<'q>(
    eval: Eval<'q>,
    e: &'q Binary,
    vector: SharedSource<'q>,
    numbers: Vec<f64>,
    swapped: bool,
) -> Result<Output<'q>, Error> {
    let query = eval.query;
    let map = move |rows: &mut Rows| -> Result<(), Error> {
        for (row, cells) in rows.values.chunks_mut(numbers.len().max(1)).enumerate() {
            let _ = row;
            map_row(e, cells, &numbers, swapped);
        }
        // Trimming a float is a mistake that is noted where it happens.
        if rows.has_histograms() || e.op.is_trim() {
            for row in 0..rows.len() {
                for (step, number) in numbers.iter().enumerate() {
                    map_cell(query, e, rows, (row, step), *number, swapped);
                }
            }
        }
        Ok(())
    };
    let mapped: SharedSource<'q> = Arc::new(Mapped { inner: vector, map });
    let drops = drops_name(e);
    Ok(Output::Series(if drops { eval.without_name(mapped)? } else { mapped }))
}

/// Whether the result has no metric name.
pub(super) fn drops_name(e: &Binary) -> bool {
    e.return_bool || !(e.op.is_comparison() || e.op.is_trim() || e.op.is_set())
}

/// The floats of a row. One loop per operator, so that each can be done for several steps at once.
fn map_row(e: &Binary, cells: &mut [f64], numbers: &[f64], swapped: bool) {
    macro_rules! each {
        ($f:expr) => {
            for (cell, number) in cells.iter_mut().zip(numbers) {
                let (a, b) = if swapped { (*number, *cell) } else { (*cell, *number) };
                let result = $f(a, b);
                *cell = if is_absent(*cell) { ABSENT } else { result };
            }
        };
    }
    let op = e.op;
    match op {
        BinaryOp::Add => each!(|a: f64, b: f64| a + b),
        BinaryOp::Sub => each!(|a: f64, b: f64| a - b),
        BinaryOp::Mul => each!(|a: f64, b: f64| a * b),
        BinaryOp::Div => each!(|a: f64, b: f64| a / b),
        BinaryOp::Mod | BinaryOp::Pow | BinaryOp::Atan2 => each!(|a: f64, b: f64| arithmetic(op, a, b)),
        _ if op.is_comparison() && e.return_bool => each!(|a: f64, b: f64| f64::from(u8::from(compares(op, a, b)))),
        _ if op.is_comparison() => {
            for (cell, number) in cells.iter_mut().zip(numbers) {
                let (a, b) = if swapped { (*number, *cell) } else { (*cell, *number) };
                if !compares(op, a, b) {
                    *cell = ABSENT;
                }
            }
        }
        _ => {}
    }
}

/// Histograms, and trim operators on anything.
fn map_cell(
    query: &super::super::query::Query<'_>,
    e: &Binary,
    rows: &mut Rows,
    (row, step): (usize, usize),
    number: f64,
    swapped: bool,
) {
    let own = match rows.histogram(row, step) {
        Some(histogram) => Cell::Histogram(histogram),
        None if e.op.is_trim() && !is_absent(rows.row(row)[step]) => Cell::Float(rows.row(row)[step]),
        None => return,
    };
    let (a, b) = if swapped { (Cell::Float(number), own) } else { (own, Cell::Float(number)) };
    match apply(query, e, a, b) {
        Outcome::Float(value) => {
            rows.clear_step(row, step);
            rows.row_mut(row)[step] = value;
        }
        Outcome::Histogram(histogram) => rows.set_histogram(row, step, histogram),
        Outcome::Nothing => rows.clear_step(row, step),
    }
}
