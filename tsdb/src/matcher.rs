//! Label matchers: `=`, `!=`, `=~`, `!~`.

use std::fmt;

use model::{Regex, RegexError};

/// What a [`Matcher`] asks of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchOp {
    /// As PromQL writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }

    /// Whether it is `!=` or `!~`.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotRegex)
    }
}

/// One condition on the value of one label. An absent label has the empty value.
#[derive(Clone)]
pub struct Matcher {
    op: MatchOp,
    name: String,
    value: String,
    pattern: Pattern,
}

/// What the value must look like, negation aside.
#[derive(Clone)]
enum Pattern {
    /// This text.
    Literal,
    /// One of these texts: sorted, each once.
    OneOf(Vec<String>),
    /// Any text with this beginning.
    Prefix(String),
    /// Any text; with `true`, any but the empty one.
    Any {
        non_empty: bool,
    },
    Regex(Regex),
}

impl Matcher {
    /// Asks that `name` be `op` `value`.
    ///
    /// # Errors
    /// If `value` is not a regular expression that `op` can use, or one that compiles to more than 4 MiB.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, RegexError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => Pattern::Literal,
            MatchOp::Regex | MatchOp::NotRegex => Pattern::from_regex(&value)?,
        };
        Ok(Self { op, name, value, pattern })
    }

    /// Asks that `name` be exactly `value`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { op: MatchOp::Equal, name: name.into(), value: value.into(), pattern: Pattern::Literal }
    }

    /// Which of the four it is.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The label it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text or the expression, as it was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label of this `value` passes.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.pattern.holds(&self.value, value) != self.op.is_negative()
    }

    /// Whether a series without the label passes.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The values that pass (or, for a negative matcher, that do not), if there are finitely many: sorted, each once.
    #[must_use]
    pub fn literals(&self) -> Option<Vec<&str>> {
        match &self.pattern {
            Pattern::Literal => Some(vec![&self.value]),
            Pattern::OneOf(values) => Some(values.iter().map(String::as_str).collect()),
            _ => None,
        }
    }

    /// A beginning that all values that pass (or, for a negative matcher, that do not) have in common; may be empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match &self.pattern {
            Pattern::Literal => &self.value,
            Pattern::Prefix(prefix) => prefix,
            _ => "",
        }
    }
}

impl Pattern {
    fn from_regex(source: &str) -> Result<Self, RegexError> {
        if let Some(simple) = Self::without_regex(source) {
            return Ok(simple);
        }
        Regex::new(source).map(Self::Regex)
    }

    /// The forms that most dashboards use, which need no regular expression: `a|b|c`, `a.*`, `.*`, `.+`.
    fn without_regex(source: &str) -> Option<Self> {
        match source {
            ".*" => return Some(Self::Any { non_empty: false }),
            ".+" => return Some(Self::Any { non_empty: true }),
            _ => {}
        }
        if let Some(prefix) = source.strip_suffix(".*").filter(|p| is_literal(p)) {
            return Some(Self::Prefix(prefix.to_owned()));
        }
        if source.split('|').all(is_literal) {
            let mut values: Vec<String> = source.split('|').map(str::to_owned).collect();
            values.sort_unstable();
            values.dedup();
            return Some(Self::OneOf(values));
        }
        None
    }

    fn holds(&self, literal: &str, value: &str) -> bool {
        match self {
            Self::Literal => literal == value,
            Self::OneOf(values) => values.binary_search_by(|v| v.as_str().cmp(value)).is_ok(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Any { non_empty } => !non_empty || !value.is_empty(),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// Whether `text` stands for itself in a regular expression.
fn is_literal(text: &str) -> bool {
    !text.bytes().any(|b| b"\\.+*?()|[]{}^$".contains(&b))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

/// As PromQL writes it: `name="value"`.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regex(value: &str) -> Matcher {
        Matcher::new(MatchOp::Regex, "l", value).unwrap()
    }

    #[test]
    fn regexes_are_anchored_and_dot_matches_newlines() {
        assert!(regex("a.c").matches("a\nc"));
        assert!(!regex("b").matches("abc"));
        assert!(regex("a|b|").matches(""));
        assert!(!regex("a|bc").matches("abc"));
        assert!(regex(".*").matches_empty() && !regex(".+").matches_empty());
        assert!(regex("(?i)abc").matches("ABC"));
    }

    #[test]
    fn negative_matchers_pass_what_the_positive_ones_refuse() {
        for (value, pattern) in [("", "a"), ("a", "a"), ("ab", "a.*"), ("x", "a|x"), ("x", "[a-z]")] {
            let positive = Matcher::new(MatchOp::Regex, "l", pattern).unwrap();
            let negative = Matcher::new(MatchOp::NotRegex, "l", pattern).unwrap();
            assert_ne!(positive.matches(value), negative.matches(value), "{value:?} {pattern:?}");
        }
        assert!(Matcher::new(MatchOp::NotEqual, "l", "a").unwrap().matches_empty());
    }

    #[test]
    fn a_bad_or_huge_expression_is_refused() {
        let error = Matcher::new(MatchOp::Regex, "l", "a(b").unwrap_err();
        assert!(error.to_string().contains("missing closing )"), "{error}");
        assert!(Matcher::new(MatchOp::Regex, "l", "(\\pL{1000}){1000}").is_err());
    }

    proptest! {
        #[test]
        fn the_shortcuts_agree_with_the_compiled_expression(pattern in "[ab]{0,2}(\\|[ab.]{0,2}){0,2}(\\.\\*|\\.\\+)?", value in "[abc\n]{0,3}") {
            let plain = Regex::new(&format!("(?:{pattern})")).unwrap();
            prop_assert_eq!(regex(&pattern).matches(&value), plain.is_match(&value));
        }
    }
}
