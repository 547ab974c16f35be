//! `/targets`: what is scraped, and how it does.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::page::{Frame, html};
use crate::api::params::{Params, format_duration};
use crate::chart::Unit;
use crate::state::{AppState, now};
use crate::status::{ActiveTarget, Health};

#[derive(Template)]
#[template(path = "targets.html")]
struct Page {
    frame: Frame,
    pools: Vec<Pool>,
    up: usize,
    down: usize,
    unknown: usize,
    dropped: usize,
    filter: String,
    health: String,
}

struct Pool {
    name: String,
    up: usize,
    targets: Vec<Row>,
    dropped: usize,
}

struct Row {
    url: String,
    /// Whether a browser can open it.
    link: bool,
    labels: Vec<(String, String)>,
    health: &'static str,
    last_scrape: String,
    duration: String,
    samples: usize,
    interval: String,
    error: String,
    note: String,
}

/// `/targets`.
pub(crate) async fn targets(
    State(state): State<AppState>,
    OriginalUri(address): OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let targets = state.server.targets();
    let (filter, health) = (params.get("search").to_owned(), params.get("health").to_owned());
    let count = |wanted: Health| targets.active.iter().filter(|t| t.health == wanted).count();
    let (up, down, unknown) = (count(Health::Up), count(Health::Down), count(Health::Unknown));
    let dropped = targets.dropped_counts.values().sum();
    let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
    let pool = |pools: &mut BTreeMap<String, Pool>, name: &str| {
        pools.entry(name.to_owned()).or_insert_with(|| Pool {
            name: name.to_owned(),
            up: 0,
            targets: Vec::new(),
            dropped: targets.dropped_counts.get(name).copied().unwrap_or(0),
        });
    };
    for name in targets.dropped_counts.keys() {
        pool(&mut pools, name);
    }
    let now = now();
    for target in &targets.active {
        pool(&mut pools, &target.scrape_pool);
        let Some(pool) = pools.get_mut(&target.scrape_pool) else { continue };
        pool.up += usize::from(target.health == Health::Up);
        let wanted = (health.is_empty() || target.health.as_str() == health)
            && (filter.is_empty()
                || target.scrape_url.contains(&filter)
                || target.labels.to_string().contains(&filter));
        if wanted {
            pool.targets.push(row(target, now));
        }
    }
    // Trouble first.
    for pool in pools.values_mut() {
        pool.targets.sort_by(|a, b| (a.health != "down", &a.url).cmp(&(b.health != "down", &b.url)));
    }
    let frame = Frame::new(&state, &headers, "targets", address.to_string());
    let pools = pools.into_values().collect();
    html(StatusCode::OK, &Page { frame, pools, up, down, unknown, dropped, filter, health })
}

fn row(target: &ActiveTarget, now: tsdb::Timestamp) -> Row {
    let ago = |at: tsdb::Timestamp| {
        let seconds = (now.millis() - at.millis()).max(0) as f64 / 1000.0;
        format!("{} ago", Unit::Seconds.format_step(seconds, if seconds < 10.0 { 0.1 } else { 1.0 }))
    };
    Row {
        url: target.scrape_url.clone(),
        link: target.scrape_url.starts_with("http://") || target.scrape_url.starts_with("https://"),
        labels: target.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        health: target.health.as_str(),
        last_scrape: target.last_scrape.map_or_else(|| "not yet".into(), ago),
        duration: if target.last_scrape.is_some() {
            Unit::Seconds.format(target.last_duration.as_secs_f64())
        } else {
            String::new()
        },
        samples: target.samples,
        interval: format_duration(target.interval),
        error: target.last_error.clone(),
        note: target.note.clone(),
    }
}
