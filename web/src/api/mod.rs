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
mod result;
pub(crate) mod series;
pub(crate) mod status;
pub(crate) mod targets;
mod time;
pub(crate) mod write;

pub(crate) use ::query::quote;
pub(crate) use envelope::{Notes, begin, begin_with, listed, no_content, reply, send_moment, success};
pub(crate) use error::{ApiError, ErrorType};
pub(crate) use json::put_str;
pub(crate) use number::put_float;

/// A moment as the API takes it: seconds since the Unix epoch with a fraction, or RFC 3339.
///
/// # Errors
/// If the text is neither.
pub fn parse_time(text: &str) -> Result<tsdb::Timestamp, String> {
    time::parse_time(text)
}

/// Appends a result as `data` of `/query` and `/query_range` has it; `at` is the time of an instant query.
pub fn put_result(out: &mut Vec<u8>, value: ::query::Value, at: tsdb::Timestamp) {
    out.push(b'{');
    let mut writer = result::ResultWriter::new(value, at);
    while writer.write(out, usize::MAX >> 1) {}
    out.push(b'}');
}
