//! What each node of an expression took.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tsdb::{Columns, Labels};

use super::grid::Rows;
use super::source::{Scratch, SharedSource, Source};
use crate::engine::NodeStats;
use crate::error::Error;
use crate::parser::{Expr, Span};

/// Counters of the nodes that were evaluated so far, by their place in the text.
#[derive(Debug)]
pub(crate) struct Nodes {
    clock: fn() -> Duration,
    counters: Mutex<HashMap<(u32, u32), Arc<Counter>>>,
}

/// What one node took.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    series: AtomicU64,
    samples: AtomicU64,
    chunks: AtomicU64,
    chunk_bytes: AtomicU64,
    values: AtomicU64,
    nanos: AtomicU64,
}

impl Counter {
    pub(crate) fn add_series(&self, series: usize) {
        self.series.fetch_add(series as u64, Ordering::Relaxed);
    }

    /// Counts samples that were decoded, and the chunks that `columns` has counted since this was last asked.
    pub(crate) fn add_read(&self, samples: u64, columns: &mut Columns) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
        self.chunks.fetch_add(std::mem::take(&mut columns.chunks_read), Ordering::Relaxed);
        self.chunk_bytes.fetch_add(std::mem::take(&mut columns.bytes_read), Ordering::Relaxed);
    }

    pub(crate) fn add_values(&self, values: u64) {
        self.values.fetch_add(values, Ordering::Relaxed);
    }

    fn add_time(&self, time: Duration) {
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Nodes {
    pub(crate) fn new(clock: fn() -> Duration) -> Self {
        Self { clock, counters: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// The counter of the node at `span`.
    pub(crate) fn at(&self, span: Span) -> Arc<Counter> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.entry((span.start, span.end)).or_default().clone()
    }

    /// Counts the time since `begun` for the node at `span`.
    pub(crate) fn spent(&self, span: Span, begun: Duration) -> Arc<Counter> {
        let counter = self.at(span);
        counter.add_time(self.now().saturating_sub(begun));
        counter
    }

    /// What the nodes of `expr` took, parents first.
    pub(crate) fn finish(&self, expr: &Expr) -> Vec<NodeStats> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut open, mut stats) = (vec![(expr, 0)], Vec::new());
        while let Some((node, depth)) = open.pop() {
            let span = node.span();
            if let Some(counter) = counters.get(&(span.start, span.end)) {
                let values = counter.values.load(Ordering::Relaxed);
                stats.push(NodeStats {
                    span: span.start as usize..span.end as usize,
                    depth,
                    series: counter.series.load(Ordering::Relaxed),
                    samples: counter.samples.load(Ordering::Relaxed),
                    chunks: counter.chunks.load(Ordering::Relaxed),
                    chunk_bytes: counter.chunk_bytes.load(Ordering::Relaxed),
                    values,
                    bytes: values.saturating_mul(size_of::<f64>() as u64),
                    time: Duration::from_nanos(counter.nanos.load(Ordering::Relaxed)),
                });
            }
            let below = open.len();
            open.extend(node.children().map(|child| (child, depth + 1)));
            open[below..].reverse();
        }
        stats
    }
}

/// Counts what a source evaluates.
pub(crate) struct Counted<'q> {
    pub(crate) inner: SharedSource<'q>,
    pub(crate) nodes: &'q Nodes,
    pub(crate) counter: Arc<Counter>,
}

impl Source for Counted<'_> {
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
        let begun = self.nodes.now();
        self.inner.eval(range, rows, scratch)?;
        self.counter.add_time(self.nodes.now().saturating_sub(begun));
        self.counter.add_values(rows.values.len() as u64);
        Ok(())
    }
}
