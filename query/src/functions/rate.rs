//! How counters and gauges change within a window.

use tsdb::{Columns, CounterResetHint, FloatHistogram, HistogramSample};

use super::extended;
use super::over_time::windowed;
use crate::error::Error;
use crate::eval::window::{Plan, RowContext, Window, Windows};
use crate::eval::{Eval, Output};
use crate::parser::Call;
use crate::value::is_absent;

/// One of `rate`, `increase`, `delta`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// A drop is a reset, not a decrease.
    pub(super) is_counter: bool,
    /// Per second rather than in all.
    pub(super) is_rate: bool,
}

impl Kind {
    /// The factor of a rate is per second.
    fn scaled(self, factor: f64, windows: &Windows) -> f64 {
        if self.is_rate { factor / (windows.range_ms as f64 / 1000.0) } else { factor }
    }
}

pub(super) const RATE: Kind = Kind { is_counter: true, is_rate: true };
pub(super) const INCREASE: Kind = Kind { is_counter: true, is_rate: false };
pub(super) const DELTA: Kind = Kind { is_counter: false, is_rate: false };

/// `rate`, `increase`, `delta`: the difference of last and first sample, extrapolated to the edges of the window.
pub(super) fn extrapolated<'q>(eval: Eval<'q>, call: &'q Call, kind: Kind) -> Result<Output<'q>, Error> {
    let use_starts = eval.query.options.features.use_start_timestamps;
    windowed(eval, call, 0, false, move |columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>| {
        if windows.extension.is_some() {
            extended::fill(columns, windows, row, kind);
        } else if columns.histograms.is_empty() {
            floats(columns, windows, row, kind, use_starts);
        } else {
            row.each_window(columns, windows, |row, window| mixed(row, &window, windows, kind, use_starts));
        }
        if kind.is_counter && !has_counter_name(row.name) && !columns.values.is_empty() {
            info_not_a_counter(row);
        }
        Ok(())
    })
}

fn has_counter_name(name: &str) -> bool {
    name.is_empty() || ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}

/// Notes that a rate was taken of something whose name is not that of a counter.
fn info_not_a_counter(row: &RowContext<'_, '_>) {
    if row.rows.row(row.row).iter().all(|v| is_absent(*v)) || row.query.options.features.type_and_unit_labels {
        return;
    }
    let name = crate::format::quote(row.name.as_bytes());
    let message = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket";
    row.query.notes.info(row.origin, format!("{message}: {name}"));
}

/// What is known of a window before it is extrapolated.
struct Ends {
    first_ms: i64,
    last_ms: i64,
    /// Samples, less one.
    intervals: usize,
    start_ms: i64,
    end_ms: i64,
    /// When the counts of the first sample began, if that is within the window: then the counter was 0 there.
    began_ms: Option<i64>,
    /// For counters: the first value (count), and by how much it went up. The line through both gives the time at which
    /// the counter was 0; there is no extrapolation beyond that.
    zero: Option<(f64, f64)>,
}

impl Ends {
    /// By what to multiply the difference; `None` if there are too few samples.
    fn factor(&self) -> Option<f64> {
        (self.intervals > 0 || self.began_ms.is_some()).then(|| self.edges().factor)
    }

    fn edges(&self) -> Edges {
        let mut to_start = (self.first_ms - self.start_ms) as f64 / 1000.0;
        let mut to_end = (self.end_ms - self.last_ms) as f64 / 1000.0;
        let mut sampled = (self.last_ms - self.first_ms) as f64 / 1000.0;
        let average = if self.intervals > 0 { sampled / self.intervals as f64 } else { 0.0 };
        // Farther from the edge than this, the series is taken to begin (or end) within the window.
        let threshold = average * 1.1;
        if let Some(began_ms) = self.began_ms {
            to_start = 0.0;
            sampled = (self.last_ms - began_ms) as f64 / 1000.0;
        } else {
            if to_start >= threshold {
                to_start = average / 2.0;
            }
            if let Some((first, increase)) = self.zero
                && increase > 0.0
                && first >= 0.0
            {
                let to_zero = sampled * (first / increase);
                if to_zero < to_start {
                    to_start = to_zero;
                }
            }
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        Edges { sampled, to_start, factor }
    }
}

/// Whether the start of the counts says that there was a reset between two samples.
pub(super) fn is_start_reset(previous_start: i64, previous: i64, start: i64, at: i64) -> bool {
    if start == 0 || start >= at || start < previous {
        return false;
    }
    if start > previous {
        return true;
    }
    // It began at the previous sample: so do deltas; so do counters of unknown start, whose first start is its own time.
    previous_start != 0 && previous_start < previous
}

/// Whether the counts of a sample claim to have begun before the previous one was taken, yet not with it.
fn overlaps(previous_start: i64, previous: i64, start: i64) -> bool {
    start != 0 && start < previous && start != previous_start
}

/// The start within the window that stands for a sample of 0.
fn began(start: Option<i64>, window_start: i64, first_ms: i64) -> Option<i64> {
    start.filter(|start| *start != 0 && *start > window_start && *start < first_ms)
}

/// Windows of floats. The places of resets are found once, and what depends on the moments of the samples only is kept
/// for series that share them; then each window takes a few operations.
fn floats(columns: &Columns, windows: &Windows, row: &mut RowContext<'_, '_>, kind: Kind, use_starts: bool) {
    let (times, values) = (&columns.timestamps_ms[..], &columns.values[..]);
    let starts: &[i64] = if use_starts && kind.is_counter { &columns.starts_ms } else { &[] };
    let mut resets = std::mem::take(row.indices);
    find_resets(times, values, starts, kind, &mut resets);
    let overlapping = start_overlaps(times, starts);
    row.plan.prepare(times, windows);
    let mut geometry = std::mem::take(row.geometry);
    geometry.prepare(row.plan, times, windows, kind);
    row.count_planned();
    let slots = row.rows.row_mut(row.row).iter_mut();
    let mut next_reset = 0;
    let mut overlap = false;
    for (step, ((slot, (low, high)), edges)) in slots.zip(&row.plan.bounds).zip(&geometry.edges).enumerate() {
        let (low, high) = (*low as usize, *high as usize);
        if low == high {
            continue;
        }
        let first = values[low];
        let mut increase = values[high - 1] - first;
        if !resets.is_empty() {
            while resets.get(next_reset).is_some_and(|reset| *reset as usize <= low) {
                next_reset += 1;
            }
            for reset in resets[next_reset..].iter().map(|reset| *reset as usize).take_while(|reset| *reset < high) {
                increase += values[reset - 1];
            }
        }
        let mut began_ms = None;
        if !starts.is_empty() {
            began_ms = began(Some(starts[low]), windows.start(step), times[low]);
            overlap |= overlapping.iter().any(|i| (low + 1..high).contains(i));
        }
        // Whether the counter may have started within the window, with room for rounding.
        let limited = kind.is_counter && first * edges.sampled < edges.to_start * increase * (1.0 + 1e-9);
        if began_ms.is_none() && !limited {
            if high - low >= 2 {
                *slot = number(increase * edges.factor);
            }
            continue;
        }
        let ends = Ends {
            first_ms: times[low],
            last_ms: times[high - 1],
            intervals: high - low - 1,
            start_ms: windows.start(step),
            end_ms: windows.end(step),
            began_ms,
            zero: kind.is_counter.then_some((first, increase)),
        };
        if began_ms.is_some() {
            increase += first;
        }
        if let Some(factor) = ends.factor() {
            *slot = number(increase * kind.scaled(factor, windows));
        }
    }
    if overlap {
        row.warn_start_overlap();
    }
    *row.geometry = geometry;
    *row.indices = resets;
}

/// The places of samples before which a counter was reset.
fn find_resets(times: &[i64], values: &[f64], starts: &[i64], kind: Kind, resets: &mut Vec<u32>) {
    resets.clear();
    let later = values.get(1..).unwrap_or_default();
    // Looking for any is done for several samples at once; most series have none.
    let any = values.iter().zip(later).fold(false, |any, (before, value)| any | (value < before));
    if !kind.is_counter || (!any && starts.is_empty()) {
        return;
    }
    for i in 1..values.len() {
        let by_start = !starts.is_empty() && is_start_reset(starts[i - 1], times[i - 1], starts[i], times[i]);
        if values[i] < values[i - 1] || by_start {
            resets.push(i as u32);
        }
    }
}

/// The places of samples whose counts claim to have begun before the sample before them.
fn start_overlaps(times: &[i64], starts: &[i64]) -> Vec<usize> {
    (1..starts.len()).filter(|i| overlaps(starts[i - 1], times[i - 1], starts[*i])).collect()
}

/// How windows of a plan are extrapolated if no counter starts within them.
#[derive(Debug, Default)]
pub(crate) struct Geometry {
    /// The plan's, and whether for rates.
    key: (u64, bool),
    edges: Vec<Edges>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Edges {
    /// From the first to the last sample, in seconds.
    sampled: f64,
    /// How far the window is extrapolated to its start, in seconds.
    to_start: f64,
    /// By what to multiply the difference.
    factor: f64,
}

impl Geometry {
    fn prepare(&mut self, plan: &Plan, times: &[i64], windows: &Windows, kind: Kind) {
        let key = (plan.version, kind.is_rate);
        if self.key == key {
            return;
        }
        self.key = key;
        self.edges.clear();
        for (step, (low, high)) in plan.bounds.iter().enumerate() {
            let (low, high) = (*low as usize, *high as usize);
            if high - low < 2 {
                self.edges.push(Edges::default());
                continue;
            }
            let ends = Ends {
                first_ms: times[low],
                last_ms: times[high - 1],
                intervals: high - low - 1,
                start_ms: windows.start(step),
                end_ms: windows.end(step),
                began_ms: None,
                zero: None,
            };
            let edges = ends.edges();
            self.edges.push(Edges { factor: kind.scaled(edges.factor, windows), ..edges });
        }
    }
}

/// A value that is no hole.
pub(super) fn number(value: f64) -> f64 {
    if is_absent(value) { f64::NAN } else { value }
}

/// A window of a series that has histograms.
fn mixed(row: &mut RowContext<'_, '_>, window: &Window<'_>, windows: &Windows, kind: Kind, use_starts: bool) {
    if !window.times.is_empty() && !window.histograms.is_empty() {
        row.warn_mixed_samples();
        return;
    }
    if window.histograms.is_empty() {
        float_window(row, window, windows, kind, use_starts);
        return;
    }
    let samples = window.histograms;
    let starts_used = use_starts && kind.is_counter && samples.iter().any(|s| s.start.is_some());
    let start_of = |sample: &HistogramSample| sample.start.map_or(0, tsdb::Timestamp::millis);
    let mut result = None;
    if samples.len() > 1 {
        match histogram_difference(row, samples, kind, starts_used) {
            Some(difference) => result = Some(difference),
            None => return,
        }
    }
    let first = &samples[0];
    let first_start = starts_used.then(|| start_of(first));
    let ends = Ends {
        first_ms: first.timestamp.millis(),
        last_ms: samples[samples.len() - 1].timestamp.millis(),
        intervals: samples.len() - 1,
        start_ms: window.start,
        end_ms: window.end,
        began_ms: began(first_start, window.start, first.timestamp.millis()),
        zero: result.as_ref().filter(|_| kind.is_counter).map(|r| (first.histogram.count, r.count)),
    };
    if ends.began_ms.is_some() {
        match &mut result {
            None => result = Some((*first.histogram).clone()),
            Some(sum) => {
                let Some(()) = add(row, sum, &first.histogram) else { return };
            }
        }
    }
    let (Some(factor), Some(mut histogram)) = (ends.factor(), result) else { return };
    histogram.mul(kind.scaled(factor, windows));
    row.set_histogram(window.step, histogram);
}

/// A window of floats in a series that has histograms elsewhere.
fn float_window(row: &mut RowContext<'_, '_>, window: &Window<'_>, windows: &Windows, kind: Kind, use_starts: bool) {
    let starts: &[i64] = if use_starts && kind.is_counter { window.starts } else { &[] };
    let (times, values) = (window.times, window.values);
    let mut increase = values[values.len() - 1] - values[0];
    for i in 1..values.len() {
        if !kind.is_counter {
            break;
        }
        let by_start = !starts.is_empty() && is_start_reset(starts[i - 1], times[i - 1], starts[i], times[i]);
        if values[i] < values[i - 1] || by_start {
            increase += values[i - 1];
        }
    }
    let ends = Ends {
        first_ms: times[0],
        last_ms: times[times.len() - 1],
        intervals: times.len() - 1,
        start_ms: window.start,
        end_ms: window.end,
        began_ms: began(starts.first().copied(), window.start, times[0]),
        zero: kind.is_counter.then_some((values[0], increase)),
    };
    if ends.began_ms.is_some() {
        increase += values[0];
    }
    if let Some(factor) = ends.factor() {
        row.set(window.step, number(increase * kind.scaled(factor, windows)));
    }
}

/// Adds `other` to `sum`; notes what comes up. `None` if exponential and custom buckets meet.
fn add(row: &RowContext<'_, '_>, sum: &mut FloatHistogram, other: &FloatHistogram) -> Option<()> {
    match sum.add(other) {
        Ok(combined) => {
            if combined.bounds_reconciled {
                row.note_reconciled("addition");
            }
            Some(())
        }
        Err(_) => {
            row.warn_mixed_buckets();
            None
        }
    }
}

/// Last minus first histogram, plus what resets in between took. `None` if the bucket layouts do not allow it.
fn histogram_difference(
    row: &RowContext<'_, '_>,
    samples: &[HistogramSample],
    kind: Kind,
    starts_used: bool,
) -> Option<FloatHistogram> {
    let start_of = |sample: &HistogramSample| sample.start.map_or(0, tsdb::Timestamp::millis);
    let reset_by_start = |a: &HistogramSample, b: &HistogramSample| {
        starts_used && is_start_reset(start_of(a), a.timestamp.millis(), start_of(b), b.timestamp.millis())
    };
    let is_gauge = |sample: &HistogramSample| sample.histogram.counter_reset_hint == CounterResetHint::Gauge;
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    if kind.is_counter && (is_gauge(first) || is_gauge(last)) {
        row.warn_not_a_counter();
    }
    // A reset after the first sample makes its layout irrelevant: nothing is to be subtracted.
    let mut before = (*first.histogram).clone();
    let second = &samples[1];
    if kind.is_counter && (reset_by_start(first, second) || second.histogram.is_reset_after(&before)) {
        before = FloatHistogram {
            schema: second.histogram.schema,
            custom_values: second.histogram.custom_values.clone(),
            ..FloatHistogram::default()
        };
    }
    let custom = before.has_custom_buckets();
    if last.histogram.has_custom_buckets() != custom {
        row.warn_mixed_buckets();
        return None;
    }
    let mut schema = last.histogram.schema.min(before.schema);
    if kind.is_counter {
        for sample in &samples[1..samples.len() - 1] {
            if is_gauge(sample) {
                row.warn_not_a_counter();
            }
            schema = schema.min(sample.histogram.schema);
            if sample.histogram.has_custom_buckets() != custom {
                row.warn_mixed_buckets();
                return None;
            }
        }
    }
    let mut result = (*last.histogram).clone();
    if !custom {
        result.reduce_to_schema(schema);
    }
    match result.sub(&before) {
        Ok(combined) if combined.bounds_reconciled => row.note_reconciled("subtraction"),
        Ok(_) => {}
        Err(_) => {
            row.warn_mixed_buckets();
            return None;
        }
    }
    if kind.is_counter {
        add_resets(row, &mut result, &before, samples, &reset_by_start, starts_used)?;
    } else if !is_gauge(first) || !is_gauge(last) {
        row.warn_not_a_gauge();
    }
    result.counter_reset_hint = CounterResetHint::Gauge;
    result.compact();
    Some(result)
}

/// Adds the histogram before each reset.
fn add_resets(
    row: &RowContext<'_, '_>,
    result: &mut FloatHistogram,
    before: &FloatHistogram,
    samples: &[HistogramSample],
    reset_by_start: &dyn Fn(&HistogramSample, &HistogramSample) -> bool,
    starts_used: bool,
) -> Option<()> {
    let start_of = |sample: &HistogramSample| sample.start.map_or(0, tsdb::Timestamp::millis);
    let mut previous = before;
    let mut overlap_noted = false;
    for pair in samples.windows(2) {
        let [a, b] = pair else { continue };
        if starts_used && !overlap_noted && overlaps(start_of(a), a.timestamp.millis(), start_of(b)) {
            row.warn_start_overlap();
            overlap_noted = true;
        }
        if reset_by_start(a, b) || b.histogram.is_reset_after(previous) {
            add(row, result, previous)?;
        }
        previous = &b.histogram;
    }
    Some(())
}
