//! `/admin/tsdb/*`: deleting series, freeing what they took, and snapshots. Off unless the options say otherwise.

use std::hash::{BuildHasher, RandomState};

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use serde_json::json;
use tsdb::Timestamp;

use super::labels::blocking;
use super::params::Params;
use super::{ApiError, no_content, success};
use crate::state::{AppState, now};

/// Below the data directory.
const SNAPSHOTS_DIR: &str = "snapshots";

fn enabled(state: &AppState) -> Result<(), ApiError> {
    if state.options.enable_admin_api { Ok(()) } else { Err(ApiError::unavailable("admin APIs disabled")) }
}

/// `/admin/tsdb/delete_series`. With `dry_run=1` nothing is deleted, and the answer counts what would be.
pub(crate) async fn delete_series(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    enabled(&state)?;
    let selectors = params.selectors()?;
    if selectors.is_empty() {
        return Err(ApiError::bad("no match[] parameter provided"));
    }
    let range = params.range()?;
    let dry_run = match params.get("dry_run") {
        "" | "0" | "false" => false,
        "1" | "true" => true,
        _ => return Err(ApiError::parameter("dry_run", "must be true or false")),
    };
    let deleted = blocking(move || {
        let mut all = tsdb::Deleted::default();
        for matchers in &selectors {
            let deleted = state.db.delete(matchers, range, dry_run)?;
            all.series += deleted.series;
            all.samples += deleted.samples;
        }
        tracing::info!(series = all.series, samples = all.samples, dry_run, "deleting series");
        Ok(all)
    })
    .await?;
    if dry_run {
        return Ok(success(&json!({ "series": deleted.series, "samples": deleted.samples })));
    }
    Ok(no_content())
}

/// `/admin/tsdb/clean_tombstones`: rewrites the blocks that hold deleted samples.
pub(crate) async fn clean_tombstones(State(state): State<AppState>) -> Result<Response, ApiError> {
    enabled(&state)?;
    blocking(move || Ok(state.db.clean_tombstones()?)).await?;
    Ok(no_content())
}

/// `/admin/tsdb/snapshot`: a copy of all that is stored below `snapshots/` in the data directory, to be opened as one. It
/// shares the space of blocks that are there already.
pub(crate) async fn snapshot(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    enabled(&state)?;
    let skip_head = match params.get("skip_head") {
        "" | "0" | "false" => false,
        "1" | "true" => true,
        _ => return Err(ApiError::parameter("skip_head", "must be true or false")),
    };
    let name = name(now());
    let to = state.db.dir().join(SNAPSHOTS_DIR).join(&name);
    blocking(move || Ok(state.db.snapshot(&to, skip_head)?)).await?;
    tracing::info!(%name, "snapshot written");
    Ok(success(&json!({ "name": name })))
}

/// When, and something that no other snapshot has.
fn name(at: Timestamp) -> String {
    let moment = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_zoned(TimeZone::UTC);
    format!("{}-{:016x}", moment.strftime("%Y%m%dT%H%M%SZ"), RandomState::new().hash_one(at))
}
