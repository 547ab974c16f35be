//! PromQL text → expression.

mod ast;
mod check;
mod duration;
mod lexer;
mod parse;
mod print;
mod unquote;
mod walk;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Expr, Extension, Fill, Grouping, Matching,
    MatrixSelector, Modifiers, NumberLiteral, Paren, Span, Subquery, TextLiteral, Unary, ValueType, VectorSelector,
};
pub(crate) use duration::QueryTimes;
pub use duration::{DurationExpr, DurationOp};
#[cfg(feature = "testing")]
pub(crate) use parse::parse_series;
pub use parse::{parse, parse_matchers, parse_selector};
#[cfg(feature = "testing")]
pub(crate) use unquote::unquote;
pub use walk::SelectorUse;

/// Why a text is not PromQL, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: parse error: {message}", place(*line, *column))]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Line of the place, from 1; 0 if there is no text.
    pub line: usize,
    /// Column of the place in bytes, from 1; 0 if there is no text.
    pub column: usize,
    /// Bytes of the text that are concerned.
    pub span: std::ops::Range<usize>,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { "unknown position".into() } else { format!("{line}:{column}") }
}

impl ParseError {
    fn new(message: impl Into<String>, span: Span) -> Self {
        Self {
            message: message.into(),
            line: span.line as usize,
            column: span.column as usize,
            span: span.start as usize..span.end as usize,
        }
    }
}
