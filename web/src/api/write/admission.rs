//! Admission of pushed requests: how many are under way, and how many bytes they hold together.
//!
//! A request takes a place before its body is read and gives it back when it is answered. Bytes are counted before they
//! are allocated: the declared length, the body as it grows, what it unpacks to, and its samples on their way to the
//! store. What finds no place or no memory is refused with 503 and `Retry-After`, which every sender of remote write
//! retries; 429 is retried only by those that are told to (`retry_on_http_429`), the others drop the samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

/// Seconds after which a sender may try again: pushes take milliseconds.
const RETRY_AFTER: &str = "1";

/// Reason why a request is refused before its samples are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    /// As many requests are under way as may be.
    #[error("too many pushed requests are under way; the limit is {limit}")]
    Concurrency {
        /// Requests that may be under way.
        limit: usize,
    },
    /// The requests under way hold as much memory as they may.
    #[error("the pushed requests under way hold as much memory as they may; the limit is {limit} bytes")]
    Memory {
        /// Bytes that they may hold.
        limit: usize,
    },
    /// The request could not be held if it were the only one.
    #[error("request of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes that it takes.
        bytes: usize,
        /// Bytes that one request may take.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("the body of the request did not come in time")]
    Timeout,
    /// The body broke off.
    #[error("the body of the request broke off")]
    BrokenOff,
    /// The body is not what its encoding says.
    #[error("snappy: {0}")]
    Encoding(&'static str),
}

/// Labels of [`Rejection`], in the order of [`Rejection::place`].
pub(crate) const REASONS: [&str; 6] = ["concurrency", "memory", "too_large", "timeout", "broken_off", "encoding"];

impl Rejection {
    const fn place(self) -> usize {
        match self {
            Self::Concurrency { .. } => 0,
            Self::Memory { .. } => 1,
            Self::TooLarge { .. } => 2,
            Self::Timeout => 3,
            Self::BrokenOff => 4,
            Self::Encoding(_) => 5,
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Concurrency { .. } | Self::Memory { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff | Self::Encoding(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

/// Counts pushed requests and their bytes against their limits.
#[derive(Debug)]
pub(crate) struct Admission {
    max_pushes: usize,
    max_bytes: usize,
    pushes: AtomicUsize,
    bytes: AtomicUsize,
    rejected: [AtomicU64; REASONS.len()],
}

impl Admission {
    pub(crate) fn new(max_pushes: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_pushes,
            max_bytes,
            pushes: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            rejected: Default::default(),
        })
    }

    /// Takes a place for a request.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Push, Rejection> {
        // The place is given back if it is one too many, since the push is dropped then.
        let push = Push { admission: self.clone(), bytes: 0 };
        if self.pushes.fetch_add(1, Relaxed) < self.max_pushes {
            return Ok(push);
        }
        Err(Rejection::Concurrency { limit: self.max_pushes })
    }

    /// Counts a request that was refused.
    pub(crate) fn count(&self, rejection: Rejection) {
        self.rejected[rejection.place()].fetch_add(1, Relaxed);
    }

    /// Requests under way, and how many may be.
    pub(crate) fn pushes(&self) -> (usize, usize) {
        (self.pushes.load(Relaxed), self.max_pushes)
    }

    /// Bytes that they hold, and how many they may.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.bytes.load(Relaxed), self.max_bytes)
    }

    /// Requests refused so far, by reason.
    pub(crate) fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.rejected.iter().map(|count| count.load(Relaxed)))
    }
}

/// A request under way: gives its place and its bytes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Push {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Push {
    /// Counts further bytes before they are allocated.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Rejection> {
        let limit = self.admission.max_bytes;
        let own = self.bytes.saturating_add(bytes);
        if own > limit {
            return Err(Rejection::TooLarge { bytes: own, limit });
        }
        let before = self.admission.bytes.fetch_add(bytes, Relaxed);
        self.bytes = own;
        if before.saturating_add(bytes) > limit {
            self.give_back(bytes);
            return Err(Rejection::Memory { limit });
        }
        Ok(())
    }

    /// Gives bytes back that have been freed.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.admission.bytes.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Relaxed);
        self.admission.pushes.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_bytes_are_bounded_and_come_back() {
        let admission = Admission::new(2, 100);
        let (mut a, mut b) = (admission.admit().unwrap(), admission.admit().unwrap());
        assert_eq!(admission.admit().unwrap_err(), Rejection::Concurrency { limit: 2 });
        assert_eq!((a.hold(60), b.hold(30)), (Ok(()), Ok(())));
        assert_eq!(b.hold(11), Err(Rejection::Memory { limit: 100 }));
        assert_eq!(b.hold(71), Err(Rejection::TooLarge { bytes: 101, limit: 100 }));
        assert_eq!((admission.pushes().0, admission.bytes().0), (2, 90));
        a.give_back(20);
        assert_eq!(b.hold(30), Ok(()));
        drop((a, b));
        assert_eq!((admission.pushes().0, admission.bytes().0), (0, 0));
        assert!(admission.admit().is_ok());
    }
}
