//! The moments that an expression is evaluated at, and the rows of values at them.

use std::sync::Arc;

use tsdb::FloatHistogram;

use crate::value::{ABSENT, is_absent};

/// Evenly spaced moments, in milliseconds since the Unix epoch. May be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    /// 0 repeats the same moment.
    pub(crate) step: i64,
    pub(crate) count: usize,
}

impl Grid {
    /// One moment.
    pub(crate) const fn instant(at: i64) -> Self {
        Self { start: at, step: 1, count: 1 }
    }

    /// From `start` to at most `end`.
    pub(crate) fn range(start: i64, end: i64, step: i64) -> Self {
        let step = step.max(1);
        let count = if end < start { 0 } else { (end.saturating_sub(start) / step) as usize + 1 };
        Self { start, step, count }
    }

    /// Step number `k`.
    #[inline]
    pub(crate) const fn at(&self, k: usize) -> i64 {
        self.start.saturating_add((k as i64).saturating_mul(self.step))
    }

    /// The last moment; the first one if there is none.
    pub(crate) const fn end(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }
}

/// The values of a batch of series: one row each, one column per step.
///
/// A step has a float, or a histogram (then the float is [`ABSENT`]), or neither.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) steps: usize,
    pub(crate) values: Vec<f64>,
    /// As long as `values`, or empty if no step has a histogram.
    pub(crate) histograms: Vec<Option<Arc<FloatHistogram>>>,
}

impl Rows {
    /// Rows without any value.
    pub(crate) fn new(series: usize, steps: usize) -> Self {
        Self { steps, values: vec![ABSENT; series * steps], histograms: Vec::new() }
    }

    /// Empties it for other rows; keeps the memory.
    pub(crate) fn reset(&mut self, series: usize, steps: usize) {
        self.steps = steps;
        self.values.clear();
        self.values.resize(series * steps, ABSENT);
        self.histograms.clear();
    }

    /// How many rows there are; 0 if there are no steps.
    pub(crate) fn len(&self) -> usize {
        self.values.len().checked_div(self.steps).unwrap_or(0)
    }

    pub(crate) fn row(&self, series: usize) -> &[f64] {
        &self.values[series * self.steps..(series + 1) * self.steps]
    }

    pub(crate) fn row_mut(&mut self, series: usize) -> &mut [f64] {
        &mut self.values[series * self.steps..(series + 1) * self.steps]
    }

    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The histograms of a row; empty if no row has one.
    pub(crate) fn histogram_row(&self, series: usize) -> &[Option<Arc<FloatHistogram>>] {
        if self.histograms.is_empty() {
            return &[];
        }
        &self.histograms[series * self.steps..(series + 1) * self.steps]
    }

    pub(crate) fn histogram(&self, series: usize, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(series * self.steps + step)?.as_ref()
    }

    /// Sets one step to a histogram.
    pub(crate) fn set_histogram(&mut self, series: usize, step: usize, histogram: Arc<FloatHistogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.values.len(), None);
        }
        let at = series * self.steps + step;
        self.values[at] = ABSENT;
        self.histograms[at] = Some(histogram);
    }

    /// Whether a step has a float or a histogram.
    pub(crate) fn is_present(&self, series: usize, step: usize) -> bool {
        let at = series * self.steps + step;
        !is_absent(self.values[at]) || self.histograms.get(at).is_some_and(Option::is_some)
    }

    /// Whether any step of a row has something.
    pub(crate) fn any_present(&self, series: usize) -> bool {
        self.row(series).iter().any(|v| !is_absent(*v)) || self.histogram_row(series).iter().any(Option::is_some)
    }

    /// The last step of a row that has something.
    pub(crate) fn last_present(&self, series: usize) -> Option<usize> {
        (0..self.steps).rev().find(|step| self.is_present(series, *step))
    }

    /// Removes what a step has.
    pub(crate) fn clear_step(&mut self, series: usize, step: usize) {
        let at = series * self.steps + step;
        self.values[at] = ABSENT;
        if let Some(slot) = self.histograms.get_mut(at) {
            *slot = None;
        }
    }

    /// Removes all histograms.
    pub(crate) fn drop_histograms(&mut self) {
        self.histograms.clear();
    }

    /// Appends row `series` of `other`, which has as many steps.
    pub(crate) fn push_row(&mut self, other: &Self, series: usize) {
        self.steps = other.steps;
        let before = self.values.len();
        self.values.extend_from_slice(other.row(series));
        let row = other.histogram_row(series);
        if row.iter().any(Option::is_some) {
            self.histograms.resize(before, None);
            self.histograms.extend_from_slice(row);
        } else if self.has_histograms() {
            self.histograms.resize(self.values.len(), None);
        }
    }

    /// Appends all rows of `other`, which has as many steps.
    pub(crate) fn append(&mut self, mut other: Self) {
        let before = self.values.len();
        self.values.append(&mut other.values);
        if other.has_histograms() {
            self.histograms.resize(before, None);
            self.histograms.append(&mut other.histograms);
        } else if self.has_histograms() {
            self.histograms.resize(self.values.len(), None);
        }
    }

    /// What all rows hold, in Prometheus' way of counting: a histogram counts for its size.
    pub(crate) fn point_count(&self) -> u64 {
        let floats = self.values.iter().filter(|v| !is_absent(**v)).count() as u64;
        floats + self.histograms.iter().flatten().map(|h| histogram_points(h)).sum::<u64>()
    }

    /// Bytes that it takes in memory, histograms not shared with the store assumed.
    pub(crate) fn size_bytes(&self) -> u64 {
        (self.values.len() * size_of::<f64>()) as u64 + self.side_bytes()
    }

    /// Those without the values.
    pub(crate) fn side_bytes(&self) -> u64 {
        let dense = (self.histograms.len() * size_of::<usize>()) as u64;
        dense + self.histograms.iter().flatten().map(|h| h.size_bytes() as u64).sum::<u64>()
    }
}

/// How many samples a histogram counts for: its size over that of a float sample.
pub(crate) fn histogram_points(histogram: &FloatHistogram) -> u64 {
    (histogram.size_bytes() as u64).div_ceil(16)
}
