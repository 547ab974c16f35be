//! What sums, means, extremes and deviations keep per group and step.

use super::super::grid::Rows;
use super::super::kahan::{Kahan, Mean};
use super::histograms::HistogramCells;
use crate::parser::AggregateOp;
use crate::value::{ABSENT, is_absent};

/// Columns of accumulators: cell `group * steps + step`.
///
/// | operator | `a` | `b` |
/// | --- | --- | --- |
/// | sum, avg | sum (mean if `incremental`) | its compensation |
/// | min, max | extreme so far, [`ABSENT`] if none | – |
/// | stddev, stdvar | mean | sum of squared deviations |
#[derive(Debug)]
pub(super) struct Cells {
    op: AggregateOp,
    steps: usize,
    a: Vec<f64>,
    b: Vec<f64>,
    /// Floats seen.
    count: Vec<f64>,
    /// Means whose sum would leave the range of floats; empty if there is none.
    incremental: Vec<bool>,
}

impl Cells {
    pub(super) fn new(op: AggregateOp, steps: usize) -> Self {
        Self { op, steps, a: Vec::new(), b: Vec::new(), count: Vec::new(), incremental: Vec::new() }
    }

    fn uses(&self) -> (bool, bool) {
        match self.op {
            AggregateOp::Count | AggregateOp::Group => (false, false),
            AggregateOp::Min | AggregateOp::Max => (true, false),
            _ => (true, true),
        }
    }

    /// Makes room for `groups` groups; returns by how many bytes it grew.
    pub(super) fn grow(&mut self, groups: usize) -> u64 {
        let (len, before) = (groups * self.steps, self.count.len());
        if len <= before {
            return 0;
        }
        let (a, b) = self.uses();
        // Minus zero is what every float can be added to without a trace.
        let empty = if matches!(self.op, AggregateOp::Min | AggregateOp::Max) { ABSENT } else { -0.0 };
        if a {
            self.a.resize(len, empty);
        }
        if b {
            self.b.resize(len, 0.0);
        }
        self.count.resize(len, 0.0);
        if !self.incremental.is_empty() {
            self.incremental.resize(len, false);
        }
        ((len - before) * size_of::<f64>() * (1 + usize::from(a) + usize::from(b))) as u64
    }

    /// Adds the floats of a series.
    pub(super) fn add_row(&mut self, group: usize, row: &[f64]) {
        let cells = group * self.steps..(group + 1) * self.steps;
        let count = &mut self.count[cells.clone()];
        match self.op {
            AggregateOp::Sum | AggregateOp::Avg => {
                add_sums(&mut self.a[cells.clone()], &mut self.b[cells], count, row);
            }
            AggregateOp::Min => extreme(&mut self.a[cells], count, row, |x, best| x < best),
            AggregateOp::Max => extreme(&mut self.a[cells], count, row, |x, best| x > best),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                add_deviations(&mut self.a[cells.clone()], &mut self.b[cells], count, row);
            }
            _ => {
                for (count, x) in count.iter_mut().zip(row) {
                    *count += f64::from(u8::from(!is_absent(*x)));
                }
            }
        }
    }

    /// Computes means anew, one value at a time, whose sum left the range of floats although no value did.
    pub(super) fn repair_overflow(&mut self, rows: &Rows, members: &[usize]) {
        if self.op != AggregateOp::Avg {
            return;
        }
        for cell in 0..self.a.len() {
            if !self.a[cell].is_infinite() {
                continue;
            }
            let (group, step) = (cell / self.steps, cell % self.steps);
            let values = || {
                let of_group = members.iter().enumerate().filter(move |(_, member)| **member == group);
                of_group.map(|(row, _)| rows.row(row)[step]).filter(|x| !is_absent(*x))
            };
            if values().any(f64::is_infinite) {
                continue;
            }
            let mut mean = Mean::default();
            values().for_each(|x| mean.add(x));
            self.a[cell] = mean.value();
            self.b[cell] = 0.0;
            self.incremental.resize(self.a.len(), false);
            self.incremental[cell] = true;
        }
    }

    /// Adds group `from` of a later batch.
    pub(super) fn merge_row(&mut self, group: usize, other: &Self, from: usize) {
        let plain = self.incremental.is_empty() && other.incremental.is_empty();
        if matches!(self.op, AggregateOp::Sum | AggregateOp::Avg) && plain && self.merge_sums(group, other, from) {
            return;
        }
        for step in 0..self.steps {
            let (to, from) = (group * self.steps + step, from * self.steps + step);
            let (n, m) = (self.count[to], other.count[from]);
            if m == 0.0 {
                continue;
            }
            match self.op {
                AggregateOp::Sum | AggregateOp::Avg => self.merge_sum(to, other, from),
                AggregateOp::Min | AggregateOp::Max => {
                    let (best, x) = (self.a[to], other.a[from]);
                    let better = if self.op == AggregateOp::Min { x < best } else { x > best };
                    if n == 0.0 || better || best.is_nan() {
                        self.a[to] = x;
                    }
                }
                AggregateOp::Stddev | AggregateOp::Stdvar if n > 0.0 => {
                    // Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample
                    // variances", 1979.
                    let delta = other.a[from] - self.a[to];
                    self.a[to] += delta * m / (n + m);
                    self.b[to] += other.b[from] + delta * delta * n * m / (n + m);
                }
                AggregateOp::Stddev | AggregateOp::Stdvar => {
                    self.a[to] = other.a[from];
                    self.b[to] = other.b[from];
                }
                _ => {}
            }
            self.count[to] += m;
        }
    }

    /// Adds the sums of group `from` of a later batch; refuses where a mean's may leave the range of floats.
    fn merge_sums(&mut self, group: usize, other: &Self, from: usize) -> bool {
        let (to, from) = (group * self.steps..(group + 1) * self.steps, from * self.steps..(from + 1) * self.steps);
        if self.op == AggregateOp::Avg {
            // Whoever comes near computes it one value at a time.
            let near = |x: &f64| x.abs() > f64::MAX / 4.0 && x.is_finite();
            if self.a[to.clone()].iter().any(near) || other.a[from.clone()].iter().any(near) {
                return false;
            }
        }
        let own = self.a[to.clone()].iter_mut().zip(&mut self.b[to.clone()]).zip(&mut self.count[to]);
        let its = other.a[from.clone()].iter().zip(&other.b[from.clone()]).zip(&other.count[from]);
        for (((sum, lost), count), ((its_sum, its_lost), its_count)) in own.zip(its) {
            let mut merged = Kahan { sum: *sum, lost: *lost };
            merged.add(*its_sum);
            merged.add(*its_lost);
            // The first batch is taken over as it is: its bits are those of one value after the other.
            let (none, first) = (*its_count == 0.0, *count == 0.0);
            let (new_sum, new_lost) = if first { (*its_sum, *its_lost) } else { (merged.sum, merged.lost) };
            *sum = if none { *sum } else { new_sum };
            *lost = if none { *lost } else { new_lost };
            *count += its_count;
        }
        true
    }

    fn is_incremental(&self, cell: usize) -> bool {
        self.incremental.get(cell).copied().unwrap_or(false)
    }

    fn merge_sum(&mut self, to: usize, other: &Self, from: usize) {
        let (own_mean, its_mean) = (self.is_incremental(to), other.is_incremental(from));
        let mut sum = Kahan { sum: self.a[to], lost: self.b[to] };
        if !own_mean && !its_mean {
            if self.count[to] == 0.0 {
                sum = Kahan { sum: other.a[from], lost: other.b[from] };
            } else {
                sum.add(other.a[from]);
                sum.add(other.b[from]);
            }
            let overflow = sum.sum.is_infinite() && self.a[to].is_finite() && other.a[from].is_finite();
            if !overflow || self.op == AggregateOp::Sum {
                (self.a[to], self.b[to]) = (sum.sum, sum.lost);
                return;
            }
        }
        let mean = |a: f64, b: f64, count: f64, is_mean: bool| {
            if is_mean || count == 0.0 { a + b } else { a / count + b / count }
        };
        let (n, m) = (self.count[to], other.count[from]);
        let own = mean(self.a[to], self.b[to], n, own_mean);
        let its = mean(other.a[from], other.b[from], m, its_mean);
        let mut merged = Kahan::new(own * (n / (n + m)));
        merged.add(its * (m / (n + m)));
        (self.a[to], self.b[to]) = (merged.sum, merged.lost);
        self.incremental.resize(self.a.len(), false);
        self.incremental[to] = true;
    }

    /// The floats of the result. Histograms that were counted are in `histograms`.
    pub(super) fn finish(self, histograms: &HistogramCells<'_>) -> Rows {
        let mut values = vec![ABSENT; self.count.len()];
        for (cell, value) in values.iter_mut().enumerate() {
            let floats = self.count[cell];
            let counted = match self.op {
                AggregateOp::Count | AggregateOp::Group => floats + histograms.count(cell),
                _ => floats,
            };
            if counted == 0.0 {
                continue;
            }
            *value = match self.op {
                AggregateOp::Sum => Kahan { sum: self.a[cell], lost: self.b[cell] }.total(),
                AggregateOp::Avg if self.is_incremental(cell) => self.a[cell] + self.b[cell],
                AggregateOp::Avg => self.a[cell] / floats + self.b[cell] / floats,
                AggregateOp::Stddev => (self.b[cell] / floats).sqrt(),
                AggregateOp::Stdvar => self.b[cell] / floats,
                AggregateOp::Count => counted,
                AggregateOp::Group => 1.0,
                _ => self.a[cell],
            };
            if is_absent(*value) {
                *value = f64::NAN;
            }
        }
        Rows { steps: self.steps, values, histograms: Vec::new() }
    }
}

/// Adds a row to compensated sums. Without branches, so that it can be done for several steps at once.
fn add_sums(sums: &mut [f64], lost: &mut [f64], counts: &mut [f64], row: &[f64]) {
    for (((sum, lost), count), x) in sums.iter_mut().zip(lost.iter_mut()).zip(counts.iter_mut()).zip(row) {
        let absent = is_absent(*x);
        // Adding minus zero changes nothing.
        let x = if absent { -0.0 } else { *x };
        *count += if absent { 0.0 } else { 1.0 };
        let total = *sum + x;
        let (large, small) = if sum.abs() >= x.abs() { (*sum, x) } else { (x, *sum) };
        let kept = *lost + ((large - total) + small);
        *lost = if total.is_infinite() { 0.0 } else { kept };
        *sum = total;
    }
}

fn extreme(best: &mut [f64], counts: &mut [f64], row: &[f64], better: impl Fn(f64, f64) -> bool) {
    for ((best, count), x) in best.iter_mut().zip(counts).zip(row) {
        let absent = is_absent(*x);
        *count += if absent { 0.0 } else { 1.0 };
        // What is absent is NaN, too: the first value replaces it.
        if !absent && (better(*x, *best) || best.is_nan()) {
            *best = *x;
        }
    }
}

/// Welford's running mean and sum of squared deviations.
fn add_deviations(means: &mut [f64], squares: &mut [f64], counts: &mut [f64], row: &[f64]) {
    for (((mean, square), count), x) in means.iter_mut().zip(squares).zip(counts).zip(row) {
        if is_absent(*x) {
            continue;
        }
        *count += 1.0;
        let delta = *x - *mean;
        *mean += delta / *count;
        *square += delta * (*x - *mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_batch_has_the_bits_of_one_value_after_the_other() {
        let values = [-1e154, 268_435_457.0, -9e15, 1e154, -5e-324, 9e15];
        let (mut one, mut all) = (Cells::new(AggregateOp::Avg, 1), Cells::new(AggregateOp::Avg, 1));
        one.grow(1);
        all.grow(1);
        let mut kahan = Kahan::default();
        for value in values {
            one.add_row(0, &[value]);
            kahan.add(value);
        }
        all.merge_row(0, &one, 0);
        assert_eq!((all.a[0], all.b[0], all.count[0]), (kahan.sum, kahan.lost, 6.0));
    }
}
