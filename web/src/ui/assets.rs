//! Style sheet, script and icon: built into the program.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

const ASSETS: [(&str, &str, &str); 3] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../../static/style.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../static/app.js")),
    ("icon.svg", "image/svg+xml", include_str!("../../static/icon.svg")),
];

/// `/static/NAME`. Asked for with the version, so they may be kept for long.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => {
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "public, max-age=86400")], *text).into_response()
        }
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

/// A number that changes with the assets, for their addresses.
pub(crate) fn revision() -> u64 {
    ASSETS.iter().fold(0, |sum, (.., text)| sum ^ xxhash_rust::xxh3::xxh3_64(text.as_bytes())) & 0xffff_ffff
}
