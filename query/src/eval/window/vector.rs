//! Range vectors: the samples of series, and functions over them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tsdb::{Columns, CounterResetHint, HistogramSample, Labels, METRIC_NAME, SeriesSet, Timestamp};

use super::{RangeFunction, RowContext, Windows};
use crate::error::Error;
use crate::eval::grid::{Grid, Rows};
use crate::eval::nodes::Counter;
use crate::eval::notes::Origin;
use crate::eval::query::Query;
use crate::eval::selector::{detect_resets, names_one_metric, only_name};
use crate::eval::source::{PREFETCHED, Scratch, SharedSource, Source};
use crate::eval::table::Table;
use crate::eval::{Eval, subquery};
use crate::parser::{Expr, MatrixSelector, Span};
use crate::value::is_absent;

/// Where the samples of a range vector come from.
pub(crate) enum Samples<'q> {
    /// Series of the store.
    Stored(Arc<dyn SeriesSet>),
    /// The result of a subquery's inner expression at the moments of its own grid.
    Evaluated(Table<'q>, Grid),
}

/// A range vector: samples by series, and the windows over them.
pub(crate) struct RangeVector<'q> {
    pub(crate) query: &'q Query<'q>,
    pub(crate) samples: Samples<'q>,
    pub(crate) windows: Windows,
    /// Where notes about it come from.
    pub(crate) origin: Origin,
    /// The metric name, if the conditions let only one pass.
    name: Option<&'q str>,
    one_name: bool,
    stats_only: bool,
    newest_only: bool,
    count_steps: bool,
    counter: Arc<Counter>,
}

impl<'q> RangeVector<'q> {
    /// Opens a matrix selector or evaluates a subquery.
    ///
    /// # Errors
    /// If `expr` is neither, the store fails, or the inner expression of a subquery does.
    pub(crate) fn open(eval: Eval<'q>, expr: &'q Expr) -> Result<Self, Error> {
        match expr.unwrapped() {
            Expr::Matrix(matrix) => Self::stored(eval, matrix),
            Expr::Subquery(subquery) => {
                let begun = eval.query.nodes.now();
                let (table, grid, windows) = subquery::evaluate(eval, subquery)?;
                let counter = eval.query.nodes.spent(subquery.span, begun);
                counter.add_series(table.len());
                counter.add_values(table.rows.values.len() as u64);
                Ok(Self {
                    query: eval.query,
                    name: None,
                    one_name: table.one_name(),
                    samples: Samples::Evaluated(table, grid),
                    windows,
                    // As in Prometheus, where what a subquery gives has no place of its own.
                    origin: Span::FIRST.into(),
                    stats_only: false,
                    newest_only: false,
                    count_steps: eval.counts_steps(),
                    counter,
                })
            }
            other => Err(Error::Execution(format!("expected a range vector, got {}", other.value_type()))),
        }
    }

    fn stored(eval: Eval<'q>, matrix: &'q MatrixSelector) -> Result<Self, Error> {
        let selector = &matrix.selector;
        let windows = Windows {
            grid: eval.grid_for(&selector.modifiers),
            steps: eval.grid,
            range_ms: eval.range_ms(&matrix.range)?,
            offset_ms: eval.offset_ms(&selector.modifiers)?,
            extension: selector.extension,
            lookback_ms: eval.query.lookback_ms,
        };
        let begun = eval.query.nodes.now();
        let read = windows.read_range();
        let set = eval.query.select(&selector.matchers, read.start.millis(), read.end.millis())?;
        let counter = eval.query.nodes.spent(matrix.span, begun);
        counter.add_series(set.len());
        Ok(Self {
            query: eval.query,
            samples: Samples::Stored(set),
            windows,
            origin: matrix.span.into(),
            name: only_name(&selector.matchers),
            one_name: names_one_metric(&selector.matchers),
            stats_only: eval.stats_only,
            newest_only: false,
            count_steps: eval.counts_steps(),
            counter,
        })
    }

    /// The same where only the newest sample of each window is looked at.
    pub(crate) fn newest_only(mut self) -> Self {
        self.newest_only = self.windows.grid.count == 1 && !self.stats_only && !self.query.counts_all;
        self
    }

    pub(crate) fn len(&self) -> usize {
        match &self.samples {
            _ if self.windows.grid.count == 0 => 0,
            Samples::Stored(set) => set.len(),
            Samples::Evaluated(table, _) => table.len(),
        }
    }

    pub(crate) fn labels(&self, index: usize) -> Labels {
        match &self.samples {
            Samples::Stored(set) => set.labels(index),
            Samples::Evaluated(table, _) => table.labels(index),
        }
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        match &self.samples {
            Samples::Stored(set) => set.label(index, name),
            Samples::Evaluated(table, _) => table.label(index, name),
        }
    }

    fn metric_name(&self, index: usize) -> &str {
        self.name.or_else(|| self.label(index, METRIC_NAME)).unwrap_or_default()
    }

    pub(crate) fn drops_name(&self, index: usize) -> bool {
        match &self.samples {
            Samples::Stored(_) => false,
            Samples::Evaluated(table, _) => table.drops_name(index),
        }
    }

    /// Reads the samples of a series that any window needs, without stale markers.
    ///
    /// # Errors
    /// If the store fails or the series alone has more samples than the query may hold.
    pub(crate) fn read(&self, index: usize, columns: &mut Columns) -> Result<(), Error> {
        columns.clear();
        match &self.samples {
            Samples::Stored(set) => {
                let range = self.windows.read_range();
                if self.newest_only {
                    set.read_newest(index, range, columns)?;
                    remove_stale(columns);
                }
                if columns.is_empty() {
                    set.read(index, range, columns)?;
                    remove_stale(columns);
                }
                if self.stats_only {
                    detect_resets(columns);
                }
                let decoded = (columns.values.len() + columns.histograms.len()) as u64;
                self.query.counters.decoded.fetch_add(decoded, Ordering::Relaxed);
                self.counter.add_read(decoded, columns);
                self.counter.add_values(decoded);
                if decoded > self.query.options.max_samples {
                    self.query.budget.take_samples(decoded)?;
                }
            }
            Samples::Evaluated(table, grid) => read_evaluated(table, *grid, index, columns),
        }
        Ok(())
    }
}

fn read_evaluated(table: &Table<'_>, grid: Grid, index: usize, columns: &mut Columns) {
    for (step, value) in table.rows.row(index).iter().enumerate() {
        if !is_absent(*value) {
            columns.timestamps_ms.push(grid.at(step));
            columns.values.push(*value);
        }
    }
    for (step, histogram) in table.rows.histogram_row(index).iter().enumerate() {
        let Some(histogram) = histogram else { continue };
        let mut histogram = histogram.clone();
        // What the hints say of neighbours does not hold for the samples that the subquery picks.
        if matches!(histogram.counter_reset_hint, CounterResetHint::Reset | CounterResetHint::NotReset) {
            Arc::make_mut(&mut histogram).counter_reset_hint = CounterResetHint::Unknown;
        }
        columns.histograms.push(HistogramSample {
            timestamp: Timestamp::from_millis(grid.at(step)),
            start: None,
            histogram,
        });
    }
}

/// Takes stale markers out. Cost: one pass, nothing is moved if there are none.
fn remove_stale(columns: &mut Columns) {
    // In pieces that are looked at without a branch.
    let any = |values: &[f64]| values.iter().fold(false, |any, v| any | is_absent(*v));
    if let Some(piece) = columns.values.chunks(64).position(any) {
        let first = piece * 64;
        let mut kept = first;
        for i in first..columns.values.len() {
            if !is_absent(columns.values[i]) {
                columns.values[kept] = columns.values[i];
                columns.timestamps_ms[kept] = columns.timestamps_ms[i];
                if !columns.starts_ms.is_empty() {
                    columns.starts_ms[kept] = columns.starts_ms.get(i).copied().unwrap_or(0);
                }
                kept += 1;
            }
        }
        columns.values.truncate(kept);
        columns.timestamps_ms.truncate(kept);
        columns.starts_ms.truncate(kept);
    }
    if !columns.starts_ms.is_empty() {
        columns.starts_ms.resize(columns.values.len(), 0);
    }
    columns.histograms.retain(|h| !h.histogram.is_stale());
}

/// How far samples lie apart most often.
const USUAL_INTERVAL_MS: i64 = 15_000;

/// A range function over a range vector.
pub(crate) struct WindowSource<'q, F> {
    pub(crate) vector: RangeVector<'q>,
    pub(crate) function: F,
}

impl<'q, F: RangeFunction + 'q> WindowSource<'q, F> {
    pub(crate) fn shared(vector: RangeVector<'q>, function: F) -> SharedSource<'q> {
        Arc::new(Self { vector, function })
    }
}

impl<F: RangeFunction> Source for WindowSource<'_, F> {
    fn len(&self) -> usize {
        self.vector.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.vector.labels(index)
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.vector.label(index, name)
    }

    fn one_name(&self) -> bool {
        self.vector.one_name
    }

    fn weight(&self) -> usize {
        let span = self.vector.windows.read_range();
        match self.vector.samples {
            Samples::Stored(_) if !self.vector.newest_only => {
                let ms = span.end.millis().saturating_sub(span.start.millis());
                usize::try_from(ms / USUAL_INTERVAL_MS).unwrap_or(usize::MAX)
            }
            _ => 1,
        }
    }

    fn eval(&self, range: Range<usize>, rows: &mut Rows, scratch: &mut Scratch) -> Result<(), Error> {
        let query = self.vector.query;
        if self.vector.count_steps {
            scratch.step_samples.resize(self.vector.windows.grid.count, 0);
        }
        let (mut samples, end) = (0, range.end);
        for (row, index) in range.enumerate() {
            query.stop.check("expression evaluation")?;
            if let Samples::Stored(set) = &self.vector.samples
                && row.is_multiple_of(PREFETCHED)
            {
                set.prefetch(index..(index + PREFETCHED).min(end));
            }
            self.vector.read(index, &mut scratch.columns)?;
            let mut context = RowContext {
                query,
                origin: self.vector.origin,
                rows,
                row,
                name: self.vector.metric_name(index),
                samples: 0,
                step_samples: &mut scratch.step_samples,
                plan: &mut scratch.plan,
                floats: &mut scratch.floats,
                sums: &mut scratch.sums,
                geometry: &mut scratch.geometry,
                indices: &mut scratch.indices,
            };
            self.function.fill(&scratch.columns, &self.vector.windows, &mut context)?;
            samples += context.samples;
            query.stop.check("expression evaluation")?;
        }
        query.counters.add_samples(samples);
        if self.vector.count_steps {
            query.counters.add_steps(&mut scratch.step_samples);
        }
        Ok(())
    }
}
