//! What surrounds an answer: `{"status":"success","data":…}`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use query::{Annotations, Level};
use serde::Serialize;

use super::ApiError;
use super::json::{put_str, put_strings};
use super::result::ResultWriter;
use crate::queries::Run;
use crate::reply::{PIECE_BYTES, Reply, Writer};
use crate::state::AppState;

const JSON: &str = "application/json";

/// Notes of one level that an answer shows.
const MAX_NOTES: usize = 10;

/// Bytes of the pieces of an answer that are on their way at once.
const PIECES_ON_THE_WAY: usize = 4 * PIECE_BYTES;

/// What a successful answer begins with; its data, which is JSON, comes next.
pub(crate) fn begin() -> Vec<u8> {
    b"{\"status\":\"success\",\"data\":".to_vec()
}

/// The same with `data` behind it.
pub(crate) fn begin_with(data: &impl Serialize) -> Vec<u8> {
    let mut body = begin();
    serde_json::to_writer(&mut body, data).expect("what the API answers can be written as JSON");
    body
}

/// A successful answer with `data`, for answers of a few lines: longer ones are [`listed`].
pub(crate) fn success(data: &impl Serialize) -> Response {
    let mut body = begin_with(data);
    body.push(b'}');
    json(Body::from(body))
}

/// A successful answer with `data`, which may be long.
///
/// # Errors
/// If it takes more memory than a query may hold.
pub(crate) fn listed(mut run: Run, data: &impl Serialize) -> Result<Reply, ApiError> {
    let body = begin_with(data);
    run.take(body.len())?;
    Ok(reply(run, body, &Notes::default()))
}

/// Answers with what `work` gives, on a thread of queries.
pub(crate) async fn send_moment(
    state: &AppState,
    work: impl FnOnce(Run) -> Result<Reply, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    Ok(state.queries.moment(work).await?.send(&state.queries, state.options.query_timeout))
}

/// A successful answer without data.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// A successful answer of work among the queries: what [`begin`] gave, with the data behind it, which `run` has accounted
/// for.
pub(crate) fn reply(run: Run, mut body: Vec<u8>, notes: &Notes) -> Reply {
    notes.put(&mut body);
    body.push(b'}');
    Reply::whole(StatusCode::OK, JSON, body, run.into_lease())
}

/// A query's answer, whose result `run` holds. The first piece is written now; what is large follows in pieces, and the
/// result is freed as it is written. `beside` is JSON by name.
///
/// # Errors
/// If the text would take more memory than the query may hold.
pub(crate) fn result(
    mut run: Run,
    mut writer: ResultWriter,
    notes: &Notes,
    beside: &[(&str, Vec<u8>)],
) -> Result<Reply, ApiError> {
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
        return Ok(Reply::streamed(JSON, first, None));
    }
    run.take(PIECES_ON_THE_WAY + tail.len())?;
    run.give_back(writer.take_freed());
    let mut lease = run.into_lease();
    let rest: Writer = Box::new(move |piece| {
        let more = writer.write(piece, PIECE_BYTES);
        lease.return_bytes(writer.take_freed());
        if !more {
            piece.append(&mut tail);
        }
        more
    });
    Ok(Reply::streamed(JSON, first, Some(rest)))
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body).into_response()
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
