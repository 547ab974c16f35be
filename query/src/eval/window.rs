//! Range vectors: windows that slide over the samples of one series after the other.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tsdb::{
    Columns, CounterResetHint, FloatHistogram, HistogramSample, Labels, METRIC_NAME, SeriesSet, TimeRange, Timestamp,
};

use super::Eval;
use super::grid::{Grid, Rows, histogram_points};
use super::nodes::Counter;
use super::query::Query;
use super::selector::{detect_resets, names_one_metric, only_name};
use super::source::{PREFETCHED, Scratch, SharedSource, Source};
use super::subquery;
use super::table::Table;
use crate::error::Error;
use crate::format::quote;
use crate::functions::Geometry;
use crate::parser::{Expr, Extension, MatrixSelector, Span};
use crate::value::is_absent;

/// Which samples each window has. Series that were scraped together have samples at the same moments: what is found for
/// one holds for the next, and comparing the moments is cheaper than finding it anew.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    windows: Option<Windows>,
    times: Vec<i64>,
    /// First sample of each window, and the one after its last.
    pub(crate) bounds: Vec<(u32, u32)>,
    /// Samples in all windows together.
    pub(crate) samples: u64,
    /// Counts how often it changed, for what is derived from it.
    pub(crate) version: u64,
}

impl Plan {
    /// Finds the windows of samples at `times`, unless that has just been done.
    pub(crate) fn prepare(&mut self, times: &[i64], windows: &Windows) {
        if self.windows.as_ref() == Some(windows) && self.times == times {
            return;
        }
        self.version += 1;
        self.windows = Some(*windows);
        self.times.clear();
        self.times.extend_from_slice(times);
        self.bounds.clear();
        self.samples = 0;
        let (mut low, mut high) = (0, 0);
        for step in 0..windows.grid.count {
            let (start, end) = windows.bounds(step);
            high = behind(times, high, end);
            low = behind(&times[..high], low, start);
            self.bounds.push((low as u32, high as u32));
            self.samples += (high - low) as u64;
        }
    }
}

/// The place of the first of `times` behind `moment`, from place `at` on. A few steps, then by halves.
#[inline]
fn behind(times: &[i64], at: usize, moment: i64) -> usize {
    const STEPS: usize = 8;
    let near = times.len().min(at + STEPS);
    match times.get(at..near).unwrap_or_default().iter().position(|t| *t > moment) {
        Some(steps) => at + steps,
        None => near.max(at) + times.get(near..).unwrap_or_default().partition_point(|t| *t <= moment),
    }
}

/// The windows of a range vector: at step `k` those samples `t` with `start(k) < t <= end(k)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Where the windows end, but for the offset.
    pub(crate) grid: Grid,
    /// The steps that they are evaluated at.
    pub(crate) steps: Grid,
    pub(crate) range_ms: i64,
    pub(crate) offset_ms: i64,
    /// Samples this long before (and, if smoothed, after) a window belong to it too.
    pub(crate) extension: Option<Extension>,
    pub(crate) lookback_ms: i64,
}

impl Windows {
    /// Moment after which window `k` starts, as written.
    #[inline]
    pub(crate) fn start(&self, k: usize) -> i64 {
        self.end(k).saturating_sub(self.range_ms)
    }

    /// Last moment of window `k`, as written.
    #[inline]
    pub(crate) fn end(&self, k: usize) -> i64 {
        self.grid.at(k).saturating_sub(self.offset_ms)
    }

    /// The same with what `anchored` or `smoothed` adds.
    #[inline]
    fn bounds(&self, k: usize) -> (i64, i64) {
        let (start, end) = (self.start(k), self.end(k));
        match self.extension {
            None => (start, end),
            Some(Extension::Anchored) => (start.saturating_sub(self.lookback_ms), end),
            Some(Extension::Smoothed) => (start.saturating_sub(self.lookback_ms), end.saturating_add(self.lookback_ms)),
        }
    }

    fn read_range(&self) -> TimeRange {
        let first = self.bounds(0).0.saturating_add(1);
        TimeRange::from_millis(first, self.bounds(self.grid.count.saturating_sub(1)).1)
    }

    /// How many windows a sample lies in, about.
    pub(crate) fn overlap(&self) -> i64 {
        if self.grid.count < 2 || self.grid.step == 0 {
            return 1;
        }
        (self.range_ms / self.grid.step).min(self.grid.count as i64)
    }
}

/// The samples of one window. Stale markers are not among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) step: usize,
    /// The window as written is left-open: `(start, end]`.
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// When the counts of the floats began; empty if unknown for all.
    pub(crate) starts: &'a [i64],
    pub(crate) histograms: &'a [HistogramSample],
}

impl Window<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }
}

/// A row that a range function fills, and where it says what it noticed.
pub(crate) struct RowContext<'a, 'q> {
    pub(crate) query: &'q Query<'q>,
    /// Place of the range vector.
    pub(crate) span: Span,
    pub(crate) rows: &'a mut Rows,
    pub(crate) row: usize,
    pub(crate) name: &'a str,
    /// Samples looked at.
    pub(crate) samples: u64,
    /// The same by step; empty unless asked for.
    pub(crate) step_samples: &'a mut [u64],
    /// Which samples each window has.
    pub(crate) plan: &'a mut Plan,
    /// Memory for the function's own use.
    pub(crate) floats: &'a mut Vec<f64>,
    pub(crate) sums: &'a mut Vec<(f64, f64)>,
    pub(crate) geometry: &'a mut Geometry,
    pub(crate) indices: &'a mut Vec<u32>,
}

impl RowContext<'_, '_> {
    #[inline]
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.rows.values[self.row * self.rows.steps + step] = value;
    }

    pub(crate) fn set_histogram(&mut self, step: usize, histogram: FloatHistogram) {
        self.rows.set_histogram(self.row, step, Arc::new(histogram));
    }

    fn quoted_name(&self) -> String {
        quote(self.name.as_bytes())
    }

    pub(crate) fn warn_mixed_samples(&self) {
        let name = self.quoted_name();
        self.query.notes.warn(self.span, format!("encountered a mix of histograms and floats for metric name {name}"));
    }

    pub(crate) fn warn_mixed_buckets(&self) {
        super::smoothed::warn_mixed_buckets(self.query, self.span, self.name);
    }

    pub(crate) fn warn_not_a_counter(&self) {
        let name = self.quoted_name();
        self.query.notes.warn(self.span, format!("this native histogram metric is not a counter: {name}"));
    }

    pub(crate) fn warn_not_a_gauge(&self) {
        let name = self.quoted_name();
        self.query.notes.warn(self.span, format!("this native histogram metric is not a gauge: {name}"));
    }

    pub(crate) fn warn_start_overlap(&self) {
        let name = self.quoted_name();
        let message = "sample has start time that overlaps with previous sample timestamp for metric";
        self.query.notes.warn(self.span, format!("{message} {name}"));
    }

    pub(crate) fn info_histograms_ignored(&self) {
        let name = self.quoted_name();
        let message = "ignored histograms in a range containing both floats and histograms for metric name";
        self.query.notes.info(self.span, format!("{message} {name}"));
    }

    pub(crate) fn note_reconciled(&self, operation: &str) {
        super::smoothed::note_reconciled(self.query, self.span, operation);
    }

    /// Counts the samples in all windows of the plan.
    pub(crate) fn count_planned(&mut self) {
        self.samples += self.plan.samples;
        for (total, (low, high)) in self.step_samples.iter_mut().zip(&self.plan.bounds) {
            *total += u64::from(high - low);
        }
    }

    /// Calls `f(self, step, low, high)` for every window that has float samples: those from `low` to before `high`.
    #[inline]
    pub(crate) fn slide(
        &mut self,
        times: &[i64],
        windows: &Windows,
        mut f: impl FnMut(&mut Self, usize, usize, usize),
    ) {
        self.plan.prepare(times, windows);
        self.count_planned();
        let plan = std::mem::take(self.plan);
        for (step, (low, high)) in plan.bounds.iter().enumerate() {
            // Windows may be many and long. Who called finds out as well.
            if self.query.stop.is_set() {
                break;
            }
            if low < high {
                f(self, step, *low as usize, *high as usize);
            }
        }
        *self.plan = plan;
    }

    /// The same over floats and histograms together; `f` gets every window that has a sample of either kind.
    pub(crate) fn each_window(
        &mut self,
        columns: &Columns,
        windows: &Windows,
        mut f: impl FnMut(&mut Self, Window<'_>),
    ) {
        let (mut low, mut high, mut h_low, mut h_high) = (0, 0, 0, 0);
        let (times, histograms) = (&columns.timestamps_ms[..], &columns.histograms[..]);
        for step in 0..windows.grid.count {
            let (start, end) = windows.bounds(step);
            high = behind(times, high, end);
            low = behind(&times[..high], low, start);
            while h_high < histograms.len() && histograms[h_high].timestamp.millis() <= end {
                h_high += 1;
            }
            while h_low < h_high && histograms[h_low].timestamp.millis() <= start {
                h_low += 1;
            }
            let window = Window {
                step,
                start: windows.start(step),
                end: windows.end(step),
                times: &times[low..high],
                values: &columns.values[low..high],
                starts: columns.starts_ms.get(low..high).unwrap_or_default(),
                histograms: &histograms[h_low..h_high],
            };
            if window.is_empty() {
                continue;
            }
            if self.query.stop.is_set() {
                return;
            }
            let samples =
                (high - low) as u64 + window.histograms.iter().map(|h| histogram_points(&h.histogram)).sum::<u64>();
            self.samples += samples;
            if let Some(total) = self.step_samples.get_mut(step) {
                *total += samples;
            }
            f(self, window);
        }
    }
}

/// What a range function does with the samples of one series: it fills one row.
pub(crate) trait RangeFunction: Send + Sync {
    fn fill(&self, columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>) -> Result<(), Error>;
}

impl<F> RangeFunction for F
where
    F: Fn(&Columns, &Windows, &mut RowContext<'_, '_>) -> Result<(), Error> + Send + Sync,
{
    fn fill(&self, columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>) -> Result<(), Error> {
        self(columns, windows, row)
    }
}

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
    pub(crate) span: Span,
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
        let span = expr.span();
        match expr.unwrapped() {
            Expr::Matrix(matrix) => Self::stored(eval, matrix, span),
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
                    span,
                    stats_only: false,
                    newest_only: false,
                    count_steps: eval.counts_steps(),
                    counter,
                })
            }
            other => Err(Error::Execution(format!("expected a range vector, got {}", other.value_type()))),
        }
    }

    fn stored(eval: Eval<'q>, matrix: &'q MatrixSelector, span: Span) -> Result<Self, Error> {
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
            span,
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
                span: self.vector.span,
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
