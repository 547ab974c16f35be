//! `/write`: remote write 1.0 and 2.0, snappy-compressed protobuf.
//!
//! The message is read in place, by hand: generated code takes three times as long (`docs/performance.md`). A series'
//! labels are recognised by the hash of their bytes, so the labels of a known series are never taken apart.

mod admission;
mod body;
mod buffers;
#[cfg(any(test, feature = "testing"))]
mod check;
mod protobuf;
mod request;
mod request_v2;
mod series_cache;
mod sink;
mod snappy;
mod values;

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tsdb::{Committed, Refusal};

use self::admission::{Push, Rejection};
use self::body::BodyLimits;
use self::protobuf::Malformed;
use self::sink::{Sink, Written};
use super::labels::blocking;
use super::{ApiError, no_content};
use crate::state::{AppState, now};

pub(crate) use admission::Admission;
pub(crate) use buffers::Buffers;
#[cfg(any(test, feature = "testing"))]
pub(crate) use check::check_write;
pub(crate) use request_v2::Families;
pub(crate) use series_cache::SeriesCache;
pub(crate) use sink::Tally;

/// How often what the store had let go of is resolved again.
const MAX_ROUNDS: usize = 3;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

/// What became of a request.
struct Outcome {
    written: Written,
    /// Unless all is stored.
    refusal: Option<Refused>,
}

/// Answer to a request of which not all is stored.
enum Refused {
    /// Status and text.
    Told(StatusCode, String),
    /// Before its samples were judged.
    Rejected(Rejection),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Told(status, text) => (status, text).into_response(),
            Self::Rejected(rejection) => rejection.into_response(),
        }
    }
}

/// `/write`.
pub(crate) async fn write(State(state): State<AppState>, request: Request) -> Response {
    if !state.options.enable_remote_write {
        let hint = "remote write receiver is off; start the server with --web.enable-remote-write-receiver\n";
        return (StatusCode::NOT_FOUND, hint).into_response();
    }
    let version = match negotiate(request.headers()) {
        Ok(version) => version,
        Err(message) => return (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{message}\n")).into_response(),
    };
    let outcome = match take(state, version, request).await {
        Ok(outcome) => outcome,
        Err(error) => return ApiError::into_response(error),
    };
    let mut response = outcome.refusal.map_or_else(no_content, IntoResponse::into_response);
    if version == Version::V2 {
        let Written { samples, histograms, exemplars } = outcome.written;
        for (name, count) in [
            (HeaderName::from_static("x-prometheus-remote-write-samples-written"), samples),
            (HeaderName::from_static("x-prometheus-remote-write-histograms-written"), histograms),
            (HeaderName::from_static("x-prometheus-remote-write-exemplars-written"), exemplars),
        ] {
            response.headers_mut().insert(name, HeaderValue::from(count));
        }
    }
    response
}

/// Reads the body of a request and stores what it holds.
async fn take(state: AppState, version: Version, request: Request) -> Result<Outcome, ApiError> {
    let limits = BodyLimits {
        bytes: snap::raw::max_compress_len(state.options.max_write_bytes),
        time: state.options.push_timeout,
    };
    let (head, body) = request.into_parts();
    let received = match state.pushes.admit() {
        Ok(mut push) => body::receive(&mut push, &head.headers, body, limits).await.map(|body| (push, body)),
        Err(rejection) => Err(rejection),
    };
    match received {
        Ok((push, body)) => blocking(move || Ok(store(&state, version, push, &body))).await,
        Err(rejection) => Ok(Outcome::rejected(&state, rejection)),
    }
}

/// Which version is spoken, as the headers say; else why it is not understood, in the words of Prometheus.
fn negotiate(headers: &HeaderMap) -> Result<Version, String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let content_type = text(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!(
            "expected application/x-protobuf as the first (media) part, got {content_type} content-type"
        ));
    }
    let mut version = Version::V1;
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!("expected parameters to be key-values, got {part} in {content_type} content-type"));
        };
        if name.eq_ignore_ascii_case("proto") {
            version = match value {
                "prometheus.WriteRequest" => Version::V1,
                "io.prometheus.write.v2.Request" => Version::V2,
                _ => {
                    return Err(format!(
                        "got {content_type} content type; unknown remote write protobuf message {value}, supported: \
                         prometheus.WriteRequest, io.prometheus.write.v2.Request"
                    ));
                }
            };
        }
    }
    let encoding = text(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(format!(
            "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
        ));
    }
    Ok(version)
}

impl Outcome {
    /// Nothing is stored.
    fn refused(status: StatusCode, message: impl std::fmt::Display) -> Self {
        Self { written: Written::default(), refusal: Some(Refused::Told(status, format!("{message}\n"))) }
    }

    /// Nothing is stored for the sake of a limit, or for a body that is none.
    fn rejected(state: &AppState, rejection: Rejection) -> Self {
        state.pushes.count(rejection);
        Self { written: Written::default(), refusal: Some(Refused::Rejected(rejection)) }
    }
}

/// Unpacks the request and commits it, whole.
fn store(state: &AppState, version: Version, mut push: Push, body: &[u8]) -> Outcome {
    let size = snappy::unpacked_size(body, state.options.max_write_bytes);
    let size = match size.and_then(|size| push.hold(size).map(|()| size)) {
        Ok(size) => size,
        Err(rejection) => return Outcome::rejected(state, rejection),
    };
    let mut message = state.write_buffers.take();
    message.resize(size, 0);
    let outcome = match snap::raw::Decoder::new().decompress(body, &mut message) {
        Ok(_) => commit(state, version, push, &message),
        Err(_) => Outcome::rejected(state, Rejection::Encoding("block is damaged")),
    };
    state.write_buffers.give_back(message);
    outcome
}

/// Commits a message. Series that the store has let go of meanwhile are found anew and their samples committed after.
fn commit(state: &AppState, version: Version, mut push: Push, message: &[u8]) -> Outcome {
    let now = now();
    state.series.fit(state.db.series_count());
    state.families.fit(state.db.family_stats().evicted);
    let mut total = Total::default();
    for round in 0..MAX_ROUNDS {
        let mut sink = Sink::new(state.db.appender(), now, &mut push);
        if let Err(why) = read(state, version, message, &mut sink, round > 0) {
            return Outcome::refused(StatusCode::BAD_REQUEST, why);
        }
        let (held, Sink { appender, tally, rejection, .. }) = (sink.held(), sink);
        if let Some(rejection) = rejection {
            return Outcome::rejected(state, rejection);
        }
        let committed = match appender.commit() {
            Ok(committed) => committed,
            Err(error) => {
                // What the disk refuses is told of once, by who watches the store.
                if matches!(error, tsdb::Error::Io { .. } | tsdb::Error::Paused { .. }) {
                    tracing::debug!(%error, "a pushed request was not stored");
                } else {
                    tracing::warn!(%error, "a pushed request was not stored");
                }
                // Sent again it would be as large.
                if matches!(error, tsdb::Error::TooLarge { .. }) {
                    return Outcome::refused(StatusCode::PAYLOAD_TOO_LARGE, error);
                }
                // The sender keeps it and tries again.
                return Outcome::refused(StatusCode::SERVICE_UNAVAILABLE, error);
            }
        };
        push.give_back(held);
        let last = committed.unknown.is_empty();
        if !last {
            state.series.forget(&committed.unknown);
        }
        if round == 0 {
            total.tally = tally;
        }
        total.add(committed);
        if last {
            break;
        }
    }
    state.metrics.pushed(&total.committed, &total.tally);
    let refusal = complaint(&total).map(|message| Refused::Told(StatusCode::BAD_REQUEST, format!("{message}\n")));
    Outcome { written: Written::new(&total.tally, &total.committed), refusal }
}

fn read(
    state: &AppState,
    version: Version,
    message: &[u8],
    sink: &mut Sink<'_>,
    only_new: bool,
) -> Result<(), Malformed> {
    match version {
        Version::V1 => request::read(sink, &state.series, message, only_new),
        Version::V2 => request_v2::read(sink, &state.series, &state.families, message, only_new),
    }
}

/// What came of all rounds of a request.
#[derive(Debug, Default)]
struct Total {
    /// Of the whole request.
    tally: Tally,
    /// Of all rounds; what is unknown, of the last.
    committed: Committed,
}

impl Total {
    /// Adds a round; each but the first has read again what the one before it could not place.
    fn add(&mut self, committed: Committed) {
        // Each field by name: what is left out here is not told to the sender, who then takes it for stored.
        let Committed {
            appended,
            known,
            late,
            out_of_order,
            too_old,
            out_of_bounds,
            duplicate,
            exemplars,
            known_exemplars,
            unknown,
            first_refused,
        } = committed;
        let all = &mut self.committed;
        all.appended += appended;
        all.known += known;
        all.late += late;
        all.out_of_order += out_of_order;
        all.too_old += too_old;
        all.out_of_bounds += out_of_bounds;
        all.duplicate += duplicate;
        all.exemplars += exemplars;
        all.known_exemplars += known_exemplars;
        all.unknown = unknown;
        all.first_refused = all.first_refused.or(first_refused);
    }
}

/// What the sender must know: the rest is stored, and sending it again will not help.
fn complaint(Total { tally, committed }: &Total) -> Option<String> {
    let mut message = String::new();
    let mut part = |count: usize, what: &str| {
        if count > 0 {
            let gap = if message.is_empty() { "" } else { ", " };
            write!(message, "{gap}{count} {what}").expect("writing to a string does not fail");
        }
    };
    part(committed.out_of_order, "out of order samples");
    part(committed.too_old, "too old samples, out of bounds of the out-of-order window");
    part(committed.out_of_bounds, "samples out of bounds, older than the head may begin");
    part(committed.duplicate, "duplicate samples for timestamps that have another value");
    part(tally.ahead, "samples out of bounds: timestamp is too far in the future");
    part(committed.unknown.len(), "samples of series that went while they were written");
    part(tally.skipped, "series that cannot be stored");
    if message.is_empty() {
        return None;
    }
    if let Some((_, at, refusal)) = committed.first_refused {
        let why = match refusal {
            Refusal::OutOfOrder => "out of order sample",
            Refusal::TooOld => "too old sample",
            Refusal::OutOfBounds => "out of bounds",
            Refusal::Duplicate => "duplicate sample for timestamp",
            Refusal::UnknownRef => "of a series that is gone",
        };
        write!(message, "; the first at {at}: {why}").expect("writing to a string does not fail");
    }
    if let Some(first) = &tally.first_skipped {
        write!(message, "; the first series: {first}").expect("writing to a string does not fail");
    }
    Some(format!("refused: {message}; the {} other samples are stored", committed.appended + committed.known))
}

#[cfg(test)]
mod tests;
