//! What surrounds an answer: `{"status":"success","data":…}`.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{StatusCode, header};
use query::{Annotations, Lease, Level};
use serde::Serialize;

use super::json::{ResultWriter, put_str, put_strings};

/// Notes of one level that an answer shows.
const MAX_NOTES: usize = 10;

/// Bytes of a piece of a streamed answer.
const PIECE_BYTES: usize = 64 << 10;

/// What a successful answer begins with; its data, which is JSON, comes next.
pub(crate) fn begin() -> Vec<u8> {
    b"{\"status\":\"success\",\"data\":".to_vec()
}

/// A successful answer: what [`begin`] gave, with the data behind it.
pub(crate) fn finish(mut body: Vec<u8>, notes: &Notes) -> Response {
    notes.put(&mut body);
    body.push(b'}');
    json(Body::from(body))
}

/// A successful answer with `data`.
pub(crate) fn success(data: &impl Serialize) -> Response {
    success_with(data, &Notes::default())
}

/// The same with notes.
pub(crate) fn success_with(data: &impl Serialize, notes: &Notes) -> Response {
    let mut body = begin();
    serde_json::to_writer(&mut body, data).expect("what the API answers can be written as JSON");
    finish(body, notes)
}

/// A successful answer without data.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// A query's answer. Status and headers go out now; what is large follows in pieces. `beside` is JSON by name; `lease`
/// is kept as long as the result is.
pub(crate) fn result(mut writer: ResultWriter, notes: &Notes, beside: &[(&str, Vec<u8>)], lease: Lease) -> Response {
    let mut first = b"{\"status\":\"success\",\"data\":{".to_vec();
    let mut tail = Vec::new();
    for (name, json) in beside {
        tail.push(b',');
        put_str(&mut tail, name);
        tail.push(b':');
        tail.extend_from_slice(json);
    }
    tail.push(b'}');
    notes.put(&mut tail);
    tail.push(b'}');
    if !writer.write(&mut first, PIECE_BYTES) {
        first.append(&mut tail);
        return json(Body::from(first));
    }
    let whole = Some((writer, lease));
    let pieces = stream::unfold((Some(first), whole, tail), |(first, whole, tail)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, std::convert::Infallible>(Bytes::from(first)), (None, whole, tail)));
        }
        let (mut writer, lease) = whole?;
        let mut piece = Vec::with_capacity(PIECE_BYTES + 4096);
        if writer.write(&mut piece, PIECE_BYTES) {
            return Some((Ok(piece.into()), (None, Some((writer, lease)), tail)));
        }
        piece.extend_from_slice(&tail);
        Some((Ok(piece.into()), (None, None, tail)))
    });
    json(Body::from_stream(pieces))
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Warnings and infos of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl Notes {
    /// The first ten of each level, and how many more there are.
    pub(crate) fn new(annotations: &Annotations) -> Self {
        let shown = |level, name: &str| {
            let mut texts: Vec<String> = annotations.of(level).map(str::to_owned).collect();
            if texts.len() > MAX_NOTES {
                let more = texts.len() - MAX_NOTES;
                texts.truncate(MAX_NOTES);
                texts.push(format!("{more} more {name} annotations omitted"));
            }
            texts
        };
        Self { warnings: shown(Level::Warning, "warning"), infos: shown(Level::Info, "info") }
    }

    pub(crate) fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }

    pub(crate) fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().chain(&self.infos).map(String::as_str)
    }

    fn put(&self, out: &mut Vec<u8>) {
        for (name, texts) in [(&b",\"warnings\":"[..], &self.warnings), (b",\"infos\":", &self.infos)] {
            if !texts.is_empty() {
                out.extend_from_slice(name);
                put_strings(out, texts);
            }
        }
    }
}
