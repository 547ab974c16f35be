//! `/write`: remote write 1.0, snappy-compressed protobuf.
//!
//! The message is read in place, by hand: generated code takes three times as long (`docs/performance.md`). A series'
//! labels are recognised by the hash of their bytes, so the labels of a known series are never taken apart.

mod buffers;
mod protobuf;
mod request;
mod series_cache;

use std::fmt::Write as _;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use tsdb::{Committed, Refusal};

use super::labels::blocking;
use super::{ApiError, no_content};
use crate::state::AppState;

pub(crate) use buffers::Buffers;
pub(crate) use series_cache::SeriesCache;

/// `/write`.
pub(crate) async fn write(State(state): State<AppState>, headers: HeaderMap, body: Bytes) -> Response {
    if !state.options.enable_remote_write {
        let hint = "remote write receiver is off; start the server with --web.enable-remote-write-receiver\n";
        return (StatusCode::NOT_FOUND, hint).into_response();
    }
    if let Err(refusal) = check_headers(&headers) {
        return refusal.into_response();
    }
    match blocking(move || Ok(store(&state, &body))).await {
        Ok(Ok(())) => no_content(),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(error) => error.into_response(),
    }
}

/// Only version 1.0 in snappy is spoken.
fn check_headers(headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let content_type = text(header::CONTENT_TYPE).to_ascii_lowercase();
    let v2 = content_type.contains("proto=io.prometheus.write.v2.request");
    let protobuf = content_type.is_empty() || content_type.starts_with("application/x-protobuf");
    if v2 || !protobuf {
        let message =
            format!("content type {content_type:?} is not supported; send application/x-protobuf, version 1.0\n");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let encoding = text(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        let message = format!("content encoding {encoding:?} is not supported; send snappy\n");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    Ok(())
}

/// Unpacks the request and commits it, whole.
fn store(state: &AppState, body: &[u8]) -> Result<(), (StatusCode, String)> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, format!("{message}\n"));
    let size = snap::raw::decompress_len(body).map_err(|e| bad(format!("snappy: {e}")))?;
    let limit = state.options.max_write_bytes;
    if size > limit {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("request of {size} bytes is over the limit of {limit}\n")));
    }
    let mut message = state.write_buffers.take();
    message.resize(size, 0);
    snap::raw::Decoder::new().decompress(body, &mut message).map_err(|e| bad(format!("snappy: {e}")))?;
    let (appender, skipped) = request::append(&state.db, &state.series, &message).map_err(|e| bad(e.to_string()))?;
    state.write_buffers.give_back(message);
    let committed = appender.commit().map_err(|error| {
        tracing::warn!(%error, "a pushed request was not stored");
        // The sender keeps it and tries again.
        (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
    })?;
    state.metrics.pushed(&committed, skipped.count);
    if !committed.unknown.is_empty() {
        state.series.forget(&committed.unknown);
    }
    match complaint(&committed, &skipped) {
        None => Ok(()),
        Some(message) => Err(bad(message)),
    }
}

/// Series that were not stored, and why the first was not.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    pub(crate) count: usize,
    pub(crate) first: Option<String>,
}

impl Skipped {
    pub(crate) fn note(&mut self, why: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(why);
    }
}

/// What the sender must know: the rest is stored, and sending it again will not help.
fn complaint(committed: &Committed, skipped: &Skipped) -> Option<String> {
    let mut message = String::new();
    let mut part = |count: usize, what: &str| {
        if count > 0 {
            let gap = if message.is_empty() { "" } else { ", " };
            write!(message, "{gap}{count} {what}").expect("writing to a string does not fail");
        }
    };
    part(committed.out_of_order, "out of order samples");
    part(committed.duplicate, "samples with another value for a timestamp that is taken");
    part(committed.unknown.len(), "samples of series that went while they were written");
    part(skipped.count, "series that cannot be stored");
    if message.is_empty() {
        return None;
    }
    if let Some((_, at, refusal)) = committed.first_refused {
        let why = match refusal {
            Refusal::OutOfOrder => "older than the last sample of its series",
            Refusal::Duplicate => "a duplicate with another value",
            Refusal::UnknownRef => "of a series that is gone",
        };
        write!(message, "; the first at {at}: {why}").expect("writing to a string does not fail");
    }
    if let Some(first) = &skipped.first {
        write!(message, "; the first series: {first}").expect("writing to a string does not fail");
    }
    Some(format!("refused: {message}; the {} other samples are stored", committed.appended + committed.known))
}

impl From<request::Malformed> for ApiError {
    fn from(error: request::Malformed) -> Self {
        Self::bad(error.to_string())
    }
}
