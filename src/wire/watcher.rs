//! Watches whether the store can do its work, and says once what has changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tsdb::Db;

/// How often the store is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// A failure of the store's own work that has not come again for so many looks is over: the next is told of anew.
const LOOKS_UNTIL_OVER: u32 = 120;

/// Why ingestion is paused, if it is: as of the last look.
#[derive(Debug, Default)]
pub(super) struct Paused(Mutex<Option<String>>);

impl Paused {
    pub(super) fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

/// Watches until the future is dropped.
pub(super) async fn watch(db: Arc<Db>, paused: Arc<Paused>) {
    let mut failures = Failures::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let store = Arc::clone(&db);
        let look = tokio::task::spawn_blocking(move || (store.paused(), store.maintenance()));
        let Ok((reason, totals)) = look.await else { return };
        paused.look(reason);
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
