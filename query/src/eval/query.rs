//! What all nodes and threads of one running query share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tsdb::{Matcher, Querier, SeriesSet, TimeRange};

use super::nodes::Nodes;
use super::notes::Notes;
use super::pool::Pool;
use super::source::{TYPE_LABEL, UNIT_LABEL};
use crate::budget::{Budget, StopFlag};
use crate::engine::Options;
use crate::error::{Error, Limit};
use crate::parser::QueryTimes;

/// What a set of series holds for each of them, about.
const BYTES_PER_REFERENCE: u64 = 24;

/// A running query.
pub(crate) struct Query<'q> {
    pub(crate) options: &'q Options,
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) lookback_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for an instant query.
    pub(crate) step_ms: i64,
    pub(crate) is_range: bool,
    /// Whether samples that need not be looked at are to be counted as well.
    pub(crate) counts_all: bool,
    pub(crate) budget: Budget,
    pub(crate) stop: StopFlag,
    pub(crate) pool: Option<&'q Pool>,
    pub(crate) notes: Notes,
    pub(crate) counters: Counters,
    pub(crate) nodes: Nodes,
    pub(crate) metadata_labels: OnceLock<bool>,
}

/// What the operators count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Samples that selectors looked at, as Prometheus counts `totalQueryableSamples`.
    pub(crate) samples: AtomicU64,
    /// The same by step; empty unless asked for.
    pub(crate) step_samples: Vec<AtomicU64>,
    /// Samples decoded from the store.
    pub(crate) decoded: AtomicU64,
    /// Series selected.
    pub(crate) series: AtomicU64,
}

impl Counters {
    pub(crate) fn new(steps: usize) -> Self {
        Self { step_samples: (0..steps).map(|_| AtomicU64::new(0)).collect(), ..Self::default() }
    }

    pub(crate) fn add_samples(&self, samples: u64) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    pub(crate) fn add_steps(&self, samples: &mut [u64]) {
        for (total, step) in self.step_samples.iter().zip(samples) {
            total.fetch_add(std::mem::take(step), Ordering::Relaxed);
        }
    }
}

impl<'q> Query<'q> {
    /// Accounts for bytes until the guard is dropped.
    ///
    /// # Errors
    /// If the query would then hold more than it may.
    pub(crate) fn hold(&self, bytes: u64) -> Result<Held<'_>, Error> {
        self.budget.take_bytes(bytes)?;
        Ok(Held { budget: &self.budget, bytes, points: 0 })
    }

    /// The series that pass `matchers` and may have samples from `first_ms` to `last_ms`, both included.
    ///
    /// # Errors
    /// If the store fails or the query is stopped.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Arc<dyn SeriesSet>, Error> {
        self.stop.check("query preparation")?;
        let set = self.querier.select(matchers, TimeRange::from_millis(first_ms, last_ms))?;
        let found = set.len() as u64;
        let series = self.counters.series.fetch_add(found, Ordering::Relaxed) + found;
        let most = self.options.max_series;
        if most > 0 && series > most {
            let message = format!("selectors find more than {most} series, the limit set by --query.max-series");
            return Err(Error::Limit(Limit::Series, message));
        }
        // A reference for each, until the query ends.
        self.budget.take_bytes(found * BYTES_PER_REFERENCE)?;
        Ok(set)
    }

    /// What durations may depend on.
    pub(crate) fn times(&self) -> QueryTimes {
        QueryTimes { step: self.step_ms as f64 / 1000.0, range: (self.end_ms - self.start_ms) as f64 / 1000.0 }
    }

    /// Whether any series of the store has a type or unit label, which operations drop together with the name.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn has_metadata_labels(&self) -> Result<bool, Error> {
        if let Some(known) = self.metadata_labels.get() {
            return Ok(*known);
        }
        let mut found = false;
        for name in [TYPE_LABEL, UNIT_LABEL] {
            found |= !self.querier.label_values(name, &[], TimeRange::ALL, 1)?.is_empty();
        }
        Ok(*self.metadata_labels.get_or_init(|| found))
    }

    pub(crate) fn delays_name_removal(&self) -> bool {
        self.options.features.delayed_name_removal
    }
}

/// Bytes that a query holds.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
    points: u64,
}

impl Held<'_> {
    /// Holds `bytes` more.
    ///
    /// # Errors
    /// If that is more than the query may hold.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        self.budget.take_bytes(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Holds `bytes` less.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.budget.return_bytes(bytes);
        self.bytes -= bytes;
    }

    /// Holds `points` samples more.
    ///
    /// # Errors
    /// If that is more than the query may hold.
    pub(crate) fn grow_points(&mut self, points: u64) -> Result<(), Error> {
        self.budget.take_samples(points)?;
        self.points += points;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.return_bytes(self.bytes);
        self.budget.return_samples(self.points);
    }
}
