//! The nouns of the field and their text forms, the lowest crate of the workspace. Every crate above reads and writes
//! them here, so that flags, files, queries and the HTTP API agree to the letter.
//!
//! No input or output, no clock, nothing of the other crates. Labels, samples and histograms still live in `tsdb`.
//!
//! In reading order:
//! - [`Regex`] reads regular expressions and replacement templates as Go does
//! - [`duration`] reads and writes `1h30m`
//! - [`size`] reads and writes `512MB`
//! - [`letters`] maps upper and lower case, letter by letter
//!
//! ```
//! use std::time::Duration;
//!
//! let regex = model::Regex::new("(.*):[0-9]+")?;
//! let mut host = String::new();
//! regex.captures("db-1:9100").expect("it matches").expand("${1}", &mut host);
//! assert_eq!(host, "db-1");
//!
//! assert_eq!(model::parse_duration("1d12h")?, Duration::from_secs(36 * 3_600));
//! assert_eq!(model::format_duration(Duration::from_secs(36 * 3_600)), "1d12h");
//! assert_eq!(model::parse_size("1.5GB")?, 3 << 29);
//! assert_eq!(model::letters::to_upper("straße"), "STRAßE");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Why the forms are those of Go and Prometheus, and who uses them: `ARCHITECTURE.md`.

#![forbid(unsafe_code)]

pub mod duration;
pub mod letters;
pub mod regex;
pub mod size;

pub use duration::{DurationError, format_duration, parse_duration};
pub use regex::{Captures, Regex, RegexError};
pub use size::{SizeError, format_size, parse_size};
