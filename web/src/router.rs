//! Which address is answered by what.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Router, extract::DefaultBodyLimit};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use crate::api::{self, ApiError};
use crate::cors::Origins;
use crate::state::AppState;
use crate::{metrics, picture, ui};

/// Bytes of a request's body, before it is unpacked.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 20;

/// All that the server answers, below the prefix of its options.
pub fn router(state: AppState) -> Router {
    let prefix = state.options.prefix.clone();
    let api = Router::new()
        .route("/query", get(api::query::instant).post(api::query::instant))
        .route("/query_range", get(api::query::range).post(api::query::range))
        .route("/query_exemplars", get(api::exemplars::exemplars).post(api::exemplars::exemplars))
        .route("/format_query", get(api::query::format).post(api::query::format))
        .route("/parse_query", get(api::query::parse).post(api::query::parse))
        .route("/features", get(api::features::features))
        .route("/functions", get(api::query::functions))
        .route("/series", get(api::series::series).post(api::series::series))
        .route("/labels", get(api::labels::names).post(api::labels::names))
        .route("/label/{name}/values", get(api::labels::values))
        .route("/metadata", get(api::metadata::metadata))
        .route("/targets", get(api::targets::targets))
        .route("/targets/metadata", get(api::metadata::of_targets))
        .route("/scrape_pools", get(api::targets::pools))
        .route("/scrape_pools/config", get(api::targets::pool_config))
        .route("/rules", get(api::targets::rules))
        .route("/alerts", get(api::targets::alerts))
        .route("/alertmanagers", get(api::targets::alertmanagers))
        .route("/status/config", get(api::status::config))
        .route("/status/flags", get(api::status::flags))
        .route("/status/buildinfo", get(api::status::build))
        .route("/status/runtimeinfo", get(api::status::runtime))
        .route("/status/tsdb", get(api::status::tsdb))
        .route("/notifications", get(api::status::notifications))
        .route("/status/walreplay", get(api::status::wal_replay))
        .route("/status/tsdb/blocks", get(api::status::blocks))
        .route("/write", post(api::write::write))
        .route("/admin/tsdb/delete_series", post(api::admin::delete_series).put(api::admin::delete_series))
        .route("/admin/tsdb/clean_tombstones", post(api::admin::clean_tombstones).put(api::admin::clean_tombstones))
        .route("/admin/tsdb/snapshot", post(api::admin::snapshot).put(api::admin::snapshot))
        .fallback(|| async { ApiError::not_found("there is no such endpoint") })
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.cors.clone(), cors));
    let pages = Router::new()
        .route("/", get(ui::home))
        .route("/d/{name}", get(ui::one))
        .route("/query", get(ui::query))
        .route("/targets", get(ui::targets))
        .route("/config", get(ui::configuration))
        .route("/flags", get(ui::flags))
        .route("/tsdb-status", get(ui::tsdb))
        .route("/theme", get(ui::theme))
        .route("/static/{name}", get(ui::asset))
        .route("/chart.svg", get(picture::svg))
        .route("/chart.json", get(picture::data))
        .route("/graph", get(graph))
        .route("/version", get(api::status::version))
        .route("/metrics", get(metrics::metrics))
        .route("/-/healthy", get(|| async { "Silverback is Healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/-/reload", any(reload))
        .route("/-/quit", any(quit))
        .nest("/api/v1", api)
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
        .method_not_allowed_fallback(wrong_method);
    let all = if prefix.is_empty() {
        pages
    } else {
        let home = format!("{prefix}/");
        Router::new().route("/", get(move || async move { Redirect::to(&home) })).nest(&prefix, pages)
    };
    // Pictures and pages are text and shrink to a fifth; what is small is not worth it.
    let worth_it = SizeAbove::new(1024).and(NotForContentType::const_new("application/x-protobuf"));
    all.layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CompressionLayer::new().compress_when(worth_it))
        .with_state(state)
}

/// `/graph`: where Prometheus had its query page once.
async fn graph(State(state): State<AppState>, request: Request) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/query{query}", state.options.prefix);
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

/// What no route of an address answers; the router adds which methods it has.
async fn wrong_method() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// `/-/ready`: a server that has this route has recovered; see [`early`](crate::early) for the time before. It is ready for
/// queries also while it takes no samples.
async fn ready(State(state): State<AppState>) -> Response {
    if state.stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "Silverback is stopping.\n").into_response();
    }
    let paused = api::labels::blocking(move || Ok(state.db.paused())).await.unwrap_or_default();
    let paused = paused.map(|why| format!("Ingestion is paused: {why}\n")).unwrap_or_default();
    format!("Silverback is Ready.\n{paused}").into_response()
}

/// Refuses what is no POST or PUT, and everything while the lifecycle API is off.
fn lifecycle(state: &AppState, method: &Method) -> Result<(), (StatusCode, &'static str)> {
    if method != Method::POST && method != Method::PUT {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed.\n"));
    }
    if !state.options.enable_lifecycle {
        return Err((
            StatusCode::FORBIDDEN,
            "Lifecycle API is not enabled; start the server with --web.enable-lifecycle.\n",
        ));
    }
    Ok(())
}

/// `/-/reload`.
async fn reload(State(state): State<AppState>, method: Method) -> Response {
    if let Err(refusal) = lifecycle(&state, &method) {
        return refusal.into_response();
    }
    match state.server.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {why}\n")).into_response(),
    }
}

/// `/-/quit`.
async fn quit(State(state): State<AppState>, method: Method) -> Response {
    if let Err(refusal) = lifecycle(&state, &method) {
        return refusal.into_response();
    }
    state.stopping.store(true, Ordering::Relaxed);
    state.server.quit();
    "Requesting termination... Goodbye!\n".into_response()
}

/// Lets pages of other origins call the API, as the options allow; answers what browsers ask beforehand.
pub(crate) async fn cors(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let Some(origin) = origin else { return response };
    if !origin.to_str().is_ok_and(|text| origins.allows(text)) {
        return response;
    }
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    let all = origins.allows_all();
    let allowed = if all { HeaderValue::from_static("*") } else { origin };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    let fixed: [(HeaderName, &str); 3] = [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
