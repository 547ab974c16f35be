//! Expressions. Every node knows its place in the text.

mod op;

use std::fmt;

use tsdb::{Matcher, Timestamp};

use super::duration::DurationExpr;
use crate::functions::Function;
pub use op::{AggregateOp, BinaryOp};

/// A place in the text: bytes `start..end`, and the line and column (in bytes, from 1) of `start`.
///
/// Places do not count when expressions are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last one.
    pub end: u32,
    /// Line of the first byte, from 1.
    pub line: u32,
    /// Column of the first byte, in bytes from 1.
    pub column: u32,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Span {}

impl Span {
    /// The place before the first byte of a text.
    pub(crate) const FIRST: Self = Self { start: 0, end: 0, line: 1, column: 1 };

    /// From the start of `self` to the end of `last`.
    #[must_use]
    pub(super) fn to(self, last: Self) -> Self {
        Self { end: last.end, ..self }
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// One value per series and step.
    Vector,
    /// A window of samples per series and step.
    Matrix,
    /// A text.
    String,
}

impl ValueType {
    /// As the HTTP API names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }

    /// As messages name it.
    #[must_use]
    pub const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A PromQL expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1.5`, `1h`
    Number(NumberLiteral),
    /// `"text"`
    Text(TextLiteral),
    /// `up{job="a"}`
    Selector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `(…)[1h:5m]`
    Subquery(Subquery),
    /// `rate(…)`
    Call(Call),
    /// `sum by (job) (…)`
    Aggregate(Aggregate),
    /// `a + b`
    Binary(Binary),
    /// `-a`
    Unary(Unary),
    /// `(a)`
    Paren(Paren),
}

/// A number.
#[derive(Clone, Debug)]
pub struct NumberLiteral {
    /// Where it stands.
    pub span: Span,
    /// Its value; a duration's in seconds.
    pub value: f64,
    /// Whether it was written as a duration.
    pub is_duration: bool,
}

/// Equal if the bits of the value are, so that NaN equals itself.
impl PartialEq for NumberLiteral {
    fn eq(&self, other: &Self) -> bool {
        self.is_duration == other.is_duration
            && (self.value.to_bits() == other.value.to_bits() || (self.value.is_nan() && other.value.is_nan()))
    }
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLiteral {
    /// Where it stands.
    pub span: Span,
    /// Its bytes: escapes can make any.
    pub value: Vec<u8>,
}

/// When a selector or subquery looks, other than now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// `offset 5m`: how much earlier.
    pub offset: Option<DurationExpr>,
    /// `@ 100`: at which moment instead of the step's.
    pub at: Option<At>,
}

/// The moment that `@` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A fixed moment.
    Time(Timestamp),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// How samples beyond the window help at its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `anchored`: the window starts with the last sample before it.
    Anchored,
    /// `smoothed`: values at the edges are interpolated.
    Smoothed,
}

impl Extension {
    /// As PromQL writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// Series by name and labels.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// Where it stands, modifiers included.
    pub span: Span,
    /// The name before the braces. One in quotes within them is a condition like others, as in Prometheus.
    pub name: Option<String>,
    /// All conditions, that on the name included, in the order of the text.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
    /// `anchored` or `smoothed`.
    pub extension: Option<Extension>,
}

/// The order of the conditions does not count.
impl PartialEq for VectorSelector {
    fn eq(&self, other: &Self) -> bool {
        let conditions = |selector: &'_ Self| {
            let all = selector.matchers.iter();
            let mut all: Vec<_> = all.map(|m| (m.name().to_owned(), m.op().as_str(), m.value().to_owned())).collect();
            all.sort();
            all
        };
        self.name == other.name
            && self.modifiers == other.modifiers
            && self.extension == other.extension
            && conditions(self) == conditions(other)
    }
}

/// A selector with a window.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Where it stands, modifiers included.
    pub span: Span,
    /// The series; modifiers and extension of the whole are kept here.
    pub selector: VectorSelector,
    /// How long the window is.
    pub range: DurationExpr,
}

/// An expression evaluated over a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// Where it stands, modifiers included.
    pub span: Span,
    /// What is evaluated.
    pub inner: Box<Expr>,
    /// How long the window is.
    pub range: DurationExpr,
    /// How far the steps lie apart; `None` for the engine's default.
    pub step: Option<DurationExpr>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
}

/// A function applied to arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Where it stands.
    pub span: Span,
    /// Which function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
}

/// Which series belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// `without`: by all labels but these.
    pub without: bool,
    /// The labels, as the text lists them.
    pub labels: Vec<String>,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Where it stands.
    pub span: Span,
    /// Which operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// The `k` of `topk`, and so on.
    pub param: Option<Box<Expr>>,
    /// Which series belong together; `None` if the text does not say, which means all.
    pub grouping: Option<Grouping>,
}

/// How many series of one side may match one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One.
    #[default]
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// Values for missing sides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill {
    /// `fill_left(…)`
    pub left: Option<f64>,
    /// `fill_right(…)`
    pub right: Option<f64>,
}

impl PartialEq for Fill {
    fn eq(&self, other: &Self) -> bool {
        let bits = |fill: &Self| (fill.left.map(f64::to_bits), fill.right.map(f64::to_bits));
        bits(self) == bits(other)
    }
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// `on`: by these labels only; else by all but these.
    pub on: bool,
    /// The labels that `on` or `ignoring` lists.
    pub labels: Vec<String>,
    /// How many may match.
    pub cardinality: Cardinality,
    /// Labels that the result takes from the one side.
    pub include: Vec<String>,
    /// What stands in for a side that is missing.
    pub fill: Fill,
}

/// Two expressions and the operator between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Where it stands.
    pub span: Span,
    /// Where the operator and its modifiers stand.
    pub operator: Span,
    /// The operator.
    pub op: BinaryOp,
    /// The left side.
    pub lhs: Box<Expr>,
    /// The right side.
    pub rhs: Box<Expr>,
    /// [`ValueType::Scalar`] if both sides are scalars.
    pub value_type: ValueType,
    /// How series match, if both sides are vectors.
    pub matching: Option<Matching>,
    /// `bool`: comparisons answer 0 or 1 instead of filtering.
    pub return_bool: bool,
}

/// A sign before an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Where it stands.
    pub span: Span,
    /// Whether it is a minus.
    pub negative: bool,
    /// What it stands before.
    pub expr: Box<Expr>,
}

/// An expression in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// Where it stands, parentheses included.
    pub span: Span,
    /// What they enclose.
    pub expr: Box<Expr>,
}

impl Expr {
    /// Where it stands in the text.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(e) => e.span,
            Self::Text(e) => e.span,
            Self::Selector(e) => e.span,
            Self::Matrix(e) => e.span,
            Self::Subquery(e) => e.span,
            Self::Call(e) => e.span,
            Self::Aggregate(e) => e.span,
            Self::Binary(e) => e.span,
            Self::Unary(e) => e.span,
            Self::Paren(e) => e.span,
        }
    }

    /// What it evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::Text(_) => ValueType::String,
            Self::Selector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(e) => e.function.returns,
            Self::Binary(e) => e.value_type,
            Self::Unary(e) => e.expr.value_type(),
            Self::Paren(e) => e.expr.value_type(),
        }
    }

    /// The expression within any parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        match self {
            Self::Paren(e) => e.expr.unwrapped(),
            other => other,
        }
    }
}
