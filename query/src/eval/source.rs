//! Series that are evaluated batch by batch, when somebody asks for them.

use std::ops::Range;
use std::sync::Arc;

use tsdb::{Columns, Labels, METRIC_NAME};

use super::grid::{Grid, Rows};
use super::query::{Held, Query};
use super::selector::Newest;
use super::window::Plan;
use crate::error::Error;
use crate::functions::Geometry;

/// The type of a metric, where it is kept as a label.
pub(crate) const TYPE_LABEL: &str = "__type__";

/// The unit of a metric, where it is kept as a label.
pub(crate) const UNIT_LABEL: &str = "__unit__";

/// Series by position, in the order of their labels where they come from the store. May be read from many threads.
pub(crate) trait Source: Send + Sync {
    /// How many series there are.
    fn len(&self) -> usize;

    /// The labels of a series. Makes them anew at each call.
    fn labels(&self, index: usize) -> Labels;

    /// The value of one label. Makes nothing.
    fn label(&self, index: usize, name: &str) -> Option<&str>;

    /// Whether the metric name is still there but to be dropped at the end.
    fn drops_name(&self, _index: usize) -> bool {
        false
    }

    /// Whether no two series have the same labels once the metric name is dropped.
    fn one_name(&self) -> bool;

    /// How many samples are read for a series, about.
    fn weight(&self) -> usize {
        1
    }

    /// Evaluates the series of `range` into `rows`, which has been reset for them.
    ///
    /// # Errors
    /// If the store fails, a limit is passed or the query is stopped.
    fn eval(&self, range: Range<usize>, rows: &mut Rows, scratch: &mut Scratch) -> Result<(), Error>;
}

/// A source that several owners share.
pub(crate) type SharedSource<'q> = Arc<dyn Source + 'q>;

/// Memory that one thread uses again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) columns: Columns,
    pub(crate) floats: Vec<f64>,
    pub(crate) plan: Plan,
    pub(crate) newest: Newest,
    pub(crate) sums: Vec<(f64, f64)>,
    pub(crate) geometry: Geometry,
    pub(crate) indices: Vec<u32>,
    pub(crate) step_samples: Vec<u64>,
}

/// Series of the store whose memory is fetched together.
pub(crate) const PREFETCHED: usize = 16;

/// Values per batch: 256 KiB of floats, which stay in the cache.
const BATCH_VALUES: usize = 32_768;

/// Series per batch, at the most.
const BATCH_SERIES: usize = 1_024;

/// Samples per batch, about, where they are many more than the steps.
const BATCH_SAMPLES: usize = 65_536;

/// How many series make a batch. Depends on nothing but the query, so that results have the same bits however many
/// threads there are.
fn batch_size(steps: usize, weight: usize) -> usize {
    let by_steps = (BATCH_VALUES / steps.max(1)).clamp(4, BATCH_SERIES);
    // Where windows are long and steps few, samples count.
    if weight / 8 > steps { by_steps.min((BATCH_SAMPLES / weight).max(1)) } else { by_steps }
}

/// Whether series of `source` have more than the name to lose.
pub(crate) fn has_metadata_labels(source: &dyn Source) -> bool {
    (0..source.len()).any(|i| source.label(i, TYPE_LABEL).is_some() || source.label(i, UNIT_LABEL).is_some())
}

/// Evaluates all series of `source`, batch by batch and in parallel, and hands what `map` makes of each batch to `fold`
/// in the order of the series.
///
/// # Errors
/// The first error in the order of the series.
pub(crate) fn for_each_batch<T: Send>(
    query: &Query<'_>,
    source: &dyn Source,
    steps: usize,
    map: impl Fn(Range<usize>, &mut Rows, &mut Scratch) -> Result<T, Error> + Sync,
    mut fold: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let total = source.len();
    let size = batch_size(steps, source.weight());
    // What a batch takes is held until its result is folded: results may be the rows themselves.
    let run = |batch: usize, space: &mut (Rows, Scratch)| -> Result<(T, Held<'_>), Error> {
        let range = batch * size..((batch + 1) * size).min(total);
        let (rows, scratch) = space;
        query.stop.check("expression evaluation")?;
        let held = query.hold((range.len() * steps * size_of::<f64>()) as u64)?;
        rows.reset(range.len(), steps);
        source.eval(range.clone(), rows, scratch)?;
        Ok((map(range, rows, scratch)?, held))
    };
    let count = total.div_ceil(size);
    let Some(pool) = query.pool.filter(|_| count > 1) else {
        let mut space = (Rows::default(), Scratch::default());
        for batch in 0..count {
            fold(run(batch, &mut space)?.0)?;
        }
        return Ok(());
    };
    pool.ordered(count, &run, |result| fold(result?.0))
}

/// Whether a label describes the metric rather than the series: operations drop these together.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | TYPE_LABEL | UNIT_LABEL)
}

/// The labels without those that describe the metric.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    labels.filtered(|name| !is_metadata(name))
}

/// Leaves the labels that describe the metric out.
pub(crate) struct WithoutName<'q> {
    pub(crate) inner: SharedSource<'q>,
    /// Keeps the name and marks it instead.
    pub(crate) delayed: bool,
}

impl Source for WithoutName<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let labels = self.inner.labels(index);
        if self.delayed { labels } else { without_metadata(&labels) }
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        if !self.delayed && is_metadata(name) { None } else { self.inner.label(index, name) }
    }

    fn drops_name(&self, _index: usize) -> bool {
        self.delayed
    }

    fn one_name(&self) -> bool {
        self.inner.one_name()
    }

    fn weight(&self) -> usize {
        self.inner.weight()
    }

    fn eval(&self, range: Range<usize>, rows: &mut Rows, scratch: &mut Scratch) -> Result<(), Error> {
        self.inner.eval(range, rows, scratch)
    }
}

/// Changes the rows of another source in place.
pub(crate) struct Mapped<'q, F> {
    pub(crate) inner: SharedSource<'q>,
    pub(crate) map: F,
}

impl<F> Source for Mapped<'_, F>
where
    F: Fn(&mut Rows) -> Result<(), Error> + Send + Sync,
{
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.inner.label(index, name)
    }

    fn drops_name(&self, index: usize) -> bool {
        self.inner.drops_name(index)
    }

    fn one_name(&self) -> bool {
        self.inner.one_name()
    }

    fn weight(&self) -> usize {
        self.inner.weight()
    }

    fn eval(&self, range: Range<usize>, rows: &mut Rows, scratch: &mut Scratch) -> Result<(), Error> {
        self.inner.eval(range, rows, scratch)?;
        (self.map)(rows)
    }
}

/// One value per series, the same at every step.
pub(crate) struct Broadcast<'q> {
    pub(crate) inner: SharedSource<'q>,
    pub(crate) grid: Grid,
}

impl Source for Broadcast<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.inner.label(index, name)
    }

    fn drops_name(&self, index: usize) -> bool {
        self.inner.drops_name(index)
    }

    fn one_name(&self) -> bool {
        self.inner.one_name()
    }

    fn weight(&self) -> usize {
        self.inner.weight()
    }

    fn eval(&self, range: Range<usize>, rows: &mut Rows, scratch: &mut Scratch) -> Result<(), Error> {
        let mut single = Rows::new(range.len(), 1);
        self.inner.eval(range, &mut single, scratch)?;
        debug_assert_eq!(rows.steps, self.grid.count);
        for series in 0..single.len() {
            rows.row_mut(series).fill(single.values[series]);
            if let Some(histogram) = single.histogram(series, 0) {
                for step in 0..rows.steps {
                    rows.set_histogram(series, step, histogram.clone());
                }
            }
        }
        Ok(())
    }
}

/// Other labels for the series of a source.
pub(crate) struct Relabeled<'q> {
    pub(crate) inner: SharedSource<'q>,
    pub(crate) labels: Vec<Labels>,
    /// Marks of names that are dropped at the end, per series.
    pub(crate) drops: Vec<bool>,
}

impl Source for Relabeled<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.labels[index].clone()
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        self.labels[index].get(name)
    }

    fn drops_name(&self, index: usize) -> bool {
        self.drops[index]
    }

    fn one_name(&self) -> bool {
        false
    }

    fn eval(&self, range: Range<usize>, rows: &mut Rows, scratch: &mut Scratch) -> Result<(), Error> {
        self.inner.eval(range, rows, scratch)
    }
}
