//! The front of the server: every request passes it before a router sees it. Paths are mended here, wrong methods, pages of
//! other origins and panics answered, and answers compressed.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Body};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use crate::address::{Addresses, Way, clean, decode, encode};
use crate::api::{ApiError, ErrorType, quote};
use crate::compress::compress;
use crate::listener::Refused;
use crate::origin::{Origins, vary};
use crate::router::MAX_BODY_BYTES;
use crate::routes::{Effect, Route};

/// What the front works with.
pub(crate) struct Front {
    addresses: Addresses,
    origins: Origins,
    counts: Arc<FrontCounts>,
}

/// Requests that the front ended.
#[derive(Debug, Default)]
pub(crate) struct FrontCounts {
    pub(crate) panics: AtomicU64,
    pub(crate) foreign: AtomicU64,
}

impl Front {
    pub(crate) fn new(
        prefix: &str,
        origins: Origins,
        routes: impl IntoIterator<Item = Route>,
        counts: Arc<FrontCounts>,
    ) -> Self {
        Self { addresses: Addresses::new(prefix, routes), origins, counts }
    }

    /// Puts the front before a router.
    pub(crate) fn before(self, router: Router) -> Router {
        Router::new()
            .fallback_service(router)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn(compress))
            .layer(middleware::from_fn_with_state(Arc::new(self), enter))
    }

    /// Leads a request to the router, or ends it.
    async fn lead(&self, path: &[u8], mut request: Request, next: Next) -> Response {
        if path == b"*" {
            return StatusCode::OK.into_response();
        }
        if let Some(cleaned) = clean(path) {
            return moved(StatusCode::MOVED_PERMANENTLY, &cleaned, &request);
        }
        // As in Prometheus, also for what is not there.
        if self.addresses.is_api(path) && request.method() == Method::OPTIONS {
            return StatusCode::NO_CONTENT.into_response();
        }
        let Ok(text) = std::str::from_utf8(path) else { return self.not_utf8(path) };
        match self.addresses.way(request.method(), text) {
            Way::Route(Effect::Reads) => {}
            Way::Route(Effect::Changes) => {
                if let Some(origin) = self.origins.foreign(request.headers()) {
                    self.counts.foreign.fetch_add(1, Relaxed);
                    tracing::debug!(origin, path = text, "a page of another origin was refused");
                    let why = format!("pages of another origin ({origin}) may not ask for this");
                    return self.refuse(path, ErrorType::Forbidden, &why);
                }
            }
            Way::WrongMethod(allow) => return self.wrong_method(path, allow, request.method()),
            Way::Moved(to) => {
                let is_get = request.method() == Method::GET || self.addresses.is_api_root(text);
                let status = if is_get { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
                return moved(status, to.as_bytes(), &request);
            }
            Way::Nowhere if text == "/" => {
                let home = format!("{}/", self.addresses.prefix());
                return moved(StatusCode::FOUND, home.as_bytes(), &request);
            }
            Way::Nowhere => return self.refuse(path, ErrorType::NotFound, NOT_FOUND),
        }
        // Escaped letters are letters and escaped slashes part segments, as in Prometheus; the router takes them as they are.
        if request.uri().path().contains('%') {
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            if let Ok(uri) = Uri::try_from(format!("{}{query}", encode(path))) {
                *request.uri_mut() = uri;
            }
        }
        next.run(request).await
    }

    fn not_utf8(&self, path: &[u8]) -> Response {
        let below = path.strip_prefix(self.addresses.prefix().as_bytes()).unwrap_or(path);
        let name = below.strip_prefix(b"/api/v1/label/").and_then(|rest| rest.strip_suffix(b"/values"));
        match name.filter(|name| !name.contains(&b'/')) {
            Some(name) => ApiError::bad(format!("invalid label name: {}", quote(name))).into_response(),
            None => self.refuse(path, ErrorType::NotFound, NOT_FOUND),
        }
    }

    /// What a path does not take: told with the methods that it takes. OPTIONS asks for them.
    fn wrong_method(&self, path: &[u8], allow: &str, method: &Method) -> Response {
        let mut response = match *method {
            Method::OPTIONS => StatusCode::OK.into_response(),
            _ => self.refuse(path, ErrorType::MethodNotAllowed, "Method Not Allowed"),
        };
        response.headers_mut().extend(HeaderValue::from_str(allow).map(|allow| (header::ALLOW, allow)));
        response
    }

    /// An error: in the envelope under the API, else as text.
    fn refuse(&self, path: &[u8], kind: ErrorType, message: &str) -> Response {
        if self.addresses.is_api(path) {
            return ApiError { kind, message: message.to_owned() }.into_response();
        }
        (kind.status(), format!("{message}\n")).into_response()
    }

    /// The answer to a request whose handler has panicked.
    fn panicked(&self, what: &(dyn Any + Send), method: &Method, path: &[u8]) -> Response {
        self.counts.panics.fetch_add(1, Relaxed);
        let text = what.downcast_ref::<&str>().copied();
        let text = text.or_else(|| what.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
        let route = String::from_utf8_lossy(path);
        tracing::error!(%method, %route, panic = text, "a request ended in a panic");
        self.refuse(path, ErrorType::Internal, "the request failed for a defect of the server; the log says more")
    }
}

const NOT_FOUND: &str = "404 page not found";

async fn enter(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let origin = request.headers().get(header::ORIGIN).cloned();
    choose_encoding(request.headers_mut());
    let Some(path) = decode(request.uri().path()) else {
        let path = request.uri().path().as_bytes();
        return front.refuse(path, ErrorType::BadData, "400 Bad Request: the path holds a malformed escape");
    };
    if let Some(Refused { kind, message }) = request.extensions_mut().remove() {
        return front.refuse(&path, kind, message);
    }
    let led = AssertUnwindSafe(front.lead(&path, request, next)).catch_unwind().await;
    let mut response = led.unwrap_or_else(|panic| front.panicked(&*panic, &method, &path));
    if front.addresses.is_api(&path) {
        match front.addresses.effect(&path) {
            Effect::Reads => front.origins.open_to_readers(origin.as_ref(), response.headers_mut()),
            Effect::Changes => vary(response.headers_mut(), "Origin"),
        }
    }
    response
}

/// Leaves of the encodings that a client takes the one that Prometheus chooses: the first of gzip and deflate.
fn choose_encoding(headers: &mut HeaderMap) {
    let chosen = headers.get_all(header::ACCEPT_ENCODING).iter().find_map(|value| {
        let mut offers = value.to_str().ok()?.split(',');
        offers.find_map(|offer| {
            let (name, quality) = offer.split_once(';').unwrap_or((offer, ""));
            let is_refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
            let known = ["gzip", "deflate"].into_iter().find(|known| name.trim().eq_ignore_ascii_case(known));
            known.filter(|_| !is_refused)
        })
    });
    headers.remove(header::ACCEPT_ENCODING);
    headers.extend(chosen.map(|name| (header::ACCEPT_ENCODING, HeaderValue::from_static(name))));
}

/// A redirect to another path of this server.
fn moved(status: StatusCode, path: &[u8], request: &Request) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}{query}", encode(path));
    let body = match *request.method() {
        Method::GET | Method::HEAD => {
            let link = location.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;").replace('>', "&gt;");
            format!("<a href=\"{link}\">{}</a>.\n", status.canonical_reason().unwrap_or_default())
        }
        _ => String::new(),
    };
    let kind = (!body.is_empty()).then_some((header::CONTENT_TYPE, "text/html; charset=utf-8"));
    let mut response = (status, [(header::LOCATION, location)], Body::from(body)).into_response();
    response.headers_mut().extend(kind.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

#[cfg(test)]
mod tests;
