//! Text that must not be seen.

use std::fmt;
use std::path::PathBuf;

/// A password, a token, a key. It prints as `<secret>`; only [`expose`](Self::expose) gives the text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` into hiding.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. It belongs into a request, never into a log, an error or a page.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A secret, or the file that has it. A file is read each time the secret is needed, so it may be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The secret itself.
    Value(Secret),
    /// A file that holds the secret and nothing else; white space around it does not count.
    File(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let source = SecretSource::Value(Secret::new("hunter2"));
        assert_eq!(format!("{source:?} {}", Secret::new("hunter2")), "Value(<secret>) <secret>");
    }
}
