//! What a query will do, what it did, why it found nothing: as JSON, and as sentences for people.

use query::{Expr, Missing, NodeStats, PlanNode, Steps, Why, plan};
use serde_json::{Value, json};
use tsdb::{MatchOp, Queryable};

use super::ApiError;
use super::targets::rfc3339;
use crate::state::AppState;
use crate::status::Health;

/// What `explain` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Explain {
    /// `1`: what would be done; nothing is evaluated.
    Plan,
    /// `analyze`: what each node took, beside the result.
    Analyze,
    /// `empty`: why the result is empty, if it is.
    Empty,
}

impl Explain {
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, ApiError> {
        match text {
            "" | "0" | "false" => Ok(None),
            "1" | "true" | "plan" => Ok(Some(Self::Plan)),
            "analyze" => Ok(Some(Self::Analyze)),
            "empty" => Ok(Some(Self::Empty)),
            other => {
                let why = format!("{other:?} is none of 1, analyze, empty");
                Err(ApiError::parameter("explain", why))
            }
        }
    }
}

/// The nodes as a tree; `ran` is what they took.
pub(crate) fn tree(expr: &Expr, ran: &[NodeStats]) -> Value {
    let mut nodes = plan(expr, ran).into_iter().peekable();
    nodes.next().map_or(Value::Null, |root| branch(root, &mut nodes))
}

fn branch(node: PlanNode, rest: &mut std::iter::Peekable<std::vec::IntoIter<PlanNode>>) -> Value {
    let mut tree = json!({ "node": node.text, "kind": node.kind, "start": node.span.start, "end": node.span.end });
    if !node.notes.is_empty() {
        tree["notes"] = json!(node.notes);
    }
    if let Some(stats) = node.stats {
        tree["series"] = stats.series.into();
        tree["samples"] = stats.samples.into();
        if stats.chunks > 0 {
            tree["chunks"] = stats.chunks.into();
            tree["chunkBytes"] = stats.chunk_bytes.into();
        }
        tree["values"] = stats.values.into();
        tree["bytes"] = stats.bytes.into();
        tree["ms"] = (stats.time.as_secs_f64() * 1000.0).into();
    }
    let mut children = Vec::new();
    while let Some(child) = rest.next_if(|child| child.depth > node.depth) {
        children.push(branch(child, rest));
    }
    if !children.is_empty() {
        tree["children"] = children.into();
    }
    tree
}

/// Asks the store why each selector of `expr` finds nothing; selectors that find something are among the answers. Blocks.
pub(crate) fn why_empty(state: &AppState, expr: &Expr, steps: Steps) -> Result<Vec<Missing>, ApiError> {
    let lookback_ms = i64::try_from(state.queries.engine().options().lookback.as_millis()).unwrap_or(i64::MAX);
    let querier = state.db.querier()?;
    Ok(query::why_empty(expr, steps, lookback_ms, &*querier)?)
}

/// What is known about one selector, as JSON.
pub(crate) fn missing_json(state: &AppState, missing: &Missing) -> Value {
    let mut out = json!({
        "selector": missing.selector,
        "series": missing.series,
        "start": missing.range.start.millis() as f64 / 1000.0,
        "end": missing.range.end.millis() as f64 / 1000.0,
        "text": sentence(missing),
    });
    match &missing.why {
        None => {}
        Some(Why::Condition { condition, before, unknown_label, nearest }) => {
            out["condition"] = condition.as_str().into();
            out["seriesBefore"] = (*before).into();
            out["unknownLabel"] = json!(unknown_label);
            out["nearest"] = json!(nearest);
        }
        Some(Why::Time { series, last_sample, went_stale, first_sample }) => {
            out["seriesAtOtherTimes"] = (*series).into();
            out["lastSample"] = json!(last_sample.map(|at| at.millis() as f64 / 1000.0));
            out["firstSample"] = json!(first_sample.map(|at| at.millis() as f64 / 1000.0));
            out["wentStale"] = (*went_stale).into();
        }
    }
    let targets = targets_down(state, missing);
    if missing.why.is_some() && !targets.is_empty() {
        out["targetsDown"] = targets.into();
    }
    out
}

/// What is known about one selector, for people.
pub(crate) fn sentence(missing: &Missing) -> String {
    let selector = &missing.selector;
    match &missing.why {
        None => format!("{selector} finds {} series; what is done with them leaves nothing.", missing.series),
        Some(Why::Condition { condition, before, unknown_label, nearest }) => {
            let mut text = match unknown_label {
                Some(label) => format!("{selector}: none of {before} series has a label {label}."),
                None => format!("{selector}: of {before} series, {condition} leaves none."),
            };
            if !nearest.is_empty() {
                text.push_str(if unknown_label.is_some() { " Labels there are: " } else { " There is: " });
                text.push_str(&nearest.join(", "));
                text.push('.');
            }
            text
        }
        Some(Why::Time { series, last_sample, went_stale, first_sample }) => {
            let (from, to) = (rfc3339(Some(missing.range.start)), rfc3339(Some(missing.range.end)));
            let mut text = format!("{selector}: {series} such series, but no samples from {from} to {to}.");
            match (last_sample, first_sample) {
                (Some(last), _) => {
                    text.push_str(&format!(" The last one before is of {}.", rfc3339(Some(*last))));
                }
                (None, Some(first)) => text.push_str(&format!(" The first one is of {}.", rfc3339(Some(*first)))),
                (None, None) => {}
            }
            if *went_stale {
                text.push_str(" They ended: their targets went away, or no longer expose them.");
            }
            text
        }
    }
}

/// Targets that are down and whose series the selector may mean: where, and why.
pub(crate) fn targets_down(state: &AppState, missing: &Missing) -> Vec<String> {
    let conditions: Vec<_> = missing
        .matchers
        .iter()
        .filter(|m| matches!(m.name(), "job" | "instance") && matches!(m.op(), MatchOp::Equal | MatchOp::Regex))
        .collect();
    if conditions.is_empty() {
        return Vec::new();
    }
    let targets = state.server.targets().active.into_iter().filter(|target| {
        target.health == Health::Down
            && conditions.iter().all(|m| m.matches(target.labels.get(m.name()).unwrap_or_default()))
    });
    targets.take(5).map(|target| format!("{}: {}", target.scrape_url, target.last_error)).collect()
}

/// Bytes as people read them.
pub(crate) fn readable_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}
