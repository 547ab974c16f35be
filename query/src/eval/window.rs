//! Windows that slide over the samples of one series after the other.

mod row;
mod vector;

use tsdb::{HistogramSample, TimeRange};

use super::grid::Grid;
use crate::parser::Extension;
pub(crate) use row::{RangeFunction, RowContext};
pub(crate) use vector::{RangeVector, WindowSource};

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
