//! Several sets of series as one.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::histogram::CounterResetHint;
use crate::labels::Labels;
use crate::querier::{Columns, SeriesSet};
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// Series of several sets, those with equal labels joined. Of two samples at one time the one of the earlier set counts.
/// Memory: 4 bytes per series and 8 per series of each part.
pub(crate) struct MergedSet {
    parts: Vec<Arc<dyn SeriesSet>>,
    /// Where each series' places end.
    ends: Vec<u32>,
    places: Vec<Place>,
}

/// A series of a part.
#[derive(Clone, Copy)]
struct Place {
    part: u32,
    index: u32,
}

impl MergedSet {
    /// Joins `parts`, the ones that take precedence first. A single one is given back as it is.
    pub(crate) fn join(mut parts: Vec<Arc<dyn SeriesSet>>) -> Arc<dyn SeriesSet> {
        parts.retain(|part| !part.is_empty());
        Self::join_first(parts, usize::MAX, |_, _| false)
    }

    /// The first `limit` series of the same, where `is_same` knows of some, by part and index in it, that they have the same
    /// labels. No part is empty.
    pub(crate) fn join_first(
        mut parts: Vec<Arc<dyn SeriesSet>>,
        limit: usize,
        is_same: impl Fn((usize, usize), (usize, usize)) -> bool,
    ) -> Arc<dyn SeriesSet> {
        match &parts[..] {
            [part] if part.len() <= limit => parts.remove(0),
            _ => Arc::new(Self::new(parts, limit, is_same)),
        }
    }

    /// The first `limit` series of `set`.
    pub(crate) fn cut(set: Arc<dyn SeriesSet>, limit: usize) -> Arc<dyn SeriesSet> {
        Self::join_first(vec![set], limit, |_, _| false)
    }

    fn new(
        parts: Vec<Arc<dyn SeriesSet>>,
        limit: usize,
        is_same: impl Fn((usize, usize), (usize, usize)) -> bool,
    ) -> Self {
        let total: usize = parts.iter().map(|part| part.len().min(limit)).sum();
        let (mut ends, mut places) = (Vec::new(), Vec::with_capacity(total));
        let mut next = vec![0u32; parts.len()];
        let mut least: Vec<u32> = Vec::with_capacity(parts.len());
        loop {
            // There are few parts: looking at each is as fast as a heap, and finds the equal ones.
            least.clear();
            for (part, set) in parts.iter().enumerate().filter(|(part, set)| (next[*part] as usize) < set.len()) {
                let order = least.first().map_or(Ordering::Less, |&other| {
                    let (other, index, its) = (other as usize, next[part] as usize, next[other as usize] as usize);
                    match is_same((part, index), (other, its)) {
                        true => Ordering::Equal,
                        false => compare(&**set, index, &*parts[other], its),
                    }
                });
                match order {
                    Ordering::Less => {
                        least.clear();
                        least.push(part as u32);
                    }
                    Ordering::Equal => least.push(part as u32),
                    Ordering::Greater => {}
                }
            }
            if least.is_empty() || ends.len() == limit {
                return Self { parts, ends, places };
            }
            for &part in &least {
                let index = &mut next[part as usize];
                places.push(Place { part, index: *index });
                *index += 1;
            }
            ends.push(places.len() as u32);
        }
    }

    /// The series of the parts that the series at `index` is made of, by precedence.
    fn places(&self, index: usize) -> &[Place] {
        let from = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.places[from as usize..self.ends[index] as usize]
    }

    fn first(&self, index: usize) -> (&dyn SeriesSet, usize) {
        let place = self.places(index)[0];
        (&*self.parts[place.part as usize], place.index as usize)
    }
}

/// Label order of two series.
fn compare(a: &dyn SeriesSet, i: usize, b: &dyn SeriesSet, j: usize) -> Ordering {
    let pairs = (0..).map(|n| (a.pair(i, n), b.pair(j, n)));
    for (left, right) in pairs {
        // None, the end, comes before everything.
        let order = left.cmp(&right);
        if order.is_ne() || left.is_none() {
            return order;
        }
    }
    Ordering::Equal
}

impl SeriesSet for MergedSet {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let (set, index) = self.first(index);
        set.labels(index)
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        let (set, index) = self.first(index);
        set.label(index, name)
    }

    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)> {
        let (set, index) = self.first(index);
        set.pair(index, n)
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let (floats, histograms) = (columns.timestamps_ms.len(), columns.histograms.len());
        for place in self.places(index) {
            let (more_floats, more_histograms) = (columns.timestamps_ms.len(), columns.histograms.len());
            self.parts[place.part as usize].read(place.index as usize, range, columns)?;
            merge_floats(columns, floats, more_floats);
            merge_histograms(&mut columns.histograms, histograms, more_histograms);
        }
        Ok(())
    }

    fn read_newest(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let from = columns.lengths();
        let places = self.places(index);
        for (n, place) in places.iter().enumerate().rev() {
            self.parts[place.part as usize].read_newest(place.index as usize, range, columns)?;
            let Some(first) = columns.first_after(from) else { continue };
            // What comes before in precedence is earlier in time as well, unless parts overlap.
            if places[..n].iter().all(|other| self.parts[other.part as usize].latest().millis() < first) {
                return Ok(());
            }
            columns.truncate(from);
            return self.read(index, range, columns);
        }
        Ok(())
    }

    fn prefetch(&self, range: Range<usize>) {
        let end = |index: usize| index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let places = &self.places[end(range.start)..end(range.end)];
        for (number, part) in (0u32..).zip(&self.parts) {
            // Ascending, and without gaps.
            let mut of_part = places.iter().filter(|place| place.part == number).map(|place| place.index as usize);
            if let Some(first) = of_part.next() {
                part.prefetch(first..of_part.next_back().unwrap_or(first) + 1);
            }
        }
    }

    fn latest(&self) -> Timestamp {
        self.parts.iter().map(|part| part.latest()).max().unwrap_or(Timestamp::MAX)
    }
}

/// How two ascending runs lie to each other.
enum Lie {
    /// The first ends before the second begins.
    InOrder,
    /// The second ends before the first begins.
    Swapped,
    Mixed,
}

fn lie<T>(first: &[T], second: &[T], time: impl Fn(&T) -> i64) -> Lie {
    match (first, second) {
        ([.., last], [next, ..]) if time(last) >= time(next) => {
            let (begin, end) = (&first[0], &second[second.len() - 1]);
            if time(end) < time(begin) { Lie::Swapped } else { Lie::Mixed }
        }
        _ => Lie::InOrder,
    }
}

/// Merges the float samples behind `middle` into those from `from` to there, which take precedence.
fn merge_floats(columns: &mut Columns, from: usize, middle: usize) {
    let Columns { timestamps_ms: times, values, starts_ms: starts, .. } = columns;
    match lie(&times[from..middle], &times[middle..], |&t| t) {
        Lie::InOrder => {}
        Lie::Swapped => {
            times[from..].rotate_left(middle - from);
            values[from..].rotate_left(middle - from);
            if !starts.is_empty() {
                starts[from..].rotate_left(middle - from);
            }
        }
        Lie::Mixed => {
            let order = merged_order(&times[from..middle], &times[middle..], |&t| t);
            reorder(times, from, &order);
            reorder(values, from, &order);
            if !starts.is_empty() {
                reorder(starts, from, &order);
            }
        }
    }
}

/// As [`merge_floats`], for histograms. Where they change over from one part to the other, nothing is known of resets.
fn merge_histograms(histograms: &mut Vec<HistogramSample>, from: usize, middle: usize) {
    let time = |h: &HistogramSample| h.timestamp.millis();
    match lie(&histograms[from..middle], &histograms[middle..], time) {
        Lie::InOrder => {}
        Lie::Swapped => histograms[from..].rotate_left(middle - from),
        Lie::Mixed => {
            let order = merged_order(&histograms[from..middle], &histograms[middle..], time);
            reorder(histograms, from, &order);
            let first = |place: usize| place < middle - from;
            for (at, _) in order.windows(2).enumerate().filter(|(_, pair)| first(pair[0]) != first(pair[1])) {
                let histogram = &mut histograms[from + at + 1].histogram;
                if matches!(histogram.counter_reset_hint, CounterResetHint::Reset | CounterResetHint::NotReset) {
                    Arc::make_mut(histogram).counter_reset_hint = CounterResetHint::Unknown;
                }
            }
        }
    }
}

/// Positions in `first` followed by `second`, in the order of time; of equal times that in `first`.
fn merged_order<T>(first: &[T], second: &[T], time: impl Fn(&T) -> i64) -> Vec<usize> {
    let mut order = Vec::with_capacity(first.len() + second.len());
    let (mut i, mut j) = (0, 0);
    while i < first.len() || j < second.len() {
        let side = match (first.get(i), second.get(j)) {
            (Some(a), Some(b)) => time(a).cmp(&time(b)),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        order.push(if side.is_le() { i } else { first.len() + j });
        i += usize::from(side.is_le());
        j += usize::from(side.is_ge());
    }
    order
}

/// Replaces all from `from` on by what `order` picks of it.
fn reorder<T: Clone>(list: &mut Vec<T>, from: usize, order: &[usize]) {
    let picked: Vec<T> = order.iter().map(|&at| list[from + at].clone()).collect();
    list.truncate(from);
    list.extend(picked);
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::histogram::FloatHistogram;
    use crate::querier::Queryable;
    use crate::sample::Timestamp;
    use crate::testing::{ModelStore, ModelValue};

    /// Series by number; samples by time: value, whether a histogram, start.
    type Part = BTreeMap<u8, BTreeMap<i64, (i32, bool, i64)>>;

    /// Value and start by whether it is a histogram, and time.
    type Model = BTreeMap<Labels, BTreeMap<(bool, i64), (i32, i64)>>;

    fn labels(series: u8) -> Labels {
        Labels::from_pairs([("a", (series % 3).to_string()), (["b", "c"][series as usize % 2], series.to_string())])
    }

    fn set(part: &Part) -> Arc<dyn SeriesSet> {
        let store = ModelStore::default();
        for (&series, samples) in part {
            for (&at, &(value, histogram, start)) in samples {
                let value = f64::from(value);
                let value = if histogram {
                    ModelValue::Histogram(Arc::new(FloatHistogram {
                        sum: value,
                        count: 1.0,
                        ..FloatHistogram::default()
                    }))
                } else {
                    ModelValue::Float(value)
                };
                store.append(&labels(series), Timestamp::from_millis(at), value, start);
            }
        }
        store.querier().unwrap().select(&[], TimeRange::ALL).unwrap()
    }

    fn arb_part() -> impl Strategy<Value = Part> {
        let samples = prop_oneof![Just(0i64), Just(20), Just(40)].prop_flat_map(|base| {
            prop::collection::btree_map(
                (base..base + 25).prop_map(|t| t),
                (any::<i32>(), any::<bool>(), 0..2i64),
                1..12,
            )
        });
        prop::collection::btree_map(0u8..8, samples, 0..6)
    }

    proptest! {
        #[test]
        fn joined_sets_read_as_one_map(parts in prop::collection::vec(arb_part(), 0..5), from in 0i64..60, len in 0i64..60) {
            // Floats and histograms are kept apart: one of each may stand at one time.
            let mut model = Model::new();
            for part in &parts {
                for (&series, samples) in part {
                    for (&at, &(value, histogram, start)) in samples {
                        model.entry(labels(series)).or_default().entry((histogram, at)).or_insert((value, start));
                    }
                }
            }
            let merged = MergedSet::join(parts.iter().map(set).collect());
            prop_assert_eq!(merged.len(), model.len());
            let range = TimeRange::from_millis(from, from + len);
            for (i, (labels, samples)) in model.iter().enumerate() {
                prop_assert_eq!(&merged.labels(i), labels);
                prop_assert_eq!(merged.label(i, "a"), labels.get("a"));
                prop_assert!((0..).map_while(|n| merged.pair(i, n)).eq(labels.iter()));
                let mut columns = Columns::default();
                columns.push(-1, -1.0, 0);
                merged.read(i, range, &mut columns).unwrap();
                let start = |i: usize| columns.starts_ms.get(i).copied().unwrap_or(0);
                let floats: Vec<_> = (1..columns.values.len()).map(|i| (columns.timestamps_ms[i], columns.values[i], start(i))).collect();
                let wanted = |kind: bool| samples.iter().filter(move |((h, at), _)| *h == kind && (from..=from + len).contains(at));
                let expected: Vec<_> = wanted(false).map(|(&(_, at), &(value, start))| (at, f64::from(value), start)).collect();
                prop_assert_eq!(floats, expected);
                let histograms: Vec<_> = columns.histograms.iter().map(|h| (h.timestamp.millis(), h.histogram.sum, h.start.map_or(0, Timestamp::millis))).collect();
                let expected: Vec<_> = wanted(true).map(|(&(_, at), &(value, start))| (at, f64::from(value), start)).collect();
                prop_assert_eq!(histograms, expected);
            }
        }
    }

    #[test]
    fn nothing_is_known_of_resets_where_parts_interleave() {
        let part = |times: &[i64]| set(&BTreeMap::from([(1, times.iter().map(|&t| (t, (1, true, 0))).collect())]));
        let mut columns = Columns::default();
        MergedSet::join(vec![part(&[1, 2, 5, 6]), part(&[2, 3, 4])]).read(0, TimeRange::ALL, &mut columns).unwrap();
        let hints: Vec<_> = columns.histograms.iter().map(|h| h.histogram.counter_reset_hint).collect();
        use CounterResetHint::{NotReset, Unknown};
        assert_eq!(hints, [Unknown, NotReset, Unknown, NotReset, Unknown, NotReset]);
    }
}
