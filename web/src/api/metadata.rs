//! `/metadata`: what metrics are, from the targets and from what was pushed.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tsdb::Metadata;

use super::params::Params;
use super::{ApiError, listed, send_moment};
use crate::state::AppState;

/// What the API says of a metric family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: &'static str,
    help: String,
    unit: String,
}

impl From<Metadata> for Entry {
    fn from(metadata: Metadata) -> Self {
        Self { kind: metadata.kind.as_str(), help: metadata.help, unit: metadata.unit }
    }
}

/// `/metadata`.
pub(crate) async fn metadata(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let limit = params.count("limit")?.unwrap_or(usize::MAX);
    // Here 0 stands for all, other than above, as in Prometheus.
    let per_metric = params.count("limit_per_metric")?.filter(|&n| n > 0).unwrap_or(usize::MAX);
    let (wanted, of_work) = (params.get("metric").to_owned(), state.clone());
    send_moment(&state, move |run| listed(run, &families(&of_work, &wanted, limit, per_metric))).await
}

/// The families of the name `wanted`, or all of them if it is empty.
fn families(state: &AppState, wanted: &str, limit: usize, per_metric: usize) -> BTreeMap<String, Vec<Entry>> {
    let is_wanted = |metric: &str| wanted.is_empty() || metric == wanted;
    let mut found: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let from_targets = state.server.target_metadata().into_iter().map(|entry| (entry.metric, entry.metadata));
    for (metric, metadata) in from_targets.chain(state.db.metadata()) {
        if !is_wanted(&metric) || found.len() >= limit && !found.contains_key(&metric) {
            continue;
        }
        let entries = found.entry(metric).or_default();
        let entry = Entry::from(metadata);
        if entries.len() < per_metric && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    found
}

#[derive(Serialize)]
struct TargetEntry {
    target: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(flatten)]
    entry: Entry,
}

/// `/targets/metadata`.
pub(crate) async fn of_targets(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let limit = params.count("limit")?.unwrap_or(usize::MAX);
    let matchers = match params.get("match_target") {
        "" => Vec::new(),
        text => query::parse_matchers(text).map_err(|why| ApiError::parameter("match_target", why))?,
    };
    let (metric, of_work) = (params.get("metric").to_owned(), state.clone());
    let entries = move || -> Vec<TargetEntry> {
        of_work
            .server
            .target_metadata()
            .into_iter()
            .filter(|e| metric.is_empty() || e.metric == metric)
            .filter(|e| matchers.iter().all(|m| m.matches(e.target.get(m.name()).unwrap_or_default())))
            .take(limit)
            .map(|e| TargetEntry {
                target: e.target.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                metric: metric.is_empty().then_some(e.metric),
                entry: e.metadata.into(),
            })
            .collect()
    };
    send_moment(&state, move |run| listed(run, &entries())).await
}
