//! Series in memory, ready to be read: for benches, where the engine and not a store is to be measured.

use std::sync::Arc;

use tsdb::{Columns, Error, Labels, Matcher, Querier, Queryable, SeriesSet, TimeRange};

/// Series that all have samples at the same moments.
#[derive(Clone, Debug, Default)]
pub struct Synthetic {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    labels: Vec<Labels>,
    timestamps_ms: Vec<i64>,
    values: Vec<Vec<f64>>,
}

impl Synthetic {
    /// Series by label set, sorted here. Each has as many values as there are moments.
    ///
    /// # Panics
    /// If a series has another number of values.
    #[must_use]
    pub fn new(timestamps_ms: Vec<i64>, mut series: Vec<(Labels, Vec<f64>)>) -> Self {
        series.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(series.iter().all(|s| s.1.len() == timestamps_ms.len()), "one value per moment");
        let (labels, values) = series.into_iter().unzip();
        Self { inner: Arc::new(Inner { labels, timestamps_ms, values }) }
    }
}

impl Queryable for Synthetic {
    fn querier(&self) -> Result<Arc<dyn Querier>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

impl Querier for Synthetic {
    fn select(&self, matchers: &[Matcher], _: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        let passes = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()));
        let all = self.inner.labels.iter().enumerate();
        let chosen = all.filter(|(_, labels)| passes(labels)).map(|(i, _)| i as u32).collect();
        Ok(Arc::new(Selected { inner: self.inner.clone(), chosen }))
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

struct Selected {
    inner: Arc<Inner>,
    chosen: Vec<u32>,
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels[self.chosen[index] as usize].clone()
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.inner.labels[self.chosen[index] as usize].get(name)
    }

    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)> {
        self.inner.labels[self.chosen[index] as usize].iter().nth(n)
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let times = &self.inner.timestamps_ms;
        let low = times.partition_point(|t| *t < range.start.millis());
        let high = times.partition_point(|t| *t <= range.end.millis()).max(low);
        let series = self.chosen[index] as usize;
        columns.timestamps_ms.extend_from_slice(&times[low..high]);
        columns.values.extend_from_slice(&self.inner.values[series][low..high]);
        Ok(())
    }
}
