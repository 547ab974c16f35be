//! What a query may use, and the flag that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::error::Error;

const RUNNING: u8 = 0;
const TIMED_OUT: u8 = 1;
const CANCELED: u8 = 2;

/// Stops a running query from outside. Clones stop the same query; the first reason stays.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicU8>);

impl StopFlag {
    /// Stops the query because its time is over.
    pub fn time_out(&self) {
        self.stop(TIMED_OUT);
    }

    /// Stops the query because nobody waits for it any more.
    pub fn cancel(&self) {
        self.stop(CANCELED);
    }

    fn stop(&self, reason: u8) {
        // Losing the race means that the query is stopping already.
        let _ = self.0.compare_exchange(RUNNING, reason, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asked between batches of work.
    ///
    /// # Errors
    /// If the query has been stopped; `during` says what it was doing.
    pub fn check(&self, during: &'static str) -> Result<(), Error> {
        match self.0.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            TIMED_OUT => Err(Error::Timeout { during }),
            _ => Err(Error::Canceled { during }),
        }
    }
}

/// Counts what a query takes against what it may take. Shared by the threads that work on it.
#[derive(Debug)]
pub struct Budget {
    bytes: AtomicU64,
    peak_bytes: AtomicU64,
    max_bytes: u64,
    samples: AtomicU64,
    peak_samples: AtomicU64,
    max_samples: u64,
}

impl Budget {
    /// A budget of `max_bytes` and `max_samples`, both held at once.
    #[must_use]
    pub fn new(max_bytes: u64, max_samples: u64) -> Self {
        Self {
            bytes: 0.into(),
            peak_bytes: 0.into(),
            max_bytes,
            samples: 0.into(),
            peak_samples: 0.into(),
            max_samples,
        }
    }

    /// Accounts for `bytes` before they are allocated.
    ///
    /// # Errors
    /// If the query would then hold more than it may.
    pub fn take_bytes(&self, bytes: u64) -> Result<(), Error> {
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak_bytes.fetch_max(held, Ordering::Relaxed);
        if held > self.max_bytes {
            return Err(Error::Execution(format!(
                "query needs more than {} bytes of memory, the limit set by --query.max-memory",
                self.max_bytes
            )));
        }
        Ok(())
    }

    /// Gives `bytes` back.
    pub fn return_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Accounts for `samples` that the query holds in memory.
    ///
    /// # Errors
    /// If the query then holds more than it may.
    pub fn take_samples(&self, samples: u64) -> Result<(), Error> {
        let held = self.samples.fetch_add(samples, Ordering::Relaxed) + samples;
        self.peak_samples.fetch_max(held, Ordering::Relaxed);
        if held > self.max_samples {
            return Err(Error::Execution(
                "query processing would load too many samples into memory in query execution".into(),
            ));
        }
        Ok(())
    }

    /// Gives `samples` back.
    pub fn return_samples(&self, samples: u64) {
        self.samples.fetch_sub(samples, Ordering::Relaxed);
    }

    /// The most samples that were held at once.
    #[must_use]
    pub fn peak_samples(&self) -> u64 {
        self.peak_samples.load(Ordering::Relaxed)
    }

    /// The most bytes that were held at once.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_what_passes_it_and_remembers_the_peak() {
        let budget = Budget::new(100, 10);
        budget.take_bytes(80).unwrap();
        budget.return_bytes(50);
        assert!(budget.take_bytes(71).is_err());
        assert_eq!(budget.peak_bytes(), 101);
        assert!(budget.take_samples(10).is_ok() && budget.take_samples(1).is_err());
    }

    #[test]
    fn the_first_reason_to_stop_stays() {
        let flag = StopFlag::default();
        assert!(flag.check("x").is_ok());
        flag.clone().time_out();
        flag.cancel();
        assert_eq!(
            flag.check("expression evaluation").unwrap_err().to_string(),
            "query timed out in expression evaluation"
        );
    }
}
