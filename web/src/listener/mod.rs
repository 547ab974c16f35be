//! Listening: connections are accepted within a limit, and none may keep the server waiting for long.
//!
//! Between the socket and the HTTP library stands the [`inlet`], which reads heads first: what the library would refuse
//! without a word, and Go's `net/http` takes, is made plain for it.

mod connections;
mod framing;
mod head;
mod inlet;
mod pulse;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::IntoResponse;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt;

use self::connections::Place;
use self::inlet::Inlet;
use self::pulse::{Aside, Pulse};
use crate::api::params::LongQuery;
use crate::client::Peer;

pub use connections::{Connections, Limits};
pub(crate) use head::Refused;

/// Time until the next attempt after the system could not hand over a connection.
const RETRY: Duration = Duration::from_millis(100);

/// Time between two messages of that.
const QUIET: Duration = Duration::from_secs(60);

/// Longer than any connection lasts, and not too long for a clock.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Accepts connections and answers their requests by the router that `answers` holds, until `stop` holds `true`. Returns
/// when the last connection has ended; dropped, it ends them all.
pub async fn listen(
    listener: TcpListener,
    answers: watch::Receiver<Router>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let mut told: Option<Instant> = None;
    let stopped = stop.clone();
    let mut end = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            () = &mut end => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_client(&error) => continue,
            Err(error) => {
                connections.counts.failed.fetch_add(1, Relaxed);
                if told.is_none_or(|told| told.elapsed() >= QUIET) {
                    told = Some(Instant::now());
                    tracing::error!(%error, "a connection could not be accepted");
                }
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let place = tokio::select! {
            place = connections.admit() => place,
            () = &mut end => break,
        };
        tasks.spawn(serve(stream, peer, place, Arc::clone(&connections), answers.clone(), stopped.clone()));
    }
    // Those who come now are refused by the system, not left waiting.
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Whether a connection failed by itself, before it was accepted.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers the requests of one connection.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    connections: Arc<Connections>,
    answers: watch::Receiver<Router>,
    mut stop: watch::Receiver<bool>,
) {
    let timeout = connections.limits().read_timeout.unwrap_or(LONGEST);
    let pulse = Arc::clone(&place.pulse);
    // Where the system refuses that, answers are a little later.
    let _ = stream.set_nodelay(true);
    let of_requests = Arc::clone(&pulse);
    let service = service_fn(move |request| {
        let (pulse, router) = (Arc::clone(&of_requests), answers.borrow().clone());
        answer(request, peer, pulse, router)
    });
    let io = TokioIo::new(Inlet::new(stream, Arc::clone(&pulse)));
    let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
    let mut watch = pin!(sleep_until(Instant::now() + timeout));
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
                return;
            }
            () = pulse.told_to_close(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = stop.wait_for(|stop| *stop), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            // Rarely: what the client does moves the time that it has, not this clock.
            () = watch.as_mut() => {
                let now = Instant::now();
                let next = match pulse.wait() {
                    Some((since, wait)) if since + timeout <= now => {
                        connections.counts.timed_out(wait);
                        tracing::debug!(%peer, ?wait, "a connection is closed for keeping the server waiting");
                        return;
                    }
                    Some((since, _)) => since + timeout,
                    None => now + timeout,
                };
                watch.as_mut().reset(next);
            }
        }
    }
}

/// Answers one request.
async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    pulse: Arc<Pulse>,
    router: Router,
) -> Result<Response<Answer>, Infallible> {
    let aside = pulse.answer_begins();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    match aside {
        Aside::Nothing => {}
        Aside::Some(beside) => {
            *request.headers_mut() = beside.headers;
            if let Some(query) = beside.query {
                request.extensions_mut().insert(LongQuery(query));
            }
        }
        Aside::Refused(refused) => drop(request.extensions_mut().insert(refused)),
    }
    let response = router.oneshot(request).await.into_response();
    Ok(response.map(|body| Answer { body, pulse }))
}

/// The body of an answer: when it is dropped, the answer has been given.
struct Answer {
    body: Body,
    pulse: Arc<Pulse>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pulse.answer_ends();
    }
}

#[cfg(test)]
mod tests;
