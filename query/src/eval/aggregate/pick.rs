//! `topk`, `bottomk`, `limitk`, `limit_ratio`: some of the series, as they are.

use std::cmp::Ordering;

use tsdb::Labels;
use xxhash_rust::xxh64::xxh64;

use super::super::Eval;
use super::super::grid::Rows;
use super::super::group::GroupBy;
use super::super::notes::Origin;
use super::super::source::Source;
use super::super::table::{Cell, Table};
use super::{grouped, info_histograms_ignored};
use crate::error::Error;
use crate::format::general;
use crate::parser::{Aggregate, AggregateOp};

/// Steps at which a series is kept.
struct Kept<'q> {
    table: Table<'q>,
    rows: Rows,
    /// The order in which series were first picked; instant queries answer in it.
    order: Vec<usize>,
    picked: Vec<bool>,
}

impl<'q> Kept<'q> {
    fn new(table: Table<'q>) -> Self {
        let rows = Rows::new(table.len(), table.rows.steps);
        let picked = vec![false; table.len()];
        Self { table, rows, order: Vec::new(), picked }
    }

    fn keep(&mut self, series: usize, step: usize) {
        match self.table.get(series, step) {
            Some(Cell::Float(value)) => self.rows.row_mut(series)[step] = value,
            Some(Cell::Histogram(histogram)) => self.rows.set_histogram(series, step, histogram.clone()),
            None => return,
        }
        if !std::mem::replace(&mut self.picked[series], true) {
            self.order.push(series);
        }
    }

    fn finish(mut self, eval: Eval<'q>) -> Result<Table<'q>, Error> {
        if eval.grid.count != 1 {
            self.order.sort_unstable();
        }
        let mut rows = Rows { steps: self.rows.steps, ..Rows::default() };
        let mut labels: Vec<Labels> = Vec::with_capacity(self.order.len());
        let mut drops = Vec::with_capacity(self.order.len());
        for series in self.order {
            rows.push_row(&self.rows, series);
            labels.push(self.table.labels(series));
            drops.push(self.table.drops_name(series));
        }
        let one_name = self.table.one_name();
        Ok(Table::from_rows(eval.query, labels, rows)?.with_drops(drops).with_one_name(one_name))
    }
}

/// Counts of series to keep, by step.
///
/// # Errors
/// If one is no number or out of range.
fn counts(values: &[f64]) -> Result<Vec<usize>, Error> {
    const LEAST: f64 = -9_223_372_036_854_775_808.0;
    const LARGEST: f64 = 9_223_372_036_854_774_784.0;
    if values.iter().any(|k| k.is_nan()) {
        return Err(Error::Execution("Parameter value is NaN".into()));
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for (is_beyond, value, how) in [(least <= LEAST, least, "underflows"), (largest >= LARGEST, largest, "overflows")] {
        if is_beyond && !values.is_empty() {
            return Err(Error::Execution(format!("Scalar value {} {how} int64", general(value))));
        }
    }
    Ok(values.iter().map(|k| if *k < 1.0 { 0 } else { *k as usize }).collect())
}

fn parameter<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Vec<f64>, Error> {
    match e.param.as_deref() {
        Some(param) => eval.scalar(param),
        None => Err(Error::Execution(format!("{} without parameter", e.op.as_str()))),
    }
}

/// `topk`, `bottomk`: NaN is last in both. Which of equal values stay is left open by the language; here it is those that
/// stay in Prometheus, whose heap is the one of Go's `container/heap`.
pub(super) fn extremes<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Table<'q>, Error> {
    let k = counts(&parameter(eval, e)?)?;
    let table = eval.table(&e.expr)?;
    let (groups, members) = grouped(&table, &GroupBy::new(e.grouping.as_ref()));
    let top = e.op == AggregateOp::Topk;
    let mut kept = Kept::new(table);
    let mut best: Vec<Best> = vec![Best::default(); groups.len()];
    let mut ignored = false;
    for (step, k) in k.into_iter().enumerate() {
        eval.query.stop.check("expression evaluation")?;
        if k == 0 {
            continue;
        }
        for (series, group) in members.iter().enumerate() {
            match kept.table.get(series, step) {
                Some(Cell::Float(value)) => best[*group].offer(k, if top { value } else { -value }, series),
                Some(Cell::Histogram(_)) => ignored = true,
                None => {}
            }
        }
        for best in &mut best {
            best.sort();
            for (_, series) in best.0.drain(..) {
                kept.keep(series, step);
            }
        }
    }
    if ignored {
        info_histograms_ignored(eval, e);
    }
    kept.finish(eval)
}

/// The series with the largest values so far: a heap, the least value first.
#[derive(Clone, Debug, Default)]
struct Best(Vec<(f64, usize)>);

impl Best {
    fn less(a: f64, b: f64) -> bool {
        a.is_nan() || a < b
    }

    /// Takes a value in if there is room among the `k` largest.
    fn offer(&mut self, k: usize, value: f64, series: usize) {
        let heap = &mut self.0;
        if heap.len() < k {
            heap.push((value, series));
            let mut at = heap.len() - 1;
            while at > 0 {
                let parent = (at - 1) / 2;
                if !Self::less(heap[at].0, heap[parent].0) {
                    break;
                }
                heap.swap(at, parent);
                at = parent;
            }
        } else if heap[0].0 < value || (heap[0].0.is_nan() && !value.is_nan()) {
            heap[0] = (value, series);
            self.sink();
        }
    }

    fn sink(&mut self) {
        let heap = &mut self.0;
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= heap.len() {
                return;
            }
            if child + 1 < heap.len() && Self::less(heap[child + 1].0, heap[child].0) {
                child += 1;
            }
            if !Self::less(heap[child].0, heap[at].0) {
                return;
            }
            heap.swap(at, child);
            at = child;
        }
    }

    /// The largest first, NaN last.
    fn sort(&mut self) {
        self.0.sort_by(|(a, _), (b, _)| match (a.is_nan(), b.is_nan()) {
            (false, false) => b.partial_cmp(a).unwrap_or(Ordering::Equal),
            (a, b) => a.cmp(&b),
        });
    }
}

/// `limitk`: the first `k` series of each group that have a value.
pub(super) fn limit<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Table<'q>, Error> {
    let k = counts(&parameter(eval, e)?)?;
    let table = eval.table(&e.expr)?;
    let (groups, members) = grouped(&table, &GroupBy::new(e.grouping.as_ref()));
    let mut kept = Kept::new(table);
    for (step, k) in k.into_iter().enumerate() {
        eval.query.stop.check("expression evaluation")?;
        let mut left = vec![k; groups.len()];
        for (series, group) in members.iter().enumerate() {
            if left[*group] > 0 && kept.table.rows.is_present(series, step) {
                left[*group] -= 1;
                kept.keep(series, step);
            }
        }
    }
    kept.finish(eval)
}

/// `limit_ratio`: series by the hash of their labels, so that the same ones are kept every time.
pub(super) fn limit_ratio<'q>(eval: Eval<'q>, e: &'q Aggregate) -> Result<Table<'q>, Error> {
    let ratios = parameter(eval, e)?;
    let origin = Origin::new(e.span, e.param.as_deref().unwrap_or(&e.expr).unwrapped().span());
    if ratios.iter().any(|r| r.is_nan()) {
        return Err(Error::Execution("Ratio value is NaN".into()));
    }
    let max = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    for (bad, value, cap) in [(max > 1.0, max, 1.0), (min < -1.0, min, -1.0)] {
        if bad {
            let (value, cap) = (general(value), general(cap));
            let message = format!("ratio value should be between -1 and 1, got {value}, capping to {cap}");
            eval.query.notes.warn(origin, message);
        }
    }
    let table = eval.table(&e.expr)?;
    let mut kept = Kept::new(table);
    for series in 0..kept.table.len() {
        eval.query.stop.check("expression evaluation")?;
        let place = label_hash(&kept.table.labels(series)) as f64 / u64::MAX as f64;
        for (step, ratio) in ratios.iter().enumerate() {
            let ratio = ratio.clamp(-1.0, 1.0);
            if (ratio >= 0.0 && place < ratio) || (ratio < 0.0 && place >= 1.0 + ratio) {
                kept.keep(series, step);
            }
        }
    }
    kept.finish(eval)
}

/// The hash that Prometheus gives a label set: XXH64 over name and value of each label, their lengths before them.
fn label_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(labels.size_bytes() + 16);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(short) if short < 255 => bytes.push(short),
            _ => {
                bytes.push(255);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0)
}
