//! A client's connection as Pingora sees it: one request, and never a byte beyond it.
//!
//! What a client sends ahead (pipelining) waits until its turn. Body bytes pass the gate's tracker, so a chunk that two
//! programs could read differently never reaches a cell. When Pingora drops the stream, whatever way the request ended,
//! the connection goes back to its loop.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Buf as _;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufWriter, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    client::{ClientStream, READ_AHEAD_BYTES_MAX, READ_BUFFER_BYTES},
    turn::Turn,
};
use crate::gate::{BodyTracker, Refusal};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LentStream {
    /// `None` only after it was given back in `Drop`.
    client: Option<ClientStream>,
    request: Request,
    is_answered: bool,
    /// Part of the answer may wait in a buffer.
    has_unflushed: bool,
    /// How long a write may make no headway.
    stall_limit: Duration,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    turn: Arc<Turn>,
}

/// How far the request has come.
#[derive(Clone, Debug)]
enum Request {
    Body(BodyTracker),
    /// All of its bytes were handed on.
    Complete,
    /// It asks for another protocol; nothing may follow before the cell agrees.
    AwaitingSwitch,
    /// Both sides agreed on another protocol: no framing from here on.
    Switched,
    Refused(Refusal),
}

/// The connection after a request.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) client: ClientStream,
    pub(super) end: End,
}

/// Where a client's connection stands when its request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The next bytes on it are the next request's head.
    RequestComplete,
    /// It was answered, and the client may be sending still.
    StillSending,
    /// Nothing can follow.
    Cut,
}

/// What Pingora is told of a client that goes on sending after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnswerOver;

impl std::fmt::Display for AnswerOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer ended before the request")
    }
}

impl std::error::Error for AnswerOver {}

impl LentStream {
    /// Lends a connection out for the request whose head was read from it. `stall_limit` is how long a write of its
    /// answer may make no headway.
    pub(super) fn new(
        client: ClientStream,
        body: BodyTracker,
        asks_for_switch: bool,
        stall_limit: Duration,
        turn: Arc<Turn>,
    ) -> Self {
        let request = if asks_for_switch {
            Request::AwaitingSwitch
        } else if body.is_complete() {
            Request::Complete
        } else {
            Request::Body(body)
        };
        Self {
            client: Some(client),
            request,
            is_answered: false,
            has_unflushed: false,
            stall_limit,
            stalled: None,
            turn,
        }
    }

    fn stream(&self) -> &Stream {
        let client = self.client.as_ref();
        client
            .expect("the connection is given back only when this is dropped")
            .inner
            .get_ref()
    }

    /// Body bytes for Pingora: as many as belong to the request.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn.answer_is_over() {
            return Poll::Ready(Err(io::Error::other(AnswerOver)));
        }
        let (Some(client), Request::Body(tracker)) = (&mut self.client, &mut self.request) else {
            return Poll::Ready(Ok(()));
        };
        if client.ahead.is_empty() {
            let wanted = buf.remaining().min(READ_AHEAD_BYTES_MAX);
            client.ahead.reserve(READ_BUFFER_BYTES.max(wanted));
            let count = ready!(poll_read_ahead(client, cx))?;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let window = client.ahead.len().min(buf.remaining());
        match tracker.advance(&client.ahead[..window]) {
            Ok(progress) => {
                buf.put_slice(&client.ahead[..progress.consumed]);
                client.ahead.advance(progress.consumed);
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
        let Some(client) = &mut self.client else {
            return Poll::Ready(Ok(()));
        };
        loop {
            if client.ahead.len() >= READ_AHEAD_BYTES_MAX {
                return Poll::Pending;
            }
            client.ahead.reserve(READ_BUFFER_BYTES);
            let count = ready!(poll_read_ahead(client, cx))?;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            if matches!(self.request, Request::AwaitingSwitch) {
                let refusal = Refusal::BytesBeforeSwitch;
                self.request = Request::Refused(refusal);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
            }
        }
    }

    fn poll_switched(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(client) = &mut self.client else {
            return Poll::Ready(Ok(()));
        };
        if client.ahead.is_empty() {
            return Pin::new(&mut client.inner).poll_read(cx, buf);
        }
        let count = client.ahead.len().min(buf.remaining());
        buf.put_slice(&client.ahead[..count]);
        client.ahead.advance(count);
        Poll::Ready(Ok(()))
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
        let Some(client) = &mut self.client else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let outcome = write(Pin::new(&mut client.inner), cx);
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

    fn end(&self) -> End {
        match &self.request {
            Request::Complete => End::RequestComplete,
            Request::Body(_) | Request::Refused(_) if self.is_answered => End::StillSending,
            _ => End::Cut,
        }
    }
}

fn poll_read_ahead(client: &mut ClientStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let ClientStream { inner, ahead } = client;
    std::pin::pin!(inner.read_buf(ahead)).poll(cx)
}

impl Drop for LentStream {
    fn drop(&mut self) {
        let end = self.end();
        if let Some(client) = self.client.take() {
            self.turn.give_back(Returned { client, end });
        }
    }
}

impl AsyncRead for LentStream {
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
            Request::Complete | Request::AwaitingSwitch => self.poll_idle(cx),
            Request::Switched => self.poll_switched(cx, buf),
            Request::Refused(refusal) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *refusal)))
            }
        }
    }
}

impl AsyncWrite for LentStream {
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
impl Shutdown for LentStream {
    async fn shutdown(&mut self) {
        // The connection is over whether or not its last bytes can be written.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for LentStream {
    fn id(&self) -> UniqueIDType {
        self.stream().id()
    }
}

impl Ssl for LentStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream().get_ssl_digest()
    }
}

impl GetTimingDigest for LentStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream().get_timing_digest()
    }
}

impl GetProxyDigest for LentStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream().get_proxy_digest()
    }
}

impl GetSocketDigest for LentStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream().get_socket_digest()
    }
}

#[async_trait]
impl Peek for LentStream {}
