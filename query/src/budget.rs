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
    max_samples: u64,
}

impl Budget {
    /// A budget of `max_bytes` held at once and `max_samples` read in all.
    #[must_use]
    pub fn new(max_bytes: u64, max_samples: u64) -> Self {
        Self { bytes: 0.into(), peak_bytes: 0.into(), max_bytes, samples: 0.into(), max_samples }
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

    /// Accounts for `samples` that were read from the store.
    ///
    /// # Errors
    /// If the query has then read more than it may.
    pub fn take_samples(&self, samples: u64) -> Result<(), Error> {
        if self.samples.fetch_add(samples, Ordering::Relaxed) + samples > self.max_samples {
            return Err(Error::Execution(
                "query processing would load too many samples into memory in query execution".into(),
            ));
        }
        Ok(())
    }

    /// Samples read so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// The most bytes that were held at once.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}
