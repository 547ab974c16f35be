//! `/status/…`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use serde_json::json;

use super::params::Params;
use super::targets::rfc3339;
use super::{ApiError, listed, send_moment, success};
use crate::state::{AppState, now};

/// The version of Prometheus whose behaviour we follow.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// `/status/config`.
pub(crate) async fn config(State(state): State<AppState>) -> Result<Response, ApiError> {
    let of_work = state.clone();
    send_moment(&state, move |run| listed(run, &json!({ "yaml": of_work.server.config() }))).await
}

/// `/status/flags`.
pub(crate) async fn flags(State(state): State<AppState>) -> Response {
    success(&state.server.flags())
}

/// `/notifications`: what every page says on top, with when it came into force.
pub(crate) async fn notifications(State(state): State<AppState>) -> Response {
    let (since, _) = state.server.config_loaded();
    let notices = state.server.notices().into_iter();
    let list: Vec<_> =
        notices.map(|text| json!({ "text": text, "date": rfc3339(Some(since)), "active": true })).collect();
    success(&list)
}

/// `/version`, outside the API: the same without its envelope.
pub(crate) async fn version(State(state): State<AppState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], build_info(&state).to_string())
}

/// `/status/buildinfo`. `version` is what clients decide by; our own stands beside it. There must be no `features`:
/// Grafana would take the server for a Mimir.
pub(crate) async fn build(State(state): State<AppState>) -> Response {
    success(&build_info(&state))
}

fn build_info(state: &AppState) -> serde_json::Value {
    json!({
        "version": PROMETHEUS_VERSION,
        "revision": state.options.revision,
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "silverbackVersion": state.options.version,
    })
}

/// `/status/runtimeinfo`.
pub(crate) async fn runtime(State(state): State<AppState>) -> Response {
    let (loaded, success_flag) = state.server.config_loaded();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let flags = state.server.flags();
    let directory = std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let retention = flags.get("storage.tsdb.retention.time").cloned().unwrap_or_default();
    success(&json!({
        "startTime": rfc3339(Some(state.started)),
        "CWD": directory,
        "hostname": hostname(),
        "serverTime": rfc3339(Some(now())),
        "reloadConfigSuccess": success_flag,
        "lastConfigTime": rfc3339(Some(loaded)),
        "timeSeriesCount": state.db.series_count(),
        "corruptionCount": state.db.recovery().damage.len(),
        "goroutineCount": tasks,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention,
    }))
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[derive(Serialize)]
struct Count {
    name: String,
    value: u64,
}

/// `/status/tsdb/blocks`: what each block says of itself.
pub(crate) async fn blocks(State(state): State<AppState>) -> Result<Response, ApiError> {
    let of_work = state.clone();
    send_moment(&state, move |run| listed(run, &json!({ "blocks": of_work.db.blocks() }))).await
}

/// `/status/tsdb`.
pub(crate) async fn tsdb(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    const MOST: usize = 10_000;
    let limit = match params.get("limit") {
        "" => 10,
        text => match text.parse::<usize>() {
            Ok(0) | Err(_) => return Err(ApiError::bad("limit must be a positive number")),
            Ok(n) if n > MOST => return Err(ApiError::bad(format!("limit must not exceed {MOST}"))),
            Ok(n) => n,
        },
    };
    let of_work = state.clone();
    send_moment(&state, move |run| listed(run, &cardinality(&of_work, limit))).await
}

/// Counts of the head, and what has most series, the first `limit` of each.
fn cardinality(state: &AppState, limit: usize) -> serde_json::Value {
    let (stats, most) = (state.db.head_stats(), state.db.cardinality(limit));
    let counts =
        |list: Vec<(String, u64)>| list.into_iter().map(|(name, value)| Count { name, value }).collect::<Vec<_>>();
    json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": most.label_pairs,
            "chunkCount": stats.chunks,
            "minTime": stats.min_time.millis(),
            "maxTime": stats.max_time.millis(),
        },
        "seriesCountByMetricName": counts(most.series_by_metric),
        "labelValueCountByLabelName": counts(most.values_by_label),
        "memoryInBytesByLabelName": counts(most.bytes_by_label),
        "seriesCountByLabelValuePair": counts(most.series_by_pair),
    })
}

/// `/status/walreplay`: a server that answers has replayed its log.
pub(crate) async fn wal_replay() -> Response {
    success(&json!({ "min": 0, "max": 0, "current": 0, "state": "done" }))
}
