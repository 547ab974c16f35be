//! What is answered while the log is replayed: queries that a part of it answers, at once; all else once the store is open.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, OriginalUri, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{StatusCode, header};
use model::RegexError;
use tokio::sync::watch;
use tower::ServiceExt;
use tsdb::Queryable;

use crate::api::params::Params;
use crate::api::query::{Asked, plain};
use crate::api::{ApiError, ErrorType};
use crate::front::Front;
use crate::origin::Origins;
use crate::queries::Queries;
use crate::router::{HEALTHY, MAX_BODY_BYTES};
use crate::routes::routes;
use crate::state::Options;

/// How long a request waits for the store; then it is told to come again.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Who answers meanwhile.
#[derive(Clone)]
struct Early {
    queries: Queries,
    source: Arc<dyn Queryable>,
    opened: watch::Receiver<Option<Router>>,
}

/// What answers until `opened` holds the router of the open store, which gets every request that `source` cannot answer.
///
/// # Errors
/// If the options hold a regular expression that is none.
pub fn early(
    queries: Queries,
    source: Arc<dyn Queryable>,
    options: &Options,
    opened: watch::Receiver<Option<Router>>,
) -> Result<Router, RegexError> {
    let prefix = &options.prefix;
    let state = Early { queries, source, opened };
    let origins = Origins::new(&options.cors_origin, options.external_url.as_deref())?;
    let router = Router::new()
        .route(&format!("{prefix}/api/v1/query"), asking(Asked::instant))
        .route(&format!("{prefix}/api/v1/query_range"), asking(Asked::range))
        .route(&format!("{prefix}/-/healthy"), get(|| async { HEALTHY }))
        .route(&format!("{prefix}/-/ready"), get(ready))
        .fallback(later)
        .with_state(state);
    Ok(Front::new(prefix, origins, routes(), Arc::default()).before(router))
}

/// `/-/ready`: queries are answered, by and by.
async fn ready() -> &'static str {
    "Silverback is Ready.\nThe write-ahead log is being replayed: some queries and all writes wait for it.\n"
}

fn asking(asked: fn(&Params) -> Result<Asked, ApiError>) -> MethodRouter<Early> {
    let ask = move |State(early): State<Early>, request: Request| async move { early.ask(request, asked).await };
    get(ask).post(ask).fallback(later)
}

async fn later(State(early): State<Early>, request: Request) -> Response {
    early.later(request).await
}

impl Early {
    /// Answers a query from the log, or else later.
    async fn ask(self, request: Request, asked: fn(&Params) -> Result<Asked, ApiError>) -> Response {
        let (parts, body) = request.into_parts();
        let body = match to_bytes(body, MAX_BODY_BYTES).await {
            Ok(body) => body,
            Err(why) => return ApiError::bad(format!("error reading the request: {why}")).into_response(),
        };
        let again = || Request::from_parts(parts.clone(), Body::from(body.clone()));
        match self.answer(again(), asked).await {
            Err(why) if why.kind == ErrorType::Unavailable => self.later(again()).await,
            answer => answer.into_response(),
        }
    }

    async fn answer(
        &self,
        request: Request,
        asked: fn(&Params) -> Result<Asked, ApiError>,
    ) -> Result<Response, ApiError> {
        let params = Params::from_request(request, &()).await?;
        if !params.get("explain").is_empty() {
            return Err(ApiError::unavailable("an explanation takes the whole store"));
        }
        plain(&self.queries, self.source.clone(), &params, asked(&params)?).await
    }

    /// Hands the request to the open store, once there is one.
    async fn later(mut self, mut request: Request) -> Response {
        let opened = tokio::time::timeout(MAX_WAIT, self.opened.wait_for(Option::is_some)).await;
        let router = opened.ok().and_then(Result::ok).and_then(|router| router.clone());
        let Some(router) = router else {
            let text = "The write-ahead log is being replayed.\n";
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response();
        };
        if let Some(OriginalUri(uri)) = request.extensions_mut().remove() {
            *request.uri_mut() = uri;
        }
        router.oneshot(request).await.into_response()
    }
}
