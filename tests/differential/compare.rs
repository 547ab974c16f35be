//! Whether two answers say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How far values may lie apart, relative to the larger one.
const TOLERANCE: f64 = 1e-9;

/// What is defined about the order of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    Any,
    /// That of their labels.
    Labels,
    /// That of their values; equal ones in any order.
    Values,
}

/// What differs between our answer and the peer's; `None` if nothing does. An answer's body determines its status.
pub fn difference(order: Order, ours: &Value, theirs: &Value) -> Option<String> {
    for key in ["status", "errorType"] {
        if ours[key] != theirs[key] {
            return Some(format!("{key} {} here, {} there", ours[key], theirs[key]));
        }
    }
    for key in ["warnings", "infos"] {
        let (here, there) = (notes(&ours[key]), notes(&theirs[key]));
        let cut = |texts: &BTreeSet<String>| texts.iter().any(|text| text.contains("annotations omitted"));
        let same = if cut(&here) || cut(&there) { here.is_empty() == there.is_empty() } else { here == there };
        if !same {
            return Some(format!("{key} {} here, {} there", ours[key], theirs[key]));
        }
    }
    let (ours, theirs) = (&ours["data"], &theirs["data"]);
    if ours["resultType"] != theirs["resultType"] {
        return Some(format!("a {} here, a {} there", ours["resultType"], theirs["resultType"]));
    }
    let (ours, theirs) = (&ours["result"], &theirs["result"]);
    match (ours.as_array(), theirs.as_array()) {
        (Some(ours), Some(theirs)) if ours.iter().chain(theirs).all(Value::is_object) => rows(order, ours, theirs),
        _ => values(ours, theirs).map(|why| format!("result: {why}")),
    }
}

/// Annotations, each with its place. Where classic buckets were repaired 3.5 does not tell how, has another place, and
/// names the metric at the first step of a range. Elsewhere it tells empty names.
fn notes(texts: &Value) -> BTreeSet<String> {
    let texts = texts.as_array().into_iter().flatten().filter_map(Value::as_str);
    let repaired = |text: &str| {
        let end = [" for metric name ", ", from buckets ", " ("].iter().find_map(|part| text.rfind(part));
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let unnamed = |text: &str| text.replace(" for metric name \"\"", "");
    texts.map(|text| if text.contains("fixed for monotonicity") { repaired(text) } else { unnamed(text) }).collect()
}

fn rows(order: Order, ours: &[Value], theirs: &[Value]) -> Option<String> {
    let labels = |row: &Value| row["metric"].to_string();
    let value = |row: &Value| row["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    if order == Order::Values
        && let Some((a, b)) = ours.iter().map(value).zip(theirs.iter().map(value)).find(|(a, b)| !close(*a, *b))
    {
        return Some(format!("{a} here where {b} is there in the order of values"));
    }
    if order == Order::Labels && !ours.iter().map(labels).eq(theirs.iter().map(labels)) {
        let list = |rows: &[Value]| rows.iter().map(labels).collect::<Vec<_>>().join(" ");
        return Some(format!("series {} here, {} there", list(ours), list(theirs)));
    }
    let by_labels = |rows: &[Value]| rows.iter().map(|row| (labels(row), row.clone())).collect::<BTreeMap<_, _>>();
    let (ours, theirs) = (by_labels(ours), by_labels(theirs));
    if let Some(labels) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
        return Some(format!("{labels} is here only: {}", ours[labels]));
    }
    for (labels, theirs) in &theirs {
        let Some(ours) = ours.get(labels) else { return Some(format!("{labels} is there only: {theirs}")) };
        if let Some(why) = values(ours, theirs) {
            return Some(format!("{labels}: {why}"));
        }
    }
    None
}

/// Values are texts; everything else must be the same.
fn values(ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::String(a), Value::String(b)) => match (a.parse(), b.parse()) {
            (Ok(a), Ok(b)) => (!close(a, b)).then(|| format!("{a} here, {b} there")),
            _ => (a != b).then(|| format!("{a:?} here, {b:?} there")),
        },
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a.iter().zip(b).find_map(|(a, b)| {
            let why = values(a, b)?;
            Some(match a.is_array() {
                true => format!("{why} in {a} and {b}"),
                false => why,
            })
        }),
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b).find_map(|((key, a), (_, b))| values(a, b).map(|why| format!("{key}: {why}")))
        }
        (Value::Number(a), Value::Number(b)) => (a.as_f64() != b.as_f64()).then(|| format!("{a} here, {b} there")),
        (a, b) => (a != b).then(|| format!("{a} here, {b} there")),
    }
}

/// Whether two values are taken as equal.
pub fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}
