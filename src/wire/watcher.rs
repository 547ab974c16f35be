//! Watches whether the store can do its work, and says once what has changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tsdb::{Db, Held, MaintenanceTotals};

use super::clock::{ClockReport, ClockWatch, Reading};

/// How often the store is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// A failure of the store's own work that has not come again for so many looks is over: the next is told of anew.
const LOOKS_UNTIL_OVER: u32 = 120;

/// Why ingestion is paused, if it is, and what the clock does: as of the last look.
#[derive(Debug, Default)]
pub(super) struct Paused(Mutex<Option<String>>, Mutex<ClockReport>);

impl Paused {
    pub(super) fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What there is to say of the clock.
    pub(super) fn clock(&self) -> ClockReport {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_clock(&self, report: ClockReport) {
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// Takes over what the store says now.
    fn look(&self, now: Option<String>) {
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (before.as_ref(), now.as_ref()) {
            (None, Some(reason)) => tracing::error!(
                %reason,
                "ingestion is paused: samples are refused until the disk takes them, queries go on"
            ),
            (Some(_), None) => tracing::info!("ingestion goes on"),
            _ => {}
        }
        *before = now;
    }
}

/// What went wrong in the store's own work, as far as it has been told.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    cause: String,
    looks: u32,
}

impl Failures {
    /// Whether to tell of the last of `count` failures.
    fn is_news(&mut self, count: u64, failure: &str) -> bool {
        if count == self.count {
            self.looks = self.looks.saturating_add(1);
            return false;
        }
        // The files differ from try to try; what is behind the last colon is what happened.
        let cause = failure.rsplit(": ").next().unwrap_or_default();
        let news = self.cause != cause || self.looks >= LOOKS_UNTIL_OVER;
        *self = Self { count, cause: cause.to_owned(), looks: 0 };
        news
    }
}

/// What retention does, as far as it has been told.
#[derive(Debug, Default)]
struct Retained {
    dropped: u64,
    samples: u64,
    held: Held,
}

impl Retained {
    /// Tells what has gone since, and what is held back.
    fn look(&mut self, totals: &MaintenanceTotals) {
        let MaintenanceTotals { dropped, dropped_samples, held, .. } = *totals;
        if dropped > self.dropped {
            let (blocks, samples) = (dropped - self.dropped, dropped_samples.saturating_sub(self.samples));
            tracing::info!(blocks, samples, "retention dropped blocks");
        }
        if held.blocks > self.held.blocks {
            tracing::warn!(
                blocks = held.blocks,
                samples = held.samples,
                "retention waits: by the wall clock these blocks are too old, but it jumped ahead and may be wrong"
            );
        }
        *self = Self { dropped, samples: dropped_samples, held };
    }
}

/// Watches until the future is dropped. Tells the store the time.
pub(super) async fn watch(db: Arc<Db>, paused: Arc<Paused>, mut clock: ClockWatch) {
    let mut retained = Retained::default();
    let mut failures = Failures::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let store = Arc::clone(&db);
        let look = tokio::task::spawn_blocking(move || {
            store.set_clock(clock.tick(Reading::now()));
            let totals = store.maintenance();
            let report = clock.report(store.future(), totals.held);
            (store.paused(), totals, report, clock)
        });
        let Ok((reason, totals, report, looked)) = look.await else { return };
        clock = looked;
        paused.look(reason);
        paused.set_clock(report);
        retained.look(&totals);
        if let Some(error) = totals.last_failure.filter(|failure| failures.is_news(totals.failures, failure)) {
            tracing::warn!(%error, "the store could not do its own work, and tries again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_of_once_until_it_changes_or_is_over() {
        let mut failures = Failures::default();
        assert!(failures.is_news(1, "data/a: disk full"));
        assert!(!failures.is_news(2, "data/b: disk full"));
        assert!(failures.is_news(3, "data/b: permission denied"));
        for _ in 0..LOOKS_UNTIL_OVER {
            assert!(!failures.is_news(3, "data/b: permission denied"));
        }
        assert!(failures.is_news(4, "data/c: permission denied"));
    }
}
