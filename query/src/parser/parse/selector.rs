//! Selectors: a name, conditions, or both.

use tsdb::{METRIC_NAME, MatchOp, Matcher};

use super::super::ParseError;
use super::super::ast::{Expr, Modifiers, Span, VectorSelector};
use super::super::lexer::Kind;
use super::Parser;
use crate::format::quote;

impl Parser<'_> {
    /// A selector whose name, if it stands before the braces, has been read.
    pub(super) fn selector(&mut self, name: Option<(String, Span)>) -> Result<Expr, ParseError> {
        let start = name.as_ref().map_or(self.token.span, |(_, span)| *span);
        let mut name = name.map(|(name, _)| name);
        let mut matchers: Vec<Matcher> = name.iter().map(|n| Matcher::equal(METRIC_NAME, n.as_str())).collect();
        if self.accept(Kind::LeftBrace)? {
            while !self.accept(Kind::RightBrace)? {
                self.matcher(start, &mut name, &mut matchers)?;
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

    fn matcher(
        &mut self,
        start: Span,
        name: &mut Option<String>,
        matchers: &mut Vec<Matcher>,
    ) -> Result<(), ParseError> {
        const CONTEXT: &str = "label matching";
        let label = self.token;
        let label_name = match label.kind {
            Kind::Word => self.text_of(label).to_owned(),
            Kind::Text => String::from_utf8_lossy(&self.unquoted(label)?).into_owned(),
            _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
        };
        self.advance()?;
        if label.kind == Kind::Text && matches!(self.token.kind, Kind::Comma | Kind::RightBrace) {
            if let Some(before) = name {
                let message = format!(
                    "metric name must not be set twice: {} or {}",
                    quote(before.as_bytes()),
                    quote(label_name.as_bytes())
                );
                return Err(ParseError::new(message, start.to(label.span)));
            }
            matchers.push(Matcher::equal(METRIC_NAME, label_name.as_str()));
            *name = Some(label_name);
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
        let value = String::from_utf8_lossy(&self.unquoted(token)?).into_owned();
        let matcher = Matcher::new(op, label_name, value)
            .map_err(|error| ParseError::new(error.to_string(), label.span.to(token.span)))?;
        matchers.push(matcher);
        Ok(())
    }
}
