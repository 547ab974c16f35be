//! An operator on two values, each a float or a histogram.

use std::sync::Arc;

use tsdb::{FloatHistogram, IncompatibleBuckets};

use super::super::query::Query;
use super::super::smoothed::note_reconciled;
use super::super::table::Cell;
use super::scalar::{arithmetic, compares};
use super::trim::trim;
use crate::parser::{Binary, BinaryOp};

/// What an operator makes of two values.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
    /// Filtered away, or not possible.
    Nothing,
}

impl From<Cell<'_>> for Outcome {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Float(value) => Self::Float(value),
            Cell::Histogram(histogram) => Self::Histogram(histogram.clone()),
        }
    }
}

/// Applies the operator of `e`; what is not possible is noted.
pub(super) fn apply(query: &Query<'_>, e: &Binary, a: Cell<'_>, b: Cell<'_>) -> Outcome {
    let op = e.op;
    if op.is_comparison() {
        return compare(query, e, a, b);
    }
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) if !op.is_trim() => Outcome::Float(arithmetic(op, a, b)),
        (Cell::Float(a), Cell::Histogram(b)) if op == BinaryOp::Mul => scaled(b, |h| h.mul(a)),
        (Cell::Histogram(a), Cell::Float(b)) if op == BinaryOp::Mul => scaled(a, |h| h.mul(b)),
        (Cell::Histogram(a), Cell::Float(b)) if op == BinaryOp::Div => scaled(a, |h| h.div(b)),
        (Cell::Histogram(a), Cell::Float(b)) if op.is_trim() => {
            Outcome::Histogram(trim(a, b, op == BinaryOp::TrimUpper).map_or_else(|| a.clone(), Arc::new))
        }
        (Cell::Histogram(a), Cell::Histogram(b)) if matches!(op, BinaryOp::Add | BinaryOp::Sub) => {
            combined(query, e, a, b)
        }
        _ => incompatible(query, e, a, b),
    }
}

fn compare(query: &Query<'_>, e: &Binary, a: Cell<'_>, b: Cell<'_>) -> Outcome {
    let holds = match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => compares(e.op, a, b),
        (Cell::Histogram(a), Cell::Histogram(b)) if matches!(e.op, BinaryOp::Equal | BinaryOp::NotEqual) => {
            equal(a, b) == (e.op == BinaryOp::Equal)
        }
        _ => return incompatible(query, e, a, b),
    };
    match (e.return_bool, holds) {
        (true, holds) => Outcome::Float(f64::from(u8::from(holds))),
        (false, true) => a.into(),
        (false, false) => Outcome::Nothing,
    }
}

/// Whether two histograms hold the same, hints and empty buckets aside.
fn equal(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let bare = |h: &FloatHistogram| {
        let mut h = h.clone();
        h.compact();
        h.counter_reset_hint = tsdb::CounterResetHint::Unknown;
        h
    };
    bare(a) == bare(b)
}

fn scaled(histogram: &FloatHistogram, scale: impl FnOnce(&mut FloatHistogram)) -> Outcome {
    let mut histogram = histogram.clone();
    scale(&mut histogram);
    Outcome::Histogram(Arc::new(histogram))
}

fn combined(query: &Query<'_>, e: &Binary, a: &FloatHistogram, b: &FloatHistogram) -> Outcome {
    let mut result = a.clone();
    let (combined, operation) = match e.op {
        BinaryOp::Add => (result.add(b), "addition"),
        _ => (result.sub(b), "subtraction"),
    };
    match combined {
        Ok(combined) => {
            if combined.reset_collision {
                query.notes.warn(e.span, format!("conflicting counter resets during histogram {operation}"));
            }
            if combined.bounds_reconciled {
                note_reconciled(query, e.span, operation);
            }
            result.compact();
            Outcome::Histogram(Arc::new(result))
        }
        Err(IncompatibleBuckets) => {
            let message = "incompatible bucket layout encountered for binary operator";
            query.notes.warn(e.span, format!("{message} {}", e.op.as_str()));
            Outcome::Nothing
        }
    }
}

fn incompatible(query: &Query<'_>, e: &Binary, a: Cell<'_>, b: Cell<'_>) -> Outcome {
    let kind = |cell| if matches!(cell, Cell::Float(_)) { "float" } else { "histogram" };
    let op = e.op.as_str();
    let message =
        format!("incompatible sample types encountered for binary operator \"{op}\": {} {op} {}", kind(a), kind(b));
    query.notes.info(e.span, message);
    Outcome::Nothing
}
