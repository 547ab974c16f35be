//! `/targets`: scrape targets by pool, with their health and errors.

use model::format_duration;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use tsdb::Timestamp;

use super::page::{Frame, rendered, send};
use crate::api::params::Params;
use crate::chart::Unit;
use crate::state::{AppState, now};
use crate::status::{ActiveTarget, Health, Targets};

/// Most targets on one page. A browser lays out so many at once; 10,000 keep it busy for seconds.
const MAX_ROWS: usize = 300;
/// Fewest targets that an overview shows of a pool while it has rows left.
const MIN_POOL_ROWS: usize = 5;

#[derive(Template)]
#[template(path = "targets.html")]
struct Page {
    frame: Frame,
    pools: Vec<Pool>,
    up: usize,
    down: usize,
    unknown: usize,
    dropped: usize,
    selection: Selection,
}

/// Targets asked for in the page's address.
struct Selection {
    search: String,
    /// Empty for every health.
    health: String,
    /// `None` for the overview of all pools.
    pool: Option<String>,
    /// Pages of [`MAX_ROWS`] targets before this one.
    skip_pages: usize,
}

impl Selection {
    fn new(params: &Params) -> Self {
        let pool = [params.get("pool"), params.get("scrapePool")].into_iter().find(|name| !name.is_empty());
        Self {
            search: params.get("search").trim().to_owned(),
            health: params.get("health").to_owned(),
            pool: pool.map(str::to_owned),
            skip_pages: params.get("page").parse::<usize>().map_or(0, |page| page.saturating_sub(1)),
        }
    }

    /// Whether the page shows only some of the targets.
    fn is_narrowed(&self) -> bool {
        !self.search.is_empty() || !self.health.is_empty() || self.pool.is_some()
    }

    fn wants(&self, target: &ActiveTarget) -> bool {
        (self.health.is_empty() || target.health.as_str() == self.health)
            && (self.search.is_empty()
                || target.scrape_url.contains(&self.search)
                || target.labels.to_string().contains(&self.search))
    }

    /// Query string of page `page` of `pool` under the same search.
    fn address(&self, pool: &str, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("pool", pool);
        for (name, value) in [("health", &self.health), ("search", &self.search)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        query.finish()
    }
}

/// A scrape pool and those of its targets that the page shows.
struct Pool {
    name: String,
    total: usize,
    up: usize,
    down: usize,
    /// Targets that the selection wants.
    matching: usize,
    rows: Vec<Row>,
    dropped: usize,
    /// Reasons why the targets may be out of date.
    discovery_failures: Vec<String>,
    /// Present when the page shows fewer targets than match.
    paging: Option<Paging>,
}

/// Links to the targets of a pool that are not on the page, as query strings.
struct Paging {
    /// Position of the first and the last row shown, from 1.
    first: usize,
    last: usize,
    previous: Option<String>,
    next: Option<String>,
}

struct Row {
    /// Identity of the target, by which a renewal finds its row again.
    key: String,
    url: String,
    is_link: bool,
    labels: Vec<(String, String)>,
    health: &'static str,
    last_scrape: String,
    duration: String,
    samples: usize,
    interval: String,
    error: String,
    note: String,
}

/// Serves `/targets`.
pub(crate) async fn targets(
    State(state): State<AppState>,
    OriginalUri(address): OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let frame = Frame::new(&state, &headers, "targets", address.to_string());
    let of_work = state.clone();
    send(&state, move |run| rendered(run, StatusCode::OK, &page(&of_work, frame, Selection::new(&params)))).await
}

fn page(state: &AppState, frame: Frame, selection: Selection) -> Page {
    let targets = state.server.targets();
    let count = |wanted: Health| targets.active.iter().filter(|t| t.health == wanted).count();
    Page {
        frame,
        up: count(Health::Up),
        down: count(Health::Down),
        unknown: count(Health::Unknown),
        dropped: targets.dropped_counts.values().sum(),
        pools: pools(&targets, &selection, now()),
        selection,
    }
}

/// Pools with their rows, pools in trouble first.
fn pools(targets: &Targets, selection: &Selection, now: Timestamp) -> Vec<Pool> {
    let mut by_name: BTreeMap<&str, Vec<&ActiveTarget>> =
        targets.dropped_counts.keys().map(|name| (name.as_str(), Vec::new())).collect();
    for target in &targets.active {
        by_name.entry(&target.scrape_pool).or_default().push(target);
    }
    by_name.retain(|name, _| selection.pool.as_ref().is_none_or(|wanted| wanted == name));
    let mut found: Vec<(Pool, Vec<&ActiveTarget>)> = by_name
        .into_iter()
        .map(|(name, all)| {
            let count = |wanted: Health| all.iter().filter(|target| target.health == wanted).count();
            let mut matching: Vec<&ActiveTarget> = all.iter().copied().filter(|t| selection.wants(t)).collect();
            matching.sort_by_key(|target| (target.health != Health::Down, &target.scrape_url, &target.labels));
            let pool = Pool {
                name: name.to_owned(),
                total: all.len(),
                up: count(Health::Up),
                down: count(Health::Down),
                matching: matching.len(),
                rows: Vec::new(),
                dropped: targets.dropped_counts.get(name).copied().unwrap_or(0),
                discovery_failures: targets.discovery_failures.get(name).cloned().unwrap_or_default(),
                paging: None,
            };
            (pool, matching)
        })
        .filter(|(pool, _)| pool.matching > 0 || (selection.search.is_empty() && selection.health.is_empty()))
        .collect();
    found.sort_by_key(|(pool, _)| pool.down == 0 && pool.discovery_failures.is_empty());
    let total = found.iter().map(|(pool, _)| pool.matching).sum::<usize>();
    let share = if total <= MAX_ROWS { MAX_ROWS } else { (MAX_ROWS / found.len().max(1)).max(MIN_POOL_ROWS) };
    let mut left = MAX_ROWS;
    for (pool, matching) in &mut found {
        let first = if selection.pool.is_some() { selection.skip_pages.saturating_mul(MAX_ROWS) } else { 0 };
        let shown = matching.iter().skip(first).take(share.min(left));
        pool.rows = shown.map(|target| row(target, now)).collect();
        left -= pool.rows.len();
        pool.paging = paging(pool, first, selection);
    }
    found.into_iter().map(|(pool, _)| pool).collect()
}

/// Links to the rest of the pool; `None` when all of it is shown.
fn paging(pool: &Pool, first: usize, selection: &Selection) -> Option<Paging> {
    if pool.rows.len() == pool.matching {
        return None;
    }
    let page = first / MAX_ROWS + 1;
    let last = first + pool.rows.len();
    // The overview leads to the first page of the pool, which begins with the rows that it shows itself.
    let next = if selection.pool.is_some() { page + 1 } else { 1 };
    Some(Paging {
        first: (first + 1).min(last),
        last,
        previous: (page > 1).then(|| selection.address(&pool.name, page - 1)),
        next: (last < pool.matching).then(|| selection.address(&pool.name, next)),
    })
}

fn row(target: &ActiveTarget, now: Timestamp) -> Row {
    let ago = |at: Timestamp| {
        let seconds = (now.millis() - at.millis()).max(0) as f64 / 1000.0;
        format!("{} ago", Unit::Seconds.format_step(seconds, if seconds < 10.0 { 0.1 } else { 1.0 }))
    };
    let mut key = DefaultHasher::new();
    (&target.scrape_pool, &target.scrape_url, &target.labels).hash(&mut key);
    Row {
        key: format!("{:x}", key.finish()),
        url: target.scrape_url.clone(),
        is_link: target.scrape_url.starts_with("http://") || target.scrape_url.starts_with("https://"),
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

#[cfg(test)]
mod tests;
