//! What may follow an expression: windows, `offset`, `@`, `anchored`, `smoothed`; and the arithmetic of durations.

use tsdb::Timestamp;

use super::super::ParseError;
use super::super::ast::{At, Expr, Extension, MatrixSelector, Modifiers, Span, Subquery};
use super::super::duration::{DurationExpr, DurationOp, QueryTimes};
use super::super::lexer::Kind;
use super::message::kind_name;
use super::{MAX_CHAIN, Parser};
use crate::format::general;

impl Parser<'_> {
    /// `[5m]`, `[5m:1m]`, `offset`, `@`, `anchored`, `smoothed` after an expression.
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
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
        let range = self.positive_duration("subquery selector", "number or duration")?;
        if self.accept(Kind::Colon)? {
            let step = if self.token.kind == Kind::RightBracket {
                None
            } else {
                Some(self.positive_duration("subquery selector", "number or duration or \"]\"")?)
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
                // `@ start()` and `@ end()` may stand there, as in Prometheus.
                if matches!(selector.modifiers.at, Some(At::Time(_))) {
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

    fn positive_duration(&mut self, context: &str, expected: &str) -> Result<DurationExpr, ParseError> {
        let start = self.token.span;
        let begins = matches!(
            self.token.kind,
            Kind::Number | Kind::Duration | Kind::Add | Kind::Sub | Kind::LeftParen | Kind::Word
        );
        if !begins {
            return Err(self.unexpected(context, expected));
        }
        let duration = lone(self.duration(0, context)?);
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
                let operator = parser.last;
                let rhs = parser.duration(precedence - u8::from(op == DurationOp::Pow), context)?;
                let none = QueryTimes { step: 0.0, range: 0.0 };
                if matches!(op, DurationOp::Div | DurationOp::Mod) && rhs.is_fixed() && rhs.seconds(none) == Ok(0.0) {
                    let what = if op == DurationOp::Div { "division by zero" } else { "modulo by zero" };
                    return Err(ParseError::new(what, operator));
                }
                lhs = DurationExpr::Binary(op, Box::new(lhs), Box::new(rhs));
            }
        })
    }

    fn duration_operand(&mut self, context: &str) -> Result<DurationExpr, ParseError> {
        match self.token.kind {
            Kind::Number => Ok(DurationExpr::Number(self.number(context, "number or duration")?)),
            Kind::Duration => Ok(DurationExpr::Seconds(self.number(context, "number or duration")?)),
            Kind::Sub => {
                self.advance()?;
                // As in expressions, a sign binds as tightly as `*`.
                Ok(match self.duration(2, context)? {
                    DurationExpr::Seconds(value) => DurationExpr::Seconds(-value),
                    DurationExpr::Number(value) => DurationExpr::Number(-value),
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
                self.expect(Kind::RightParen, context, "number or duration")?;
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
        let mut negative = false;
        while matches!(self.token.kind, Kind::Add | Kind::Sub) {
            negative ^= self.sign()?;
        }
        if !matches!(self.token.kind, Kind::Number | Kind::Duration | Kind::LeftParen | Kind::Word) {
            return Err(self.unexpected("offset", "number, duration, step(), or range()"));
        }
        let operand = lone(self.duration_operand("offset")?);
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
            // As in Prometheus, an offset of nothing is as good as none.
            modifiers.offset = Some(offset).filter(|offset| *offset != DurationExpr::Seconds(0.0));
            *span = span.to(last);
            Ok(())
        })
    }

    fn at(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        self.advance()?;
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
            if millis.is_nan() || millis.abs() >= i64::MAX as f64 {
                let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { general(seconds) };
                let message = format!("timestamp out of bounds for @ modifier: {shown}");
                return Err(ParseError::new(message, expr.span()));
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

/// A number that stands alone is a duration.
fn lone(duration: DurationExpr) -> DurationExpr {
    match duration {
        DurationExpr::Number(value) => DurationExpr::Seconds(value),
        other => other,
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
            let message =
                format!("{what} must be preceded by an instant vector selector or range vector selector or a subquery");
            return Err(ParseError::new(message, other.span()));
        }
    }
    Ok(expr)
}
