//! Every address, as pages of this server, of other servers and programs ask for it.

use axum::body::to_bytes;
use http::HeaderName;
use tower::ServiceExt;

use super::*;
use crate::routes::routes;

const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];

/// The front, before a router that answers what comes through.
fn front(prefix: &str) -> (Router, Arc<FrontCounts>) {
    let counts = Arc::<FrontCounts>::default();
    let origins = Origins::new(".*", Some("https://metrics.example")).unwrap();
    let router = Router::new().fallback(|request: Request| async move {
        let path = request.uri().path().to_owned();
        assert!(!path.ends_with("/labels"), "labels panic");
        if path.ends_with("/series") {
            let work = tokio::task::spawn_blocking(|| panic!("series panic"));
            return crate::api::labels::goes_on(work.await.unwrap_err()).to_string();
        }
        format!("came through: {path}")
    });
    (Front::new(prefix, origins, routes(), counts.clone()).before(router), counts)
}

async fn ask(router: &Router, method: &Method, path: &str, headers: &[(&'static str, &str)]) -> (Response, String) {
    let mut request = http::Request::builder().method(method).uri(path).header(header::HOST, "prom.example:9090");
    for (name, value) in headers {
        request = request.header(HeaderName::from_static(name), *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    (Response::from_parts(parts, Body::empty()), String::from_utf8_lossy(&body).into_owned())
}

fn is_envelope(response: &Response, body: &str) -> bool {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    response.headers()[header::CONTENT_TYPE] == "application/json"
        && json["status"] == "error"
        && json["errorType"].is_string()
        && json["error"].is_string()
}

#[tokio::test]
async fn pages_of_other_origins_change_nothing_on_any_address() {
    let (router, counts) = front("/sb");
    let foreign = [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("referer", "http://evil.example/form")],
        &[("origin", "http://prom.example:9090"), ("sec-fetch-site", "cross-site")],
    ];
    let own = [
        &[][..],
        &[("origin", "http://prom.example:9090"), ("sec-fetch-site", "same-origin")],
        &[("origin", "https://metrics.example")],
    ];
    let mut changing = 0;
    for route in routes() {
        let path = format!("/sb{}", route.path.replace("{name}", "x"));
        let is_api = path.starts_with("/sb/api/v1/");
        for method in METHODS.iter().filter(|method| route.takes(method)) {
            for headers in own {
                let (response, body) = ask(&router, method, &path, headers).await;
                let panics = path.ends_with("/labels") || path.ends_with("/series");
                assert!(response.status() == 200 || panics, "{method} {path} {headers:?}: {body}");
            }
            for headers in foreign {
                let (response, body) = ask(&router, method, &path, headers).await;
                let is_let_in = body.starts_with("came through") || *method == Method::HEAD && response.status() == 200;
                let opened = response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                if route.effect == Effect::Changes {
                    changing += 1;
                    assert_eq!(response.status(), StatusCode::FORBIDDEN, "{method} {path} {headers:?}");
                    assert!(!is_let_in && !opened, "{method} {path} {headers:?}");
                    assert!(!is_api || *method == Method::HEAD || is_envelope(&response, &body), "{body}");
                } else if response.status() != StatusCode::INTERNAL_SERVER_ERROR {
                    assert!(is_let_in, "{method} {path} {headers:?}: {body}");
                    assert_eq!(opened, is_api && headers[0].0 == "origin", "{method} {path} {headers:?}");
                }
            }
        }
        // What a browser asks beforehand.
        let (response, _) = ask(&router, &Method::OPTIONS, &path, &[("origin", "http://evil.example")]).await;
        let opened = response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(opened, is_api && route.effect == Effect::Reads, "OPTIONS {path}");
    }
    assert!(changing > 0);
    assert_eq!(counts.foreign.load(Relaxed), changing);
}

#[tokio::test]
async fn everything_that_can_be_deleted_written_or_stopped_is_a_change() {
    for route in routes() {
        let changes = route.methods.contains(&Method::PUT) || ["/api/v1/write", "/theme"].contains(&route.path);
        assert_eq!(route.effect == Effect::Changes, changes, "{}", route.path);
    }
}

#[tokio::test]
async fn a_foreign_page_finds_no_way_around_the_spelling_of_a_path() {
    let (router, _) = front("");
    let origin = [("origin", "http://evil.example")];
    for path in [
        "/api/v1/%61dmin/tsdb/delete_series",
        "/api/v1/admin%2ftsdb/delete_series",
        "/api%2Fv1/admin/tsdb/delete_series",
        "//api/v1/admin/tsdb/delete_series",
        "/api/v1/admin/tsdb/delete_series/",
        "/api/v1/ADMIN/tsdb/delete_series",
        "/-/./reload",
        "/%2D/quit",
    ] {
        let (response, body) = ask(&router, &Method::POST, path, &origin).await;
        assert!([301, 307, 403].contains(&response.status().as_u16()), "{path}: {body}");
    }
}

#[tokio::test]
async fn every_error_under_the_api_is_in_the_envelope() {
    let (router, counts) = front("");
    for (method, path, status) in [
        (Method::GET, "/api/v1/label/%ff/values", 400),
        (Method::GET, "/api/v1/%zz", 400),
        (Method::GET, "/api/v1/%ff", 404),
        (Method::GET, "/api/v1/", 404),
        (Method::GET, "/api/v1/nope", 404),
        (Method::POST, "/api/v1/nope/", 404),
        (Method::GET, "/api/v1/label/a%2fb/values", 404),
        (Method::PUT, "/api/v1/query", 405),
        (Method::GET, "/api/v1/write", 405),
        (Method::PATCH, "/api/v1/labels", 405),
        (Method::GET, "/api/v1/labels", 500),
        (Method::GET, "/api/v1/series", 500),
    ] {
        let (response, body) = ask(&router, &method, path, &[]).await;
        assert_eq!(response.status(), status, "{method} {path}: {body}");
        assert!(is_envelope(&response, &body), "{method} {path}: {body}");
    }
    assert_eq!(counts.panics.load(Relaxed), 2, "panics of a handler and of the work that it waits for");
    let (response, body) = ask(&router, &Method::GET, "/nope", &[]).await;
    assert_eq!((response.status().as_u16(), body.as_str()), (404, "404 page not found\n"));
    let (response, _) = ask(&router, &Method::HEAD, "/api/v1/query", &[]).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[header::ALLOW]),
        (405, &"GET, OPTIONS, POST".parse().unwrap())
    );
}

#[tokio::test]
async fn redirects_stay_on_this_server() {
    let (router, _) = front("/sb");
    for (method, path, status, location) in [
        (Method::GET, "//evil.example/..//x", 301, "/x"),
        (Method::GET, "/%2f/evil.example", 301, "/evil.example"),
        (Method::GET, "/sb", 301, "/sb/"),
        (Method::GET, "/", 302, "/sb/"),
        (Method::GET, "/sb//api/v1/query?query=//", 301, "/sb/api/v1/query?query=//"),
        (Method::POST, "/sb/api/v1/query/?query=1", 307, "/sb/api/v1/query?query=1"),
        (Method::GET, "/sb/api/v1/label/a%0d%0ab/values/", 301, "/sb/api/v1/label/a%0D%0Ab/values"),
        (Method::GET, "/sb/%5cevil/../../%5cevil.example", 301, "/%5Cevil.example"),
    ] {
        let (response, _) = ask(&router, &method, path, &[]).await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()[header::LOCATION], location, "{method} {path}");
    }
}

#[tokio::test]
async fn the_encoding_is_the_first_that_both_sides_know() {
    let (router, _) = front("");
    for (accepted, chosen) in [
        ("gzip", Some("gzip")),
        ("deflate, gzip", Some("deflate")),
        ("br, GZIP;q=0.5", Some("gzip")),
        ("gzip;q=0, deflate", Some("deflate")),
        ("gzip;q=0", None),
        ("identity;q=0, *;q=0", None),
        ("br", None),
    ] {
        let headers = [("accept-encoding", accepted)];
        let (response, _) = ask(&router, &Method::GET, "/api/v1/query", &headers).await;
        let encoding = response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap());
        assert_eq!((response.status().as_u16(), encoding), (200, chosen), "{accepted}");
    }
}
