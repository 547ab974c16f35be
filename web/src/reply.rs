//! Answers on their way: text whose memory is accounted for until the client has it, written piece by piece where there is
//! much of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use query::Lease;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::queries::Queries;

/// Bytes of a piece.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the client, beside the one that is being sent.
const WAITING_PIECES: usize = 2;
/// Bytes up to which text is sent as it is, with its length in the head.
const MAX_WHOLE: usize = 256 << 10;
/// Time that a client may take for one piece.
const STALL: Duration = Duration::from_secs(30);
/// Bytes that a client has to take in a second once its query's time is over, on the average.
const LEAST_RATE: u64 = 256 << 10;

/// Appends about [`PIECE_BYTES`] of an answer; false once all is written.
pub(crate) type Writer = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send>;

/// An answer that is ready to be sent, or the beginning of one.
pub(crate) struct Reply {
    status: StatusCode,
    content_type: HeaderValue,
    first: Bytes,
    rest: Option<Writer>,
}

/// Text and the memory that it takes.
struct Leased {
    text: Vec<u8>,
    _lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Reply {
    /// A text that is whole; `lease` holds its memory.
    pub(crate) fn whole(status: StatusCode, content_type: &'static str, text: Vec<u8>, lease: Lease) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        if text.len() <= MAX_WHOLE {
            let first = Bytes::from_owner(Leased { text, _lease: lease });
            return Self { status, content_type, first, rest: None };
        }
        let first = Bytes::copy_from_slice(&text[..PIECE_BYTES]);
        let (leased, mut sent) = (Leased { text, _lease: lease }, PIECE_BYTES);
        let rest = move |piece: &mut Vec<u8>| {
            let end = leased.text.len().min(sent + PIECE_BYTES);
            piece.extend_from_slice(&leased.text[sent..end]);
            sent = end;
            sent < leased.text.len()
        };
        Self { status, content_type, first, rest: Some(Box::new(rest)) }
    }

    /// A text that begins with `first`; `rest` writes what follows, if anything does.
    pub(crate) fn streamed(content_type: &'static str, first: Vec<u8>, rest: Option<Writer>) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        Self { status: StatusCode::OK, content_type, first: first.into(), rest }
    }

    /// Sends it. What follows the first piece is written on the threads of queries, no faster than the client reads;
    /// `timeout` is the time of its query. To be called on the threads that serve connections.
    pub(crate) fn send(self, queries: &Queries, timeout: Duration) -> Response {
        let body = match self.rest {
            None => Body::from(self.first),
            Some(rest) => Body::from_stream(pieces(queries.clone(), self.first, rest, timeout)),
        };
        let mut response = (self.status, [(header::CONTENT_TYPE, self.content_type)], body).into_response();
        // Where a long answer is compressed.
        response.extensions_mut().insert(queries.clone());
        response
    }
}

/// The pieces of an answer, in order; ends in an error if not all of them come.
fn pieces(
    queries: Queries,
    first: Bytes,
    rest: Writer,
    timeout: Duration,
) -> impl stream::Stream<Item = io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(WAITING_PIECES);
    let is_whole = Arc::new(AtomicBool::new(false));
    let writing = write(queries, rest, timeout, sender, Arc::clone(&is_whole));
    tokio::spawn(writing);
    stream::unfold((Some(first), Some(receiver)), move |(first, receiver)| {
        let is_whole = Arc::clone(&is_whole);
        async move {
            let mut receiver = receiver?;
            if let Some(first) = first {
                return Some((Ok(first), (None, Some(receiver))));
            }
            match receiver.recv().await {
                Some(piece) => Some((Ok(piece), (None, Some(receiver)))),
                None if is_whole.load(Relaxed) => None,
                None => Some((Err(io::ErrorKind::TimedOut.into()), (None, None))),
            }
        }
    })
}

/// Writes the pieces of an answer as long as its client takes them. Ends, and gives the memory of the answer back, when the
/// client goes or takes too long.
async fn write(
    queries: Queries,
    mut rest: Writer,
    timeout: Duration,
    sender: mpsc::Sender<Bytes>,
    is_whole: Arc<AtomicBool>,
) {
    let begun = Instant::now();
    let mut sent = 0;
    loop {
        let work = move || {
            let mut piece = Vec::with_capacity(PIECE_BYTES + 4096);
            let more = rest(&mut piece);
            (rest, piece, more)
        };
        let Ok((writer, piece, more)) = queries.spawn(work).await else {
            tracing::error!("writing an answer ended in a panic");
            return;
        };
        rest = writer;
        sent += piece.len() as u64;
        let until = begun + timeout + Duration::from_secs(sent / LEAST_RATE);
        if !more {
            is_whole.store(true, Relaxed);
        }
        match timeout_at(until.min(Instant::now() + STALL), sender.send(piece.into())).await {
            Ok(Ok(())) if more => {}
            Ok(Ok(())) => return,
            Ok(Err(_)) => return queries.counts().end("canceled"),
            Err(_) => {
                is_whole.store(false, Relaxed);
                return queries.counts().end("slow_reader");
            }
        }
    }
}
