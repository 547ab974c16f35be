//! What a query may use, and the flag that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::error::{Error, Limit};

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

    /// Whether the query has been stopped. Costs next to nothing.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != RUNNING
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

/// Memory that all queries together may hold. Clones share it.
#[derive(Clone, Debug)]
pub struct Reserve(Arc<ReserveState>);

#[derive(Debug)]
struct ReserveState {
    held: AtomicU64,
    max_bytes: u64,
}

impl Reserve {
    /// A reserve of `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self(Arc::new(ReserveState { held: 0.into(), max_bytes }))
    }

    /// Bytes that queries and their results hold now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), Error> {
        let held = self.0.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.0.max_bytes {
            self.give(bytes);
            return Err(Error::Limit(
                Limit::TotalMemory,
                format!(
                    "all queries together need more than {} bytes of memory, the limit set by --query.max-memory-total",
                    self.0.max_bytes
                ),
            ));
        }
        Ok(())
    }

    fn give(&self, bytes: u64) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Memory of a result until it has been sent: of its values, and of the text that is made of them.
#[derive(Debug)]
pub struct Lease {
    reserve: Reserve,
    bytes: u64,
    max_bytes: u64,
}

impl Lease {
    /// A lease of nothing yet, for up to `max_bytes` of what `reserve` has left.
    #[must_use]
    pub fn new(reserve: Reserve, max_bytes: u64) -> Self {
        Self { reserve, bytes: 0, max_bytes }
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Accounts for `bytes` more.
    ///
    /// # Errors
    /// If this query, or all together, would then hold more than they may. Nothing is taken then.
    pub fn take_bytes(&mut self, bytes: u64) -> Result<(), Error> {
        let held = self.bytes.saturating_add(bytes);
        if held > self.max_bytes {
            return Err(over(self.max_bytes));
        }
        self.reserve.take(bytes)?;
        self.bytes = held;
        Ok(())
    }

    /// Gives `bytes` back, or all that is held if that is less.
    pub fn return_bytes(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.reserve.give(bytes);
    }

    /// Takes over what another lease of the same reserve holds.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.reserve.give(self.bytes);
    }
}

/// The error of a query that needs more than it may hold.
fn over(max_bytes: u64) -> Error {
    let message = format!("query needs more than {max_bytes} bytes of memory, the limit set by --query.max-memory");
    Error::Limit(Limit::Memory, message)
}

/// Counts what a query takes against what it may take. Shared by the threads that work on it.
#[derive(Debug)]
pub struct Budget {
    reserve: Reserve,
    bytes: AtomicU64,
    peak_bytes: AtomicU64,
    max_bytes: u64,
    /// Bytes that the client of the query holds of earlier answers; they count against `max_bytes`.
    held_before: u64,
    samples: AtomicU64,
    peak_samples: AtomicU64,
    max_samples: u64,
}

impl Budget {
    /// A budget of `max_bytes`, of what `reserve` has left, and of `max_samples`, all held at once.
    #[must_use]
    pub fn new(reserve: Reserve, max_bytes: u64, max_samples: u64) -> Self {
        Self {
            reserve,
            bytes: 0.into(),
            peak_bytes: 0.into(),
            max_bytes,
            held_before: 0,
            samples: 0.into(),
            peak_samples: 0.into(),
            max_samples,
        }
    }

    /// The same for a query whose client holds `bytes` of earlier answers.
    #[must_use]
    pub fn beside(mut self, bytes: u64) -> Self {
        self.held_before = bytes;
        self
    }

    /// Accounts for `bytes` before they are allocated.
    ///
    /// # Errors
    /// If this query, or all together, would then hold more than they may. Nothing is taken then.
    pub fn take_bytes(&self, bytes: u64) -> Result<(), Error> {
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if held.saturating_add(self.held_before) > self.max_bytes {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(over(self.max_bytes));
        }
        if let Err(error) = self.reserve.take(bytes) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(error);
        }
        self.peak_bytes.fetch_max(held, Ordering::Relaxed);
        Ok(())
    }

    /// Gives `bytes` back.
    pub fn return_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.reserve.give(bytes);
    }

    /// Keeps `bytes` that have been taken beyond the end of the query.
    pub(crate) fn lease(&self, bytes: u64) -> Lease {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Lease { reserve: self.reserve.clone(), bytes, max_bytes: self.max_bytes }
    }

    /// Accounts for `samples` that the query holds in memory.
    ///
    /// # Errors
    /// If the query then holds more than it may.
    pub fn take_samples(&self, samples: u64) -> Result<(), Error> {
        let held = self.samples.fetch_add(samples, Ordering::Relaxed).saturating_add(samples);
        self.peak_samples.fetch_max(held, Ordering::Relaxed);
        if held > self.max_samples {
            self.samples.fetch_sub(samples, Ordering::Relaxed);
            return Err(Error::Limit(
                Limit::Samples,
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

/// What is still held when a query ends, by an error or because it was kept to the end, goes back.
impl Drop for Budget {
    fn drop(&mut self) {
        self.reserve.give(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_what_passes_it_and_remembers_the_peak() {
        let budget = Budget::new(Reserve::new(1_000), 100, 10);
        budget.take_bytes(80).unwrap();
        budget.return_bytes(50);
        assert!(matches!(budget.take_bytes(71), Err(Error::Limit(Limit::Memory, _))));
        assert_eq!(budget.peak_bytes(), 80);
        assert!(budget.take_samples(10).is_ok() && budget.take_samples(1).is_err());
    }

    #[test]
    fn queries_share_a_reserve_and_give_back_all_that_they_took() {
        let reserve = Reserve::new(100);
        let (one, other) = (Budget::new(reserve.clone(), 80, 1), Budget::new(reserve.clone(), 80, 1));
        one.take_bytes(60).unwrap();
        assert!(matches!(other.take_bytes(60), Err(Error::Limit(Limit::TotalMemory, _))));
        other.take_bytes(40).unwrap();
        let lease = other.lease(30);
        drop((one, other));
        assert_eq!(reserve.held_bytes(), 30);
        drop(lease);
        assert_eq!(reserve.held_bytes(), 0);
    }

    #[test]
    fn what_is_made_of_a_result_counts_as_its_query_does() {
        let reserve = Reserve::new(100);
        let budget = Budget::new(reserve.clone(), 80, 1).beside(30);
        assert!(budget.take_bytes(60).is_err(), "earlier answers count");
        budget.take_bytes(40).unwrap();
        let mut lease = budget.lease(40);
        lease.take_bytes(30).unwrap();
        assert!(matches!(lease.take_bytes(11), Err(Error::Limit(Limit::Memory, _))));
        let mut all = Lease::new(reserve.clone(), 80);
        all.absorb(lease);
        assert_eq!((all.bytes(), reserve.held_bytes()), (70, 70));
        all.return_bytes(1000);
        assert_eq!((all.bytes(), reserve.held_bytes()), (0, 0));
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
