//! The table of all addresses: which methods each takes, whether it changes anything, and the handler.

use axum::handler::Handler;
use axum::routing::{MethodRouter, any, get, post};
use http::Method;

use crate::state::AppState;
use crate::{api, metrics, picture, router, ui};

/// Below the prefix, where the API is.
pub(crate) const API: &str = "/api/v1";

/// Whether requests to an address change something: those are refused to pages of other origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Only reads.
    Reads,
    /// Writes samples, deletes, reloads, stops, sets a cookie.
    Changes,
}

/// One address.
#[derive(Clone)]
pub(crate) struct Route {
    /// The path below the prefix; `{name}` stands for one segment.
    pub(crate) path: &'static str,
    /// The methods it takes.
    pub(crate) methods: &'static [Method],
    pub(crate) effect: Effect,
    pub(crate) handler: MethodRouter<AppState>,
}

impl Route {
    /// Whether it takes `method`. A page is answered to HEAD too, without its body; in the API, as in Prometheus, nothing is.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        let is_api = self.path.starts_with(API);
        self.methods.contains(method) || method == Method::HEAD && !is_api && self.methods.contains(&Method::GET)
    }

    /// The methods for the `Allow` header, as Prometheus lists them.
    pub(crate) fn allow(&self) -> String {
        let mut names: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        if self.takes(&Method::HEAD) {
            names.push("HEAD");
        }
        names.push("OPTIONS");
        names.sort_unstable();
        names.join(", ")
    }
}

/// An address that answers GET.
fn read<H: Handler<T, AppState>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { path, methods: &[Method::GET], effect: Effect::Reads, handler: get(handler) }
}

/// An address that answers GET, and POST with the parameters as a form.
fn ask<H: Handler<T, AppState>, T: 'static>(path: &'static str, handler: H) -> Route {
    let methods = &[Method::GET, Method::POST][..];
    Route { path, methods, effect: Effect::Reads, handler: get(handler.clone()).post(handler) }
}

/// An address of the admin API.
fn admin<H: Handler<T, AppState>, T: 'static>(path: &'static str, handler: H) -> Route {
    let methods = &[Method::POST, Method::PUT][..];
    Route { path, methods, effect: Effect::Changes, handler: post(handler.clone()).put(handler) }
}

/// An address of the lifecycle API, which answers GET with why it does not.
fn lifecycle<H: Handler<T, AppState>, T: 'static>(path: &'static str, handler: H) -> Route {
    let methods = &[Method::GET, Method::POST, Method::PUT][..];
    Route { path, methods, effect: Effect::Changes, handler: any(handler) }
}

/// All addresses.
pub(crate) fn routes() -> Vec<Route> {
    let mut all = api_routes();
    all.extend([
        read("/", ui::home),
        read("/d/{name}", ui::one),
        read("/query", ui::query),
        read("/targets", ui::targets),
        read("/config", ui::configuration),
        read("/flags", ui::flags),
        read("/tsdb-status", ui::tsdb),
        Route { effect: Effect::Changes, ..read("/theme", ui::theme) },
        read("/static/{name}", ui::asset),
        read("/chart.svg", picture::svg),
        read("/chart.json", picture::data),
        read("/graph", router::graph),
        read("/version", api::status::version),
        read("/metrics", metrics::metrics),
        read("/-/healthy", || async { router::HEALTHY }),
        read("/-/ready", router::ready),
        lifecycle("/-/reload", router::reload),
        lifecycle("/-/quit", router::quit),
    ]);
    all
}

fn api_routes() -> Vec<Route> {
    vec![
        ask("/api/v1/query", api::query::instant),
        ask("/api/v1/query_range", api::query::range),
        ask("/api/v1/query_exemplars", api::exemplars::exemplars),
        ask("/api/v1/format_query", api::query::format),
        ask("/api/v1/parse_query", api::query::parse),
        read("/api/v1/features", api::features::features),
        read("/api/v1/functions", api::query::functions),
        ask("/api/v1/series", api::series::series),
        ask("/api/v1/labels", api::labels::names),
        read("/api/v1/label/{name}/values", api::labels::values),
        read("/api/v1/metadata", api::metadata::metadata),
        read("/api/v1/targets", api::targets::targets),
        read("/api/v1/targets/metadata", api::metadata::of_targets),
        read("/api/v1/scrape_pools", api::targets::pools),
        read("/api/v1/scrape_pools/config", api::targets::pool_config),
        read("/api/v1/rules", api::targets::rules),
        read("/api/v1/alerts", api::targets::alerts),
        read("/api/v1/alertmanagers", api::targets::alertmanagers),
        read("/api/v1/status/config", api::status::config),
        read("/api/v1/status/flags", api::status::flags),
        read("/api/v1/status/buildinfo", api::status::build),
        read("/api/v1/status/runtimeinfo", api::status::runtime),
        read("/api/v1/status/tsdb", api::status::tsdb),
        read("/api/v1/status/tsdb/blocks", api::status::blocks),
        read("/api/v1/status/walreplay", api::status::wal_replay),
        read("/api/v1/notifications", api::status::notifications),
        Route {
            path: "/api/v1/write",
            methods: &[Method::POST],
            effect: Effect::Changes,
            handler: post(api::write::write),
        },
        admin("/api/v1/admin/tsdb/delete_series", api::admin::delete_series),
        admin("/api/v1/admin/tsdb/clean_tombstones", api::admin::clean_tombstones),
        admin("/api/v1/admin/tsdb/snapshot", api::admin::snapshot),
    ]
}
