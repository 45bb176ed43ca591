//! A client's connection as Pingora sees it: one request at a time, and never a byte beyond it.
//!
//! What a client sends ahead (pipelining) waits here until its turn. Body bytes pass the gate's tracker, so a chunk that
//! two programs could read differently never reaches a cell.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf},
    sync::{oneshot, watch},
    time::{Instant, Sleep, sleep, timeout, timeout_at},
};

use crate::gate::{BodyTracker, GateLimits, HeadScan, HeadScanner, Refusal};

/// Bytes read ahead of the current request, at most. A client that pipelines more waits for its answers.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;
/// First size of the read buffer; most heads fit.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Answers are written in pieces of up to this size.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// How long, and how many bytes, a client may go on sending after its answer before the connection is cut. Closing at
/// once would reset the connection and could destroy the answer on its way (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct GatedStream {
    /// `None` only after it was given back in `Drop`.
    inner: Option<BufWriter<Stream>>,
    /// Read from the client, not yet handed on.
    ahead: BytesMut,
    request: Request,
    is_answered: bool,
    /// Part of the answer may wait in a buffer.
    has_unflushed: bool,
    /// How long a write may make no headway.
    stall_limit: Duration,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    give_back: Option<oneshot::Sender<Leftover>>,
}

/// A connection that was answered while its client still sends.
#[derive(Debug)]
pub(super) struct Leftover(BufWriter<Stream>);

/// How far the current request has come.
#[derive(Debug)]
enum Request {
    /// No request: the next bytes are a head.
    Between,
    Body(BodyTracker),
    /// All of its bytes were handed on.
    Complete,
    /// It asks for another protocol; nothing may follow before the cell agrees.
    AwaitingSwitch,
    /// Both sides agreed on another protocol: no framing from here on.
    Switched,
    Refused(Refusal),
}

/// How long to wait for a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadWait {
    /// Until the first byte. `None` on a new connection: there the head's time runs from the start.
    pub(super) idle: Option<Duration>,
    pub(super) head: Duration,
}

/// What came instead of a request or as one.
#[derive(Debug)]
pub(super) enum NextHead {
    /// A whole head that the scanner let through.
    Head(BytesMut),
    /// The client is done, or was idle for too long, or the proxy is shutting down.
    Done,
    /// It began a head and did not finish it in time.
    TimedOut,
    Refused(Refusal),
}

impl GatedStream {
    /// The receiver gets the connection if it ends, answered, in the middle of a request.
    pub(super) fn new(inner: Stream) -> (Self, oneshot::Receiver<Leftover>) {
        let (give_back, leftover) = oneshot::channel();
        let stream = Self {
            inner: Some(BufWriter::with_capacity(WRITE_BUFFER_BYTES, inner)),
            ahead: BytesMut::new(),
            request: Request::Between,
            is_answered: false,
            has_unflushed: false,
            stall_limit: LINGER,
            stalled: None,
            give_back: Some(give_back),
        };
        (stream, leftover)
    }

    fn inner(&mut self) -> &mut BufWriter<Stream> {
        self.inner
            .as_mut()
            .expect("the stream is given back only when this is dropped")
    }

    fn stream(&self) -> &Stream {
        self.inner
            .as_ref()
            .expect("the stream is given back only when this is dropped")
            .get_ref()
    }

    /// Waits for the next head. While nothing of it has come, a shutdown ends the wait.
    pub(super) async fn next_head(
        &mut self,
        limits: &GateLimits<'_>,
        wait: HeadWait,
        shutdown: &mut watch::Receiver<bool>,
    ) -> NextHead {
        self.request = Request::Between;
        if self.ahead.is_empty() {
            // What a large body needed is not kept while the connection idles.
            self.ahead = BytesMut::new();
        }
        let mut scanner = HeadScanner::new();
        let mut deadline = None;
        loop {
            if !self.ahead.is_empty() {
                match scanner.scan(&self.ahead, limits) {
                    HeadScan::Complete { skip, end } => {
                        let mut head = self.ahead.split_to(end);
                        head.advance(skip);
                        return NextHead::Head(head);
                    }
                    HeadScan::Refused(refusal) => return NextHead::Refused(refusal),
                    HeadScan::Partial { .. } => {}
                }
                deadline.get_or_insert_with(|| Instant::now() + wait.head);
            }
            let idle_until = || Instant::now() + wait.idle.unwrap_or(wait.head);
            let until = deadline.unwrap_or_else(idle_until);
            if wait.idle.is_none() {
                deadline = Some(until);
            }
            self.ahead.reserve(READ_BUFFER_BYTES);
            let nothing_came = self.ahead.is_empty();
            let Self { inner, ahead, .. } = self;
            let Some(inner) = inner else {
                return NextHead::Done;
            };
            let read = tokio::select! {
                biased;
                read = timeout_at(until, inner.read_buf(ahead)) => read,
                _ = shutdown.wait_for(|stop| *stop), if nothing_came => return NextHead::Done,
            };
            match read {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return NextHead::Done,
                Err(_) if nothing_came => return NextHead::Done,
                Err(_) => return NextHead::TimedOut,
            }
        }
    }

    /// Sets the stream up for the request whose head was handed out. `stall_limit` is how long a write of its answer may
    /// make no headway.
    ///
    /// # Errors
    /// Bytes that came along with an upgrade request: they could be meant for either protocol.
    pub(super) fn begin(
        &mut self,
        body: BodyTracker,
        asks_for_switch: bool,
        stall_limit: Duration,
    ) -> Result<(), Refusal> {
        self.is_answered = false;
        self.stall_limit = stall_limit;
        self.request = if asks_for_switch {
            if !self.ahead.is_empty() {
                return Err(Refusal::BytesBeforeSwitch);
            }
            Request::AwaitingSwitch
        } else if body.is_complete() {
            Request::Complete
        } else {
            Request::Body(body)
        };
        Ok(())
    }

    /// True when the next bytes on this connection are the next request's head.
    pub(super) fn is_at_request_end(&self) -> bool {
        matches!(self.request, Request::Complete)
    }

    /// Answers and ends the connection, giving the client time to read the answer.
    pub(super) async fn close_with(mut self, response: &[u8]) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        let written = timeout(LINGER, inner.write_all(response)).await;
        if matches!(written, Ok(Ok(()))) {
            Leftover(inner).linger().await;
        }
    }

    /// Answers and ends the connection at once. What the client sent already is read, so that the answer has a chance.
    pub(super) async fn cut_with(mut self, response: &[u8]) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        let mut scratch = [0; READ_BUFFER_BYTES];
        // Neither waits: the proxy has too many connections already.
        let _ = timeout(Duration::ZERO, inner.read(&mut scratch)).await;
        let _ = timeout(Duration::ZERO, async {
            inner.write_all(response).await?;
            inner.shutdown().await
        })
        .await;
    }

    /// Body bytes for Pingora: as many as belong to the request.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            self.ahead
                .reserve(READ_BUFFER_BYTES.max(buf.remaining().min(READ_AHEAD_BYTES_MAX)));
            let count = ready!(self.poll_read_ahead(cx))?;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let Request::Body(tracker) = &mut self.request else {
            return Poll::Ready(Ok(()));
        };
        let window = self.ahead.len().min(buf.remaining());
        match tracker.advance(&self.ahead[..window]) {
            Ok(progress) => {
                buf.put_slice(&self.ahead[..progress.consumed]);
                self.ahead.advance(progress.consumed);
                if progress.complete {
                    self.request = Request::Complete;
                }
                Poll::Ready(Ok(()))
            }
            Err(refusal) => {
                self.request = Request::Refused(refusal);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)))
            }
        }
    }

    /// After the request's last byte: only the client's leaving is told; what it sends ahead is kept.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.ahead.len() >= READ_AHEAD_BYTES_MAX {
                return Poll::Pending;
            }
            self.ahead.reserve(READ_BUFFER_BYTES);
            let count = ready!(self.poll_read_ahead(cx))?;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            if matches!(self.request, Request::AwaitingSwitch) {
                self.request = Request::Refused(Refusal::BytesBeforeSwitch);
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    Refusal::BytesBeforeSwitch,
                )));
            }
        }
    }

    fn poll_switched(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(self.inner()).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { inner, ahead, .. } = self;
        let Some(inner) = inner else {
            return Poll::Ready(Ok(0));
        };
        std::pin::pin!(inner.read_buf(ahead)).poll(cx)
    }

    /// Learns from the answer on its way to the client whether the protocol changes. Interim answers leave it open.
    fn note_answer(&mut self, written: &[u8]) {
        self.is_answered = true;
        if !matches!(self.request, Request::AwaitingSwitch) {
            return;
        }
        if written.starts_with(b"HTTP/1.1 101") {
            self.request = Request::Switched;
        } else if !written.starts_with(b"HTTP/1.1 1") {
            // An answer like any other: the request is over, and what follows is the next one.
            self.request = Request::Complete;
        }
    }

    /// Writing, with a limit on how long the client may take nothing. Pingora limits some of its writes only: not those
    /// of a head, and not the last flush.
    fn poll_with_limit<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut BufWriter<Stream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let outcome = write(Pin::new(self.inner()), cx);
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let limit = self.stall_limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing",
        )))
    }

    /// True when the client may be sending still, to a connection that was answered and ends.
    fn leaves_a_sender(&self) -> bool {
        let may_send = match self.request {
            Request::Body(_) | Request::Refused(_) => true,
            Request::Complete => !self.ahead.is_empty(),
            Request::Between | Request::AwaitingSwitch | Request::Switched => false,
        };
        self.is_answered && may_send
    }
}

impl Drop for GatedStream {
    fn drop(&mut self) {
        if self.leaves_a_sender()
            && let (Some(inner), Some(give_back)) = (self.inner.take(), self.give_back.take())
        {
            // Whoever waited for it may be gone; then the connection ends here.
            let _ = give_back.send(Leftover(inner));
        }
    }
}

impl Leftover {
    /// Ends the connection in a way that lets the client read its answer: no more is sent, and what the client goes on
    /// sending is thrown away for a while.
    pub(super) async fn linger(self) {
        let Self(mut inner) = self;
        let drained = timeout(LINGER, async {
            inner.shutdown().await?;
            let mut left = LINGER_BYTES_MAX;
            let mut scratch = [0; READ_BUFFER_BYTES];
            while left > 0 {
                match inner.read(&mut scratch).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            io::Result::Ok(())
        });
        // Either way the connection is over.
        let _ = drained.await;
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever reads has no more to write for now, so the client gets what there is. Pingora would keep an answer
        // whose length is known until the buffer is full or the answer at its end, and that may be far.
        if self.has_unflushed
            && let Poll::Ready(Err(error)) = self.as_mut().poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        match &self.request {
            Request::Body(_) => self.poll_body(cx, buf),
            Request::Between | Request::Complete | Request::AwaitingSwitch => self.poll_idle(cx),
            Request::Switched => self.poll_switched(cx, buf),
            Request::Refused(refusal) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *refusal)))
            }
        }
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.note_answer(buf);
        self.has_unflushed = true;
        self.poll_with_limit(cx, |inner, cx| inner.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_with_limit(cx, AsyncWrite::poll_flush))?;
        self.has_unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with_limit(cx, AsyncWrite::poll_shutdown)
    }
}

#[async_trait]
impl Shutdown for GatedStream {
    async fn shutdown(&mut self) {
        // The connection is over whether or not its last bytes can be written.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for GatedStream {
    fn id(&self) -> UniqueIDType {
        self.stream().id()
    }
}

impl Ssl for GatedStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream().get_ssl_digest()
    }
}

impl GetTimingDigest for GatedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream().get_timing_digest()
    }
}

impl GetProxyDigest for GatedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream().get_proxy_digest()
    }
}

impl GetSocketDigest for GatedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream().get_socket_digest()
    }
}

#[async_trait]
impl Peek for GatedStream {}
