//! Errors as the API tells them.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::json::put_str;

/// What went wrong, in the API's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorType {
    /// A parameter cannot be used.
    BadData,
    /// The query failed.
    Execution,
    /// The client went away.
    Canceled,
    /// The query took too long.
    Timeout,
    /// A defect of this server.
    Internal,
    /// There is no such thing.
    NotFound,
    /// What is asked for is switched off, or not ready.
    Unavailable,
    /// The path is there, but not with this method.
    MethodNotAllowed,
    /// A page of another origin asks for what only this server's own pages may ask for.
    Forbidden,
    /// The request's body is larger than it may be.
    TooLarge,
    /// The request's path is longer than it may be.
    PathTooLong,
    /// The request's head is larger than it may be.
    HeadTooLarge,
    /// The request's body comes in an encoding that is not known.
    NotImplemented,
}

/// An error with its message: becomes a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// What kind it is.
    pub(crate) kind: ErrorType,
    /// What is wrong, for the user.
    pub(crate) message: String,
}

impl ErrorType {
    const fn name(self) -> &'static str {
        match self {
            // Prometheus has no names for these.
            Self::BadData
            | Self::MethodNotAllowed
            | Self::TooLarge
            | Self::PathTooLong
            | Self::HeadTooLarge
            | Self::NotImplemented => "bad_data",
            Self::Forbidden => "forbidden",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status that goes with it.
    #[must_use]
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Canceled => StatusCode::from_u16(499).expect("499 is a status"),
            Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            // As Prometheus has it.
            Self::Internal | Self::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::PathTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

impl ApiError {
    /// A parameter `name` that cannot be used.
    pub(crate) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self { kind: ErrorType::BadData, message: format!("invalid parameter \"{name}\": {why}") }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::BadData, message: message.into() }
    }

    /// For what is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::NotFound, message: message.into() }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::Unavailable, message: message.into() }
    }

    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::Timeout, message: message.into() }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::Internal, message: message.into() }
    }
}

impl From<query::Error> for ApiError {
    fn from(error: query::Error) -> Self {
        if let query::Error::BadRequest(why) = &error {
            return Self::parameter("query", why);
        }
        let kind = match &error {
            query::Error::Storage { source: tsdb::Error::Replaying } => ErrorType::Unavailable,
            query::Error::Parse(_) | query::Error::BadRequest(_) => ErrorType::BadData,
            query::Error::Execution(_) | query::Error::Limit(..) | query::Error::Storage { .. } => ErrorType::Execution,
            query::Error::Timeout { .. } => ErrorType::Timeout,
            query::Error::Canceled { .. } => ErrorType::Canceled,
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<tsdb::Error> for ApiError {
    fn from(error: tsdb::Error) -> Self {
        // Logged here, where it stops travelling.
        tracing::error!(%error, "the store failed");
        Self::internal(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = b"{\"status\":\"error\",\"errorType\":\"".to_vec();
        body.extend_from_slice(self.kind.name().as_bytes());
        body.extend_from_slice(b"\",\"error\":");
        put_str(&mut body, &self.message);
        body.push(b'}');
        (self.kind.status(), [(http::header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
