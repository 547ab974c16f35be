//! Sums and means of native histograms.

use hashbrown::HashMap;
use std::sync::Arc;

use tsdb::{CounterResetHint, FloatHistogram, IncompatibleBuckets, KahanHistogram, METRIC_NAME};

use super::super::grid::Rows;
use super::super::query::Query;
use super::super::smoothed::{note_reconciled, warn_mixed_buckets};
use super::super::source::Source;
use super::operand;
use crate::error::Error;
use crate::parser::{Aggregate, AggregateOp};
use crate::value::is_absent;

/// A histogram that a batch holds.
pub(super) struct Found {
    pub(super) group: usize,
    step: usize,
    series: usize,
    pub(super) histogram: Arc<FloatHistogram>,
}

/// The histograms of a batch, series by series. `first` is the index of its first series.
pub(super) fn in_rows(rows: &Rows, members: &[usize], first: usize) -> Vec<Found> {
    let mut found = Vec::new();
    if !rows.has_histograms() {
        return found;
    }
    for (row, group) in members.iter().enumerate() {
        for (step, histogram) in rows.histogram_row(row).iter().enumerate() {
            if let Some(histogram) = histogram {
                found.push(Found { group: *group, step, series: first + row, histogram: histogram.clone() });
            }
        }
    }
    found
}

/// The mean of histograms: a compensated sum as long as that does not overflow, an incremental mean from then on.
#[derive(Clone, Debug)]
pub(crate) struct HistogramMean {
    sum: KahanHistogram,
    count: f64,
    incremental: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: FloatHistogram) -> Self {
        Self { sum: KahanHistogram::new(first), count: 1.0, incremental: false }
    }

    /// Adds one; says whether custom bounds were reconciled.
    ///
    /// # Errors
    /// If exponential and custom buckets meet.
    pub(crate) fn add(&mut self, histogram: &FloatHistogram) -> Result<bool, IncompatibleBuckets> {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum.clone();
            let combined = next.add(histogram)?;
            if !next.has_overflow() {
                self.sum = next;
                return Ok(combined.bounds_reconciled);
            }
            self.incremental = true;
            self.sum.div(self.count - 1.0);
        }
        self.sum.mul((self.count - 1.0) / self.count);
        let mut share = histogram.clone();
        share.div(self.count);
        Ok(self.sum.add(&share)?.bounds_reconciled)
    }

    pub(crate) fn value(mut self) -> FloatHistogram {
        if !self.incremental {
            self.sum.div(self.count);
        }
        self.sum.total()
    }
}

enum State {
    Count,
    Sum(Box<KahanHistogram>),
    Mean(Box<HistogramMean>),
    /// Exponential and custom buckets met: no result.
    Incompatible,
}

struct Cell {
    state: State,
    count: f64,
    saw_reset: bool,
    saw_no_reset: bool,
}

/// What an aggregation keeps of histograms, by cell `group * steps + step`.
pub(super) struct HistogramCells<'q> {
    query: &'q Query<'q>,
    e: &'q Aggregate,
    steps: usize,
    cells: HashMap<usize, Cell>,
}

impl<'q> HistogramCells<'q> {
    pub(super) fn new(query: &'q Query<'q>, e: &'q Aggregate, steps: usize) -> Self {
        Self { query, e, steps, cells: HashMap::new() }
    }

    /// How many histograms a cell has.
    pub(super) fn count(&self, cell: usize) -> f64 {
        self.cells.get(&cell).map_or(0.0, |c| c.count)
    }

    /// Adds a histogram; they come in the order of their series.
    pub(super) fn add(&mut self, source: &dyn Source, group: usize, found: Found) {
        let op = self.e.op;
        if !matches!(op, AggregateOp::Sum | AggregateOp::Avg | AggregateOp::Count | AggregateOp::Group) {
            self.query.notes.info(operand(self.e), format!("ignored histogram in {} aggregation", op.as_str()));
            return;
        }
        let Found { step, series, histogram, .. } = found;
        let hint = histogram.counter_reset_hint;
        let reconciled = match self.cells.entry(group * self.steps + step) {
            hashbrown::hash_map::Entry::Vacant(entry) => {
                let state = match op {
                    AggregateOp::Sum => State::Sum(Box::new(KahanHistogram::new((*histogram).clone()))),
                    AggregateOp::Avg => State::Mean(Box::new(HistogramMean::new((*histogram).clone()))),
                    _ => State::Count,
                };
                let saw = (hint == CounterResetHint::Reset, hint == CounterResetHint::NotReset);
                entry.insert(Cell { state, count: 1.0, saw_reset: saw.0, saw_no_reset: saw.1 });
                return;
            }
            hashbrown::hash_map::Entry::Occupied(mut entry) => {
                let cell = entry.get_mut();
                cell.count += 1.0;
                cell.saw_reset |= hint == CounterResetHint::Reset;
                cell.saw_no_reset |= hint == CounterResetHint::NotReset;
                let added = match &mut cell.state {
                    State::Sum(sum) => sum.add(&histogram).map(|combined| combined.bounds_reconciled),
                    State::Mean(mean) => mean.add(&histogram),
                    State::Count | State::Incompatible => Ok(false),
                };
                if added.is_err() {
                    cell.state = State::Incompatible;
                }
                added
            }
        };
        match reconciled {
            Ok(true) => note_reconciled(self.query, operand(self.e), "aggregation"),
            Ok(false) => {}
            Err(IncompatibleBuckets) => {
                let name = source.label(series, METRIC_NAME).unwrap_or_default();
                warn_mixed_buckets(self.query, operand(self.e), name);
            }
        }
    }

    /// Puts the results into `rows`; where there is a float, too, there is no result.
    ///
    /// # Errors
    /// If the query is stopped.
    pub(super) fn finish(self, rows: &mut Rows) -> Result<(), Error> {
        let origin = operand(self.e);
        for (cell, Cell { state, saw_reset, saw_no_reset, .. }) in self.cells {
            self.query.stop.check("expression evaluation")?;
            let (group, step) = (cell / self.steps, cell % self.steps);
            if matches!(state, State::Count) {
                continue;
            }
            if saw_reset && saw_no_reset {
                self.query.notes.warn(origin, "conflicting counter resets during histogram aggregation".into());
            }
            if !is_absent(rows.values[cell]) {
                self.query.notes.warn(origin, "encountered a mix of histograms and floats for aggregation".into());
                rows.clear_step(group, step);
                continue;
            }
            let mut histogram = match state {
                State::Sum(sum) => sum.total(),
                State::Mean(mean) => mean.value(),
                State::Count | State::Incompatible => continue,
            };
            histogram.compact();
            rows.set_histogram(group, step, Arc::new(histogram));
        }
        Ok(())
    }
}
