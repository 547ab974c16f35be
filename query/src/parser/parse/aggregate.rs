//! Aggregations, and lists of labels.

use super::super::ParseError;
use super::super::ast::{Aggregate, AggregateOp, Expr, Grouping};
use super::super::lexer::Kind;
use super::Parser;
use crate::format::quote;

impl Parser<'_> {
    pub(super) fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.advance()?.span;
        let mut grouping = self.grouping()?;
        if self.token.kind != Kind::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        self.aggregations += 1;
        let mut args = self.arguments()?;
        self.expect(Kind::RightParen, "", "")?;
        self.aggregations -= 1;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        // By nothing is by default.
        let grouping = grouping.filter(|grouping| grouping.without || !grouping.labels.is_empty());
        let span = start.to(self.last);
        let wanted = 1 + usize::from(op.parameter().is_some());
        if args.is_empty() {
            return Err(ParseError::new("no arguments for aggregate expression provided", span));
        }
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            );
            return Err(ParseError::new(message, span));
        }
        let param = (wanted == 2).then(|| Box::new(args.remove(0)));
        let expr = Box::new(args.remove(0));
        Ok(Expr::Aggregate(Aggregate { span, op, expr, param, grouping }))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.word().as_str() {
            "by" => false,
            "without" => true,
            _ => return Ok(None),
        };
        self.advance()?;
        let labels = self.label_list()?;
        Ok(Some(Grouping { without, labels }))
    }

    /// `(a, b, "c d")`
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        const CONTEXT: &str = "grouping opts";
        self.expect(Kind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while self.token.kind != Kind::RightParen {
            let label = match self.token.kind {
                // Also one with a colon, which as a label name needs quotes elsewhere.
                Kind::Word => self.text_of(self.token).to_owned(),
                Kind::Text => {
                    let value = self.unquoted(self.token)?;
                    match String::from_utf8(value) {
                        Ok(name) if !name.is_empty() => name,
                        name => {
                            let bytes = name.map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
                            let message = format!("invalid label name for grouping: {}", quote(&bytes));
                            return Err(ParseError::new(message, self.token.span));
                        }
                    }
                }
                _ => return Err(self.unexpected(CONTEXT, "label")),
            };
            self.advance()?;
            labels.push(label);
            if !self.accept(Kind::Comma)? && self.token.kind != Kind::RightParen {
                return Err(self.unexpected(CONTEXT, "\",\" or \")\""));
            }
        }
        self.advance()?;
        Ok(labels)
    }
}
