//! Why a query has no answer.

use crate::parser::ParseError;

/// What stopped a query. The API's error type is in parentheses.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not PromQL (`bad_data`).
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A parameter cannot be used with this expression (`bad_data`).
    #[error("{0}")]
    BadRequest(String),
    /// The evaluation itself failed, or it passed one of its limits (`execution`).
    #[error("{0}")]
    Execution(String),
    /// It took longer than it may (`timeout`).
    #[error("query timed out in {during}")]
    Timeout {
        /// What it was doing.
        during: &'static str,
    },
    /// The client went away, or the server stops (`canceled`).
    #[error("query was canceled in {during}")]
    Canceled {
        /// What it was doing.
        during: &'static str,
    },
    /// The store could not be read (`execution`).
    #[error("{source}")]
    Storage {
        /// What happened there.
        #[from]
        source: tsdb::Error,
    },
}
