//! The stream of a connection, between the socket and the HTTP library: heads are read here first, and waits are told of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::time::Sleep;

use super::framing::Framing;
use super::head::{self, MAX_HEAD_BYTES, Search};
use super::pulse::{Aside, Pulse};

/// Bytes that are read at once while a head comes.
const PIECE_BYTES: usize = 8 << 10;

/// How long, and for how many bytes, a client that still sends is listened to after the last answer: a connection that is
/// closed before is reset, and the client may never see the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 << 20;

/// The stream of a connection.
pub(super) struct Inlet<S> {
    stream: Take<S>,
    pulse: Arc<Pulse>,
    /// Read, and not handed over.
    incoming: BytesMut,
    /// To be handed over next.
    ready: BytesMut,
    stage: Stage,
    is_stalled: bool,
    linger: Option<Pin<Box<Sleep>>>,
    lingered_bytes: usize,
}

/// The part of a request that comes next.
#[derive(Clone, Copy)]
enum Stage {
    Head(Search),
    Body(Framing),
    /// Nothing that follows is read as a request.
    Refused,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inlet<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self {
            stream: stream.take(u64::MAX),
            pulse,
            incoming: BytesMut::new(),
            ready: BytesMut::new(),
            stage: Stage::Head(Search::default()),
            is_stalled: false,
            linger: None,
            lingered_bytes: 0,
        }
    }

    /// Reads a piece; gives how many bytes came, 0 at the end.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; PIECE_BYTES];
        let mut piece = ReadBuf::new(&mut piece);
        self.stream.set_limit(u64::MAX);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        self.incoming.extend_from_slice(piece.filled());
        Poll::Ready(Ok(piece.filled().len()))
    }

    /// Reads on in a head. Gives whether bytes are ready for the library; `false` is the end of the stream.
    fn head(&mut self, mut search: Search, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            // Empty lines before a head are left out, as the library does.
            while self.incoming.starts_with(b"\r\n") || self.incoming.starts_with(b"\n") {
                self.incoming.advance(if self.incoming[0] == b'\r' { 2 } else { 1 });
                search = Search::default();
            }
            if let Some(end) = search.end(&self.incoming) {
                let bytes = self.incoming.split_to(end);
                self.take(bytes);
                return Poll::Ready(Ok(true));
            }
            if self.incoming.len() > MAX_HEAD_BYTES {
                let bytes = self.incoming.split();
                self.refuse(head::Refused::TOO_LARGE, &bytes);
                return Poll::Ready(Ok(true));
            }
            self.stage = Stage::Head(search);
            let was_empty = self.incoming.is_empty();
            if ready!(self.fill(cx))? == 0 {
                return Poll::Ready(Ok(false));
            }
            if was_empty {
                self.pulse.head_begins();
            }
        }
    }

    /// Hands a whole head over.
    fn take(&mut self, bytes: BytesMut) {
        if bytes.len() > MAX_HEAD_BYTES {
            return self.refuse(head::Refused::TOO_LARGE, &bytes);
        }
        let head = match head::read(&bytes) {
            Ok(head) => head,
            Err(why) => return self.refuse(why, &bytes),
        };
        match head.rewritten {
            None => {
                self.ready = bytes;
                self.pulse.head_ends(Aside::Nothing);
            }
            Some((rewritten, beside)) => {
                self.ready = BytesMut::from(&rewritten[..]);
                self.pulse.head_ends(Aside::Some(beside));
            }
        }
        self.begin_body(head.framing);
    }

    fn begin_body(&mut self, framing: Framing) {
        self.stage = if framing.is_done() {
            self.pulse.received();
            // More may be here already.
            if !self.incoming.is_empty() {
                self.pulse.head_begins();
            }
            Stage::Head(Search::default())
        } else {
            Stage::Body(framing)
        };
    }

    fn refuse(&mut self, why: head::Refused, bytes: &[u8]) {
        self.ready = BytesMut::from(&head::refused(bytes)[..]);
        self.pulse.head_ends(Aside::Refused(why));
        self.pulse.received();
        self.stage = Stage::Refused;
    }

    /// Reads on in a body. Gives whether bytes came; `false` is the end of the stream.
    fn body(&mut self, framing: Framing, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let mut framing = framing;
        if let Framing::Length(left) = framing
            && self.incoming.is_empty()
        {
            let before = buf.filled().len();
            self.stream.set_limit(left);
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let came = buf.filled().len() - before;
            self.begin_body(Framing::Length(left - came as u64));
            return Poll::Ready(Ok(came > 0));
        }
        if self.incoming.is_empty() && ready!(self.fill(cx))? == 0 {
            return Poll::Ready(Ok(false));
        }
        let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "the chunked body is malformed");
        let taken = framing.pass(&self.incoming).map_err(malformed)?;
        self.ready = self.incoming.split_to(taken);
        self.begin_body(framing);
        Poll::Ready(Ok(true))
    }

    /// Notes whether the client takes what is written.
    fn note(&mut self, is_stalled: bool) {
        if is_stalled != self.is_stalled {
            self.is_stalled = is_stalled;
            if is_stalled { self.pulse.stalls() } else { self.pulse.flows() }
        }
    }

    /// Notes what came of writing `len` bytes: the client has taken them once all have gone.
    fn noted(&mut self, len: usize, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Pending => self.note(true),
            Poll::Ready(Ok(written)) if *written == len => self.note(false),
            Poll::Ready(_) => {}
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Inlet<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            if !this.ready.is_empty() {
                let len = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready.split_to(len));
                return Poll::Ready(Ok(()));
            }
            let goes_on = match this.stage {
                Stage::Head(search) => ready!(this.head(search, cx))?,
                Stage::Body(framing) => ready!(this.body(framing, cx, buf))?,
                Stage::Refused => return Poll::Pending,
            };
            if !goes_on || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Inlet<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(this.stream.get_mut()).poll_write(cx, bytes);
        this.noted(bytes.len(), outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(this.stream.get_mut()).poll_write_vectored(cx, pieces);
        this.noted(pieces.iter().map(|piece| piece.len()).sum(), outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(this.stream.get_mut()).poll_shutdown(cx))?;
            let is_at_rest = matches!(this.stage, Stage::Head(_)) && this.incoming.is_empty();
            if is_at_rest {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if linger.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            this.incoming.clear();
            match ready!(this.fill(cx)) {
                Ok(came) if came > 0 && this.lingered_bytes < LINGER_BYTES => this.lingered_bytes += came,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
