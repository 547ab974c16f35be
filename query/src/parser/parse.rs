//! Tokens → expression: a Pratt parser with one token of lookahead.

mod aggregate;
mod binary;
mod message;
mod modifiers;
mod selector;
#[cfg(test)]
mod tests;

use tsdb::Matcher;

use super::ParseError;
use super::ast::{AggregateOp, Call, Expr, NumberLiteral, Paren, Span, TextLiteral, Unary, VectorSelector};
use super::check;
use super::lexer::{Kind, Lexer, Token};
use super::unquote::unquote;
use crate::format::quote;
use crate::functions;
use message::{describe, is_keyword};

/// How deep expressions may nest.
const MAX_DEPTH: u32 = 128;

/// How many operators and modifiers an expression may have in all; parts of the tree are walked recursively.
const MAX_CHAIN: u32 = 1_000;

/// How tightly a sign binds: as `*`.
const SIGN_PRECEDENCE: u8 = 5;

/// Reads an expression and checks its types.
///
/// # Errors
/// If the text is not PromQL; the first problem is reported.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    if parser.token.kind == Kind::End {
        // Nothing has no place.
        let place = if text.is_empty() { Span::default() } else { Span { line: 1, column: 1, ..Span::default() } };
        return Err(ParseError::new("no expression found in input", place));
    }
    let expr = parser.expression(0)?;
    if parser.token.kind != Kind::End {
        return Err(parser.unexpected("", ""));
    }
    check::check(&expr)?;
    Ok(expr)
}

/// Reads a vector selector without modifiers, as `match[]` parameters hold it.
///
/// # Errors
/// If the text is not a vector selector, or all its matchers match the empty text.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let selector = bare_selector(text)?;
    check::check(&Expr::Selector(selector.clone()))?;
    Ok(selector.matchers)
}

/// Reads the matchers of a vector selector without modifiers. Unlike [`parse_selector`] it takes `{}`: the caller says what
/// that stands for.
///
/// # Errors
/// If the text is not a vector selector.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let selector = bare_selector(text)?;
    check::names(&selector)?;
    Ok(selector.matchers)
}

fn bare_selector(text: &str) -> Result<VectorSelector, ParseError> {
    let mut parser = Parser::new(text)?;
    let is_selector = matches!(parser.token.kind, Kind::Word | Kind::LeftBrace);
    let expr = if is_selector { Some(parser.prefix()?) } else { None };
    match expr {
        Some(Expr::Selector(selector)) if parser.token.kind == Kind::End => Ok(selector),
        _ => Err(parser.unexpected("", "")),
    }
}

/// Reads a series as scripts write it: a selector whose conditions may all be empty.
#[cfg(feature = "testing")]
pub(crate) fn parse_series(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text)?;
    let name = if parser.token.kind == Kind::Word {
        let token = parser.advance()?;
        Some((parser.text_of(token).to_owned(), token.span))
    } else {
        None
    };
    match parser.selector(name)? {
        Expr::Selector(selector) if parser.token.kind == Kind::End => Ok(selector.matchers),
        _ => Err(parser.unexpected("", "")),
    }
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    token: Token,
    /// Where the token before ended.
    last: Span,
    depth: u32,
    chain: u32,
    /// How many aggregations the current token lies in.
    aggregations: u32,
    /// Regular expressions so far, and the bytes of those that are compiled.
    patterns: usize,
    pattern_bytes: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, ParseError> {
        if u32::try_from(text.len()).is_err() {
            return Err(ParseError::new("expression is too long", Span { line: 1, column: 1, ..Span::default() }));
        }
        let mut lexer = Lexer::new(text);
        let token = lexer.next()?;
        Ok(Self {
            text,
            lexer,
            token,
            last: token.span,
            depth: 0,
            chain: 0,
            aggregations: 0,
            patterns: 0,
            pattern_bytes: 0,
        })
    }

    fn advance(&mut self) -> Result<Token, ParseError> {
        let token = self.token;
        self.last = token.span;
        self.token = self.lexer.next()?;
        Ok(token)
    }

    fn text_of(&self, token: Token) -> &'t str {
        &self.text[token.span.start as usize..token.span.end as usize]
    }

    /// The current token in lower case if it is a word, else "".
    fn word(&self) -> String {
        if self.token.kind == Kind::Word { self.text_of(self.token).to_ascii_lowercase() } else { String::new() }
    }

    fn accept(&mut self, kind: Kind) -> Result<bool, ParseError> {
        let found = self.token.kind == kind;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, kind: Kind, context: &str, expected: &str) -> Result<Token, ParseError> {
        if self.token.kind == kind { self.advance() } else { Err(self.unexpected(context, expected)) }
    }

    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let mut message =
            format!("unexpected {}", describe(self.token.kind, self.text_of(self.token), self.lexer.in_braces()));
        let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        ParseError::new(message, self.token.span)
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            let message = format!("expression is nested deeper than {MAX_DEPTH} levels");
            return Err(ParseError::new(message, self.token.span));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// An expression whose operators all bind more tightly than `floor`.
    fn expression(&mut self, floor: u8) -> Result<Expr, ParseError> {
        self.nested(|parser| {
            let mut lhs = parser.prefix()?;
            loop {
                lhs = parser.postfix(lhs)?;
                let Some(op) = parser.binary_op().filter(|op| op.precedence() > floor) else { return Ok(lhs) };
                parser.chain += 1;
                if parser.chain > MAX_CHAIN {
                    let message = format!("expression has more than {MAX_CHAIN} operators");
                    return Err(ParseError::new(message, parser.token.span));
                }
                parser.advance()?;
                lhs = parser.binary(op, lhs)?;
            }
        })
    }

    /// Skips a sign; whether it is a minus.
    fn sign(&mut self) -> Result<bool, ParseError> {
        if self.accept(Kind::Sub)? {
            return Ok(true);
        }
        self.accept(Kind::Add)?;
        Ok(false)
    }

    /// A number, a duration, `inf` or `nan`.
    fn number(&mut self, context: &str, expected: &str) -> Result<f64, ParseError> {
        match self.token.kind {
            Kind::Number | Kind::Duration => {
                let token = self.token;
                let text = self.text_of(token);
                let value = if token.kind == Kind::Duration {
                    let duration = model::parse_duration(text).map_err(|why| why.to_string());
                    duration.map(|duration| duration.as_millis() as f64 / 1000.0)
                } else {
                    parse_number(text)
                };
                let value = value.map_err(|message| ParseError::new(message, token.span))?;
                self.advance()?;
                Ok(value)
            }
            Kind::Word => match self.word().as_str() {
                "inf" => self.advance().map(|_| f64::INFINITY),
                "nan" => self.advance().map(|_| f64::NAN),
                _ => Err(self.unexpected(context, expected)),
            },
            _ => Err(self.unexpected(context, expected)),
        }
    }

    fn prefix(&mut self) -> Result<Expr, ParseError> {
        let start = self.token.span;
        match self.token.kind {
            Kind::Number | Kind::Duration => {
                let is_duration = self.token.kind == Kind::Duration;
                let value = self.number("", "")?;
                Ok(Expr::Number(NumberLiteral { span: start, value, is_duration }))
            }
            Kind::Text => {
                let token = self.advance()?;
                let value = self.unquoted(token)?;
                Ok(Expr::Text(TextLiteral { span: start, value }))
            }
            Kind::LeftParen => {
                self.advance()?;
                let expr = self.expression(0)?;
                self.expect(Kind::RightParen, "", "")?;
                Ok(Expr::Paren(Paren { span: start.to(self.last), expr: Box::new(expr) }))
            }
            Kind::Add | Kind::Sub => {
                let negative = self.advance()?.kind == Kind::Sub;
                // Its operand takes only what binds more tightly than `*`.
                let operand = self.expression(SIGN_PRECEDENCE)?;
                let span = start.to(self.last);
                Ok(match operand {
                    Expr::Number(NumberLiteral { value, is_duration, .. }) => {
                        let value = if negative { -value } else { value };
                        Expr::Number(NumberLiteral { span, value, is_duration })
                    }
                    expr => Expr::Unary(Unary { span, negative, expr: Box::new(expr) }),
                })
            }
            Kind::LeftBrace => self.selector(None),
            Kind::Word => self.name(),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// What a word begins: a number, an aggregation, a call or a selector.
    fn name(&mut self) -> Result<Expr, ParseError> {
        let word = self.word();
        let start = self.token.span;
        if word == "inf" || word == "nan" {
            let value = self.number("", "")?;
            return Ok(Expr::Number(NumberLiteral { span: start, value, is_duration: false }));
        }
        let rest = self.text[start.end as usize..].trim_start();
        let opens = rest.starts_with('(') || (rest.starts_with('#') && self.opens_after_comment());
        if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == word) {
            let next: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
            if opens || next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without") {
                return self.aggregate(op);
            }
        } else if opens && !is_keyword(&word) && !word.contains(':') {
            return self.call();
        }
        if matches!(word.as_str(), "bool" | "on" | "ignoring" | "group_left" | "group_right" | "atan2") {
            return Err(self.unexpected("", ""));
        }
        let token = self.advance()?;
        let name = self.text_of(token);
        self.selector(Some((name.to_owned(), token.span)))
    }

    /// Whether the token after this one is `(`, comments skipped.
    fn opens_after_comment(&self) -> bool {
        let mut lexer = Lexer::new(&self.text[self.token.span.end as usize..]);
        lexer.next().is_ok_and(|token| token.kind == Kind::LeftParen)
    }

    fn call(&mut self) -> Result<Expr, ParseError> {
        let token = self.advance()?;
        let name = self.text_of(token);
        let args = self.arguments()?;
        let Some(function) = functions::find(name) else {
            let message = format!("unknown function with name {}", quote(name.as_bytes()));
            return Err(ParseError::new(message, token.span));
        };
        self.expect(Kind::RightParen, "", "")?;
        Ok(Expr::Call(Call { span: token.span.to(self.last), function, args }))
    }

    /// What stands within parentheses. The right one is the current token then: what is wrong behind it matters less
    /// than what is wrong before it.
    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect(Kind::LeftParen, "", "")?;
        let mut args = Vec::new();
        if self.token.kind == Kind::RightParen {
            return Ok(args);
        }
        loop {
            args.push(self.expression(0)?);
            let comma = self.token;
            if !self.accept(Kind::Comma)? {
                break;
            }
            if !self.begins_expression() {
                return Err(ParseError::new("trailing commas not allowed in function call args", comma.span));
            }
        }
        if self.token.kind == Kind::RightParen { Ok(args) } else { Err(self.unexpected("", "")) }
    }

    /// Whether the current token may be the first one of an expression.
    fn begins_expression(&self) -> bool {
        matches!(
            self.token.kind,
            Kind::Number
                | Kind::Duration
                | Kind::Text
                | Kind::LeftParen
                | Kind::LeftBrace
                | Kind::Add
                | Kind::Sub
                | Kind::Word
        )
    }

    fn unquoted(&self, token: Token) -> Result<Vec<u8>, ParseError> {
        unquote(self.text_of(token)).map_err(|reason| ParseError::new(reason, token.span))
    }
}

/// Integers in the bases that Go knows, then floats; `_` separates digits.
fn parse_number(text: &str) -> Result<f64, String> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let value = match hex {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|v| v as f64),
        None if octal => u64::from_str_radix(&digits, 8).ok().map(|v| v as f64),
        None => digits.parse().ok(),
    };
    let reason = match value {
        Some(value) if value.is_finite() => return Ok(value),
        Some(_) => "value out of range",
        None => "invalid syntax",
    };
    Err(format!("error parsing number: strconv.ParseFloat: parsing {}: {reason}", quote(text.as_bytes())))
}
