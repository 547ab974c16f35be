//! From configuration to appended samples: discovery, relabeling, scraping, parsing.

#![forbid(unsafe_code)]

mod duration;
mod relabel;
mod secret;

pub use duration::{format_duration, parse_duration};
pub use relabel::{Action, NameScheme, Pattern, Relabel, relabel};
pub use secret::{Secret, SecretSource};
