//! A client's connection as Pingora sees it: one request at a time, and never a byte beyond it.
//!
//! What a client sends ahead (pipelining) waits here until its turn. Body bytes pass the gate's tracker, so a chunk that
//! two programs could read differently never reaches a cell.

use std::{
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
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::gate::{BodyTracker, GateLimits, HeadScan, HeadScanner, Refusal};

/// Bytes read ahead of the current request, at most. A client that pipelines more waits for its answers.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;
/// First size of the read buffer; most heads fit.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Answers are written in pieces of up to this size.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// How long, and how many bytes, a refused client may go on sending before the connection is cut. Closing at once would
/// reset the connection and could destroy the answer on its way (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct GatedStream {
    inner: BufWriter<Stream>,
    /// Read from the client, not yet handed on.
    ahead: BytesMut,
    request: Request,
}

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
    pub(super) fn new(inner: Stream) -> Self {
        Self {
            inner: BufWriter::with_capacity(WRITE_BUFFER_BYTES, inner),
            ahead: BytesMut::new(),
            request: Request::Between,
        }
    }

    /// Waits for the next head. While nothing of it has come, a shutdown ends the wait.
    pub(super) async fn next_head(
        &mut self,
        limits: &GateLimits,
        wait: HeadWait,
        shutdown: &mut watch::Receiver<bool>,
    ) -> NextHead {
        self.request = Request::Between;
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
            let read = tokio::select! {
                biased;
                read = timeout_at(until, self.inner.read_buf(&mut self.ahead)) => read,
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

    /// Sets the stream up for the request whose head was handed out.
    ///
    /// # Errors
    /// Bytes that came along with an upgrade request: they could be meant for either protocol.
    pub(super) fn begin(
        &mut self,
        body: BodyTracker,
        asks_for_switch: bool,
    ) -> Result<(), Refusal> {
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
        matches!(self.request, Request::Complete | Request::AwaitingSwitch)
    }

    /// Answers and ends the connection, giving the client time to read the answer.
    pub(super) async fn close_with(mut self, response: &[u8]) {
        let written = timeout(LINGER, async {
            self.inner.write_all(response).await?;
            self.inner.shutdown().await
        });
        let Ok(Ok(())) = written.await else { return };
        let drained = timeout(LINGER, async {
            let mut left = LINGER_BYTES_MAX;
            let mut scratch = [0; 4096];
            while let Ok(count @ 1..) = self.inner.read(&mut scratch).await {
                left = left.saturating_sub(count);
                if left == 0 {
                    return;
                }
            }
        });
        // Either way the connection is over.
        let _ = drained.await;
    }

    /// Body bytes for Pingora: as many as belong to the request.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            self.ahead
                .reserve(READ_BUFFER_BYTES.max(buf.remaining().min(READ_AHEAD_BYTES_MAX)));
            let count = ready!(poll_read_buf(&mut self.inner, cx, &mut self.ahead))?;
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
            let count = ready!(poll_read_buf(&mut self.inner, cx, &mut self.ahead))?;
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
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }

    /// The cell's word that the protocol changes, as it passes on its way to the client.
    fn note_switch(&mut self, written: &[u8]) {
        if matches!(self.request, Request::AwaitingSwitch) && written.starts_with(b"HTTP/1.1 101") {
            self.request = Request::Switched;
        }
    }
}

fn poll_read_buf(
    stream: &mut BufWriter<Stream>,
    cx: &mut Context<'_>,
    into: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut read = std::pin::pin!(stream.read_buf(into));
    std::future::Future::poll(read.as_mut(), cx)
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
        self.note_switch(buf);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for GatedStream {
    async fn shutdown(&mut self) {
        // The connection is over whether or not its last bytes can be written.
        let _ = self.inner.flush().await;
        Shutdown::shutdown(&mut **self.inner.get_mut()).await;
    }
}

impl UniqueID for GatedStream {
    fn id(&self) -> UniqueIDType {
        self.inner.get_ref().id()
    }
}

impl Ssl for GatedStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ref().get_ssl_digest()
    }
}

impl GetTimingDigest for GatedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_ref().get_timing_digest()
    }
}

impl GetProxyDigest for GatedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_ref().get_proxy_digest()
    }
}

impl GetSocketDigest for GatedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_ref().get_socket_digest()
    }
}

#[async_trait]
impl Peek for GatedStream {}
