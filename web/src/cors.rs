//! Which other origins may call the API.

use model::{Regex, RegexError};

/// A regular expression for the whole of an origin, as `--web.cors.origin` gives it.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Regex);

impl Origins {
    pub(crate) fn new(pattern: &str) -> Result<Self, RegexError> {
        Ok(Self(Regex::pasted(pattern)?))
    }

    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.0.is_match(origin)
    }

    /// Whether every origin is allowed.
    pub(crate) fn allows_all(&self) -> bool {
        self.0.source() == ".*"
    }
}
