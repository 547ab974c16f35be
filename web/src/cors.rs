//! Which other origins may call the API.

use tsdb::{MatchOp, Matcher, PatternError};

/// A regular expression for the whole of an origin, as `--web.cors.origin` gives it.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Matcher);

impl Origins {
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self(Matcher::new(MatchOp::Regex, "origin", pattern)?))
    }

    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.0.matches(origin)
    }

    /// Whether every origin is allowed.
    pub(crate) fn allows_all(&self) -> bool {
        self.0.value() == ".*"
    }
}
