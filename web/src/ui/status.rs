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
    rows: Vec<(String, String)>,
}

/// `/config`.
pub(crate) async fn configuration(
    State(state): State<AppState>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let frame = Frame::new(&state, &headers, "status", uri.to_string());
    html(StatusCode::OK, &Page { frame, title: "Configuration", text: state.server.config(), tables: Vec::new() })
}

/// `/flags`.
pub(crate) async fn flags(
    State(state): State<AppState>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let frame = Frame::new(&state, &headers, "status", uri.to_string());
    let rows = state.server.flags().into_iter().map(|(name, value)| (format!("--{name}"), value)).collect();
    html(
        StatusCode::OK,
        &Page { frame, title: "Flags", text: String::new(), tables: vec![Table { heading: "", rows }] },
    )
}

/// `/tsdb-status`.
pub(crate) async fn tsdb(State(state): State<AppState>, OriginalUri(uri): OriginalUri, headers: HeaderMap) -> Response {
    let db = state.db.clone();
    let Ok((stats, most)) = blocking(move || Ok((db.head_stats(), db.cardinality(10)))).await else {
        let frame = Frame::new(&state, &headers, "status", uri.to_string());
        let text = "The store could not be counted; the log says more.".into();
        return html(StatusCode::INTERNAL_SERVER_ERROR, &Page { frame, title: "Store", text, tables: Vec::new() });
    };
    let number = |n: u64| Unit::Number.format(n as f64);
    let bytes = |n: u64| Unit::Bytes.format(n as f64);
    let head = vec![
        ("Series in memory".to_owned(), number(stats.series)),
        ("Chunks".to_owned(), number(stats.chunks)),
        ("Bytes of chunks".to_owned(), bytes(stats.chunk_bytes)),
        ("Bytes of index".to_owned(), bytes(stats.index_bytes)),
        ("Distinct label names and values".to_owned(), number(stats.symbols)),
        ("Label pairs".to_owned(), number(most.label_pairs)),
        ("Write-ahead log".to_owned(), bytes(stats.wal_bytes)),
        ("Samples taken in since start".to_owned(), number(stats.commits.appended)),
    ];
    let list = |heading, rows: Vec<(String, u64)>, format: fn(Unit, f64) -> String, unit: Unit| Table {
        heading,
        rows: rows.into_iter().map(|(name, n)| (name, format(unit, n as f64))).collect(),
    };
    let mut tables = vec![
        Table { heading: "Head", rows: head },
        list("Series by metric name", most.series_by_metric, Unit::format, Unit::Number),
        list("Values by label name", most.values_by_label, Unit::format, Unit::Number),
        list("Bytes by label name", most.bytes_by_label, Unit::format, Unit::Bytes),
        list("Series by label pair", most.series_by_pair, Unit::format, Unit::Number),
    ];
    let damage = &state.db.recovery().damage;
    if !damage.is_empty() {
        let rows = damage.iter().map(|what| (what.clone(), String::new())).collect();
        tables.insert(0, Table { heading: "Found damaged at start", rows });
    }
    let frame = Frame::new(&state, &headers, "status", uri.to_string());
    html(StatusCode::OK, &Page { frame, title: "Store", text: String::new(), tables })
}
