//! Types and the rules that the grammar cannot express.

use hashbrown::HashSet;
use tsdb::METRIC_NAME;

use super::ParseError;
use super::ast::{Binary, BinaryOp, Call, Cardinality, Expr, Fill, Matching, Span, ValueType, VectorSelector};
use crate::format::quote;
use crate::functions::Arity;

/// Checks an expression and all below it, from left to right, parts before the whole.
pub(super) fn check(expr: &Expr) -> Result<(), ParseError> {
    // Without recursion: chains of operators are long.
    let (mut open, mut nodes) = (vec![expr], Vec::new());
    while let Some(node) = open.pop() {
        nodes.push(node);
        // The second argument of info() only lists conditions: it need not select anything by itself.
        let own = if matches!(node, Expr::Call(call) if call.function.name == "info") { 1 } else { usize::MAX };
        open.extend(node.children().take(own));
    }
    nodes.into_iter().rev().try_for_each(check_node)
}

fn check_node(expr: &Expr) -> Result<(), ParseError> {
    match expr {
        Expr::Number(_) | Expr::Text(_) | Expr::Paren(_) => Ok(()),
        Expr::Selector(e) => selector(e),
        Expr::Matrix(e) => selector(&e.selector),
        Expr::Subquery(e) => match e.inner.value_type() {
            ValueType::Vector => Ok(()),
            other => fail(format!("subquery is only allowed on instant vector, got {other} instead"), e.span),
        },
        Expr::Call(e) => call(e),
        Expr::Aggregate(e) => {
            expect(&e.expr, ValueType::Vector, "aggregation expression")?;
            match (&e.param, e.op.parameter()) {
                (Some(param), Some(wanted)) => expect(param, wanted, "aggregation parameter"),
                _ => Ok(()),
            }
        }
        Expr::Binary(e) => binary(e),
        Expr::Unary(e) => match e.expr.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other => fail(
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                    quote(other.documented().as_bytes())
                ),
                e.span,
            ),
        },
    }
}

fn fail(message: impl Into<String>, span: Span) -> Result<(), ParseError> {
    Err(ParseError::new(message, span))
}

fn expect(expr: &Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.documented(), got.documented());
    fail(message, expr.span())
}

/// Refuses a selector that names its metric twice.
pub(super) fn names(selector: &VectorSelector) -> Result<(), ParseError> {
    if selector.name.is_some()
        && let Some(second) = selector.matchers.iter().filter(|m| m.name() == METRIC_NAME).nth(1)
    {
        let name = selector.name.as_deref().unwrap_or_default();
        let message = format!(
            "metric name must not be set twice: {} or {}",
            quote(name.as_bytes()),
            quote(second.value().as_bytes())
        );
        return fail(message, selector.span);
    }
    Ok(())
}

fn selector(selector: &VectorSelector) -> Result<(), ParseError> {
    names(selector)?;
    if selector.matchers.iter().all(tsdb::Matcher::matches_empty) {
        return fail("vector selector must contain at least one non-empty matcher", selector.span);
    }
    Ok(())
}

fn call(call: &Call) -> Result<(), ParseError> {
    let function = call.function;
    let (listed, given) = (function.args.len(), call.args.len());
    let name = quote(function.name.as_bytes());
    match function.arity {
        Arity::Exact if given != listed => {
            return fail(format!("expected {listed} argument(s) in call to {name}, got {given}"), call.span);
        }
        Arity::Optional(optional) => {
            let least = listed - optional;
            if given < least {
                return fail(
                    format!("expected at least {least} argument(s) in call to {name}, got {given}"),
                    call.span,
                );
            }
            if given > listed {
                return fail(
                    format!("expected at most {listed} argument(s) in call to {name}, got {given}"),
                    call.span,
                );
            }
        }
        Arity::Repeated { least } if given < least => {
            return fail(format!("expected at least {least} argument(s) in call to {name}, got {given}"), call.span);
        }
        Arity::Exact | Arity::Repeated { .. } => {}
    }
    for (i, arg) in call.args.iter().enumerate() {
        check_argument(call, i, arg)?;
        expect(arg, function.args[i.min(listed - 1)], &format!("call to function {name}"))?;
    }
    Ok(())
}

fn check_argument(call: &Call, index: usize, arg: &Expr) -> Result<(), ParseError> {
    if call.function.name == "info" && index == 1 {
        return match arg {
            Expr::Selector(selector) if selector.name.is_none() => Ok(()),
            Expr::Selector(selector) => {
                let name = quote(selector.name.as_deref().unwrap_or_default().as_bytes());
                fail(format!("expected label selectors only, got vector selector instead: {name}"), arg.span())
            }
            _ => fail("expected label selectors only", arg.span()),
        };
    }
    Ok(())
}

fn binary(e: &Binary) -> Result<(), ParseError> {
    let (left, right) = (e.lhs.value_type(), e.rhs.value_type());
    if e.return_bool && !e.op.is_comparison() {
        return fail("bool modifier can only be used on comparison operators", e.operator);
    }
    if e.op.is_comparison() && !e.return_bool && left == ValueType::Scalar && right == ValueType::Scalar {
        return fail("comparisons between scalars must use BOOL modifier", e.operator);
    }
    if let Some(matching) = e.matching.as_ref().filter(|m| m.on)
        && let included = matching.include.iter().collect::<HashSet<_>>()
        && let Some(label) = matching.labels.iter().find(|label| included.contains(label))
    {
        let message = format!("label {} must not occur in ON and GROUP clause at once", quote(label.as_bytes()));
        return fail(message, e.operator);
    }
    for (side, value_type) in [(&e.lhs, left), (&e.rhs, right)] {
        if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return fail("binary expression must contain only scalar and instant vector types", side.span());
        }
    }
    if let Some(matching) = e.matching.as_ref().filter(|_| left == ValueType::Scalar || right == ValueType::Scalar) {
        if !matching.labels.is_empty() {
            return fail("vector matching only allowed between instant vectors", e.span);
        }
        return fail("filling in missing series only allowed between instant vectors", e.span);
    }
    if e.op.is_set() && (left == ValueType::Scalar || right == ValueType::Scalar) {
        let message =
            format!("set operator {} not allowed in binary scalar expression", quote(e.op.as_str().as_bytes()));
        return fail(message, e.span);
    }
    e.matching.as_ref().map_or(Ok(()), |m| matching(e.op, m, e.span))
}

fn matching(op: BinaryOp, matching: &Matching, span: Span) -> Result<(), ParseError> {
    if op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            return fail(format!("no grouping allowed for {} operation", quote(op.as_str().as_bytes())), span);
        }
        if matching.fill != Fill::default() {
            return fail("filling in missing series not allowed for set operators", span);
        }
    }
    Ok(())
}
