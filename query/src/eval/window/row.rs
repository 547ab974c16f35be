//! What a range function fills: the row of one series.

use std::sync::Arc;

use tsdb::{Columns, FloatHistogram};

use super::{Plan, Window, Windows, behind};
use crate::error::Error;
use crate::eval::grid::{Rows, histogram_points};
use crate::eval::notes::Origin;
use crate::eval::query::Query;
use crate::eval::smoothed;
use crate::format::quote;
use crate::functions::Geometry;

/// A row that a range function fills, and where it says what it noticed.
pub(crate) struct RowContext<'a, 'q> {
    pub(crate) query: &'q Query<'q>,
    /// Where notes come from.
    pub(crate) origin: Origin,
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
        self.query
            .notes
            .warn(self.origin, format!("encountered a mix of histograms and floats for metric name {name}"));
    }

    pub(crate) fn warn_mixed_buckets(&self) {
        smoothed::warn_mixed_buckets(self.query, self.origin, self.name);
    }

    pub(crate) fn warn_not_a_counter(&self) {
        let name = self.quoted_name();
        self.query.notes.warn(self.origin, format!("this native histogram metric is not a counter: {name}"));
    }

    pub(crate) fn warn_not_a_gauge(&self) {
        let name = self.quoted_name();
        self.query.notes.warn(self.origin, format!("this native histogram metric is not a gauge: {name}"));
    }

    pub(crate) fn warn_start_overlap(&self) {
        let name = self.quoted_name();
        let message = "sample has start time that overlaps with previous sample timestamp for metric";
        self.query.notes.warn(self.origin, format!("{message} {name}"));
    }

    pub(crate) fn info_histograms_ignored(&self) {
        let name = self.quoted_name();
        let message = "ignored histograms in a range containing both floats and histograms for metric name";
        self.query.notes.info(self.origin, format!("{message} {name}"));
    }

    pub(crate) fn note_reconciled(&self, operation: &str) {
        smoothed::note_reconciled(self.query, self.origin, operation);
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
