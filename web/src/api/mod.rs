//! `/api/v1`: the HTTP API of Prometheus.

pub(crate) mod admin;
mod ast;
mod envelope;
mod error;
pub(crate) mod exemplars;
pub(crate) mod explain;
pub(crate) mod features;
mod json;
pub(crate) mod labels;
pub(crate) mod metadata;
mod number;
pub(crate) mod params;
pub(crate) mod query;
pub(crate) mod series;
pub(crate) mod status;
pub(crate) mod targets;
pub(crate) mod write;

pub(crate) use envelope::{Notes, no_content, success, success_raw};
pub(crate) use error::ApiError;
pub(crate) use number::put_float;
