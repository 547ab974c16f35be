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
use crate::client::Client;
use crate::state::{AppState, now};

/// Below the data directory.
const SNAPSHOTS_DIR: &str = "snapshots";

fn enabled(state: &AppState) -> Result<(), ApiError> {
    if state.options.enable_admin_api { Ok(()) } else { Err(ApiError::unavailable("admin APIs disabled")) }
}

/// `/admin/tsdb/delete_series`. With `dry_run=1` nothing is deleted, and the answer counts what would be.
pub(crate) async fn delete_series(
    State(state): State<AppState>,
    client: Client,
    params: Params,
) -> Result<Response, ApiError> {
    enabled(&state)?;
    params.well_formed()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad("no match[] parameter provided"));
    }
    let range = params.range()?;
    let selectors = params.selectors().map_err(|why| ApiError::parameter("match[]", why))?;
    let dry_run = params.switch("dry_run").map_err(|why| unable("dry_run", &why))?;
    let selected = params.all("match[]").collect::<Vec<_>>().join(" ");
    let deleted = blocking(move || {
        let mut all = tsdb::Deleted::default();
        // A range that ends before it begins holds nothing.
        for matchers in selectors.iter().filter(|_| range.start <= range.end) {
            let deleted = state.db.delete(matchers, range, dry_run)?;
            all.series += deleted.series;
            all.samples += deleted.samples;
        }
        Ok(all)
    })
    .await;
    let (start, end) = (moment(range.start), moment(range.end));
    match &deleted {
        Ok(all) => tracing::info!(
            %client, selected, start, end, series = all.series, samples = all.samples, dry_run, "series deleted"
        ),
        Err(error) => tracing::warn!(%client, selected, start, end, dry_run, %error, "deleting series failed"),
    }
    let deleted = deleted?;
    if dry_run {
        return Ok(success(&json!({ "series": deleted.series, "samples": deleted.samples })));
    }
    Ok(no_content())
}

/// A moment for the log; the ends of time have words.
fn moment(at: Timestamp) -> String {
    match at {
        Timestamp::MIN => "the beginning".into(),
        Timestamp::MAX => "the end".into(),
        at => jiff::Timestamp::from_millisecond(at.millis()).map_or_else(|_| at.to_string(), |at| at.to_string()),
    }
}

fn unable(name: &str, why: &str) -> ApiError {
    ApiError::parameter(name, format!("unable to parse boolean: {why}"))
}

/// `/admin/tsdb/clean_tombstones`: rewrites the blocks that hold deleted samples.
pub(crate) async fn clean_tombstones(State(state): State<AppState>, client: Client) -> Result<Response, ApiError> {
    enabled(&state)?;
    let samples = |state: &AppState| state.db.blocks().iter().map(|block| block.stats.num_samples).sum::<u64>();
    let cleaned = blocking(move || {
        let before = samples(&state);
        state.db.clean_tombstones()?;
        Ok(before.saturating_sub(samples(&state)))
    });
    match cleaned.await {
        Ok(samples) => tracing::info!(%client, samples, "tombstones cleaned"),
        Err(error) => {
            tracing::warn!(%client, %error, "cleaning tombstones failed");
            return Err(error);
        }
    }
    Ok(no_content())
}

/// `/admin/tsdb/snapshot`: a copy of all that is stored below `snapshots/` in the data directory, to be opened as one. It
/// shares the space of blocks that are there already.
pub(crate) async fn snapshot(
    State(state): State<AppState>,
    client: Client,
    params: Params,
) -> Result<Response, ApiError> {
    enabled(&state)?;
    let skip_head = params.switch("skip_head").map_err(|why| unable("skip_head", &why))?;
    let name = name(now());
    let to = state.db.dir().join(SNAPSHOTS_DIR).join(&name);
    if let Err(error) = blocking(move || Ok(state.db.snapshot(&to, skip_head)?)).await {
        tracing::warn!(%client, name, skip_head, %error, "a snapshot failed");
        return Err(error);
    }
    tracing::info!(%client, name, skip_head, "snapshot written");
    Ok(success(&json!({ "name": name })))
}

/// When, and something that no other snapshot has.
fn name(at: Timestamp) -> String {
    let moment = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_zoned(TimeZone::UTC);
    format!("{}-{:016x}", moment.strftime("%Y%m%dT%H%M%SZ"), RandomState::new().hash_one(at))
}
