//! From configuration to appended samples: discovery, relabeling, scraping, parsing.

#![forbid(unsafe_code)]

pub mod cache;
mod duration;
mod metadata;
pub mod parse;
mod relabel;
mod sample_rules;
mod secret;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use duration::{format_duration, parse_duration};
pub use metadata::FamilyTable;
pub use relabel::{Action, NameScheme, Pattern, Relabel, relabel};
pub use sample_rules::{LabelError, SampleLimits, SampleRules};
pub use secret::{Secret, SecretSource};
