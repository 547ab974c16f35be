//! A connection, and one request and its answer on it.
//!
//! Between two requests a connection is a socket and nothing else: what hyper needs to speak HTTP on it, its read buffer
//! above all, is there for one exchange only. A thousand targets that wait for their next scrape hold no buffers.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::head::Answer;
use super::{BodyMemory, FetchError, deep};
use crate::options::HttpOptions;
use crate::tls;
use crate::url::{HttpUrl, Scheme};

/// Bytes read at once.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// The driver of a connection during one exchange.
type Driver = http1::Connection<TokioIo<Answer<Stream>>, Empty<Bytes>>;

/// An open connection that waits for a request.
pub(super) struct Connection {
    /// Scheme, host and port.
    origin: String,
    stream: Stream,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<FirstBytes>>),
}

/// A socket that remembers with which bytes the other side began.
struct FirstBytes {
    stream: TcpStream,
    first: [u8; 5],
    count: usize,
}

/// A connection with a request under way.
pub(super) struct Exchange {
    origin: String,
    sender: SendRequest<Empty<Bytes>>,
    /// Moves the bytes, while somebody waits for them: no task of its own, so no switch between two. `None` once the
    /// connection has ended.
    driver: Option<Box<Driver>>,
}

impl Connection {
    pub(super) async fn open(options: &HttpOptions, url: &HttpUrl, origin: String) -> Result<Self, String> {
        let https = url.scheme() == Scheme::Https;
        let (host, port) = (url.host(), url.port());
        let stream = match url.scoped_address()? {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host, port)).await,
        };
        let stream = stream.map_err(|e| dial_error(host, port, &e))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        if !https {
            return Ok(Self { origin, stream: Stream::Plain(stream) });
        }
        let config = tls::client_config(&options.tls).await?;
        let name = options.tls.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|e| format!("tls: {e}"))?;
        let stream = FirstBytes { stream, first: [0; 5], count: 0 };
        match TlsConnector::from(Arc::clone(&config)).connect(name, stream).into_fallible().await {
            Ok(stream) => Ok(Self { origin, stream: Stream::Tls(Box::new(stream)) }),
            Err((error, stream)) => Err(tls_error(&error, stream.seen())),
        }
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Exchange {
    /// Makes ready to send. Nothing is written or read yet.
    pub(super) async fn begin(connection: Connection) -> hyper::Result<Self> {
        let Connection { origin, stream } = connection;
        let mut builder = http1::Builder::new();
        builder.read_buf_exact_size(Some(READ_BUFFER_BYTES));
        let (sender, driver) = builder.handshake(TokioIo::new(Answer::new(stream))).await?;
        Ok(Self { origin, sender, driver: Some(Box::new(driver)) })
    }

    pub(super) async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let response = self.sender.send_request(request);
        wait(&mut self.driver, response).await
    }

    /// Reads the whole body, giving up at `limit` bytes or where `memory` has no more room.
    pub(super) async fn read_body(
        &mut self,
        mut response: Response<Incoming>,
        limit: usize,
        body: &mut Vec<u8>,
        memory: &impl BodyMemory,
        failed: impl Fn(String) -> FetchError,
    ) -> Result<(), FetchError> {
        while let Some(frame) = wait(&mut self.driver, response.body_mut().frame()).await {
            let frame = frame.map_err(|e| failed(deep(&e)))?;
            if let Some(data) = frame.data_ref() {
                if body.len() + data.len() >= limit {
                    return Err(FetchError::BodySize);
                }
                super::make_room(body, data.len(), limit, memory)?;
                body.extend_from_slice(data);
            }
        }
        Ok(())
    }

    /// The beginning of a body, at most `bytes` of it.
    pub(super) async fn read_start(&mut self, mut response: Response<Incoming>, bytes: usize) -> Vec<u8> {
        let mut start = Vec::new();
        while let Some(Ok(frame)) = wait(&mut self.driver, response.body_mut().frame()).await {
            if let Some(data) = frame.data_ref() {
                start.extend_from_slice(&data[..data.len().min(bytes - start.len())]);
                if start.len() == bytes {
                    break;
                }
            }
        }
        start
    }

    /// The answer has been read: the connection, if it is still open and the other side has sent nothing more.
    pub(super) fn end(self) -> Option<Connection> {
        let parts = self.driver?.into_parts();
        let stream = parts.io.into_inner().into_stream()?;
        parts.read_buf.is_empty().then_some(Connection { origin: self.origin, stream })
    }
}

/// Waits for `what`, which the connection of `driver` brings.
async fn wait<T>(driver: &mut Option<Box<Driver>>, what: impl Future<Output = T>) -> T {
    let mut what = pin!(what);
    poll_fn(|cx| {
        // What went wrong shows in what is waited for.
        if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
            *driver = None;
        }
        what.as_mut().poll(cx)
    })
    .await
}

/// Why there is no connection, in the words that readers of Prometheus' target page know.
fn dial_error(host: &str, port: u16, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset by peer",
        ErrorKind::TimedOut => "connection timed out",
        ErrorKind::HostUnreachable => "no route to host",
        ErrorKind::NetworkUnreachable => "network is unreachable",
        // What the resolver says has no number of the system.
        _ if error.raw_os_error().is_none() => return format!("dial tcp: lookup {host}: no such host ({error})"),
        _ => return format!("dial tcp {host}:{port}: {error}"),
    };
    format!("dial tcp {host}:{port}: connect: {why}")
}

/// Why there is no TLS connection to a target that began with the bytes `first`, in the words of Prometheus.
fn tls_error(error: &io::Error, first: &[u8]) -> String {
    match first {
        // A handshake message or an alert: what rustls says is about TLS.
        [] | [0x14..=0x17, ..] => format!("tls: {error}"),
        b"HTTP/" => {
            "http: server gave HTTP response to HTTPS client (the target answered plain HTTP on an https address)"
                .to_owned()
        }
        _ => "tls: first record does not look like a TLS handshake (the target does not speak TLS)".to_owned(),
    }
}

impl FirstBytes {
    fn seen(&self) -> &[u8] {
        &self.first[..self.count]
    }
}

impl AsyncRead for FirstBytes {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, into);
        if this.count < this.first.len() {
            for byte in into.filled().iter().skip(before).take(this.first.len() - this.count) {
                this.first[this.count] = *byte;
                this.count += 1;
            }
        }
        result
    }
}

impl AsyncWrite for FirstBytes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
