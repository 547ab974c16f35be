//! The nouns of the field and their text forms, the lowest crate of the workspace.

#![forbid(unsafe_code)]

pub mod regex;
