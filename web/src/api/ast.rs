//! `/parse_query`: an expression as a tree in JSON.

use query::{Arity, At, Cardinality, DurationExpr, Expr, Matching, Modifiers, VectorSelector};
use serde_json::{Value, json};

use super::put_float;

/// The tree that Prometheus gives, with fields of its own for `anchored`, `smoothed` and `fill`, where they are used.
pub(crate) fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::Number(e) => json!({ "type": "numberLiteral", "val": number(e.value) }),
        Expr::Text(e) => json!({ "type": "stringLiteral", "val": String::from_utf8_lossy(&e.value) }),
        Expr::Selector(e) => selector("vectorSelector", e),
        Expr::Matrix(e) => {
            let mut tree = selector("matrixSelector", &e.selector);
            duration(&mut tree, "range", Some(&e.range));
            tree
        }
        Expr::Subquery(e) => {
            let mut subquery = json!({ "type": "subquery", "expr": tree(&e.inner) });
            duration(&mut subquery, "range", Some(&e.range));
            duration(&mut subquery, "step", e.step.as_ref());
            times(&mut subquery, &e.modifiers);
            subquery
        }
        Expr::Call(e) => {
            let variadic = match e.function.arity {
                Arity::Exact => 0,
                Arity::Optional(optional) => optional as i64,
                Arity::Repeated { .. } => -1,
            };
            let types: Vec<&str> = e.function.args.iter().map(|kind| kind.as_str()).collect();
            json!({
                "type": "call",
                "func": {
                    "name": e.function.name,
                    "argTypes": types,
                    "variadic": variadic,
                    "returnType": e.function.returns.as_str(),
                },
                "args": e.args.iter().map(tree).collect::<Vec<_>>(),
            })
        }
        Expr::Aggregate(e) => json!({
            "type": "aggregation",
            "op": e.op.as_str(),
            "expr": tree(&e.expr),
            "param": e.param.as_deref().map(tree),
            "grouping": e.grouping.as_ref().map(|grouping| &grouping.labels[..]).unwrap_or_default(),
            "without": e.grouping.as_ref().is_some_and(|grouping| grouping.without),
        }),
        Expr::Binary(last) => {
            // Chains lean to the left and may be long.
            let (mut chain, mut first) = (vec![last], &*last.lhs);
            while let Expr::Binary(inner) = first {
                chain.push(inner);
                first = &inner.lhs;
            }
            chain.into_iter().rev().fold(tree(first), |lhs, e| {
                json!({
                    "type": "binaryExpr",
                    "op": e.op.as_str(),
                    "lhs": lhs,
                    "rhs": tree(&e.rhs),
                    "matching": e.matching.as_ref().map(matching),
                    "bool": e.return_bool,
                })
            })
        }
        Expr::Unary(e) => {
            json!({ "type": "unaryExpr", "op": if e.negative { "-" } else { "+" }, "expr": tree(&e.expr) })
        }
        Expr::Paren(e) => json!({ "type": "parenExpr", "expr": tree(&e.expr) }),
    }
}

fn number(value: f64) -> String {
    if value.is_finite() {
        return value.to_string();
    }
    let mut out = Vec::new();
    put_float(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

fn matching(matching: &Matching) -> Value {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let mut tree = json!({
        "card": cardinality,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
    });
    for (side, fill) in [("fillLeft", matching.fill.left), ("fillRight", matching.fill.right)] {
        if let Some(value) = fill {
            tree[side] = number(value).into();
        }
    }
    tree
}

fn selector(kind: &str, selector: &VectorSelector) -> Value {
    let matchers = selector.matchers.iter();
    let mut matchers: Vec<Value> =
        matchers.map(|m| json!({ "name": m.name(), "value": m.value(), "type": m.op().as_str() })).collect();
    // Prometheus puts a name before braces behind what is within them.
    matchers.rotate_left(usize::from(selector.name.is_some()));
    let mut tree = json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or_default(),
        "matchers": matchers,
    });
    times(&mut tree, &selector.modifiers);
    if let Some(extension) = selector.extension {
        tree[extension.as_str()] = true.into();
    }
    tree
}

fn times(tree: &mut Value, modifiers: &Modifiers) {
    duration(tree, "offset", modifiers.offset.as_ref());
    let (at, edge) = match modifiers.at {
        None => (Value::Null, Value::Null),
        Some(At::Time(at)) => (at.millis().into(), Value::Null),
        Some(At::Start) => (Value::Null, "start".into()),
        Some(At::End) => (Value::Null, "end".into()),
    };
    tree["timestamp"] = at;
    tree["startOrEnd"] = edge;
}

/// Milliseconds; 0 for arithmetic, as in Prometheus.
fn duration(tree: &mut Value, name: &str, duration: Option<&DurationExpr>) {
    tree[name] = match duration {
        Some(DurationExpr::Seconds(seconds)) => ((seconds * 1000.0).round() as i64).into(),
        _ => 0.into(),
    };
}
