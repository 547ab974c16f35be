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
    /// The evaluation itself failed (`execution`).
    #[error("{0}")]
    Execution(String),
    /// It passed one of its limits (`execution`).
    #[error("{1}")]
    Limit(Limit, String),
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

/// What there may be only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Bytes that one query holds.
    Memory,
    /// Bytes that all queries hold.
    TotalMemory,
    /// Samples that one query holds.
    Samples,
    /// Series that the selectors of one query find.
    Series,
    /// Steps of a query or a subquery.
    Steps,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Memory, Self::TotalMemory, Self::Samples, Self::Series, Self::Steps];

    /// How metrics call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TotalMemory => "memory_total",
            Self::Samples => "samples",
            Self::Series => "series",
            Self::Steps => "steps",
        }
    }
}
