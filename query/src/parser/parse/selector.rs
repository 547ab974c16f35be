//! Selectors: a name, conditions, or both.

use tsdb::{METRIC_NAME, MatchOp, Matcher};

use super::super::ParseError;
use super::super::ast::{Expr, Modifiers, Span, VectorSelector};
use super::super::lexer::Kind;
use super::Parser;

/// Regular expressions in one query.
const MAX_PATTERNS: usize = 1_000;

/// Bytes of those that are more than alternations of literals.
const MAX_PATTERN_BYTES: usize = 256 << 10;

impl Parser<'_> {
    /// A selector whose name, if it stands before the braces, has been read.
    pub(super) fn selector(&mut self, name: Option<(String, Span)>) -> Result<Expr, ParseError> {
        let start = name.as_ref().map_or(self.token.span, |(_, span)| *span);
        let name = name.map(|(name, _)| name);
        let mut matchers: Vec<Matcher> = name.iter().map(|n| Matcher::equal(METRIC_NAME, n.as_str())).collect();
        if self.accept(Kind::LeftBrace)? {
            while !self.accept(Kind::RightBrace)? {
                self.matcher(&mut matchers)?;
                if !self.accept(Kind::Comma)? && self.token.kind != Kind::RightBrace {
                    return Err(self.unexpected("label matching", "\",\" or \"}\""));
                }
            }
        }
        Ok(Expr::Selector(VectorSelector {
            span: start.to(self.last),
            name,
            matchers,
            modifiers: Modifiers::default(),
            extension: None,
        }))
    }

    fn matcher(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        const CONTEXT: &str = "label matching";
        let label = self.token;
        let label_name = match label.kind {
            Kind::Word => self.text_of(label).to_owned(),
            Kind::Text => String::from_utf8_lossy(&self.unquoted(label)?).into_owned(),
            _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
        };
        self.advance()?;
        let is_operator =
            matches!(self.token.kind, Kind::Assign | Kind::NotEqual | Kind::RegexMatch | Kind::RegexUnequal);
        if label.kind == Kind::Text && !is_operator {
            // A second name is complained of once all of the text is known to be an expression.
            matchers.push(Matcher::equal(METRIC_NAME, label_name));
            return Ok(());
        }
        let op = match self.token.kind {
            Kind::Assign => MatchOp::Equal,
            Kind::NotEqual => MatchOp::NotEqual,
            Kind::RegexMatch => MatchOp::Regex,
            Kind::RegexUnequal => MatchOp::NotRegex,
            _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
        };
        self.advance()?;
        if self.token.kind != Kind::Text {
            return Err(self.unexpected(CONTEXT, "string"));
        }
        let token = self.advance()?;
        let bytes = self.unquoted(token)?;
        let value = String::from_utf8_lossy(&bytes).into_owned();
        let fail = |why: String| ParseError::new(format!("error parsing regexp: {why}"), label.span.to(token.span));
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.count_pattern(&value).map_err(|why| ParseError::new(why, label.span.to(token.span)))?;
            if std::str::from_utf8(&bytes).is_err() {
                return Err(fail(format!("invalid UTF-8: `{value}`")));
            }
        }
        matchers.push(Matcher::new(op, label_name, value).map_err(|error| fail(error.reason))?);
        Ok(())
    }

    /// Counts a regular expression against what one query may have of them: each is compiled, whoever asks.
    fn count_pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(format!("expression has more than {MAX_PATTERNS} regular expressions"));
        }
        // Alternations of literals are looked up, not compiled.
        if pattern.bytes().any(|b| b"\\.+*?()[]{}^$".contains(&b)) {
            self.pattern_bytes += pattern.len();
        }
        if self.pattern_bytes > MAX_PATTERN_BYTES {
            return Err(format!("expression has more than {MAX_PATTERN_BYTES} bytes of regular expressions"));
        }
        Ok(())
    }
}
