//! PromQL: parser, engine and functions. Pure CPU over the querier it is handed: no async runtime, no files, no clock.

#![forbid(unsafe_code)]

mod annotations;
mod budget;
mod error;
mod parser;
mod value;

pub use annotations::{Annotations, Level};
pub use budget::{Budget, StopFlag};
pub use error::Error;
pub use parser::ParseError;
pub use value::{ABSENT, Point, Series, Value, VectorSample, is_absent};
