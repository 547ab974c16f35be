//! Expression → text: on one line, or laid out over several.

use std::fmt;

use tsdb::{METRIC_NAME, is_label_name, is_metric_name};

use super::ast::{Aggregate, At, Binary, BinaryOp, Cardinality, Expr, Grouping, Matching, Modifiers, VectorSelector};
use crate::format::{general, plain, quote};

/// Longer texts are broken, wherever they stand.
const LINE_WIDTH: usize = 100;

impl fmt::Display for Expr {
    /// The canonical text: parsing it gives an equal expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(e) => {
                let millis = (e.value * 1000.0).round();
                if e.is_duration && e.value == 0.0 && e.value.is_sign_negative() {
                    f.write_str("-0s")
                } else if e.is_duration && millis.abs() < 9e12 && millis / 1000.0 == e.value {
                    model::duration::write_millis(f, millis as i64)
                } else {
                    f.write_str(&plain(e.value))
                }
            }
            Self::Text(e) => f.write_str(&quote(&e.value)),
            Self::Selector(e) => {
                write_selector(f, e)?;
                write_modifiers(f, &e.modifiers, e)
            }
            Self::Matrix(e) => {
                write_selector(f, &e.selector)?;
                write!(f, "[{}]", e.range)?;
                write_modifiers(f, &e.selector.modifiers, &e.selector)
            }
            Self::Subquery(e) => {
                write!(f, "{}[{}:", e.inner, e.range)?;
                if let Some(step) = &e.step {
                    write!(f, "{step}")?;
                }
                f.write_str("]")?;
                write_times(f, &e.modifiers)
            }
            Self::Call(e) => {
                write!(f, "{}(", e.function.name)?;
                write_list(f, e.args.iter())?;
                f.write_str(")")
            }
            Self::Aggregate(e) => {
                f.write_str(&aggregate_head(e))?;
                f.write_str("(")?;
                write_list(f, e.param.as_deref().into_iter().chain([&*e.expr]))?;
                f.write_str(")")
            }
            Self::Binary(e) => write_chain(f, e),
            Self::Unary(e) => write!(f, "{}{}", if e.negative { '-' } else { '+' }, e.expr),
            Self::Paren(e) => write!(f, "({})", e.expr),
        }
    }
}

/// A chain of operators, without recursion along its left sides.
fn write_chain(f: &mut fmt::Formatter<'_>, last: &Binary) -> fmt::Result {
    let mut chain = vec![last];
    while let Expr::Binary(inner) = &*chain[chain.len() - 1].lhs {
        chain.push(inner);
    }
    let first = chain[chain.len() - 1];
    if is_infinite_base(first) {
        f.write_str("Inf")?;
    } else {
        write!(f, "{}", first.lhs)?;
    }
    chain.into_iter().rev().try_for_each(|e| write!(f, " {}{} {}", e.op.as_str(), Modifier(e), e.rhs))
}

/// Whether the left side is infinity and raised to a power: a sign before it would be taken as one before the power.
fn is_infinite_base(e: &Binary) -> bool {
    e.op == BinaryOp::Pow && matches!(&*e.lhs, Expr::Number(number) if number.value == f64::INFINITY)
}

fn write_list<'e>(f: &mut fmt::Formatter<'_>, exprs: impl Iterator<Item = &'e Expr>) -> fmt::Result {
    for (i, expr) in exprs.enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{expr}")?;
    }
    Ok(())
}

impl fmt::Display for VectorSelector {
    /// The selector without its modifiers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, self)
    }
}

/// Words that cannot stand for a metric name without quotes.
fn is_bare_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let reserved = ["bool", "on", "ignoring", "group_left", "group_right", "atan2", "inf", "nan"];
    is_metric_name(name) && !reserved.contains(&lower.as_str())
}

/// The name, and the other conditions in the order of their texts, as Prometheus prints them.
fn write_selector(f: &mut fmt::Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let bare = selector.name.as_deref().filter(|name| is_bare_name(name));
    if let Some(name) = bare {
        f.write_str(name)?;
    }
    let mut conditions = Vec::with_capacity(selector.matchers.len());
    for matcher in &selector.matchers {
        let is_name = matcher.name() == METRIC_NAME && matcher.op() == tsdb::MatchOp::Equal;
        if is_name && bare == Some(matcher.value()) {
            continue;
        }
        let name =
            if is_label_name(matcher.name()) { matcher.name().to_owned() } else { quote(matcher.name().as_bytes()) };
        conditions.push(format!("{name}{}{}", matcher.op().as_str(), quote(matcher.value().as_bytes())));
    }
    conditions.sort_unstable();
    match (conditions.is_empty(), bare) {
        (true, Some(_)) => Ok(()),
        _ => write!(f, "{{{}}}", conditions.join(",")),
    }
}

fn write_modifiers(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers, selector: &VectorSelector) -> fmt::Result {
    if let Some(extension) = selector.extension {
        write!(f, " {}", extension.as_str())?;
    }
    write_times(f, modifiers)
}

fn write_times(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match modifiers.at {
        Some(At::Time(at)) => write!(f, " @ {at}")?,
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        None => {}
    }
    match &modifiers.offset {
        Some(offset) => write!(f, " offset {offset}"),
        None => Ok(()),
    }
}

fn label_list(labels: &[String]) -> String {
    let quoted: Vec<String> =
        labels.iter().map(|l| if is_label_name(l) { l.clone() } else { quote(l.as_bytes()) }).collect();
    format!("({})", quoted.join(", "))
}

fn aggregate_head(e: &Aggregate) -> String {
    match &e.grouping {
        None => e.op.as_str().to_owned(),
        Some(Grouping { without, labels }) => {
            format!("{} {} {} ", e.op.as_str(), if *without { "without" } else { "by" }, label_list(labels))
        }
    }
}

/// What stands between an operator and its right side, a blank before each part.
struct Modifier<'e>(&'e Binary);

impl fmt::Display for Modifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        let Some(Matching { on, labels, cardinality, include, fill }) = &self.0.matching else { return Ok(()) };
        let grouped = matches!(cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
        if *on || grouped || !labels.is_empty() {
            write!(f, " {} {}", if *on { "on" } else { "ignoring" }, label_list(labels))?;
        }
        if grouped {
            let side = if *cardinality == Cardinality::ManyToOne { "left" } else { "right" };
            write!(f, " group_{side} {}", label_list(include))?;
        }
        match (fill.left, fill.right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => write!(f, " fill ({})", general(left))?,
            (left, right) => {
                if let Some(left) = left {
                    write!(f, " fill_left ({})", general(left))?;
                }
                if let Some(right) = right {
                    write!(f, " fill_right ({})", general(right))?;
                }
            }
        }
        Ok(())
    }
}

impl Expr {
    /// The text laid out for reading: what does not fit on a line is broken and indented.
    #[must_use]
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.pretty_into(0, &mut out);
        out
    }

    fn pretty_into(&self, level: usize, out: &mut String) {
        let indent = "  ".repeat(level);
        let line = self.to_string();
        if line.len() <= LINE_WIDTH {
            out.push_str(&indent);
            out.push_str(&line);
            return;
        }
        match self {
            Self::Call(e) => {
                open(&indent, &format!("{}(", e.function.name), out);
                pretty_list(e.args.iter(), level, out);
                close(&indent, ")", out);
            }
            Self::Aggregate(e) => {
                open(&indent, &format!("{}(", aggregate_head(e)), out);
                pretty_list(e.param.as_deref().into_iter().chain([&*e.expr]), level, out);
                close(&indent, ")", out);
            }
            Self::Binary(e) => {
                if is_infinite_base(e) {
                    out.push_str(&indent);
                    out.push_str("  Inf");
                } else {
                    e.lhs.pretty_into(level + 1, out);
                }
                open("\n", &format!("{indent}{}{}", e.op.as_str(), Modifier(e)), out);
                e.rhs.pretty_into(level + 1, out);
            }
            Self::Paren(e) => {
                open(&indent, "(", out);
                e.expr.pretty_into(level + 1, out);
                close(&indent, ")", out);
            }
            Self::Unary(e) => {
                let mut inner = String::new();
                e.expr.pretty_into(level, &mut inner);
                out.push_str(&indent);
                out.push(if e.negative { '-' } else { '+' });
                out.push_str(inner.trim_start());
            }
            Self::Subquery(e) => {
                e.inner.pretty_into(level, out);
                // What the one-line text has after the inner expression.
                out.push_str(line.strip_prefix(&e.inner.to_string()).unwrap_or_default());
            }
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Matrix(_) => {
                out.push_str(&indent);
                out.push_str(&line);
            }
        }
    }
}

fn open(indent: &str, head: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str(head);
    out.push('\n');
}

fn close(indent: &str, tail: &str, out: &mut String) {
    out.push('\n');
    out.push_str(indent);
    out.push_str(tail);
}

fn pretty_list<'e>(exprs: impl Iterator<Item = &'e Expr>, level: usize, out: &mut String) {
    for (i, expr) in exprs.enumerate() {
        if i > 0 {
            out.push_str(",\n");
        }
        expr.pretty_into(level + 1, out);
    }
}
