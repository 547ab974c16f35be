//! Samples that were read from somewhere and are only asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::Error;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::querier::{Columns, Querier, Queryable, SeriesSet};
use crate::sample::TimeRange;

/// Series in memory that do not change.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Vec<(Labels, Columns)>>);

impl MemoryStore {
    /// A store of these series, their samples in any order; of two at one time the first stays.
    #[must_use]
    pub fn new(series: BTreeMap<Labels, Columns>) -> Self {
        let mut series: Vec<_> = series.into_iter().collect();
        series.iter_mut().for_each(|(_, columns)| put_in_order(columns));
        Self(Arc::new(series))
    }

    /// From the oldest sample to the newest; empty if there is none.
    #[must_use]
    pub fn span(&self) -> TimeRange {
        let mut span = TimeRange::NONE;
        for (_, columns) in &*self.0 {
            let ends = [columns.timestamps_ms.first(), columns.timestamps_ms.last()];
            ends.into_iter().flatten().for_each(|&ms| span.extend(ms));
            let ends = [columns.histograms.first(), columns.histograms.last()];
            ends.into_iter().flatten().for_each(|sample| span.extend(sample.timestamp.millis()));
        }
        span
    }

    fn selected<'a>(&'a self, matchers: &'a [Matcher], range: TimeRange) -> impl Iterator<Item = usize> + 'a {
        let passes = move |(labels, columns): &(Labels, Columns)| {
            matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
                && (!floats(columns, range).is_empty() || !histograms(columns, range).is_empty())
        };
        self.0.iter().enumerate().filter(move |(_, series)| passes(series)).map(|(index, _)| index)
    }
}

fn put_in_order(columns: &mut Columns) {
    let mut order: Vec<usize> = (0..columns.timestamps_ms.len()).collect();
    order.sort_by_key(|&i| columns.timestamps_ms[i]);
    order.dedup_by_key(|i| columns.timestamps_ms[*i]);
    let mut sorted = Columns::default();
    order.iter().for_each(|&i| sorted.push(columns.timestamps_ms[i], columns.values[i], columns.start(i)));
    sorted.histograms = std::mem::take(&mut columns.histograms);
    sorted.histograms.sort_by_key(|sample| sample.timestamp);
    sorted.histograms.dedup_by_key(|sample| sample.timestamp);
    *columns = sorted;
}

fn floats(columns: &Columns, range: TimeRange) -> std::ops::Range<usize> {
    let times = &columns.timestamps_ms;
    let from = times.partition_point(|&ms| ms < range.start.millis());
    from..times.partition_point(|&ms| ms <= range.end.millis()).max(from)
}

fn histograms(columns: &Columns, range: TimeRange) -> std::ops::Range<usize> {
    let samples = &columns.histograms;
    let from = samples.partition_point(|sample| sample.timestamp < range.start);
    from..samples.partition_point(|sample| sample.timestamp <= range.end).max(from)
}

impl Queryable for MemoryStore {
    fn querier(&self) -> Result<Arc<dyn Querier>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

impl Querier for MemoryStore {
    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        Ok(Arc::new(Selected { indexes: self.selected(matchers, range).collect(), store: self.clone() }))
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<String>, Error> {
        let series = self.selected(matchers, range).map(|index| &self.0[index].0);
        let names: BTreeSet<&str> = series.flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().take(limit).map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let values: BTreeSet<&str> =
            self.selected(matchers, range).filter_map(|index| self.0[index].0.get(name)).collect();
        Ok(values.into_iter().take(limit).map(str::to_owned).collect())
    }
}

struct Selected {
    store: MemoryStore,
    indexes: Vec<usize>,
}

impl Selected {
    fn series(&self, index: usize) -> &(Labels, Columns) {
        &self.store.0[self.indexes[index]]
    }
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.indexes.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series(index).0.clone()
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.series(index).0.get(name)
    }

    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)> {
        self.series(index).0.iter().nth(n)
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let held = &self.series(index).1;
        floats(held, range).for_each(|i| columns.push(held.timestamps_ms[i], held.values[i], held.start(i)));
        columns.histograms.extend_from_slice(&held.histograms[histograms(held, range)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_in_any_order_are_read_in_the_order_of_time_and_the_first_of_two_stays() {
        let mut columns = Columns::default();
        for (at, value) in [(30, 1.0), (10, 2.0), (30, 3.0), (20, 4.0)] {
            columns.push(at, value, if at == 20 { 5 } else { 0 });
        }
        let labels = |name| Labels::from_pairs([("__name__", name), ("a", "b")]);
        let mut later = Columns::default();
        later.push(90, 9.0, 0);
        let store = MemoryStore::new(BTreeMap::from([(labels("x"), columns), (labels("y"), later)]));
        assert_eq!(store.span(), TimeRange::from_millis(10, 90));
        let read = |from, to| {
            let range = TimeRange::from_millis(from, to);
            let set = store.querier().unwrap().select(&[Matcher::equal("a", "b")], range).unwrap();
            let mut columns = Columns::default();
            (0..set.len()).for_each(|i| set.read(i, range, &mut columns).unwrap());
            (set.len(), columns.timestamps_ms, columns.values, columns.starts_ms)
        };
        assert_eq!(read(0, 50), (1, vec![10, 20, 30], vec![2.0, 4.0, 1.0], vec![0, 5, 0]));
        assert_eq!(read(11, 90), (2, vec![20, 30, 90], vec![4.0, 1.0, 9.0], vec![5, 0, 0]));
        assert_eq!(read(31, 89).0, 0);
        assert_eq!(store.label_values("__name__", &[], TimeRange::from_millis(0, 50), 9).unwrap(), ["x"]);
        assert_eq!(store.label_names(&[], TimeRange::ALL, 9).unwrap(), ["__name__", "a"]);
    }
}
