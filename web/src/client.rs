//! The client of a request, for the log: administrators ask afterwards who deleted.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

/// The peer of the connection that a request came by; an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Where a request comes from, as far as the server knows.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The peer of the connection; `None` in tests without one.
    peer: Option<SocketAddr>,
    /// The `X-Forwarded-For` header: a claim, true if a proxy that the operator trusts has set it.
    forwarded_for: Option<String>,
    /// The name of the token that the request was let in by; `None` while there are no tokens.
    token: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let forwarded_for = parts.headers.get("x-forwarded-for");
        Ok(Self {
            peer: parts.extensions.get::<Peer>().map(|peer| peer.0),
            forwarded_for: forwarded_for.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            token: None,
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{peer}")?,
            None => f.write_str("unknown")?,
        }
        if let Some(token) = &self.token {
            write!(f, " (token {token})")?;
        }
        if let Some(claimed) = &self.forwarded_for {
            write!(f, " (claims to forward for {claimed})")?;
        }
        Ok(())
    }
}
