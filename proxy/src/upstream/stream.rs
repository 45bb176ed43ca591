//! One exchange with a cell, as Pingora's HTTP/1 client sees it: a stream that takes one request and yields one answer.
//!
//! The answer's head is vetted before a byte of it is yielded, its body is followed, and nothing beyond it is yielded:
//! after the answer the reader is at the end. Whatever of the request is not sent when the answer is over stays unsent.
//! So a connection is handed back only when both have ended where both sides know it.

mod request;
#[cfg(test)]
mod tests;
mod vet;

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use cellgate_process::descriptors::is_exhaustion;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    AnswerRefusal, Connection, Pool, Report, Switched, Transport,
    answer::{AnswerBody, AnswerScan},
    connection::{is_refusal, is_wait},
};
use crate::{
    gate::BodyFraming,
    outgoing::Outgoing,
    tls::{CellSocket, CellTls},
};
use request::RequestTracker;

/// First size of the read buffer; most heads fit. What comes of a body later is read into the reader's own buffer.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// What is read of an answer, while a request is sent, before the reader asks for it.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;
/// How much of a request may wait while the cell waits for its answer to be read.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// How much of a request is gathered before it is sent. More goes straight to the system.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// What the stream has to know of the exchange it carries.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its answer has no body, whatever it says.
    pub is_head_request: bool,
    /// How the request's body is framed on its way to the cell.
    pub request_body: BodyFraming,
    /// The body is here already, whole and small: head and body are sent together.
    pub coalesce: bool,
    /// The protocols that the request's Upgrade field offers to switch to. The cell may answer 101 for one of these.
    pub offers: Option<Box<[u8]>>,
    pub interim: Interim,
    /// How long the cell may take nothing of what is flushed.
    pub stall_limit: Duration,
    /// Where the connection goes afterwards. `None` closes it.
    pub back: Option<Return>,
    pub report: Arc<Report>,
}

/// Which interim answers are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interim {
    /// All, as RFC 9110 section 15.2 has it.
    Forward,
    /// All but a `100`: the request does not ask for one.
    DropUnaskedContinue,
    /// None: the client speaks HTTP/1.0, which has no interim answers (RFC 9110 section 15.2).
    DropAll,
}

/// The pool's name for a connection.
#[derive(Clone, Debug)]
pub struct Return {
    pub pool: Arc<Pool>,
    pub transport: Arc<Transport>,
    /// The whole tenant key, where connections are not shared between tenants.
    pub tenant: Option<Box<[u8]>>,
}

/// See the module's documentation.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own of the exchange"
)]
pub struct CellStream {
    /// `None` only after it was handed on in `Drop`.
    socket: Option<CellSocket>,
    tls: Option<Arc<CellTls>>,
    served: u64,
    terms: Terms,

    request: RequestTracker,
    /// Of the request, not yet sent.
    unsent: Outgoing,
    has_sent: bool,
    /// What else is written of the request is not sent.
    is_muted: bool,

    answer: Answer,
    /// Read from the cell, not yet yielded.
    ahead: BytesMut,
    /// How many bytes at the front of `ahead` were vetted.
    vetted: usize,
    interim_answers: usize,
    /// The cell closes the connection after this answer, or is to be taken to.
    closes: bool,
    /// The answer had no body, whatever its fields said.
    had_no_body: bool,
    /// Whoever waits for the answer, while the writing side may read it.
    reader: Option<Waker>,
    /// How the connection broke, if it did while the writing side read, or because this machine ran out of something.
    broke: Option<io::Error>,
    /// Runs while a flush waits for the cell, which Pingora does not limit.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// How far the answer has come.
#[derive(Debug)]
enum Answer {
    Head(AnswerScan),
    Body(AnswerBody),
    Over,
    /// The connection ended before the answer did.
    Cut,
    Switched,
    Refused(AnswerRefusal),
}

impl CellStream {
    pub fn new(connection: Connection, terms: Terms) -> Self {
        let Connection {
            socket,
            tls,
            served,
            ..
        } = connection;
        if served > 0 {
            terms.report.was_kept.raise();
        }
        Self {
            socket: Some(socket),
            tls,
            served,
            request: RequestTracker::new(terms.request_body),
            unsent: Outgoing::default(),
            has_sent: false,
            is_muted: false,
            answer: Answer::Head(AnswerScan::default()),
            ahead: BytesMut::new(),
            vetted: 0,
            interim_answers: 0,
            closes: false,
            had_no_body: false,
            reader: None,
            broke: None,
            stalled: None,
            terms,
        }
    }

    fn socket(&mut self) -> &mut CellSocket {
        self.socket
            .as_mut()
            .expect("the socket is handed on only when this is dropped")
    }

    fn spoil(&self) {
        self.terms.report.spoiled.raise();
    }

    /// Sends no more of the request.
    fn mute(&mut self) {
        if !self.is_request_sent() {
            self.spoil();
        }
        self.is_muted = true;
        self.unsent.clear();
    }

    fn is_request_sent(&self) -> bool {
        self.terms.report.is_request_sent()
    }

    fn note_sent(&mut self) {
        self.has_sent = true;
        if self.unsent.is_empty() && self.request.is_complete() {
            self.terms.report.request_sent.raise();
        }
    }

    /// Nothing of this exchange can be left on the connection.
    fn is_clean(&self) -> bool {
        matches!(self.answer, Answer::Over)
            && self.is_request_sent()
            && !self.closes
            && !self.terms.report.is_spoiled()
    }

    /// Reads what has come of the answer, without waiting, before more of the request is sent.
    fn read_ahead(&mut self) {
        if !self.has_sent {
            return;
        }
        let mut scratch = [0; READ_BUFFER_BYTES];
        while matches!(self.answer, Answer::Head(_) | Answer::Body(_))
            && self.ahead.len() < READ_AHEAD_BYTES_MAX
        {
            match self.socket().receive_now(&mut scratch) {
                Ok(count) => self.take(&scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_wait(&error) => return,
                Err(error) => self.take_failure(&error),
            }
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }

    /// Whether a cell that takes no more of the request has said its last word meanwhile. Pingora does not read while it
    /// writes, so nobody else would find out.
    ///
    /// It reads in the event loop's way, so that the task is woken when more comes.
    fn ends_while_sending(&mut self, cx: &mut Context<'_>) -> bool {
        let mut scratch = [0; READ_BUFFER_BYTES];
        while !self.is_muted && self.ahead.len() < READ_AHEAD_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match self.socket().poll_receive_into(cx, &mut buf, None) {
                Poll::Ready(Ok(count)) => self.take(&scratch[..count]),
                Poll::Ready(Err(error)) => self.take_failure(&error),
                Poll::Pending => break,
            }
        }
        self.is_muted
    }

    /// What was read of the answer ahead of its reader; nothing is the end.
    fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.take_end();
        } else {
            self.ahead.extend_from_slice(bytes);
            self.vet();
        }
    }

    /// The connection broke. The system says so once only, and an answer that ends with its connection must not seem
    /// whole.
    fn take_failure(&mut self, error: &io::Error) {
        self.note_refusal(error);
        self.broke.get_or_insert_with(|| same_error(error));
        self.answer = Answer::Cut;
        self.spoil();
        self.mute();
    }

    /// A cell that refuses what is shown to it says so in the place of an answer.
    fn note_refusal(&self, error: &io::Error) {
        if !self.terms.report.is_answer_begun() && is_refusal(self.tls.as_ref(), self.served, error)
        {
            self.terms.report.unmet.raise();
        }
    }

    /// Sends what waits and then these bytes. The answer is how many of these were taken, 0 only if it got none.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let waiting = self.unsent.len();
        let Self { socket, unsent, .. } = self;
        let Some(socket) = socket else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let sent = unsent.poll_send(socket, cx, bytes);
        self.has_sent |= self.unsent.len() < waiting || matches!(sent, Poll::Ready(Ok(1..)));
        if let Poll::Ready(Err(error)) = &sent {
            self.spoil();
            if is_exhaustion(error) && matches!(self.answer, Answer::Head(_) | Answer::Body(_)) {
                // Nobody would send the rest of the request, and the cell may wait for it.
                self.take_failure(error);
            }
        }
        sent
    }

    /// A part of the body right into the reader's buffer, while nothing else is waiting to be yielded.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Answer::Body(body) = &self.answer else {
            return Poll::Ready(Ok(()));
        };
        let left = body.bytes_left();
        let before = buf.filled().len();
        let count = ready!(self.socket().poll_receive_into(cx, buf, left))?;
        if count == 0 {
            self.take_end();
            return Poll::Ready(Ok(()));
        }
        let Answer::Body(body) = &mut self.answer else {
            return Poll::Ready(Ok(()));
        };
        let outcome = body.advance(&buf.filled()[before..]);
        buf.set_filled(before);
        let progress = outcome.inspect_err(|refusal| self.refuse(*refusal))?;
        buf.set_filled(before + progress.consumed);
        if progress.complete {
            self.end_answer();
        }
        if progress.consumed < count {
            self.spoil();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on until something was vetted or the answer has ended.
    fn poll_vetted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.vetted == 0 && matches!(self.answer, Answer::Head(_)) {
            self.ahead.reserve(READ_BUFFER_BYTES);
            let Self { socket, ahead, .. } = self;
            let Some(socket) = socket else {
                return Poll::Ready(Ok(()));
            };
            let read = ready!(std::pin::pin!(socket.read_buf(ahead)).poll(cx));
            let count = read.inspect_err(|error| self.note_refusal(error))?;
            if count == 0 {
                self.take_end();
            } else {
                self.vet();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn yield_vetted(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.vetted.min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        self.vetted -= count;
        if self.ahead.is_empty() {
            // The rest goes past this buffer, and may take a while.
            self.ahead = BytesMut::new();
        }
    }

    /// Sends what waits of the request, unless more of it is to go along.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let may_wait = self.terms.coalesce && !self.has_sent && !self.request.is_complete();
        if self.unsent.is_empty() || may_wait {
            return Poll::Ready(Ok(()));
        }
        self.read_ahead();
        if self.is_muted {
            return Poll::Ready(Ok(()));
        }
        let sent = self.poll_send(cx, &[]);
        if sent.is_pending() && self.ends_while_sending(cx) {
            return Poll::Ready(Ok(()));
        }
        ready!(sent)?;
        self.note_sent();
        Poll::Ready(Ok(()))
    }

    /// Waits for the cell on behalf of the reader, who is to be woken too when the writing side reads the answer.
    fn keep_reader(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

/// The same again, with the system's number where it has one.
fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl AsyncRead for CellStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // Whoever reads has no more to write for now, so the cell gets what there is: it may be what it waits for.
        if let Poll::Ready(Err(_)) = self.poll_unsent(cx) {
            // What the cell has said counts more than that it takes no more.
            self.mute();
        }
        let read = match &self.answer {
            _ if self.vetted > 0 => Poll::Ready(Ok(())),
            Answer::Head(_) => self.poll_vetted(cx),
            Answer::Body(_) => self.poll_body(cx, buf),
            Answer::Over | Answer::Cut | Answer::Switched | Answer::Refused(_) => {
                Poll::Ready(Ok(()))
            }
        };
        if read.is_pending() {
            self.keep_reader(cx);
        }
        ready!(read)?;
        if self.vetted > 0 {
            self.yield_vetted(buf);
        } else if let Answer::Refused(refusal) = self.answer {
            return Poll::Ready(Err(refusal.into()));
        } else if let Some(error) = &self.broke {
            return Poll::Ready(Err(same_error(error)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CellStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_muted {
            return Poll::Ready(Ok(bytes.len()));
        }
        let mut request = self.request.clone();
        let fitting = request
            .advance(bytes)
            .map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, refusal))?;
        if fitting < bytes.len() {
            // More than the request announced would be the next request's beginning.
            self.spoil();
        }
        if self.unsent.len() + fitting <= WRITE_BUFFER_BYTES {
            self.unsent.push(&bytes[..fitting]);
            self.request = request;
            return Poll::Ready(Ok(bytes.len()));
        }
        self.read_ahead();
        if self.is_muted {
            return Poll::Ready(Ok(bytes.len()));
        }
        let sent = self.poll_send(cx, &bytes[..fitting]);
        if sent.is_pending() {
            if self.ends_while_sending(cx) {
                return Poll::Ready(Ok(bytes.len()));
            }
            if self.vetted > 0 && self.unsent.len() + fitting <= UNSENT_BYTES_MAX {
                // The cell waits for its answer to be read, and Pingora reads none while it writes: it has to be let go.
                self.unsent.push(&bytes[..fitting]);
                self.request = request;
                return Poll::Ready(Ok(bytes.len()));
            }
        }
        let count = ready!(sent)?;
        if count == fitting {
            self.request = request;
        } else {
            // The same bytes were found to be in order just before.
            let _ = self.request.advance(&bytes[..count]);
        }
        self.note_sent();
        let is_all = count == fitting;
        Poll::Ready(Ok(if is_all { bytes.len() } else { count }))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_unsent(cx);
        if flushed.is_ready() {
            self.stalled = None;
            return flushed;
        }
        if self.vetted > 0 {
            // The answer has to be read first; whoever reads it sends what is left.
            self.stalled = None;
            return Poll::Ready(Ok(()));
        }
        let limit = self.terms.stall_limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        self.spoil();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the cell takes nothing",
        )))
    }

    /// Pingora ends a stream that it would not use again; whether it is, is decided when this is dropped.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_clean() || matches!(self.answer, Answer::Switched) {
            return Poll::Ready(Ok(()));
        }
        self.spoil();
        Pin::new(self.socket()).poll_shutdown(cx)
    }
}

impl Drop for CellStream {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let report = &self.terms.report;
        if matches!(self.answer, Answer::Switched) {
            // A reader that did not even see the 101 has no use for the tunnel.
            if self.vetted == 0 {
                let ahead = std::mem::take(&mut self.ahead);
                report.hand_out(Switched { socket, ahead });
            }
        } else if self.is_clean()
            && let Some(back) = self.terms.back.take()
        {
            let served = self.served + 1;
            let connection = Connection {
                socket,
                tls: self.tls.take(),
                served,
                is_suspect: self.had_no_body,
            };
            back.pool
                .put(back.transport, back.tenant, connection, Instant::now());
        }
    }
}
