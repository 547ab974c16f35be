//! Samples in the order of their times, each time once.

use std::cmp::Ordering;

use super::left_out::{LeftOut, Omission};
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::histogram::{CounterResetHint, FloatHistogram};
use crate::labels::Labels;
use crate::querier::{Columns, SeriesSet};
use crate::sample::{TimeRange, Timestamp};

/// Account of samples that are not stored, or not twice.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) left_out: LeftOut,
    /// Samples and exemplars that were there already, equal.
    pub(super) duplicates: u64,
}

/// Equal in all but the hint, which depends on where a chunk begins.
fn same(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    // Sums may be NaN, which equals nothing.
    let plain = |h: &FloatHistogram| {
        let counter_reset_hint = CounterResetHint::Unknown;
        let sum = 0.0;
        FloatHistogram { counter_reset_hint, sum, ..h.clone() }
    };
    a.sum.to_bits() == b.sum.to_bits() && (a.is_stale() || plain(a) == plain(b))
}

impl Account {
    /// Counts a float that comes second at its time.
    fn float(&mut self, labels: &Labels, ms: i64, kept: f64, other: f64) {
        if kept.to_bits() == other.to_bits() {
            self.duplicates += 1;
            return;
        }
        self.left_out.add(Omission::ConflictingSample, || {
            format!("{labels} at {}: {kept} is kept, {other} is not", Timestamp::from_millis(ms))
        });
    }

    /// Counts a histogram that comes second at its time.
    fn histogram(&mut self, labels: &Labels, ms: i64, kept: &FloatHistogram, other: &FloatHistogram) {
        if same(kept, other) {
            self.duplicates += 1;
            return;
        }
        self.left_out.add(Omission::ConflictingSample, || {
            format!("{labels} at {}: a native histogram with other numbers", Timestamp::from_millis(ms))
        });
    }

    /// Sorts the samples by time; of those at one time the first stays.
    pub(super) fn put_in_order(&mut self, labels: &Labels, columns: &mut Columns) {
        let times = &columns.timestamps_ms;
        if times.windows(2).any(|pair| pair[0] >= pair[1]) {
            let mut order: Vec<usize> = (0..times.len()).collect();
            order.sort_by_key(|&i| times[i]);
            let mut sorted = Columns::default();
            let mut kept = None;
            for i in order {
                match kept {
                    Some(first) if times[first] == times[i] => {
                        self.float(labels, times[i], columns.values[first], columns.values[i]);
                    }
                    _ => {
                        sorted.push(times[i], columns.values[i], columns.starts_ms.get(i).copied().unwrap_or(0));
                        kept = Some(i);
                    }
                }
            }
            sorted.histograms = std::mem::take(&mut columns.histograms);
            *columns = sorted;
        }
        columns.histograms.sort_by_key(|h| h.timestamp);
        columns.histograms.dedup_by(|second, first| {
            let twice = second.timestamp == first.timestamp;
            if twice {
                self.histogram(labels, first.timestamp.millis(), &first.histogram, &second.histogram);
            }
            twice
        });
    }

    /// Sorts exemplars by time; of those at one time the first stays.
    pub(super) fn put_exemplars_in_order(&mut self, labels: &Labels, exemplars: &mut Vec<Exemplar>) {
        exemplars.sort_by_key(|exemplar| exemplar.timestamp);
        exemplars.dedup_by(|second, first| {
            if second.timestamp != first.timestamp {
                return false;
            }
            if second.labels == first.labels && second.value.to_bits() == first.value.to_bits() {
                self.duplicates += 1;
            } else {
                self.left_out.add(Omission::ConflictingExemplar, || format!("{labels} at {}", first.timestamp));
            }
            true
        });
    }

    /// Counts the samples of `new` at times at which `old` has samples of the same series: those of `old` stay.
    ///
    /// Cost: reads the series that both have, in the range.
    pub(super) fn compare(&mut self, new: &dyn SeriesSet, old: &dyn SeriesSet, range: TimeRange) -> Result<(), Error> {
        let (mut i, mut j) = (0, 0);
        let (mut come, mut there) = (Columns::default(), Columns::default());
        while i < new.len() && j < old.len() {
            let labels = new.labels(i);
            match labels.cmp(&old.labels(j)) {
                Ordering::Less => i += 1,
                Ordering::Greater => j += 1,
                Ordering::Equal => {
                    come.clear();
                    there.clear();
                    new.read(i, range, &mut come)?;
                    old.read(j, range, &mut there)?;
                    self.compare_columns(&labels, &come, &there);
                    (i, j) = (i + 1, j + 1);
                }
            }
        }
        Ok(())
    }

    fn compare_columns(&mut self, labels: &Labels, new: &Columns, old: &Columns) {
        at_same_times(&new.timestamps_ms, &old.timestamps_ms, |i, j| {
            self.float(labels, new.timestamps_ms[i], old.values[j], new.values[i]);
        });
        let times = |columns: &Columns| columns.histograms.iter().map(|h| h.timestamp.millis()).collect::<Vec<_>>();
        let come = times(new);
        at_same_times(&come, &times(old), |i, j| {
            self.histogram(labels, come[i], &old.histograms[j].histogram, &new.histograms[i].histogram);
        });
    }
}

/// Hands the positions of times that both lists have to `each`; both ascend.
fn at_same_times(new: &[i64], old: &[i64], mut each: impl FnMut(usize, usize)) {
    let (mut i, mut j) = (0, 0);
    while i < new.len() && j < old.len() {
        match new[i].cmp(&old[j]) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                each(i, j);
                (i, j) = (i + 1, j + 1);
            }
        }
    }
}
