//! PromQL: parser, engine and functions. Pure CPU over the querier it is handed: no async runtime, no files, no clock.

#![forbid(unsafe_code)]

mod annotations;
mod budget;
mod engine;
mod error;
mod eval;
mod explain;
mod format;
mod functions;
mod parser;
mod small;
#[cfg(feature = "testing")]
pub mod testing;
mod value;

pub use annotations::{Annotations, Level};
pub use budget::{Budget, Lease, Reserve, StopFlag};
pub use engine::{Answer, Engine, Features, NodeStats, Options, Request, Stats, Steps};
pub use error::{Error, Limit};
pub use explain::{Missing, PlanNode, Why, plan, why_empty};
pub use format::quote;
pub use functions::{Arity, FUNCTIONS, Function};
pub use parser::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationOp, Expr, Extension, Fill,
    Grouping, Matching, MatrixSelector, Modifiers, NumberLiteral, Paren, ParseError, SelectorUse, Span, Subquery,
    TextLiteral, Unary, ValueType, VectorSelector, parse, parse_matchers, parse_selector,
};
pub use value::{ABSENT, Point, Series, Value, VectorSample, is_absent};
