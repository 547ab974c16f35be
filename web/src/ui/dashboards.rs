//! `/` and `/d/NAME`: dashboards.

use std::time::Duration;

use askama::Template;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use model::{format_duration, parse_duration};
use tsdb::{METRIC_NAME, Matcher, Queryable, TimeRange};

use super::page::{Frame, html};
use crate::api::labels::blocking;
use crate::api::params::Params;
use crate::dashboard::{Choices, Dashboard, Found, PanelView, choices, render};
use crate::picture::slice;
use crate::state::{AppState, now};

/// Spans of time that the page offers.
const RANGES: [&str; 9] = ["5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "1w"];
/// Times between renewals that the page offers.
const REFRESHES: [&str; 6] = ["0s", "5s", "10s", "30s", "1m", "5m"];

/// An entry of the list of dashboards.
struct Tab {
    slug: String,
    title: String,
    here: bool,
}

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Page {
    frame: Frame,
    tabs: Vec<Tab>,
    title: String,
    description: String,
    slug: String,
    variables: Vec<Choices>,
    ranges: Vec<(String, bool)>,
    refreshes: Vec<(String, bool)>,
    /// `start` and `end` when the page is asked for a fixed span.
    fixed: Option<(String, String)>,
    refresh_seconds: u64,
    panels: Vec<PanelView>,
    error: String,
}

/// `/`: the host dashboard, or this server's own while there are no host metrics.
pub(crate) async fn home(
    State(state): State<AppState>,
    OriginalUri(address): OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let querier_of = state.clone();
    let has_hosts = blocking(move || {
        let matchers = [Matcher::equal(METRIC_NAME, "node_time_seconds")];
        Ok(!querier_of.db.querier()?.select(&matchers, TimeRange::ALL)?.is_empty())
    });
    let slug = if has_hosts.await.unwrap_or(true) || params.get("from").is_empty() && state.db.series_count() == 0 {
        "host"
    } else {
        "silverback"
    };
    page(&state, slug, &address.to_string(), &headers, &params).await
}

/// `/d/NAME`.
pub(crate) async fn one(
    State(state): State<AppState>,
    Path(slug): Path<String>,
    OriginalUri(address): OriginalUri,
    headers: HeaderMap,
    params: Params,
) -> Response {
    page(&state, &slug, &address.to_string(), &headers, &params).await
}

async fn page(state: &AppState, slug: &str, address: &str, headers: &HeaderMap, params: &Params) -> Response {
    let loading = state.clone();
    let all = blocking(move || Ok(loading.dashboards.load())).await.unwrap_or_default();
    let title_of = |found: &Found| found.dashboard.as_ref().map_or(found.slug.clone(), |d| d.title.clone());
    let tab = |found: &Found| Tab { slug: found.slug.clone(), title: title_of(found), here: found.slug == slug };
    let mut page = Page {
        frame: Frame::new(state, headers, "dashboards", address.to_owned()),
        tabs: all.iter().map(tab).collect(),
        title: slug.to_owned(),
        description: String::new(),
        slug: slug.to_owned(),
        variables: Vec::new(),
        ranges: Vec::new(),
        refreshes: Vec::new(),
        fixed: None,
        refresh_seconds: 0,
        panels: Vec::new(),
        error: String::new(),
    };
    let status = match all.into_iter().find(|found| found.slug == slug).map(|found| found.dashboard) {
        None => {
            page.error = format!("There is no dashboard {slug:?}.");
            StatusCode::NOT_FOUND
        }
        Some(Err(why)) => {
            page.error = why;
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Some(Ok(dashboard)) => match fill(&mut page, state, &dashboard, params).await {
            Ok(()) => StatusCode::OK,
            Err(why) => {
                page.error = why;
                StatusCode::BAD_REQUEST
            }
        },
    };
    html(state, status, page).await
}

/// Renders the panels. The error is for the reader.
async fn fill(page: &mut Page, state: &AppState, dashboard: &Dashboard, params: &Params) -> Result<(), String> {
    page.title.clone_from(&dashboard.title);
    page.description.clone_from(&dashboard.description);
    let chosen = |name: &str, default: Duration| match params.get(name) {
        "" => format_duration(default),
        text => text.to_owned(),
    };
    let range = chosen("range", shortened(state, dashboard.range).await);
    let refresh = chosen("refresh", dashboard.refresh);
    page.ranges = offered(&RANGES, &range);
    page.refreshes = offered(&REFRESHES, &refresh);
    let fixed = !params.get("start").is_empty() && !params.get("end").is_empty();
    page.fixed = fixed.then(|| (params.get("start").to_owned(), params.get("end").to_owned()));
    let refresh = parse_duration(&refresh).map_err(|_| format!("{refresh:?} is not a duration"))?;
    page.refresh_seconds = if fixed { 0 } else { refresh.as_secs() };
    let slice = if fixed { slice(params, now()) } else { slice(&Params::parse(&format!("range={range}")), now()) };
    let slice = slice.map_err(|e| e.message)?;
    let (variables, querier_of, asked) = (dashboard.variables.clone(), state.clone(), params.clone());
    page.variables = blocking(move || {
        let querier = querier_of.db.querier()?;
        Ok(choices(&variables, &*querier, slice.range(), &asked))
    })
    .await
    .map_err(|e| e.message)??;
    let variables = &page.variables;
    page.panels = join_all(dashboard.panels.iter().map(|panel| render(state, panel, variables, slice))).await;
    Ok(())
}

/// `range`, or while the store is younger than that, the shortest that the page offers and that shows all there is: a
/// new server's charts are not empty but for their edge.
async fn shortened(state: &AppState, range: Duration) -> Duration {
    // Counting the store costs; a server that has run for so long has enough to show.
    if u128::from(now().millis().abs_diff(state.started.millis())) >= range.as_millis() {
        return range;
    }
    let state = state.clone();
    let oldest = blocking(move || {
        let in_blocks = state.db.blocks().first().map_or(i64::MAX, |meta| meta.range.start_ms);
        Ok(state.db.head_stats().min_time.millis().min(in_blocks))
    });
    let age = oldest.await.map_or(i64::MAX, |oldest| now().millis().saturating_sub(oldest));
    let shows_all = |choice: &Duration| i64::try_from(choice.as_millis()).is_ok_and(|ms| ms >= age);
    let mut offered = RANGES.iter().filter_map(|choice| parse_duration(choice).ok());
    offered.find(shows_all).map_or(range, |choice| choice.min(range))
}

/// The choices, with the chosen one marked, and added if it is none of them.
fn offered(choices: &[&str], chosen: &str) -> Vec<(String, bool)> {
    let mut offered: Vec<(String, bool)> = choices.iter().map(|&c| (c.to_owned(), c == chosen)).collect();
    if !offered.iter().any(|(_, here)| *here) {
        offered.insert(0, (chosen.to_owned(), true));
    }
    offered
}
