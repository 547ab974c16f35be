//! `/features`: what this server knows, by name, as Prometheus tells it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use query::{AggregateOp, BinaryOp, FUNCTIONS};
use serde_json::json;

use super::success;
use crate::state::AppState;

const OPERATORS: [BinaryOp; 18] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Mod,
    BinaryOp::Pow,
    BinaryOp::Atan2,
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Less,
    BinaryOp::LessEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterEqual,
    BinaryOp::TrimUpper,
    BinaryOp::TrimLower,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Unless,
];

/// `/features`
pub(crate) async fn features(State(state): State<AppState>) -> Response {
    let switches = state.queries.engine().options().features;
    let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), true)).collect::<BTreeMap<_, _>>();
    let mut promql = all(&[
        "anchored",
        "at_modifier",
        "bool",
        "by",
        "duration_expr",
        "fill",
        "fill_left",
        "fill_right",
        "group_left",
        "group_right",
        "ignoring",
        "negative_offset",
        "offset",
        "on",
        "per_query_lookback_delta",
        "smoothed",
        "subqueries",
        "without",
    ]);
    promql.insert("delayed_name_removal".into(), switches.delayed_name_removal);
    promql.insert("per_step_stats".into(), switches.per_step_stats);
    promql.insert("type_and_unit_labels".into(), switches.type_and_unit_labels);
    promql.insert("use_start_timestamps".into(), switches.use_start_timestamps);
    let aggregations = AggregateOp::ALL.iter().map(|op| op.as_str());
    let operators: Vec<&str> = OPERATORS.iter().map(|op| op.as_str()).chain(aggregations).collect();
    let functions: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    let mut api = all(&[
        "explain",
        "label_values_match",
        "lifecycle",
        "query_stats",
        "query_warnings",
        "remote_write_receiver",
        "time_range_labels",
        "time_range_series",
    ]);
    api.insert("admin".into(), false);
    api.insert("lifecycle".into(), state.options.enable_lifecycle);
    api.insert("remote_write_receiver".into(), state.options.enable_remote_write);
    success(&json!({
        "api": api,
        "promql": promql,
        "promql_functions": all(&functions),
        "promql_operators": all(&operators),
    }))
}
