//! `/config`, `/flags`, `/tsdb-status`.

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::page::{Frame, html};
use crate::api::labels::blocking;
use crate::chart::Unit;
use crate::state::AppState;

#[derive(Template)]
#[template(path = "status.html")]
struct Page {
    frame: Frame,
    title: &'static str,
    /// Shown as it is.
    text: String,
    tables: Vec<Table>,
}

struct Table {
    heading: &'static str,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    value: String,
    /// Per cent of the largest value of the table, where values can be compared.
    part: Option<u64>,
}

impl Row {
    fn new(name: impl Into<String>, value: String) -> Self {
        Self { name: name.into(), value, part: None }
    }
}

/// `/config`.
pub(crate) async fn configuration(
    State(state): State<AppState>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let frame = Frame::new(&state, &headers, "status", uri.to_string());
    let page = Page { frame, title: "Configuration", text: state.server.config(), tables: Vec::new() };
    html(&state, StatusCode::OK, page).await
}

/// `/flags`.
pub(crate) async fn flags(
    State(state): State<AppState>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let frame = Frame::new(&state, &headers, "status", uri.to_string());
    let rows = state.server.flags().into_iter().map(|(name, value)| Row::new(format!("--{name}"), value)).collect();
    let page = Page { frame, title: "Flags", text: String::new(), tables: vec![Table { heading: "", rows }] };
    html(&state, StatusCode::OK, page).await
}

/// `/tsdb-status`.
pub(crate) async fn tsdb(State(state): State<AppState>, OriginalUri(uri): OriginalUri, headers: HeaderMap) -> Response {
    let db = state.db.clone();
    let look = move || Ok((db.head_stats(), db.cardinality(10), db.maintenance()));
    let Ok((stats, most, totals)) = blocking(look).await else {
        let frame = Frame::new(&state, &headers, "status", uri.to_string());
        let text = "The store could not be counted; the log says more.".into();
        let page = Page { frame, title: "Store", text, tables: Vec::new() };
        return html(&state, StatusCode::INTERNAL_SERVER_ERROR, page).await;
    };
    let number = |n: u64| Unit::Number.format(n as f64);
    let bytes = |n: u64| Unit::Bytes.format(n as f64);
    let head = vec![
        Row::new("Series in memory", number(stats.series)),
        Row::new("Chunks", number(stats.chunks)),
        Row::new("Bytes of chunks", bytes(stats.chunk_bytes)),
        Row::new("Bytes of index", bytes(stats.index_bytes)),
        Row::new("Distinct label names and values", number(stats.symbols)),
        Row::new("Label pairs", number(most.label_pairs)),
        Row::new("Write-ahead log", bytes(stats.wal_bytes)),
        Row::new("Samples taken in since start", number(stats.commits.appended)),
    ];
    let list = |heading, rows: Vec<(String, u64)>, unit: Unit| {
        let largest = rows.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
        let row = |(name, n): (String, u64)| Row {
            name,
            value: unit.format(n as f64),
            part: Some(n.saturating_mul(100) / largest),
        };
        Table { heading, rows: rows.into_iter().map(row).collect() }
    };
    let mut tables = vec![
        Table { heading: "Head", rows: head },
        list("Series by metric name", most.series_by_metric, Unit::Number),
        list("Values by label name", most.values_by_label, Unit::Number),
        list("Bytes by label name", most.bytes_by_label, Unit::Bytes),
        list("Series by label pair", most.series_by_pair, Unit::Number),
    ];
    if let Some(why) = totals.last_failure {
        let rows = vec![Row::new(why, format!("{} times in all", totals.failures))];
        tables.insert(0, Table { heading: "Failed last, and is tried again", rows });
    }
    let damage = &state.db.recovery().damage;
    if !damage.is_empty() {
        let rows = damage.iter().map(|what| Row::new(what.clone(), String::new())).collect();
        tables.insert(0, Table { heading: "Found damaged at start", rows });
    }
    let frame = Frame::new(&state, &headers, "status", uri.to_string());
    html(&state, StatusCode::OK, Page { frame, title: "Store", text: String::new(), tables }).await
}
