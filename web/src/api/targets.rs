//! `/targets`, `/scrape_pools`, and the lists that are empty until there are rules.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Response;
use model::format_duration;
use serde::Serialize;
use serde_json::json;
use tsdb::{Labels, Timestamp};

use super::params::Params;
use super::{ApiError, listed, send_moment, success};
use crate::state::AppState;
use crate::status::ActiveTarget;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Active {
    discovered_labels: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// RFC 3339; the zero moment of Go where there is none.
pub(crate) fn rfc3339(at: Option<Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::from_millisecond(at.millis()).ok())
        .map_or_else(|| "0001-01-01T00:00:00Z".into(), |at| at.to_string())
}

impl From<ActiveTarget> for Active {
    fn from(target: ActiveTarget) -> Self {
        Self {
            discovered_labels: map(&target.discovered_labels),
            labels: map(&target.labels),
            scrape_pool: target.scrape_pool,
            scrape_url: target.scrape_url,
            global_url: target.global_url,
            last_error: target.last_error,
            last_scrape: rfc3339(target.last_scrape),
            last_scrape_duration: target.last_duration.as_secs_f64(),
            health: target.health.as_str(),
            scrape_interval: format_duration(target.interval),
            scrape_timeout: format_duration(target.timeout),
        }
    }
}

/// `/targets`.
pub(crate) async fn targets(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let (active, dropped) = match params.get("state").to_ascii_lowercase().as_str() {
        "active" => (true, false),
        "dropped" => (false, true),
        "" | "any" => (true, true),
        _ => (false, false),
    };
    let (pool, of_work) = (params.get("scrapePool").to_owned(), state.clone());
    send_moment(&state, move |run| listed(run, &target_list(&of_work, &pool, active, dropped))).await
}

/// The targets of `pool`, or of all pools if it is empty.
fn target_list(state: &AppState, pool: &str, active: bool, dropped: bool) -> serde_json::Value {
    let wanted = |name: &str| pool.is_empty() || pool == name;
    let targets = state.server.targets();
    let active_targets: Vec<Active> =
        targets.active.into_iter().filter(|t| active && wanted(&t.scrape_pool)).map(Active::from).collect();
    let dropped_targets: Vec<_> = targets
        .dropped
        .iter()
        .filter(|t| dropped && wanted(&t.scrape_pool))
        .map(|t| json!({ "discoveredLabels": map(&t.discovered_labels), "scrapePool": t.scrape_pool }))
        .collect();
    // Of all pools, whichever is asked for; absent when nobody asks for dropped targets.
    let counts = dropped.then_some(&targets.dropped_counts);
    json!({
        "activeTargets": active_targets,
        "droppedTargets": dropped_targets,
        "droppedTargetCounts": counts,
    })
}

/// `/scrape_pools`.
pub(crate) async fn pools(State(state): State<AppState>) -> Result<Response, ApiError> {
    let of_work = state.clone();
    let pools = move || -> BTreeSet<String> {
        let targets = of_work.server.targets();
        targets.active.into_iter().map(|t| t.scrape_pool).chain(targets.dropped_counts.into_keys()).collect()
    };
    send_moment(&state, move |run| listed(run, &json!({ "scrapePools": pools() }))).await
}

/// `/scrape_pools/config`: what the configuration says of one.
pub(crate) async fn pool_config(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let pool = params.get("scrapePool");
    match state.server.pool_config(pool) {
        Some(yaml) => Ok(success(&json!({ "yaml": yaml }))),
        None => Err(ApiError::not_found(format!("there is no scrape pool {pool:?} in the configuration"))),
    }
}

/// `/rules`: none are evaluated yet. Parameters are checked all the same.
pub(crate) async fn rules(params: Params) -> Result<Response, ApiError> {
    match params.get("type").to_ascii_lowercase().as_str() {
        "" | "alert" | "record" => {}
        other => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
    }
    params
        .switch("exclude_alerts")
        .map_err(|why| ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {why}")))?;
    let limit = params.get("group_limit");
    match limit.parse::<i64>() {
        _ if limit.is_empty() => {}
        Ok(n) if n > 0 => {}
        Ok(_) => return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
        Err(_) => {
            let why =
                format!("group_limit needs to be a valid number: strconv.ParseInt: parsing {limit:?}: invalid syntax");
            return Err(ApiError::parameter("group_limit", why));
        }
    }
    if limit.is_empty() && !params.get("group_next_token").is_empty() {
        let why = "group_limit needs to be present in order to paginate over the groups";
        return Err(ApiError::parameter("group_next_token", why));
    }
    for text in params.all("match[]") {
        query::parse_matchers(text).map_err(|why| ApiError::bad(why.to_string()))?;
    }
    Ok(success(&json!({ "groups": [] })))
}

/// `/alerts`: none, for want of rules.
pub(crate) async fn alerts() -> Response {
    success(&json!({ "alerts": [] }))
}

/// `/alertmanagers`: none are notified yet.
pub(crate) async fn alertmanagers() -> Response {
    success(&json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }))
}
