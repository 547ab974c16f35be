//! Body of a pushed request: read within its time, counted before it is read and as it grows.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use http::{HeaderMap, header};
use tokio::time::{Instant, timeout_at};

use super::admission::{Push, Rejection};

/// How long a sender may send nothing in the middle of a body.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Limits of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// Bytes that it may have.
    pub(super) bytes: usize,
    /// How long all of it may take to come.
    pub(super) time: Duration,
}

/// Reads all of `body`; its bytes are held by `push`.
pub(super) async fn receive(
    push: &mut Push,
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<Bytes, Rejection> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let declared = declared.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let too_large = |bytes| Rejection::TooLarge { bytes, limit: limits.bytes };
    if let Some(bytes) = declared.filter(|bytes| *bytes > limits.bytes) {
        return Err(too_large(bytes));
    }
    let mut held = declared.unwrap_or(0);
    push.hold(held)?;
    let end = Instant::now() + limits.time;
    let mut parts = body.into_data_stream();
    // What nearly every body is: one part, which is not copied.
    let (mut first, mut whole) = (Bytes::new(), Vec::new());
    loop {
        let until = end.min(Instant::now() + MAX_PAUSE);
        let part = match timeout_at(until, parts.next()).await {
            Ok(Some(Ok(part))) => part,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Rejection::BrokenOff),
            Err(_) => return Err(Rejection::Timeout),
        };
        let bytes = first.len().max(whole.len()) + part.len();
        if bytes > limits.bytes {
            return Err(too_large(bytes));
        }
        if first.is_empty() && whole.is_empty() {
            if bytes > held {
                push.hold(bytes - held)?;
                held = bytes;
            }
            first = part;
            continue;
        }
        if bytes > whole.capacity() {
            // What is declared is held already; else twice as much as there is, so that it is rarely copied.
            let capacity = declared.filter(|declared| *declared >= bytes).unwrap_or((2 * bytes).min(limits.bytes));
            if capacity > held {
                push.hold(capacity - held)?;
                held = capacity;
            }
            whole.reserve_exact(capacity - whole.len());
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&part);
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}
