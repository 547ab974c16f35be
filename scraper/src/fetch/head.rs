//! The head of an answer, read ahead of hyper.
//!
//! hyper takes at most 100 header lines and none that is folded. A head within that passes untouched. Any other is
//! rewritten: folded lines are joined (RFC 9112, section 5.2), and of very many lines only those that the client reads
//! are handed on.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes of a head.
pub(super) const MAX_HEAD_BYTES: usize = 1 << 20;

/// Most lines of a head that hyper is given.
const MAX_LINES: usize = 90;

/// Most interim answers (status 1xx) before the final one, as Go's client has it.
const MAX_INTERIM: usize = 5;

/// Headers that the client or hyper reads.
const READ_HEADERS: [&str; 6] =
    ["connection", "content-encoding", "content-length", "content-type", "location", "transfer-encoding"];

/// Bytes with which a TLS record begins: its type and the major version.
const TLS_RECORD_TYPES: std::ops::RangeInclusive<u8> = 0x14..=0x17;
const TLS_MAJOR_VERSION: u8 = 3;

/// A stream whose next bytes are an answer.
pub(super) struct Answer<S> {
    stream: S,
    stage: Stage,
}

/// The part of the answer that comes next.
enum Stage {
    /// Its head, of which these bytes have come without its end.
    Head(Incomplete),
    /// Bytes that have been read ahead, from `at` on.
    Ahead { bytes: Vec<u8>, at: usize },
    /// The body, straight from the stream.
    Body,
}

#[derive(Default)]
struct Incomplete {
    bytes: Vec<u8>,
    /// Bytes known not to hold the end.
    searched: usize,
    /// Interim answers so far.
    interim: usize,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadError {
    TooLarge,
    Interim,
    Tls,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "server response headers exceeded {MAX_HEAD_BYTES} bytes; aborted"),
            Self::Interim => f.write_str("too many 1xx informational responses"),
            Self::Tls => f.write_str("the target answered TLS on an http address"),
        }
    }
}

impl std::error::Error for HeadError {}

impl From<HeadError> for io::Error {
    fn from(error: HeadError) -> Self {
        Self::other(error)
    }
}

impl<S> Answer<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, stage: Stage::Head(Incomplete::default()) }
    }

    /// The stream after the answer; `None` if bytes of it have been read ahead.
    pub(super) fn into_stream(self) -> Option<S> {
        match self.stage {
            Stage::Body => Some(self.stream),
            Stage::Head(_) | Stage::Ahead { .. } => None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Answer<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Body => return Pin::new(&mut this.stream).poll_read(cx, into),
                Stage::Ahead { bytes, at } => {
                    let part = &bytes[*at..][..into.remaining().min(bytes.len() - *at)];
                    into.put_slice(part);
                    *at += part.len();
                    if *at == bytes.len() {
                        this.stage = Stage::Body;
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Head(head) => {
                    let before = into.filled().len();
                    ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
                    let fresh = &into.filled()[before..];
                    if fresh.is_empty() {
                        // The stream has ended: hyper says what is missing.
                        this.stage = Stage::after(std::mem::take(&mut head.bytes));
                        continue;
                    }
                    if head.bytes.is_empty() && passes(fresh) {
                        this.stage = Stage::Body;
                        return Poll::Ready(Ok(()));
                    }
                    head.bytes.extend_from_slice(fresh);
                    into.set_filled(before);
                    if let Some(rewritten) = head.complete()? {
                        this.stage = Stage::after(rewritten);
                    }
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answer<S> {
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

impl Stage {
    fn after(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Body } else { Self::Ahead { bytes, at: 0 } }
    }
}

impl Incomplete {
    /// The head as hyper takes it, and what has come after it; `None` while its end is missing.
    fn complete(&mut self) -> Result<Option<Vec<u8>>, HeadError> {
        if let [kind, TLS_MAJOR_VERSION, ..] = self.bytes[..]
            && TLS_RECORD_TYPES.contains(&kind)
        {
            return Err(HeadError::Tls);
        }
        while let Some(end) = head_end(&self.bytes, self.searched) {
            if end > MAX_HEAD_BYTES {
                return Err(HeadError::TooLarge);
            }
            self.searched = 0;
            if is_interim(&self.bytes) {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(HeadError::Interim);
                }
                self.bytes.drain(..end);
                continue;
            }
            let mut rewritten = rewrite(&self.bytes[..end]);
            rewritten.extend_from_slice(&self.bytes[end..]);
            return Ok(Some(rewritten));
        }
        // The end may begin in the last two bytes.
        self.searched = self.bytes.len().saturating_sub(2);
        if self.bytes.len() > MAX_HEAD_BYTES { Err(HeadError::TooLarge) } else { Ok(None) }
    }
}

/// Whether `bytes` hold a whole head, of a final answer, that hyper takes as it is.
fn passes(bytes: &[u8]) -> bool {
    let Some(end) = head_end(bytes, 0) else { return false };
    let head = &bytes[..end];
    let (mut lines, mut folded) = (0, false);
    for at in memchr::memchr_iter(b'\n', head) {
        lines += 1;
        folded |= matches!(head.get(at + 1), Some(b' ' | b'\t'));
    }
    lines <= MAX_LINES && !folded && !is_interim(head)
}

/// The end of the head: behind the first empty line that ends at `from` or later.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at + 1).find_map(|next| match bytes[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// Whether the head is that of an answer before the final one; after 101 there is no HTTP.
fn is_interim(head: &[u8]) -> bool {
    matches!(head, [b'H', b'T', b'T', b'P', b'/', _, b'.', _, b' ', b'1', rest @ ..] if !rest.starts_with(b"01"))
}

/// The head without folded lines and with at most [`MAX_LINES`].
fn rewrite(head: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let many = memchr::memchr_iter(b'\n', head).count() > MAX_LINES;
    let mut dropping = false;
    for line in head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        // A line that goes on before any header is malformed, which hyper says.
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) && (lines.len() > 1 || dropping) {
            if !dropping && let Some(last) = lines.last_mut() {
                last.truncate(last.trim_ascii_end().len());
                last.push(b' ');
                last.extend_from_slice(line.trim_ascii());
            }
            continue;
        }
        dropping = !lines.is_empty() && many && (lines.len() >= MAX_LINES || !is_read(line) || has(&lines, line));
        if !line.is_empty() && !dropping {
            lines.push(line.to_vec());
        }
    }
    let mut rewritten = lines.join(&b"\r\n"[..]);
    rewritten.extend_from_slice(b"\r\n\r\n");
    rewritten
}

fn has(lines: &[Vec<u8>], line: &[u8]) -> bool {
    lines.iter().any(|other| other == line)
}

/// Whether the header of this line is one that is read; a line that is no header is hyper's to refuse.
fn is_read(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return !line.is_empty() };
    READ_HEADERS.iter().any(|name| line[..colon].eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What hyper is given of an answer that comes in pieces of `piece` bytes.
    async fn given(answer: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let (mut target, client) = tokio::io::duplex(1 << 16);
        let mut reader = Answer::new(client);
        let answer = answer.to_vec();
        let writer = tokio::spawn(async move {
            for part in answer.chunks(piece) {
                if tokio::io::AsyncWriteExt::write_all(&mut target, part).await.is_err() {
                    return;
                }
            }
        });
        let mut all = Vec::new();
        let result = reader.read_to_end(&mut all).await;
        drop(reader);
        writer.await.unwrap();
        result.map(|_| all).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn a_plain_head_passes_untouched() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A:  b \r\n\r\na 1\n\nb 2\n";
        for piece in [1, 7, 1000] {
            let given = given(answer, piece).await.unwrap();
            assert_eq!(String::from_utf8(given).unwrap(), String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn folded_lines_are_joined() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; \r\n \t version=0.0.4\r\n\tx\nA: b\r\n\r\na 1\n";
        let joined = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4 x\r\nA: b\r\n\r\na 1\n";
        for piece in [1, 1000] {
            assert_eq!(String::from_utf8(given(answer, piece).await.unwrap()).unwrap(), joined);
        }
    }

    #[tokio::test]
    async fn of_many_lines_those_that_are_read_are_handed_on() {
        let many: String = (0..50_000).map(|n| format!("x-{n}: y\r\n z\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{many}content-length: 4\r\nCONTENT-type: a;\r\n b\r\n\r\na 1\n");
        let given = given(answer.as_bytes(), 5000).await.unwrap();
        let expected = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nCONTENT-type: a; b\r\n\r\na 1\n";
        assert_eq!(String::from_utf8(given).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_head_over_a_mebibyte_is_refused_as_are_endless_interim_answers_and_tls() {
        let line = format!("x: {}\r\n", "y".repeat(1000));
        let error = given(format!("HTTP/1.1 200 OK\r\n{}", line.repeat(1100)).as_bytes(), 3000).await.unwrap_err();
        assert!(error.contains("headers exceeded 1048576 bytes"), "{error}");
        let error = given("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100).as_bytes(), 100).await.unwrap_err();
        assert!(error.contains("too many 1xx"), "{error}");
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\na 1\n";
        assert_eq!(given(answer, 10).await.unwrap(), b"HTTP/1.1 200 OK\r\n\r\na 1\n");
        let error = given(&[0x15, 3, 1, 0, 2, 2, 22], 7).await.unwrap_err();
        assert_eq!(error, "the target answered TLS on an http address");
    }

    #[tokio::test]
    async fn a_head_that_ends_early_is_handed_on_as_far_as_it_came() {
        assert_eq!(given(b"HTTP/1.1 200 OK\r\nA: b", 3).await.unwrap(), b"HTTP/1.1 200 OK\r\nA: b");
    }
}
