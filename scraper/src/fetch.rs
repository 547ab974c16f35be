//! HTTP requests: one connection, kept alive, that belongs to whoever asks.

mod connection;
mod gunzip;
mod head;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Version};

use self::connection::{Connection, Exchange};
pub(crate) use self::gunzip::{Gunzip, Unpacked};
use crate::cache::MAX_BODY_BYTES;
use crate::options::{Auth, Escaping, HttpOptions, Protocol};
use crate::secret::Secret;
use crate::url::{HttpUrl, Scheme, without_user};

/// How we name ourselves.
const AGENT: &str = concat!("Silverback/", env!("CARGO_PKG_VERSION"));

/// Redirects followed before giving up.
const MAX_REDIRECTS: usize = 10;

/// Bytes reserved for a body before any of it has come, whatever the server announces.
const MAX_RESERVED_BYTES: usize = 256 << 10;

/// Limit of a body, unpacked, where the configuration gives none.
///
/// Four times the default of vmagent, and a little less than the bodies of all targets together leave to one.
pub const DEFAULT_BODY_BYTES: usize = 64 << 20;

/// Bytes read of the body of an answer 400, to see whether it asks for https.
const MAX_EXPLANATION_BYTES: usize = 512;

/// Why there is no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No answer, or half of one.
    #[error("Get {url:?}: {what}")]
    Get {
        /// What was asked for.
        url: String,
        /// What went wrong.
        what: String,
    },
    /// No whole answer in time.
    #[error("Get {url:?}: context deadline exceeded")]
    Timeout {
        /// What was asked for.
        url: String,
    },
    /// An answer other than 200.
    #[error("server returned HTTP status {0}")]
    Status(StatusCode),
    /// The target speaks TLS, as its answer to a plain request says.
    #[error("server returned HTTP status {0}: the target answered that it speaks TLS, on an http address")]
    WantsTls(StatusCode),
    /// The body is larger than allowed.
    #[error("body size limit exceeded")]
    BodySize,
    /// The bodies of other targets take the memory that this one wants.
    #[error("no memory for a body of {0} bytes beside those that other targets are sending")]
    Memory(usize),
    /// Unpacking has not come to an end in time.
    #[error("context deadline exceeded while unpacking the body")]
    Unpacking,
    /// The body is not what its `Content-Encoding` says.
    #[error("gzip: {0}")]
    Gzip(String),
}

/// A body and what came with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// Whether the body is compressed.
    pub gzip: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// Memory for a body.
pub trait BodyMemory {
    /// A buffer for a body, once there is an answer, which announces so many bytes.
    fn lend(&self, announced: Option<usize>) -> Vec<u8>;

    /// Whether the buffer may grow to hold `bytes`.
    fn grow(&self, bytes: usize) -> bool;
}

/// Lends, and lets every buffer grow.
impl<F: Fn(Option<usize>) -> Vec<u8>> BodyMemory for F {
    fn lend(&self, announced: Option<usize>) -> Vec<u8> {
        self(announced)
    }

    fn grow(&self, _: usize) -> bool {
        true
    }
}

/// Makes requests, one at a time.
#[derive(Debug)]
pub struct Client {
    options: HttpOptions,
    connection: Option<Connection>,
}

/// The headers of a scrape.
#[must_use]
pub fn scrape_headers(protocols: &[Protocol], escaping: Escaping, compression: bool, timeout: Duration) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let accept = HeaderValue::try_from(accept(protocols, escaping)).expect("media types are ASCII");
    headers.insert(ACCEPT, accept);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(if compression { "gzip" } else { "identity" }));
    let timeout = HeaderValue::try_from(timeout.as_secs_f64().to_string()).expect("numbers are ASCII");
    headers.insert(HeaderName::from_static("x-prometheus-scrape-timeout-seconds"), timeout);
    headers
}

/// The `Accept` header, with the weights that Prometheus gives.
fn accept(protocols: &[Protocol], escaping: Escaping) -> String {
    // Prometheus counts down from the number of formats it knows, plus one.
    let mut weight = 6;
    let mut accept = String::new();
    for protocol in protocols {
        accept += protocol.media_type();
        if protocol.has_escaping() {
            accept += &format!(";escaping={}", escaping.as_str());
        }
        accept += &format!(";q=0.{weight},");
        weight -= 1;
    }
    accept + &format!("*/*;q=0.{weight}")
}

impl Client {
    /// A client without a connection yet.
    #[must_use]
    pub fn new(options: HttpOptions) -> Self {
        Self { options, connection: None }
    }

    /// Gets `url`. A body of `limit` bytes ([`DEFAULT_BODY_BYTES`] if that is 0) or more is refused. `memory` gives the
    /// buffer for the body, once there is an answer; it is told how many bytes that announces.
    ///
    /// # Errors
    /// If there is no whole answer of status 200 within `timeout`, or too large a one.
    pub async fn get(
        &mut self,
        url: &str,
        headers: &HeaderMap,
        timeout: Duration,
        limit: u64,
        memory: impl BodyMemory,
    ) -> Result<Fetched, FetchError> {
        let result = tokio::time::timeout(timeout, self.get_now(url, headers, limit, memory)).await;
        result.unwrap_or_else(|_| Err(FetchError::Timeout { url: without_user(url).into_owned() }))
    }

    async fn get_now(
        &mut self,
        url: &str,
        headers: &HeaderMap,
        limit: u64,
        memory: impl BodyMemory,
    ) -> Result<Fetched, FetchError> {
        let failed = |what: String| FetchError::Get { url: without_user(url).into_owned(), what };
        let mut page = HttpUrl::parse(url).map_err(|e| failed(e.to_string()))?;
        let first_origin = page.origin();
        for _ in 0..=MAX_REDIRECTS {
            let trust = if page.origin() == first_origin { Trust::Configured } else { Trust::None };
            let request = request(&self.options, &page, headers, trust).await.map_err(failed)?;
            let (mut exchange, response) = self.send(&page, request).await.map_err(failed)?;
            if let Some(next) = redirect(&self.options, &page, &response).map_err(failed)? {
                // Nobody reads the body of a redirect, so the connection cannot go on.
                page = next;
                continue;
            }
            if response.status() != StatusCode::OK {
                return Err(refusal(&page, exchange, response).await);
            }
            let limit = effective_limit(limit);
            let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
            let announced: Option<usize> = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
            if announced.is_some_and(|bytes| bytes >= limit) {
                return Err(FetchError::BodySize);
            }
            let mut fetched = Fetched {
                content_type: header(CONTENT_TYPE).map(str::to_owned),
                gzip: header(CONTENT_ENCODING).is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip")),
                body: memory.lend(announced.map(|bytes| bytes.min(MAX_RESERVED_BYTES))),
            };
            let keeps_alive = keeps_alive(&response);
            exchange.read_body(response, limit, &mut fetched.body, &memory, failed).await?;
            self.connection = exchange.end().filter(|_| keeps_alive);
            return Ok(fetched);
        }
        Err(failed(format!("stopped after {MAX_REDIRECTS} redirects")))
    }

    /// Sends over the connection that is open, or over a new one if there is none or it turns out to be dead.
    async fn send(
        &mut self,
        url: &HttpUrl,
        request: Request<Empty<Bytes>>,
    ) -> Result<(Exchange, Response<Incoming>), String> {
        let origin = url.origin();
        if let Some(connection) = self.connection.take().filter(|connection| connection.origin() == origin)
            && let Ok(mut exchange) = Exchange::begin(connection).await
            // The other side may have closed it since the last answer.
            && let Ok(response) = exchange.send(request.clone()).await
        {
            return Ok((exchange, response));
        }
        let connection = Connection::open(&self.options, url, origin).await?;
        let mut exchange = Exchange::begin(connection).await.map_err(|e| deep(&e))?;
        let response = exchange.send(request).await.map_err(|e| deep(&e))?;
        Ok((exchange, response))
    }
}

/// Whether another request may follow this answer.
fn keeps_alive(response: &Response<Incoming>) -> bool {
    let says_close =
        |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().windows(5).any(|word| word == b"close");
    response.version() == Version::HTTP_11 && !response.headers().get_all(CONNECTION).iter().any(says_close)
}

/// Credentials that the other side may see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Those of the configuration, which are meant for one scheme, host and port.
    Configured,
    /// None: a redirect has led elsewhere.
    None,
}

/// A request for `url`. User and password of the URL itself come before those of the options.
async fn request(
    options: &HttpOptions,
    url: &HttpUrl,
    headers: &HeaderMap,
    trust: Trust,
) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::builder().method(Method::GET).uri(url.path_and_query());
    request = request.header(HOST, url.host_header()).header(USER_AGENT, AGENT);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if trust == Trust::Configured {
        for header in &options.headers {
            for value in &header.values {
                request = request.header(&header.name, secret_value(value.read().await?.expose())?);
            }
        }
    }
    if let Some(user) = url.user() {
        request = request.header(AUTHORIZATION, basic(&user.name, &user.password)?);
    } else if let Some(auth) = options.auth.as_ref().filter(|_| trust == Trust::Configured) {
        request = request.header(AUTHORIZATION, authorization(auth).await?);
    }
    request.body(Empty::new()).map_err(|e| e.to_string())
}

/// Where `response` sends us, if it does and we go.
fn redirect(options: &HttpOptions, from: &HttpUrl, response: &Response<Incoming>) -> Result<Option<HttpUrl>, String> {
    let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) && options.follow_redirects;
    let Some(location) = response.headers().get(LOCATION).filter(|_| follows) else { return Ok(None) };
    let location = location.to_str().map_err(|_| "invalid Location header")?;
    from.join(location).map(Some).map_err(|e| format!("invalid Location header: {e}"))
}

/// Why an answer other than 200 fails the scrape.
async fn refusal(page: &HttpUrl, mut exchange: Exchange, response: Response<Incoming>) -> FetchError {
    let status = response.status();
    if status == StatusCode::BAD_REQUEST && page.scheme() == Scheme::Http {
        // Servers that speak TLS explain themselves: "Client sent an HTTP request to an HTTPS server."
        let start = exchange.read_start(response, MAX_EXPLANATION_BYTES).await;
        if memchr::memmem::find(&start, b"HTTPS").is_some() {
            return FetchError::WantsTls(status);
        }
    }
    FetchError::Status(status)
}

/// Bytes from which on a body is too large.
fn effective_limit(limit: u64) -> usize {
    match usize::try_from(limit) {
        Ok(0) => DEFAULT_BODY_BYTES,
        Ok(limit) => limit.min(MAX_BODY_BYTES),
        Err(_) => MAX_BODY_BYTES,
    }
}

/// Makes room for `more` bytes in `body`, which must stay below `limit`; grows by half at least.
fn make_room(body: &mut Vec<u8>, more: usize, limit: usize, memory: &impl BodyMemory) -> Result<(), FetchError> {
    let wanted = body.len() + more;
    if wanted <= body.capacity() {
        return Ok(());
    }
    let roomy = wanted.max(body.capacity() / 2 * 3).min(limit.max(wanted));
    let bytes = if memory.grow(roomy) {
        roomy
    } else if memory.grow(wanted) {
        wanted
    } else {
        return Err(FetchError::Memory(wanted));
    };
    body.reserve_exact(bytes - body.len());
    Ok(())
}

/// Decompresses `compressed` into `body`, which is cleared first.
///
/// # Errors
/// If it is no gzip, or reaches `limit` bytes (0: [`DEFAULT_BODY_BYTES`]).
pub fn decompress(compressed: &[u8], limit: u64, body: &mut Vec<u8>) -> Result<(), FetchError> {
    body.clear();
    let mut gunzip = Gunzip::new(compressed.to_vec(), limit);
    gunzip.run(usize::MAX, body, &|_: Option<usize>| Vec::new(), None).map(|_| ())
}

async fn authorization(auth: &Auth) -> Result<HeaderValue, String> {
    match auth {
        Auth::Basic { username, password } => {
            let username = username.read().await?;
            let password = match password {
                Some(password) => password.read().await?,
                None => Secret::default(),
            };
            basic(username.expose(), &password)
        }
        Auth::Other { scheme, credentials } => match credentials {
            Some(credentials) => secret_value(&format!("{scheme} {}", credentials.read().await?.expose())),
            None => secret_value(scheme),
        },
    }
}

fn basic(name: &str, password: &Secret) -> Result<HeaderValue, String> {
    secret_value(&format!("Basic {}", STANDARD.encode(format!("{name}:{}", password.expose()))))
}

/// A header value that does not print.
fn secret_value(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text).map_err(|_| "invalid characters in a header value")?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error with what caused it.
fn deep(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_is_that_of_prometheus() {
        assert_eq!(
            accept(&Protocol::DEFAULT, Escaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(accept(&[Protocol::Text004], Escaping::Underscores), "text/plain;version=0.0.4;q=0.6,*/*;q=0.5");
    }

    #[test]
    fn a_packed_body_is_bounded_by_its_unpacked_size_without_a_configured_limit() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..=DEFAULT_BODY_BYTES >> 20 {
            encoder.write_all(&vec![b'a'; 1 << 20]).unwrap();
        }
        let mut body = Vec::new();
        assert_eq!(decompress(&encoder.finish().unwrap(), 0, &mut body), Err(FetchError::BodySize));
        assert!(body.capacity() <= DEFAULT_BODY_BYTES, "{}", body.capacity());
    }

    #[test]
    fn compressed_bodies_are_bounded() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&vec![b'a'; 100_000]).unwrap();
        let compressed = encoder.finish().unwrap();
        let mut body = Vec::new();
        assert_eq!(decompress(&compressed, 0, &mut body), Ok(()));
        assert_eq!(body.len(), 100_000);
        assert_eq!(decompress(&compressed, 100_000, &mut body), Err(FetchError::BodySize));
        assert!(matches!(decompress(b"no gzip", 0, &mut body), Err(FetchError::Gzip(_))));
        assert!(matches!(decompress(&compressed[..50], 0, &mut body), Err(FetchError::Gzip(_))));
    }

    #[test]
    fn secrets_do_not_print_with_their_header() {
        assert_eq!(format!("{:?}", secret_value("Bearer hunter2").unwrap()), "Sensitive");
    }
}
