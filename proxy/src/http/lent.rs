//! A client's connection as Pingora sees it: one request, and never a byte beyond it.
//!
//! What a client sends ahead (pipelining) waits until its turn. Body bytes pass the gate's tracker, so a chunk that two
//! programs could read differently never reaches a cell. When Pingora drops the stream, whatever way the request ended,
//! the connection goes back to its loop.

use std::{
    future::Future as _,
    io,
    os::fd::{AsRawFd as _, RawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    client::{ClientStream, READ_AHEAD_BYTES_MAX, READ_BUFFER_BYTES},
    head::with_dates,
    pace::{Pace, READING_WINDOW},
    returned::{End, Returned},
    turn::Turn,
};
use crate::gate::{BodyTracker, Refusal};

/// How Pingora begins an interim answer's head.
const INTERIM: &[u8] = b"HTTP/1.1 1";

/// See the module's documentation.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own of the exchange"
)]
pub(super) struct LentStream {
    /// `None` only after it was given back in `Drop`.
    client: Option<ClientStream>,
    request: Request,
    is_answered: bool,
    /// Part of the answer may wait in a buffer.
    has_unflushed: bool,
    /// The final answer's head, or a 101, was written.
    is_final: bool,
    /// The client was given an interim answer that it did not ask for.
    had_interim: bool,
    /// The client may have taken an interim answer for the final one.
    is_out_of_step: bool,
    terms: LentTerms,
    reading: Pace,
    writing: Pace,
    /// Runs while a body's next piece is waited for.
    slow: Option<Pin<Box<Sleep>>>,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    turn: Arc<Turn>,
}

/// What holds for one request on its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct LentTerms {
    pub(super) asks_for_switch: bool,
    pub(super) expects_continue: bool,
    /// A client that may have taken an interim answer for the final one loses its connection.
    pub(super) guards_interim: bool,
    /// How long a write of the answer may make no headway.
    pub(super) stall_limit: Duration,
    /// How slowly bodies may come and be taken; 0 is any pace.
    pub(super) bytes_per_second_min: u32,
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

/// The error that Pingora gets of a client that sends its body too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client sends its body too slowly")
    }
}

impl std::error::Error for TooSlow {}

/// The error that Pingora gets of a client that goes on sending after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnswerOver;

impl std::fmt::Display for AnswerOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer ended before the request")
    }
}

impl std::error::Error for AnswerOver {}

impl LentStream {
    /// Lends a connection out for the request whose head was read from it.
    pub(super) fn new(
        client: ClientStream,
        body: BodyTracker,
        terms: LentTerms,
        turn: Arc<Turn>,
    ) -> Self {
        let request = if terms.asks_for_switch {
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
            is_final: false,
            had_interim: false,
            is_out_of_step: false,
            terms,
            reading: Pace::new(terms.bytes_per_second_min, READING_WINDOW),
            writing: Pace::new(terms.bytes_per_second_min, terms.stall_limit),
            slow: None,
            stalled: None,
            turn,
        }
    }

    fn socket(&self) -> RawFd {
        let client = self.client.as_ref();
        client
            .expect("the connection is given back only when this is dropped")
            .socket
            .as_raw_fd()
    }

    /// Body bytes for Pingora: as many as belong to the request.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn.answer_is_over() {
            return Poll::Ready(Err(io::Error::other(AnswerOver)));
        }
        let (Some(client), Request::Body(tracker)) = (&mut self.client, &mut self.request) else {
            return Poll::Ready(Ok(()));
        };
        let before = buf.filled().len();
        if client.ahead.is_empty() {
            let read = match tracker.bytes_left() {
                // None of what comes can be beyond the body.
                Some(left) => client.poll_into(cx, buf, left),
                None => {
                    let wanted = buf.remaining().min(READ_AHEAD_BYTES_MAX);
                    client.ahead.reserve(READ_BUFFER_BYTES.max(wanted));
                    client.poll_ahead(cx)
                }
            };
            let Poll::Ready(count) = read? else {
                return self.poll_pace(cx);
            };
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            if !self.reading.advance(Instant::now(), count) {
                let slow = io::Error::new(io::ErrorKind::TimedOut, TooSlow);
                return Poll::Ready(Err(slow));
            }
        }
        let window = client.ahead.len().min(buf.remaining());
        buf.put_slice(&client.ahead[..window]);
        match tracker.advance(&buf.filled()[before..]) {
            Ok(progress) => {
                buf.set_filled(before + progress.consumed);
                client.ahead.advance(progress.consumed.min(window));
                if progress.complete {
                    self.request = Request::Complete;
                }
                Poll::Ready(Ok(()))
            }
            Err(refusal) => {
                buf.set_filled(before);
                self.request = Request::Refused(refusal);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)))
            }
        }
    }

    /// After the request's last byte: only the client's leaving is reported; what it sends ahead is kept.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(client) = &mut self.client else {
            return Poll::Ready(Ok(()));
        };
        while ready!(client.poll_idle(cx, 0))? > 0 {
            if matches!(self.request, Request::AwaitingSwitch) {
                let refusal = Refusal::BytesBeforeSwitch;
                self.request = Request::Refused(refusal);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether these bytes are the final answer's head. Pingora writes a head in one piece.
    fn begins_final_answer(&self, written: &[u8]) -> bool {
        !self.is_final && written.starts_with(b"HTTP/") && !written.starts_with(INTERIM)
    }

    /// Learns from the answer on its way to the client what becomes of the connection.
    fn note_answer(&mut self, cx: &mut Context<'_>, written: &[u8]) {
        self.is_answered = true;
        if self.begins_final_answer(written) {
            self.is_final = true;
            if matches!(self.request, Request::AwaitingSwitch) {
                // An answer like any other: the request is over, and what follows is the next one.
                self.request = Request::Complete;
            }
            self.is_out_of_step = self.had_interim
                && self.terms.guards_interim
                && matches!(self.request, Request::Complete)
                && self
                    .client
                    .as_mut()
                    .is_some_and(|client| client.has_sent_more_than(cx, 0));
            return;
        }
        match written.strip_prefix(INTERIM) {
            Some(rest) if !self.is_final && rest.starts_with(b"01") => {
                self.is_final = true;
                self.request = Request::Switched;
            }
            Some(rest) if rest.starts_with(b"00") && self.terms.expects_continue => {}
            Some(_) if !self.is_final => self.had_interim = true,
            Some(_) | None => {}
        }
    }

    /// Writing, with a limit on how long the client may take nothing. Pingora limits some of its writes only: not those
    /// of a head, and not the last flush.
    ///
    /// `accepted` says how many bytes a step took over from Pingora.
    fn poll_with_limit<T>(
        &mut self,
        cx: &mut Context<'_>,
        accepted: impl FnOnce(&T) -> usize,
        step: impl FnOnce(&mut ClientStream, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(client) = &mut self.client else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let unsent = client.unsent();
        let outcome = step(client, cx);
        if let Poll::Ready(outcome) = outcome {
            if self.stalled.take().is_some()
                && let Ok(done) = &outcome
            {
                let taken = (unsent + accepted(done)).saturating_sub(client.unsent());
                if !self.writing.advance(Instant::now(), taken) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            return Poll::Ready(outcome);
        }
        let now = Instant::now();
        self.writing.wait(now);
        // Until it has taken this, nobody asks it for more of its own.
        self.reading.pause(now);
        let limit = self.terms.stall_limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing",
        )))
    }

    /// Waiting for a body's next piece, with a limit on how slowly it may come.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = Instant::now();
        let Some(left) = self.reading.wait(now) else {
            return Poll::Pending;
        };
        let slow = self.slow.get_or_insert_with(|| Box::pin(sleep(left)));
        ready!(slow.as_mut().poll(cx));
        self.slow = None;
        if self.reading.is_too_slow(now) {
            let slow = io::Error::new(io::ErrorKind::TimedOut, TooSlow);
            return Poll::Ready(Err(slow));
        }
        // The timer was set for an earlier wait; the next one is set for this.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The end of an answer that is not whole must not look like one that is.
    fn note_cut(&mut self) {
        if let Some(client) = &mut self.client
            && self.turn.answer_is_cut()
        {
            client.socket.note_cut();
        }
    }

    fn end(&self) -> End {
        match &self.request {
            Request::Complete if self.is_out_of_step => End::StillSending,
            Request::Complete => End::RequestComplete,
            Request::Switched => End::Switched,
            Request::Body(_) | Request::Refused(_) if self.is_answered => End::StillSending,
            _ => End::Cut,
        }
    }
}

impl Drop for LentStream {
    fn drop(&mut self) {
        let end = self.end();
        self.note_cut();
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
            // Pingora's part is over; whoever gets the connection back carries on.
            Request::Switched => Poll::Ready(Ok(())),
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
        if matches!(self.request, Request::Switched) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.has_unflushed = true;
        if self.begins_final_answer(buf) {
            let dates = self.turn.take_dates();
            if let (false, Some(client)) = (dates.is_empty(), &mut self.client) {
                client.gather(&with_dates(buf, &dates));
                self.note_answer(cx, buf);
                return Poll::Ready(Ok(buf.len()));
            }
        }
        let written = ready!(self.poll_with_limit(
            cx,
            |count| *count,
            |client, cx| client.poll_write(cx, buf)
        ))?;
        self.note_answer(cx, &buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_with_limit(cx, |()| 0, ClientStream::poll_flush))?;
        self.has_unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.request, Request::Switched) {
            return self.poll_flush(cx);
        }
        self.note_cut();
        self.poll_with_limit(cx, |()| 0, ClientStream::poll_shutdown)
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
        self.socket()
    }
}

impl Ssl for LentStream {}

impl GetTimingDigest for LentStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for LentStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for LentStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::new(SocketDigest::from_raw_fd(self.socket())))
    }
}

#[async_trait]
impl Peek for LentStream {}
