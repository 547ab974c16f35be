//! Which address is answered by what.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};

use crate::api;
use crate::client::Client;
use crate::front::Front;
use crate::routes::{Route, routes};
use crate::state::AppState;

/// Bytes of a request's body, before it is unpacked.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 20;

/// `/-/healthy`.
pub(crate) const HEALTHY: &str = "Silverback is Healthy.\n";

/// All that the server answers, below the prefix of its options.
pub fn router(state: AppState) -> Router {
    let (routes, prefix) = (routes(), state.options.prefix.clone());
    let front = Front::new(&prefix, state.origins.clone(), routes.clone(), state.front_counts.clone());
    let add = |router: Router<AppState>, route: Route| router.route(&format!("{prefix}{}", route.path), route.handler);
    front.before(routes.into_iter().fold(Router::new(), add).with_state(state))
}

/// `/graph`: where Prometheus had its query page once.
pub(crate) async fn graph(State(state): State<AppState>, request: Request) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/query{query}", state.options.prefix);
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

/// `/-/ready`: a server that has this route has recovered; see [`early`](crate::early) for the time before. It is ready for
/// queries also while it takes no samples.
pub(crate) async fn ready(State(state): State<AppState>) -> Response {
    if state.stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "Silverback is stopping.\n").into_response();
    }
    let clock: String = state.server.clock_notices().iter().map(|notice| format!("{notice}\n")).collect();
    let paused = api::labels::blocking(move || Ok(state.db.paused())).await.unwrap_or_default();
    let paused = paused.map(|why| format!("Ingestion is paused: {why}\n")).unwrap_or_default();
    format!("Silverback is Ready.\n{paused}{clock}").into_response()
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
pub(crate) async fn reload(State(state): State<AppState>, client: Client, method: Method) -> Response {
    if let Err(refusal) = lifecycle(&state, &method) {
        return refusal.into_response();
    }
    tracing::info!(%client, "a reload of the configuration is asked for");
    match state.server.reload().await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {why}\n")).into_response(),
    }
}

/// `/-/quit`.
pub(crate) async fn quit(State(state): State<AppState>, client: Client, method: Method) -> Response {
    if let Err(refusal) = lifecycle(&state, &method) {
        return refusal.into_response();
    }
    tracing::info!(%client, "the end of the server is asked for");
    state.stopping.store(true, Ordering::Relaxed);
    state.server.quit();
    "Requesting termination... Goodbye!\n".into_response()
}
