//! Evaluation: every expression gives its values for all steps at once.

pub(crate) mod aggregate;
pub(crate) mod binary;
pub(crate) mod grid;
pub(crate) mod group;
pub(crate) mod kahan;
pub(crate) mod nodes;
pub(crate) mod notes;
pub(crate) mod pool;
pub(crate) mod query;
pub(crate) mod selector;
pub(crate) mod smoothed;
pub(crate) mod source;
mod subquery;
pub(crate) mod table;
pub(crate) mod window;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::parser::{At, DurationExpr, Expr, Modifiers, Span, Unary, ValueType};
use crate::value::is_absent;
use grid::{Grid, Rows};
use nodes::Counted;
use query::Query;
use source::{Broadcast, Mapped, SharedSource, WithoutName, has_metadata_labels};
use table::{NameOf, Table};

/// A query, and the steps that a part of it is evaluated at.
#[derive(Clone, Copy)]
pub(crate) struct Eval<'q> {
    pub(crate) query: &'q Query<'q>,
    pub(crate) grid: Grid,
    /// Whether only count and sum of histograms are used.
    pub(crate) stats_only: bool,
    /// Whether the steps are those of the query, so that samples can be counted by them.
    pub(crate) counts: bool,
}

/// What an expression evaluates to.
pub(crate) enum Output<'q> {
    /// One number per step.
    Scalar(Vec<f64>),
    /// A text; escapes can make any bytes.
    Text(&'q [u8]),
    /// Series, evaluated when somebody asks.
    Series(SharedSource<'q>),
}

impl<'q> Eval<'q> {
    /// Evaluates an expression that is no range vector.
    ///
    /// # Errors
    /// If the store fails, a limit is passed, the query is stopped or cannot be answered.
    pub(crate) fn eval(self, expr: &'q Expr) -> Result<Output<'q>, Error> {
        if self.grid.count > 1 && expr.is_step_invariant() && !matches!(expr, Expr::Number(_) | Expr::Text(_)) {
            return self.once(expr);
        }
        let begun = self.query.nodes.now();
        if self.grid.count > 1 && expr.value_type() == ValueType::Scalar && !matches!(expr, Expr::Paren(_)) {
            // Numbers by step, held until the query ends at the latest.
            self.query.budget.take_bytes((self.grid.count * size_of::<f64>()) as u64)?;
        }
        let output = match expr {
            Expr::Number(e) => return Ok(Output::Scalar(vec![e.value; self.grid.count])),
            Expr::Text(e) => return Ok(Output::Text(&e.value)),
            Expr::Paren(e) => return self.eval(&e.expr),
            // Counts each operator of a chain by itself.
            Expr::Binary(e) => return binary::eval(self, e),
            Expr::Selector(e) => Output::Series(selector::open(self, e, selector::Take::Value)?),
            Expr::Call(e) => (e.function.eval)(self, e)?,
            Expr::Aggregate(e) => aggregate::eval(self, e)?,
            Expr::Unary(e) => self.unary(e)?,
            Expr::Matrix(_) | Expr::Subquery(_) => {
                return Err(Error::Execution("range vector in a place for an instant vector".into()));
            }
        };
        Ok(self.counted(expr.span(), begun, output))
    }

    /// Counts what the node at `span` took since `begun`, and what its series will take.
    fn counted(self, span: Span, begun: Duration, output: Output<'q>) -> Output<'q> {
        let nodes = &self.query.nodes;
        let counter = nodes.spent(span, begun);
        match output {
            Output::Series(inner) => {
                counter.add_series(inner.len());
                Output::Series(Arc::new(Counted { inner, nodes, counter }))
            }
            other => other,
        }
    }

    /// Evaluates what is the same at every step at the first one.
    fn once(self, expr: &'q Expr) -> Result<Output<'q>, Error> {
        let first = Self { grid: Grid::instant(self.grid.start), counts: false, ..self };
        Ok(match first.eval(expr)? {
            Output::Scalar(values) => {
                Output::Scalar(vec![values.first().copied().unwrap_or(f64::NAN); self.grid.count])
            }
            Output::Text(text) => Output::Text(text),
            Output::Series(inner) => {
                // Evaluated now, so that the values of batches are not computed per step.
                let table = Arc::new(Table::of(self.query, inner, 1)?);
                Output::Series(Arc::new(Broadcast { inner: table, grid: self.grid }))
            }
        })
    }

    /// Evaluates an expression whose type is checked to be a vector.
    ///
    /// # Errors
    /// As [`eval`](Self::eval).
    pub(crate) fn vector(self, expr: &'q Expr) -> Result<SharedSource<'q>, Error> {
        match self.eval(expr)? {
            Output::Series(source) => Ok(source),
            Output::Scalar(_) | Output::Text(_) => Err(wrong_type("instant vector")),
        }
    }

    /// Evaluates an expression whose type is checked to be a vector, completely.
    ///
    /// # Errors
    /// As [`eval`](Self::eval).
    pub(crate) fn table(self, expr: &'q Expr) -> Result<Table<'q>, Error> {
        let source = self.vector(expr)?;
        Table::of(self.query, source, self.grid.count)
    }

    /// Evaluates an expression whose type is checked to be a scalar.
    ///
    /// # Errors
    /// As [`eval`](Self::eval).
    pub(crate) fn scalar(self, expr: &'q Expr) -> Result<Vec<f64>, Error> {
        match self.eval(expr)? {
            Output::Scalar(values) => Ok(values),
            Output::Series(_) | Output::Text(_) => Err(wrong_type("scalar")),
        }
    }

    /// The text that an expression whose type is checked to be a string stands for.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn text(self, expr: &'q Expr) -> Result<&'q [u8], Error> {
        match self.eval(expr)? {
            Output::Text(text) => Ok(text),
            Output::Series(_) | Output::Scalar(_) => Err(wrong_type("string")),
        }
    }

    /// How much earlier than the steps of [`grid_for`](Self::grid_for) something looks.
    ///
    /// # Errors
    /// If the duration cannot be computed.
    pub(crate) fn offset_ms(self, modifiers: &Modifiers) -> Result<i64, Error> {
        let times = self.query.times();
        let offset = match &modifiers.offset {
            Some(offset) => offset.to_millis(times).map_err(|reason| Error::Execution(reason.into()))?,
            None => 0,
        };
        let at = match modifiers.at {
            None => return Ok(offset),
            Some(At::Time(at)) => at.millis(),
            Some(At::Start) => self.query.start_ms,
            Some(At::End) => self.query.end_ms,
        };
        Ok(self.grid.start.saturating_sub(at).saturating_add(offset))
    }

    /// The steps that something looks from: with `@` the same moment again and again.
    pub(crate) fn grid_for(self, modifiers: &Modifiers) -> Grid {
        if modifiers.at.is_some() { Grid { step: 0, ..self.grid } } else { self.grid }
    }

    /// The length of a window or step, at least 1.
    ///
    /// # Errors
    /// If the duration cannot be computed or is not positive.
    pub(crate) fn range_ms(self, range: &DurationExpr) -> Result<i64, Error> {
        match range.to_millis(self.query.times()) {
            Ok(millis) if millis > 0 => Ok(millis),
            Ok(_) => Err(Error::Execution("duration must be greater than 0".into())),
            Err(reason) => Err(Error::Execution(reason.into())),
        }
    }

    /// Whether samples are to be counted by step.
    pub(crate) fn counts_steps(self) -> bool {
        self.counts && !self.query.counters.step_samples.is_empty()
    }

    fn unary(self, e: &'q Unary) -> Result<Output<'q>, Error> {
        match self.eval(&e.expr)? {
            output if !e.negative => Ok(output),
            Output::Scalar(values) => Ok(Output::Scalar(values.into_iter().map(|v| -v).collect())),
            Output::Series(inner) => {
                let negated = Arc::new(Mapped { inner, map: negate });
                Ok(Output::Series(self.without_name(negated)?))
            }
            Output::Text(_) => Err(wrong_type("scalar or instant vector")),
        }
    }

    /// Drops the metric name (and type and unit) from the labels of `source`, now or at the end. Series that become equal are merged.
    ///
    /// # Errors
    /// If two of them have values at the same step.
    pub(crate) fn without_name(self, source: SharedSource<'q>) -> Result<SharedSource<'q>, Error> {
        let delayed = self.query.delays_name_removal();
        let unique =
            delayed || (source.one_name() && !(self.query.has_metadata_labels()? && has_metadata_labels(&*source)));
        let unnamed: SharedSource<'q> = Arc::new(WithoutName { inner: source, delayed });
        if unique {
            return Ok(unnamed);
        }
        Ok(Arc::new(Table::merged(self.query, unnamed, self.grid.count, NameOf::FirstSeries)?.with_one_name(true)))
    }
}

fn negate(rows: &mut Rows) -> Result<(), Error> {
    for value in &mut rows.values {
        if !is_absent(*value) {
            *value = -*value;
        }
    }
    for histogram in rows.histograms.iter_mut().flatten() {
        Arc::make_mut(histogram).mul(-1.0);
    }
    Ok(())
}

fn wrong_type(expected: &str) -> Error {
    Error::Execution(format!("expected {expected}"))
}
