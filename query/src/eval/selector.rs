//! Instant vector selectors: the newest sample within the lookback, at every step.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tsdb::{Columns, CounterResetHint, Labels, METRIC_NAME, MatchOp, Matcher, SeriesSet, TimeRange, is_stale};

use super::Eval;
use super::grid::{Grid, Rows, histogram_points};
use super::nodes::Counter;
use super::query::Query;
use super::smoothed;
use super::source::{PREFETCHED, Scratch, SharedSource, Source};
use crate::error::Error;
use crate::parser::{Extension, Span, VectorSelector};
use crate::value::{ABSENT, is_absent};

/// What of a sample becomes the value of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Its value.
    Value,
    /// When it was taken, in seconds.
    Timestamp,
    /// When its counts began, in seconds; 0 if unknown.
    Start,
    /// When it was taken, in milliseconds; histograms stay what they are.
    Origin,
}

/// Selected series.
pub(crate) struct SelectorSource<'q> {
    query: &'q Query<'q>,
    set: Arc<dyn SeriesSet>,
    one_name: bool,
    grid: Grid,
    offset_ms: i64,
    take: Take,
    stats_only: bool,
    smoothed: bool,
    count_steps: bool,
    span: Span,
    counter: Arc<Counter>,
}

/// Opens a selector over the grid of `eval`.
///
/// # Errors
/// If the store fails.
pub(crate) fn open<'q>(eval: Eval<'q>, selector: &'q VectorSelector, take: Take) -> Result<SharedSource<'q>, Error> {
    let offset_ms = eval.offset_ms(&selector.modifiers)?;
    let extension = selector.extension;
    if extension == Some(Extension::Anchored) {
        return Err(Error::Execution("anchored modifier can only be used with range vectors".into()));
    }
    let eval = Eval { grid: eval.grid_for(&selector.modifiers), ..eval };
    open_matching(eval, &selector.matchers, offset_ms, take, selector.span, extension.is_some())
}

/// Opens the series that pass `matchers`, seen `offset_ms` earlier.
///
/// # Errors
/// If the store fails.
pub(crate) fn open_matching<'q>(
    eval: Eval<'q>,
    matchers: &[Matcher],
    offset_ms: i64,
    take: Take,
    span: Span,
    smoothed: bool,
) -> Result<SharedSource<'q>, Error> {
    let (query, grid) = (eval.query, eval.grid);
    let (first, last) = read_range(query, grid, offset_ms, smoothed);
    Ok(Arc::new(SelectorSource {
        query,
        set: query.select(matchers, first, last)?,
        one_name: names_one_metric(matchers),
        grid,
        offset_ms,
        take,
        stats_only: eval.stats_only,
        smoothed,
        count_steps: eval.counts_steps(),
        span,
        counter: query.nodes.at(span),
    }))
}

/// The first and last moment that samples are needed of.
fn read_range(query: &Query<'_>, grid: Grid, offset_ms: i64, smoothed: bool) -> (i64, i64) {
    let first = grid.start.saturating_sub(offset_ms).saturating_sub(query.lookback_ms).saturating_add(1);
    let last = grid.end().saturating_sub(offset_ms);
    (first, if smoothed { last.saturating_add(query.lookback_ms) } else { last })
}

/// Whether the conditions let only one metric name pass.
pub(crate) fn names_one_metric(matchers: &[Matcher]) -> bool {
    only_name(matchers).is_some()
}

/// The only metric name that the conditions let pass.
pub(crate) fn only_name(matchers: &[Matcher]) -> Option<&str> {
    matchers.iter().find(|m| m.op() == MatchOp::Equal && m.name() == METRIC_NAME).map(Matcher::value)
}

impl Source for SelectorSource<'_> {
    fn len(&self) -> usize {
        if self.grid.count == 0 { 0 } else { self.set.len() }
    }

    fn labels(&self, index: usize) -> Labels {
        self.set.labels(index)
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.set.label(index, name)
    }

    fn one_name(&self) -> bool {
        self.one_name
    }

    fn eval(&self, range: Range<usize>, rows: &mut Rows, scratch: &mut Scratch) -> Result<(), Error> {
        let (first, last) = read_range(self.query, self.grid, self.offset_ms, self.smoothed);
        let (mut samples, mut decoded) = (0, 0);
        if self.count_steps {
            scratch.step_samples.resize(self.grid.count, 0);
        }
        let end = range.end;
        for (row, index) in range.enumerate() {
            self.query.stop.check("expression evaluation")?;
            if row.is_multiple_of(PREFETCHED) {
                self.set.prefetch(index..(index + PREFETCHED).min(end));
            }
            let columns = &mut scratch.columns;
            columns.clear();
            let range = TimeRange::from_millis(first, last);
            if self.grid.count == 1 && !self.smoothed {
                self.set.read_newest(index, range, columns)?;
                // What the hints are made of lies before the newest.
                if self.stats_only && !columns.histograms.is_empty() {
                    columns.clear();
                    self.set.read(index, range, columns)?;
                }
            } else {
                self.set.read(index, range, columns)?;
            }
            decoded += (columns.values.len() + columns.histograms.len()) as u64;
            if self.stats_only {
                detect_resets(columns);
            }
            if self.smoothed {
                let name = || self.set.label(index, METRIC_NAME).unwrap_or_default();
                samples +=
                    smoothed::interpolate(self.query, columns, self.grid, self.offset_ms, self.span, &name, rows, row);
            } else if columns.histograms.is_empty() && self.take == Take::Value {
                let newest = &mut scratch.newest;
                newest.prepare(&columns.timestamps_ms, self.grid, self.offset_ms, self.query.lookback_ms);
                samples += newest.fill(&columns.values, rows.row_mut(row));
            } else {
                samples += self.newest(columns, rows, row);
            }
            if self.count_steps {
                for (step, total) in scratch.step_samples.iter_mut().enumerate() {
                    *total += u64::from(rows.is_present(row, step));
                }
            }
        }
        self.query.counters.add_samples(samples);
        self.query.counters.decoded.fetch_add(decoded, Ordering::Relaxed);
        self.counter.add_read(decoded, &mut scratch.columns);
        if self.count_steps {
            self.query.counters.add_steps(&mut scratch.step_samples);
        }
        Ok(())
    }
}

/// Which sample each step sees. As with windows, series that were scraped together share it.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    key: Option<(Grid, i64, i64)>,
    times: Vec<i64>,
    /// The newest sample no older than the lookback, by step; [`NOTHING`] if there is none.
    samples: Vec<u32>,
}

/// No sample.
const NOTHING: u32 = u32::MAX;

impl Newest {
    fn prepare(&mut self, times: &[i64], grid: Grid, offset_ms: i64, lookback_ms: i64) {
        let key = Some((grid, offset_ms, lookback_ms));
        if self.key == key && self.times == times {
            return;
        }
        self.key = key;
        self.times.clear();
        self.times.extend_from_slice(times);
        self.samples.clear();
        let mut next = 0;
        for step in 0..grid.count {
            let at = grid.at(step).saturating_sub(offset_ms);
            while next < times.len() && times[next] <= at {
                next += 1;
            }
            let newest = next.checked_sub(1).filter(|i| times[*i] > at.saturating_sub(lookback_ms));
            self.samples.push(newest.map_or(NOTHING, |i| i as u32));
        }
    }

    /// Fills a row with floats; returns how many there are. Stale markers are [`ABSENT`] by themselves.
    fn fill(&self, values: &[f64], row: &mut [f64]) -> u64 {
        let mut samples = 0;
        for (slot, sample) in row.iter_mut().zip(&self.samples) {
            let value = values.get(*sample as usize).copied().unwrap_or(ABSENT);
            samples += u64::from(!is_absent(value));
            *slot = value;
        }
        samples
    }
}

impl SelectorSource<'_> {
    /// The newest sample of either kind at each step.
    fn newest(&self, columns: &Columns, rows: &mut Rows, row: usize) -> u64 {
        let (mut float, mut histogram, mut samples) = (0, 0, 0);
        for step in 0..rows.steps {
            let at = self.grid.at(step).saturating_sub(self.offset_ms);
            while columns.timestamps_ms.get(float).is_some_and(|t| *t <= at) {
                float += 1;
            }
            while columns.histograms.get(histogram).is_some_and(|h| h.timestamp.millis() <= at) {
                histogram += 1;
            }
            let oldest = at.saturating_sub(self.query.lookback_ms);
            let newest_float = float.checked_sub(1).map(|i| (columns.timestamps_ms[i], i)).filter(|(t, _)| *t > oldest);
            let newest_histogram =
                histogram.checked_sub(1).map(|i| &columns.histograms[i]).filter(|h| h.timestamp.millis() > oldest);
            match (newest_float, newest_histogram) {
                (Some((time, _)), Some(sample)) if sample.timestamp.millis() >= time => {
                    samples += self.take_histogram(sample, rows, row, step);
                }
                (None, Some(sample)) => samples += self.take_histogram(sample, rows, row, step),
                (Some((time, i)), _) if !is_stale(columns.values[i]) => {
                    let start = columns.starts_ms.get(i).copied().unwrap_or(0);
                    rows.row_mut(row)[step] = match self.take {
                        Take::Value => columns.values[i],
                        Take::Timestamp => time as f64 / 1000.0,
                        Take::Origin => time as f64,
                        Take::Start => start as f64 / 1000.0,
                    };
                    samples += 1;
                }
                _ => {}
            }
        }
        samples
    }

    fn take_histogram(&self, sample: &tsdb::HistogramSample, rows: &mut Rows, row: usize, step: usize) -> u64 {
        if sample.histogram.is_stale() {
            return 0;
        }
        match self.take {
            Take::Value | Take::Origin => rows.set_histogram(row, step, sample.histogram.clone()),
            Take::Timestamp => rows.row_mut(row)[step] = sample.timestamp.millis() as f64 / 1000.0,
            Take::Start => {
                rows.row_mut(row)[step] = sample.start.map_or(0.0, |start| start.millis() as f64 / 1000.0);
            }
        }
        histogram_points(&sample.histogram)
    }
}

/// Replaces hints that know nothing by what the samples themselves tell.
///
/// Prometheus does so where only count and sum of the histograms are used; the hints decide about warnings.
pub(crate) fn detect_resets(columns: &mut Columns) {
    for i in (1..columns.histograms.len()).rev() {
        let (before, after) = columns.histograms.split_at_mut(i);
        let (previous, current) = (&before[i - 1].histogram, &mut after[0].histogram);
        if current.counter_reset_hint != CounterResetHint::Unknown || current.is_stale() || previous.is_stale() {
            continue;
        }
        let hint = if current.lost_observations_since(previous) {
            CounterResetHint::Reset
        } else {
            CounterResetHint::NotReset
        };
        Arc::make_mut(current).counter_reset_hint = hint;
    }
}
