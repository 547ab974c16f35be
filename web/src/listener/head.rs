//! The head of a request, read as Go's `net/http` reads it where the HTTP library is stricter: up to 1 MiB, any number of
//! lines, folded lines, addresses beyond 64 KiB and with bytes that no address should hold.

use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::framing::Framing;
use crate::api::ErrorType;

/// Bytes of a head: 1 MiB for the headers and 4 KiB for the rest, as in Go.
pub(super) const MAX_HEAD_BYTES: usize = (1 << 20) + 4096;

/// Lines, and bytes, up to which a head goes to the HTTP library as it is.
const PLAIN_LINES: usize = 96;
const PLAIN_BYTES: usize = 128 << 10;

/// Bytes of an address that [`http::Uri`] can hold, less some.
const MAX_URI_BYTES: usize = 60_000;

/// A head that has been read.
#[derive(Debug)]
pub(super) struct Head {
    /// For the HTTP library in place of the head, if that cannot go there as it is.
    pub(super) rewritten: Option<(Vec<u8>, Box<Beside>)>,
    /// How the body is framed.
    pub(super) framing: Framing,
}

/// The part of a request that does not go through the HTTP library.
#[derive(Debug)]
pub(super) struct Beside {
    /// All headers.
    pub(super) headers: HeaderMap,
    /// The query string, if the address is too long with it.
    pub(super) query: Option<String>,
}

/// A head that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) kind: ErrorType,
    pub(crate) message: &'static str,
}

impl Refused {
    const BAD: Self = Self { kind: ErrorType::BadData, message: "400 Bad Request" };
    const BAD_NAME: Self = Self { kind: ErrorType::BadData, message: "400 Bad Request: invalid header name" };
    const BAD_VERSION: Self =
        Self { kind: ErrorType::BadData, message: "400 Bad Request: unsupported protocol version" };
    const BAD_ENCODING: Self = Self { kind: ErrorType::NotImplemented, message: "Unsupported transfer encoding" };
    const LONG_PATH: Self = Self { kind: ErrorType::PathTooLong, message: "414 URI Too Long" };
    pub(super) const TOO_LARGE: Self =
        Self { kind: ErrorType::HeadTooLarge, message: "431 Request Header Fields Too Large" };
}

/// Finds the empty line behind a head as bytes come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    line_start: usize,
    searched: usize,
}

impl Search {
    /// The length of the head at the begin of `bytes`, which has only grown since the last call. `None` until it is whole.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(at) = bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
            let end = self.searched + at;
            let line = &bytes[self.line_start..end];
            (self.line_start, self.searched) = (end + 1, end + 1);
            if line.is_empty() || line == b"\r" {
                return Some(end + 1);
            }
        }
        self.searched = bytes.len();
        None
    }
}

/// The lines of a head behind its first.
struct Field {
    name: HeaderName,
    value: Vec<u8>,
}

/// Reads a whole head.
pub(super) fn read(bytes: &[u8]) -> Result<Head, Refused> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (method, target, version) = request_line(lines.next().unwrap_or_default())?;
    let mut fields: Vec<Field> = Vec::new();
    let mut is_folded = false;
    for line in lines.take_while(|line| !line.is_empty()) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            // Joined by one space, as in Go.
            let last = fields.last_mut().ok_or(Refused::BAD)?;
            if !last.value.is_empty() {
                last.value.push(b' ');
            }
            last.value.extend_from_slice(line.trim_ascii());
            is_folded = true;
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Refused::BAD)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| Refused::BAD_NAME)?;
        fields.push(Field { name, value: line[colon + 1..].trim_ascii().to_vec() });
    }
    if fields.iter().any(|field| field.value.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f)) {
        return Err(Refused::BAD);
    }
    let framing = framing(&fields, version)?;
    let is_plain = !is_folded
        && fields.len() <= PLAIN_LINES
        && bytes.len() <= PLAIN_BYTES
        && target.len() <= MAX_URI_BYTES
        && target.iter().all(is_plain_byte);
    let rewritten = if is_plain { None } else { Some(rewrite(method, target, version, fields, framing)?) };
    Ok(Head { rewritten, framing })
}

/// Method, target and version.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], Version), Refused> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else { return Err(Refused::BAD) };
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ if version.starts_with(b"HTTP/") => return Err(Refused::BAD_VERSION),
        _ => return Err(Refused::BAD),
    };
    let is_target =
        target == b"*" || target.starts_with(b"/") || target.starts_with(b"http://") || target.starts_with(b"https://");
    if http::Method::from_bytes(method).is_err() || !is_target || target.iter().any(u8::is_ascii_control) {
        return Err(Refused::BAD);
    }
    Ok((method, target, version))
}

/// How the body is framed. What could be read in two ways is refused: proxies may have read it in the other.
fn framing(fields: &[Field], version: Version) -> Result<Framing, Refused> {
    let values = |name: HeaderName| fields.iter().filter(move |field| field.name == name).map(|field| &field.value[..]);
    let mut encodings = values(http::header::TRANSFER_ENCODING);
    if let Some(encoding) = encodings.next() {
        let is_chunked = encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
        return match version {
            Version::HTTP_11 if is_chunked => Ok(Framing::CHUNKED),
            Version::HTTP_11 => Err(Refused::BAD_ENCODING),
            _ => Err(Refused::BAD),
        };
    }
    let mut length = None;
    for value in values(http::header::CONTENT_LENGTH) {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let value: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(Refused::BAD)?;
        if length.replace(value).is_some_and(|before| before != value) {
            return Err(Refused::BAD);
        }
    }
    Ok(Framing::Length(length.unwrap_or(0)))
}

/// A head with the headers that the HTTP library must see, and the rest beside it.
fn rewrite(
    method: &[u8],
    target: &[u8],
    version: Version,
    fields: Vec<Field>,
    framing: Framing,
) -> Result<(Vec<u8>, Box<Beside>), Refused> {
    let target = escape(target);
    let (path, query) = target.split_once('?').map_or((&target[..], None), |(path, query)| (path, Some(query)));
    if path.len() > MAX_URI_BYTES {
        return Err(Refused::LONG_PATH);
    }
    let is_long = target.len() > MAX_URI_BYTES;
    let mut out = method.to_vec();
    out.push(b' ');
    out.extend_from_slice(if is_long { path.as_bytes() } else { target.as_bytes() });
    out.extend_from_slice(if version == Version::HTTP_10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    match framing {
        Framing::Length(0) => {}
        Framing::Length(length) => out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes()),
        Framing::Chunked(_) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    let mut headers = HeaderMap::with_capacity(fields.len().min(1024));
    for Field { name, value } in fields {
        if name == http::header::CONNECTION || name == http::header::EXPECT {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(&value[..value.len().min(256)]);
            out.extend_from_slice(b"\r\n");
        }
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).map_err(|_| Refused::BAD)?;
        headers.try_append(name, value).map_err(|_| Refused::TOO_LARGE)?;
    }
    out.extend_from_slice(b"\r\n");
    let query = query.filter(|_| is_long).map(str::to_owned);
    Ok((out, Box::new(Beside { headers, query })))
}

/// A head for the HTTP library in place of one that is refused, with as much of its path as tells what it is.
pub(super) fn refused(bytes: &[u8]) -> Vec<u8> {
    const MAX_PATH_BYTES: usize = 256;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let letters = path.iter().take(MAX_PATH_BYTES).take_while(|byte| is_plain_byte(byte) && **byte != b'%');
    let mut path: Vec<u8> = letters.copied().collect();
    if !path.starts_with(b"/") {
        path = b"/".to_vec();
    }
    [b"GET ", &path[..], b" HTTP/1.1\r\nconnection: close\r\n\r\n"].concat()
}

/// Whether an address may hold a byte as it is.
fn is_plain_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/?[]".contains(byte)
}

fn escape(target: &[u8]) -> String {
    let mut out = String::with_capacity(target.len());
    for byte in target {
        if is_plain_byte(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Framing {
        let head = read(text.as_bytes()).unwrap();
        assert!(head.rewritten.is_none(), "{text}");
        head.framing
    }

    fn beside(text: &[u8]) -> (String, Beside) {
        let (rewritten, beside) = read(text).unwrap().rewritten.unwrap();
        (String::from_utf8(rewritten).unwrap(), *beside)
    }

    #[test]
    fn the_end_of_a_head_is_found_as_bytes_come() {
        let text = b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody\n\n";
        let mut search = Search::default();
        let found = (1..=text.len()).find_map(|len| search.end(&text[..len]).map(|end| (len, end)));
        assert_eq!(found, Some((24, 24)));
        assert_eq!(Search::default().end(b"GET / HTTP/1.1\nA: b\n\n"), Some(21));
    }

    #[test]
    fn usual_heads_go_to_the_library_as_they_are() {
        assert_eq!(plain("GET /api/v1/query?query=up HTTP/1.1\r\nHost: a\r\n\r\n"), Framing::Length(0));
        assert_eq!(plain("POST / HTTP/1.1\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\n"), Framing::Length(5));
        assert_eq!(
            plain("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nContent-Length: 5\r\n\r\n"),
            Framing::CHUNKED
        );
        assert_eq!(plain("GET http://a/b HTTP/1.0\nX: \u{e4}\n\n"), Framing::Length(0));
    }

    #[test]
    fn folded_lines_are_joined_by_a_space() {
        let (head, beside) =
            beside(b"POST /x HTTP/1.1\r\nOrigin: a\r\n  b \r\n\tc\r\nTransfer-Encoding:\r\n chunked\r\n\r\n");
        assert_eq!(head, "POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(beside.headers["origin"], "a b c");
    }

    #[test]
    fn heads_hold_any_number_of_lines_and_long_addresses() {
        let lines: String = (0..20_000).map(|i| format!("X-{i}: y\r\n")).collect();
        let text = format!("GET /a HTTP/1.1\r\n{lines}Connection: close\r\nCookie: {}\r\n\r\n", "c".repeat(500_000));
        let (head, all) = beside(text.as_bytes());
        assert_eq!(head, "GET /a HTTP/1.1\r\nconnection: close\r\n\r\n");
        assert_eq!((all.headers.len(), &all.headers["x-19999"]), (20_002, &HeaderValue::from_static("y")));
        let query = "y".repeat(900_000);
        let (head, all) = beside(format!("GET /a?{query} HTTP/1.1\r\n\r\n").as_bytes());
        assert_eq!((head.as_str(), all.query), ("GET /a HTTP/1.1\r\n\r\n", Some(query)));
        let (head, _) = beside(b"GET /a?query=up{x=\"\xc3\xa4\"}>0 HTTP/1.1\r\n\r\n");
        assert_eq!(head, "GET /a?query=up%7Bx=%22%C3%A4%22%7D%3E0 HTTP/1.1\r\n\r\n");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            line in proptest::sample::select(vec!["", "GET /a HTTP/1.1\r\n", "POST /b?c HTTP/1.1\nHost: a\r\n"]),
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "GET", "POST", " ", "/", "?", "%", "HTTP/1.1", "HTTP/1.0", "\r\n", "\n", "\r", "\t", ":", "Content-Length",
                "Transfer-Encoding", "chunked", "5", "99999999999999999999", "Connection", "close", "a", "\u{e4}", "\0", "*",
            ]), 0..40),
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..8),
        ) {
            let bytes = [line.as_bytes(), parts.concat().as_bytes(), &noise, b"\r\n\r\n"].concat();
            let mut search = Search::default();
            let end = search.end(&bytes).expect("there is an empty line");
            let again = match read(&bytes[..end]) {
                Ok(Head { rewritten: Some((text, _)), framing }) => Some((text, framing)),
                Ok(Head { rewritten: None, framing }) => Some((bytes[..end].to_vec(), framing)),
                Err(_) => None,
            };
            // The library reads the same request in what it gets.
            for (text, framing) in again.into_iter().chain([(refused(&bytes), Framing::Length(0))]) {
                let head = read(&text).expect("a head that was taken is taken again");
                proptest::prop_assert_eq!(head.framing, framing);
                let mut headers = [httparse::EMPTY_HEADER; 100];
                let mut request = httparse::Request::new(&mut headers);
                let parsed = request.parse(&text);
                proptest::prop_assert!(parsed == Ok(httparse::Status::Complete(text.len())), "{parsed:?}");
            }
        }
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways_are_refused() {
        for (text, refused) in [
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refused::BAD),
            ("GET / HTTP/1.1\r\nHost\r\n\r\n", Refused::BAD),
            ("GET / HTTP/1.1\r\nA B: c\r\n\r\n", Refused::BAD_NAME),
            ("GET / HTTP/1.1\r\nA : c\r\n\r\n", Refused::BAD_NAME),
            ("GET / HTTP/1.1\r\nA: \u{1}\r\n\r\n", Refused::BAD),
            ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Refused::BAD),
            ("GET /a b HTTP/1.1\r\n\r\n", Refused::BAD),
            ("GET / HTTP/2.0\r\n\r\n", Refused::BAD_VERSION),
            ("GET a HTTP/1.1\r\n\r\n", Refused::BAD),
            ("POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", Refused::BAD),
            ("POST / HTTP/1.1\r\nContent-Length: +4\r\n\r\n", Refused::BAD),
            ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Refused::BAD),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refused::BAD_ENCODING),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refused::BAD_ENCODING,
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refused::BAD),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err(), refused, "{text}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(70_000));
        assert_eq!(read(long.as_bytes()).unwrap_err(), Refused::LONG_PATH);
        assert_eq!(refused(b"\x16\x03\x01"), b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
        assert!(refused(b"GET /api/v1/query?x y HTTP/1.1\r\n").starts_with(b"GET /api/v1/query HTTP/1.1\r\n"));
    }
}
