//! Tokens → expression: a Pratt parser with one token of lookahead.

use tsdb::{METRIC_NAME, MatchOp, Matcher, Timestamp};

use super::ParseError;
use super::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Expr, Extension, Grouping, Matching,
    MatrixSelector, Modifiers, NumberLiteral, Paren, Span, Subquery, TextLiteral, Unary, VectorSelector,
};
use super::check;
use super::duration::{DurationExpr, DurationOp, QueryTimes, parse_millis};
use super::lexer::{Kind, Lexer, Token, unquote};
use crate::format::quote;
use crate::functions;

/// How deep expressions may nest.
const MAX_DEPTH: u32 = 250;

/// How many operators may follow each other on one level; the tree that they make is walked recursively.
const MAX_CHAIN: u32 = 2_000;

/// How tightly a sign binds: as `*`.
const SIGN_PRECEDENCE: u8 = 5;

/// Reads an expression and checks its types.
///
/// # Errors
/// If the text is not PromQL; the first problem is reported.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    if parser.token.kind == Kind::End {
        let start = Span { line: 1, column: 1, ..Span::default() };
        return Err(ParseError::new("no expression found in input", start));
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
/// If the text is not a vector selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text)?;
    let is_selector = matches!(parser.token.kind, Kind::Word | Kind::LeftBrace);
    let expr = if is_selector { Some(parser.prefix()?) } else { None };
    match expr {
        Some(Expr::Selector(selector)) if parser.token.kind == Kind::End => {
            check::check(&Expr::Selector(selector.clone()))?;
            Ok(selector.matchers)
        }
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
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, ParseError> {
        if u32::try_from(text.len()).is_err() {
            return Err(ParseError::new("expression is too long", Span { line: 1, column: 1, ..Span::default() }));
        }
        let mut lexer = Lexer::new(text);
        let token = lexer.next()?;
        Ok(Self { text, lexer, token, last: token.span, depth: 0, chain: 0 })
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
        let mut message = format!("unexpected {}", describe(self.token.kind, self.text_of(self.token)));
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

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.token.kind {
            Kind::Add => BinaryOp::Add,
            Kind::Sub => BinaryOp::Sub,
            Kind::Mul => BinaryOp::Mul,
            Kind::Div => BinaryOp::Div,
            Kind::Mod => BinaryOp::Mod,
            Kind::Pow => BinaryOp::Pow,
            Kind::Equal => BinaryOp::Equal,
            Kind::NotEqual => BinaryOp::NotEqual,
            Kind::Less => BinaryOp::Less,
            Kind::LessEqual => BinaryOp::LessEqual,
            Kind::Greater => BinaryOp::Greater,
            Kind::GreaterEqual => BinaryOp::GreaterEqual,
            Kind::TrimUpper => BinaryOp::TrimUpper,
            Kind::TrimLower => BinaryOp::TrimLower,
            Kind::Word => match self.word().as_str() {
                "and" => BinaryOp::And,
                "or" => BinaryOp::Or,
                "unless" => BinaryOp::Unless,
                "atan2" => BinaryOp::Atan2,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn binary(&mut self, op: BinaryOp, lhs: Expr) -> Result<Expr, ParseError> {
        let mut return_bool = false;
        if self.word() == "bool" {
            self.advance()?;
            return_bool = true;
        }
        let mut matching = Matching::default();
        let listed = matches!(self.word().as_str(), "on" | "ignoring");
        if listed {
            matching.on = self.word() == "on";
            self.advance()?;
            matching.labels = self.label_list()?;
            matching.cardinality = match self.word().as_str() {
                "group_left" => Cardinality::ManyToOne,
                "group_right" => Cardinality::OneToMany,
                _ => Cardinality::OneToOne,
            };
            if matching.cardinality != Cardinality::OneToOne {
                self.advance()?;
                if self.token.kind == Kind::LeftParen {
                    matching.include = self.label_list()?;
                }
            }
        }
        self.fill(&mut matching)?;
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        // Left-associative but for the power.
        let floor = op.precedence() - u8::from(op == BinaryOp::Pow);
        let rhs = self.expression(floor)?;
        let span = lhs.span().to(self.last);
        let both_vectors = [&lhs, &rhs].iter().all(|e| e.value_type() == super::ValueType::Vector);
        if !both_vectors && (listed || matching.fill != super::Fill::default()) {
            return Err(ParseError::new("vector matching only allowed between instant vectors", span));
        }
        Ok(Expr::Binary(Binary {
            span,
            op,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            matching: both_vectors.then_some(matching),
            return_bool,
        }))
    }

    /// `fill(0)`, `fill_left(0)`, `fill_right(0)`: words that are names unless a number in parentheses follows.
    fn fill(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        loop {
            let (left, right) = match self.word().as_str() {
                "fill" => (true, true),
                "fill_left" => (true, false),
                "fill_right" => (false, true),
                _ => return Ok(()),
            };
            let rest = &self.text[self.token.span.end as usize..];
            if !rest.trim_start().starts_with('(') {
                return Ok(());
            }
            self.advance()?;
            self.expect(Kind::LeftParen, "fill modifier", "\"(\"")?;
            let negative = self.sign()?;
            let value = self.number("fill modifier", "number")?;
            let value = if negative { -value } else { value };
            self.expect(Kind::RightParen, "fill modifier", "\")\"")?;
            if left {
                matching.fill.left = Some(value);
            }
            if right {
                matching.fill.right = Some(value);
            }
        }
    }

    /// Skips signs; whether they make a minus.
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
                let token = self.advance()?;
                let text = self.text_of(token);
                if token.kind == Kind::Duration {
                    return Ok(parse_millis(text).unwrap_or_default() as f64 / 1000.0);
                }
                parse_number(text).ok_or_else(|| {
                    ParseError::new(format!("error parsing number: {}", quote(text.as_bytes())), token.span)
                })
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
        } else if opens && !matches!(word.as_str(), "bool" | "on" | "ignoring" | "group_left" | "group_right") {
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
        let Some(function) = functions::find(name) else {
            let message = format!("unknown function with name {}", quote(name.as_bytes()));
            return Err(ParseError::new(message, token.span));
        };
        let args = self.arguments()?;
        Ok(Expr::Call(Call { span: token.span.to(self.last), function, args }))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect(Kind::LeftParen, "", "")?;
        let mut args = Vec::new();
        if self.accept(Kind::RightParen)? {
            return Ok(args);
        }
        loop {
            args.push(self.expression(0)?);
            let comma = self.token;
            if !self.accept(Kind::Comma)? {
                break;
            }
            if self.token.kind == Kind::RightParen {
                return Err(ParseError::new("trailing commas not allowed in function call args", comma.span));
            }
        }
        self.expect(Kind::RightParen, "", "")?;
        Ok(args)
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.advance()?.span;
        let mut grouping = self.grouping()?;
        if self.token.kind != Kind::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let mut args = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
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
        Ok(Some(Grouping { without, labels: self.label_list()? }))
    }

    /// `(a, b, "c d")`
    fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        const CONTEXT: &str = "grouping opts";
        self.expect(Kind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while self.token.kind != Kind::RightParen {
            let label = match self.token.kind {
                Kind::Word if tsdb::is_label_name(self.text_of(self.token)) => self.text_of(self.token).to_owned(),
                Kind::Text => {
                    let value = self.unquoted(self.token)?;
                    match String::from_utf8(value) {
                        Ok(name) if !name.is_empty() => name,
                        _ => return Err(self.unexpected(CONTEXT, "label")),
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

    fn unquoted(&self, token: Token) -> Result<Vec<u8>, ParseError> {
        unquote(self.text_of(token))
            .map_err(|reason| ParseError::new(format!("error unquoting string: {reason}"), token.span))
    }

    /// A selector whose name, if it stands before the braces, has been read.
    fn selector(&mut self, name: Option<(String, Span)>) -> Result<Expr, ParseError> {
        let start = name.as_ref().map_or(self.token.span, |(_, span)| *span);
        let mut name = name.map(|(name, _)| name);
        let mut matchers: Vec<Matcher> = name.iter().map(|n| Matcher::equal(METRIC_NAME, n.as_str())).collect();
        if self.accept(Kind::LeftBrace)? {
            while !self.accept(Kind::RightBrace)? {
                self.matcher(&mut name, &mut matchers)?;
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

    fn matcher(&mut self, name: &mut Option<String>, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
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
                return Err(ParseError::new(message, label.span));
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

    /// `[5m]`, `[5m:1m]`, `offset`, `@`, `anchored`, `smoothed` after an expression.
    fn postfix(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            expr = match self.token.kind {
                Kind::LeftBracket => self.brackets(expr)?,
                Kind::At => self.at(expr)?,
                Kind::Word => match self.word().as_str() {
                    "offset" => self.offset(expr)?,
                    "anchored" => self.extension(expr, Extension::Anchored)?,
                    "smoothed" => self.extension(expr, Extension::Smoothed)?,
                    _ => return Ok(expr),
                },
                _ => return Ok(expr),
            };
            self.chain += 1;
            if self.chain > MAX_CHAIN {
                let message = format!("expression has more than {MAX_CHAIN} operators");
                return Err(ParseError::new(message, self.token.span));
            }
        }
    }

    fn brackets(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let open = self.advance()?.span;
        if self.token.kind == Kind::Colon || self.token.kind == Kind::RightBracket {
            return Err(self.unexpected("subquery or range selector", "duration"));
        }
        let range = self.positive_duration("subquery or range selector")?;
        if self.accept(Kind::Colon)? {
            let step = if self.token.kind == Kind::RightBracket {
                None
            } else {
                Some(self.positive_duration("subquery selector")?)
            };
            self.expect(Kind::RightBracket, "subquery selector", "\"]\"")?;
            let span = expr.span().to(self.last);
            return Ok(Expr::Subquery(Subquery {
                span,
                inner: Box::new(expr),
                range,
                step,
                modifiers: Modifiers::default(),
            }));
        }
        if self.token.kind != Kind::RightBracket {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }
        self.advance()?;
        let place = open.to(self.last);
        match expr {
            Expr::Selector(selector) => {
                if selector.modifiers.offset.is_some() {
                    return Err(ParseError::new("no offset modifiers allowed before range", place));
                }
                if selector.modifiers.at.is_some() {
                    return Err(ParseError::new("no @ modifiers allowed before range", place));
                }
                if let Some(extension) = selector.extension {
                    let message = format!("no {} modifier allowed before range", extension.as_str());
                    return Err(ParseError::new(message, place));
                }
                Ok(Expr::Matrix(MatrixSelector { span: selector.span.to(self.last), selector, range }))
            }
            _ => Err(ParseError::new("ranges only allowed for vector selectors", place)),
        }
    }

    fn positive_duration(&mut self, context: &str) -> Result<DurationExpr, ParseError> {
        let start = self.token.span;
        let duration = self.duration(0, context)?;
        let span = start.to(self.last);
        self.check_duration(&duration, span)?;
        // What depends on the query's step is checked when the query runs.
        let times = QueryTimes { step: 0.0, range: 0.0 };
        if duration.is_fixed() && duration.to_millis(times).is_ok_and(|millis| millis <= 0) {
            return Err(ParseError::new("duration must be greater than 0", span));
        }
        Ok(duration)
    }

    fn check_duration(&self, duration: &DurationExpr, span: Span) -> Result<(), ParseError> {
        if !duration.is_fixed() {
            return Ok(());
        }
        match duration.to_millis(QueryTimes { step: 0.0, range: 0.0 }) {
            Ok(_) => Ok(()),
            Err(reason) => Err(ParseError::new(reason, span)),
        }
    }

    /// Arithmetic of durations; operators all bind more tightly than `floor`.
    fn duration(&mut self, floor: u8, context: &str) -> Result<DurationExpr, ParseError> {
        self.nested(|parser| {
            let mut lhs = parser.duration_operand(context)?;
            loop {
                let (op, precedence) = match parser.token.kind {
                    Kind::Add => (DurationOp::Add, 1),
                    Kind::Sub => (DurationOp::Sub, 1),
                    Kind::Mul => (DurationOp::Mul, 2),
                    Kind::Div => (DurationOp::Div, 2),
                    Kind::Mod => (DurationOp::Mod, 2),
                    Kind::Pow => (DurationOp::Pow, 3),
                    _ => return Ok(lhs),
                };
                if precedence <= floor {
                    return Ok(lhs);
                }
                parser.chain += 1;
                if parser.chain > MAX_CHAIN {
                    return Err(ParseError::new("duration has too many operators", parser.token.span));
                }
                parser.advance()?;
                let rhs = parser.duration(precedence - u8::from(op == DurationOp::Pow), context)?;
                lhs = DurationExpr::Binary(op, Box::new(lhs), Box::new(rhs));
            }
        })
    }

    fn duration_operand(&mut self, context: &str) -> Result<DurationExpr, ParseError> {
        match self.token.kind {
            Kind::Number | Kind::Duration => Ok(DurationExpr::Seconds(self.number(context, "number or duration")?)),
            Kind::Sub => {
                self.advance()?;
                // As in expressions, a sign binds as tightly as `*`.
                Ok(match self.duration(2, context)? {
                    DurationExpr::Seconds(seconds) => DurationExpr::Seconds(-seconds),
                    other => DurationExpr::Negative(Box::new(other)),
                })
            }
            Kind::Add => {
                self.advance()?;
                self.duration(2, context)
            }
            Kind::LeftParen => {
                self.advance()?;
                let inner = self.duration(0, context)?;
                self.expect(Kind::RightParen, context, "\")\"")?;
                Ok(DurationExpr::Paren(Box::new(inner)))
            }
            Kind::Word => self.duration_call(context),
            _ => Err(self.unexpected(context, "number or duration")),
        }
    }

    fn duration_call(&mut self, context: &str) -> Result<DurationExpr, ParseError> {
        let word = self.word();
        if !matches!(word.as_str(), "step" | "range" | "min_of" | "max_of") {
            return Err(self.unexpected(context, "number, duration, step(), or range()"));
        }
        self.advance()?;
        self.expect(Kind::LeftParen, context, "\"(\"")?;
        if word == "step" || word == "range" {
            self.expect(Kind::RightParen, context, "\")\"")?;
            return Ok(if word == "step" { DurationExpr::Step } else { DurationExpr::Range });
        }
        let first = Box::new(self.duration(0, context)?);
        self.expect(Kind::Comma, context, "\",\"")?;
        let second = Box::new(self.duration(0, context)?);
        self.expect(Kind::RightParen, context, "\")\"")?;
        Ok(if word == "min_of" { DurationExpr::MinOf(first, second) } else { DurationExpr::MaxOf(first, second) })
    }

    /// After `offset` stands one operand: `offset 5m * 2` multiplies the result.
    fn offset(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        self.advance()?;
        let start = self.token.span;
        let negative = self.sign()?;
        if !matches!(self.token.kind, Kind::Number | Kind::Duration | Kind::LeftParen | Kind::Word) {
            return Err(self.unexpected("offset", "number, duration, step(), or range()"));
        }
        let operand = self.duration_operand("offset")?;
        let offset = match operand {
            DurationExpr::Seconds(seconds) if negative => DurationExpr::Seconds(-seconds),
            other if negative => DurationExpr::Negative(Box::new(other)),
            other => other,
        };
        self.check_duration(&offset, start.to(self.last))?;
        let last = self.last;
        modifiable(expr, "offset modifier", |modifiers, span| {
            if modifiers.offset.is_some() {
                return Err(ParseError::new("offset may not be set multiple times", *span));
            }
            modifiers.offset = Some(offset);
            *span = span.to(last);
            Ok(())
        })
    }

    fn at(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let operator = self.advance()?.span;
        let word = self.word();
        let at = if word == "start" || word == "end" {
            self.advance()?;
            self.expect(Kind::LeftParen, "@", "timestamp")?;
            self.expect(Kind::RightParen, "@", "timestamp")?;
            if word == "start" { At::Start } else { At::End }
        } else {
            let negative = self.sign()?;
            let seconds = self.number("@", "timestamp")?;
            let seconds = if negative { -seconds } else { seconds };
            let millis = seconds * 1000.0;
            if !(millis.abs() < i64::MAX as f64) {
                let message = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
                return Err(ParseError::new(message, operator.to(self.last)));
            }
            At::Time(Timestamp::from_millis(millis.round() as i64))
        };
        let last = self.last;
        modifiable(expr, "@ modifier", |modifiers, span| {
            if modifiers.at.is_some() {
                return Err(ParseError::new("@ <timestamp> may not be set multiple times", *span));
            }
            modifiers.at = Some(at);
            *span = span.to(last);
            Ok(())
        })
    }

    fn extension(&mut self, mut expr: Expr, extension: Extension) -> Result<Expr, ParseError> {
        self.advance()?;
        let last = self.last;
        let (slot, span) = match &mut expr {
            Expr::Selector(s) => (&mut s.extension, &mut s.span),
            Expr::Matrix(m) => (&mut m.selector.extension, &mut m.span),
            other => {
                let message = format!(
                    "{} modifier must be preceded by an instant vector selector or range vector selector, but follows a {} instead",
                    extension.as_str(),
                    kind_name(other)
                );
                return Err(ParseError::new(message, other.span()));
            }
        };
        match *slot {
            Some(before) if before == extension => {
                let message = format!("{} modifier may not be set multiple times", extension.as_str());
                return Err(ParseError::new(message, *span));
            }
            Some(_) => return Err(ParseError::new("anchored and smoothed modifiers cannot be used together", *span)),
            None => *slot = Some(extension),
        }
        *span = span.to(last);
        Ok(expr)
    }
}

/// Hands the modifiers of a selector or subquery to `set`; anything else cannot have any.
fn modifiable(
    mut expr: Expr,
    what: &str,
    set: impl FnOnce(&mut Modifiers, &mut Span) -> Result<(), ParseError>,
) -> Result<Expr, ParseError> {
    match &mut expr {
        Expr::Selector(s) => set(&mut s.modifiers, &mut s.span)?,
        Expr::Matrix(m) => set(&mut m.selector.modifiers, &mut m.span)?,
        Expr::Subquery(s) => set(&mut s.modifiers, &mut s.span)?,
        other => {
            let message = format!(
                "{what} must be preceded by an instant vector selector or range vector selector or a subquery, but follows a {} instead",
                kind_name(other)
            );
            return Err(ParseError::new(message, other.span()));
        }
    }
    Ok(expr)
}

/// How messages call the node.
fn kind_name(expr: &Expr) -> &'static str {
    match expr {
        Expr::Number(_) => "number literal",
        Expr::Text(_) => "string literal",
        Expr::Selector(_) => "vector selector",
        Expr::Matrix(_) => "range vector selector",
        Expr::Subquery(_) => "subquery",
        Expr::Call(_) => "function call",
        Expr::Aggregate(_) => "aggregation",
        Expr::Binary(_) => "binary expression",
        Expr::Unary(_) => "unary expression",
        Expr::Paren(_) => "parenthesized expression",
    }
}

/// Integers in the bases that Go knows, then floats; `_` separates digits.
fn parse_number(text: &str) -> Option<f64> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let based = |prefix: [&str; 2], radix| {
        prefix.iter().find_map(|p| digits.strip_prefix(p)).map(|rest| u64::from_str_radix(rest, radix))
    };
    if let Some(value) = based(["0x", "0X"], 16) {
        return value.ok().map(|v| v as f64);
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return u64::from_str_radix(&digits, 8).ok().map(|v| v as f64);
    }
    digits.parse().ok()
}

const KEYWORDS: [&str; 15] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "anchored",
    "smoothed",
    "fill",
    "fill_left",
    "fill_right",
    "start",
    "end",
];

/// How messages call a token.
fn describe(kind: Kind, text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    match kind {
        Kind::End => "end of input".into(),
        Kind::Word if AggregateOp::ALL.iter().any(|op| op.as_str() == lower) => format!("<aggr:{lower}>"),
        Kind::Word if KEYWORDS.contains(&lower.as_str()) => format!("<{lower}>"),
        Kind::Word if matches!(lower.as_str(), "and" | "or" | "unless" | "atan2") => format!("<op:{lower}>"),
        Kind::Word if lower == "inf" || lower == "nan" => format!("number {}", quote(text.as_bytes())),
        Kind::Word if text.contains(':') => format!("metric identifier {}", quote(text.as_bytes())),
        Kind::Word => format!("identifier {}", quote(text.as_bytes())),
        Kind::Number => format!("number {}", quote(text.as_bytes())),
        Kind::Duration => format!("duration {}", quote(text.as_bytes())),
        Kind::Text => {
            let short: String = text.chars().take(10).collect();
            let dots = if text.chars().count() > 10 { "..." } else { "" };
            format!("string {}{dots}", quote(short.as_bytes()))
        }
        Kind::LeftParen
        | Kind::RightParen
        | Kind::LeftBrace
        | Kind::RightBrace
        | Kind::LeftBracket
        | Kind::RightBracket
        | Kind::Comma
        | Kind::Colon
        | Kind::Assign => quote(text.as_bytes()),
        _ => format!("<op:{text}>"),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
