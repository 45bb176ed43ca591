//! A client's connection: reading heads and what the client sends ahead, sending answers, and ending in a way that lets
//! the client read its answer.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWrite as _, ReadBuf},
    time::{Instant, timeout, timeout_at},
};

use super::{
    body_buffers::Reserved,
    pace::{Pace, READING_WINDOW},
    stop::Stop,
    timer::Timer,
};
use crate::{
    buffer::{BUFFER_BYTES, Buffer},
    gate::{GateLimits, HeadScan, HeadScanner, Refusal},
    listen::ClientSocket,
    outgoing::{Outgoing, Pieces},
};

/// Bytes read ahead of the current request, at most. A client that pipelines more waits for its answers.
pub(super) const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Room for what is read next.
pub(super) const READ_BUFFER_BYTES: usize = BUFFER_BYTES;
/// Answers are written in pieces of up to this size.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// How long, and how many bytes, a client may go on sending after its answer before the connection is cut. Closing at
/// once would reset the connection and could destroy the answer on its way (RFC 9112, section 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ClientStream {
    pub(super) socket: ClientSocket,
    /// Read from the client, and not yet a part of any request that was handed on.
    pub(super) ahead: Buffer,
    /// Of an answer, gathered until it is flushed.
    outgoing: Outgoing,
}

/// How long to wait for a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyWait {
    /// Until the next byte.
    pub(super) idle: Duration,
    /// How slowly it may come; 0 is any pace.
    pub(super) bytes_per_second_min: u32,
}

/// What came of a body that was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyRead {
    Whole,
    /// There is no more memory for it: the rest has to be read as it is sent on.
    NoMemory,
    /// The client left.
    Gone,
    TimedOut,
}

/// How long to wait for a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadWait {
    /// Until when the first byte has to come. `None` on a new connection: there the head's time runs from the start.
    pub(super) idle_until: Option<Instant>,
    pub(super) head: Duration,
}

/// What came instead of a request or as one.
#[derive(Clone, Copy, Debug)]
pub(super) enum NextHead {
    /// The next so many bytes are a whole head that the scanner let through.
    Head {
        bytes: usize,
    },
    /// The client is done, or was idle for too long, or the proxy is shutting down.
    Done,
    /// It began a head and did not finish it in time.
    TimedOut,
    Refused(Refusal),
}

impl ClientStream {
    /// A connection of which `came` was read already.
    pub(super) fn new(socket: ClientSocket, came: &[u8]) -> Self {
        let mut ahead = Buffer::new();
        if !came.is_empty() {
            ahead.extend_from_slice(came);
        }
        Self {
            socket,
            ahead,
            outgoing: Outgoing::default(),
        }
    }

    /// How many bytes were taken that are not sent yet.
    pub(super) fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// Takes bytes for the client; the answer is how many. Small ones are gathered.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.outgoing.len() + bytes.len() <= WRITE_BUFFER_BYTES {
            self.outgoing.push(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_send(cx, bytes)
    }

    /// Takes bytes for the client, however many, to be sent with what comes next.
    pub(super) fn gather(&mut self, bytes: &[u8]) {
        self.outgoing.push(bytes);
    }

    /// Sends bytes to the client, behind what was gathered; the answer is how many of them.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.poll_send(&mut self.socket, cx, bytes)
    }

    /// Sends what is behind the first `sent` bytes of these pieces, while nothing was gathered; the answer is how many
    /// bytes.
    pub(super) fn poll_send_pieces(
        &mut self,
        cx: &mut Context<'_>,
        pieces: Pieces<'_>,
        sent: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.outgoing.is_empty(), "it would come first");
        pieces.poll_write(&mut self.socket, cx, sent)
    }

    /// Waits until the system has all that was sent.
    pub(super) fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_rest(cx)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx, &[]))?;
        self.socket.poll_send_rest(cx)
    }

    /// Sends the rest, and then the end.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    pub(super) async fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.outgoing.push(bytes);
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Reads behind what is ahead already; nothing is the end.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.socket.poll_receive(cx, &mut self.ahead)
    }

    /// Reads at most so many bytes into the caller's buffer, while nothing is ahead; nothing is the end.
    pub(super) fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        bytes_max: u64,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.ahead.is_empty(), "it would come first");
        self.socket.poll_receive_into(cx, buf, Some(bytes_max))
    }

    /// Reads what the client sends ahead, as long as there is room behind the `held` bytes of its request. The answer is how
    /// much came; nothing is the end.
    pub(super) fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        held: usize,
    ) -> Poll<io::Result<usize>> {
        let ahead = &mut self.ahead;
        if ahead.len() >= held + READ_AHEAD_BYTES_MAX {
            return Poll::Pending;
        }
        ahead.reserve_for_reading();
        self.poll_ahead(cx)
    }

    /// Is ready when the client leaves. What it sends ahead meanwhile is kept.
    pub(super) fn poll_leaving(&mut self, cx: &mut Context<'_>, held: usize) -> Poll<()> {
        while let Ok(1..) = ready!(self.poll_idle(cx, held)) {}
        Poll::Ready(())
    }

    /// Whether there is more of the client than its request. It may have come since it was last read.
    pub(super) fn has_sent_more_than(&mut self, cx: &mut Context<'_>, held: usize) -> bool {
        if self.ahead.len() <= held {
            self.ahead.reserve_for_reading();
            // An end or an error is met by whoever reads next.
            let _ = self.poll_ahead(cx);
        }
        self.ahead.len() > held
    }

    /// Waits for the next head. While nothing of it has come, no buffer is held, and a shutdown shortens the wait.
    pub(super) async fn next_head(
        &mut self,
        limits: &GateLimits<'_>,
        wait: HeadWait,
        (timer, stop): (&mut Timer, &mut Stop),
    ) -> NextHead {
        if self.ahead.is_empty() {
            self.ahead.release();
        }
        let mut scanner = HeadScanner::new();
        let mut deadline = None;
        loop {
            if !self.ahead.is_empty() {
                match scanner.scan(&self.ahead, limits) {
                    HeadScan::Complete { skip, end } => {
                        self.ahead.advance(skip);
                        return NextHead::Head { bytes: end - skip };
                    }
                    HeadScan::Refused(refusal) => return NextHead::Refused(refusal),
                    HeadScan::Partial { .. } => {}
                }
                deadline.get_or_insert_with(|| Instant::now() + wait.head);
            }
            let idle_until = || {
                wait.idle_until
                    .unwrap_or_else(|| Instant::now() + wait.head)
            };
            let until = deadline.unwrap_or_else(idle_until);
            if wait.idle_until.is_none() {
                deadline = Some(until);
            }
            let nothing_came = self.ahead.is_empty();
            let mut was_woken = false;
            let came = poll_fn(|cx| {
                if let Poll::Ready(came) = self.poll_more(cx, was_woken) {
                    return Poll::Ready(Some(came));
                }
                was_woken = true;
                let mut until = until;
                if nothing_came && let Poll::Ready(end) = stop.poll(cx) {
                    until = until.min(end);
                }
                timer.poll_until(cx, until).map(|()| None)
            });
            match came.await {
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) => return NextHead::Done,
                None if nothing_came => return NextHead::Done,
                None => return NextHead::TimedOut,
            }
        }
    }

    /// Reads more, into a buffer that is made only once there is something to read: a task that `was_woken` takes it that
    /// there is.
    fn poll_more(&mut self, cx: &mut Context<'_>, was_woken: bool) -> Poll<io::Result<usize>> {
        if !was_woken {
            ready!(self.socket.poll_read_ready(cx))?;
        }
        self.ahead.reserve_for_reading();
        let read = self.poll_ahead(cx);
        if self.ahead.is_empty() {
            self.ahead.release();
        }
        read
    }

    /// Reads on until a body of so many bytes is there, behind the head. It stays where it is for whoever sends it on.
    pub(super) async fn read_body(
        &mut self,
        head: usize,
        length: usize,
        wait: BodyWait,
        memory: &mut Reserved,
    ) -> BodyRead {
        let mut pace = Pace::new(wait.bytes_per_second_min, READING_WINDOW);
        let mut idle_until = Instant::now() + wait.idle;
        while self.ahead.len() - head < length {
            let came = self.ahead.len() - head;
            let room = (2 * came).max(READ_BUFFER_BYTES).min(length);
            if !memory.grow_to(room) {
                return BodyRead::NoMemory;
            }
            self.ahead.reserve(room - came);
            let now = Instant::now();
            let slow_at = pace.wait(now.into_std()).map(|left| now + left);
            let until = slow_at.map_or(idle_until, |slow_at| slow_at.min(idle_until));
            let read = timeout_at(until, poll_fn(|cx| self.poll_ahead(cx))).await;
            let now = Instant::now();
            match read {
                Ok(Ok(count @ 1..)) if pace.advance(now.into_std(), count) => {
                    idle_until = now + wait.idle;
                }
                Ok(Ok(0) | Err(_)) => return BodyRead::Gone,
                Err(_) if now < idle_until && !pace.is_too_slow(now.into_std()) => {}
                Ok(Ok(1..)) | Err(_) => return BodyRead::TimedOut,
            }
        }
        BodyRead::Whole
    }

    /// Answers and ends the connection, giving the client time to read the answer.
    pub(super) async fn close_with(mut self, response: &[u8]) {
        let written = timeout(LINGER, self.send_all(response)).await;
        if matches!(written, Ok(Ok(()))) {
            self.linger().await;
        }
    }

    /// Answers and ends the connection without waiting. What the client sent already is read, so that the answer has a
    /// chance.
    pub(super) async fn cut_with(mut self, response: &[u8]) {
        let mut scratch = vec![0; READ_BUFFER_BYTES];
        // Neither waits: the proxy has too many connections already.
        let _ = timeout(Duration::ZERO, self.socket.read(&mut scratch)).await;
        let _ = timeout(Duration::ZERO, async {
            self.send_all(response).await?;
            poll_fn(|cx| self.poll_shutdown(cx)).await
        })
        .await;
    }

    /// Ends the connection without waiting.
    pub(super) async fn end(mut self) {
        // One try: if it cannot be sent now, the client has more to read before it than the system holds.
        let _ = poll_fn(|cx| Poll::Ready(self.socket.poll_say_end(cx))).await;
    }

    /// Ends the connection in a way that lets the client read its answer: no more is sent, and what the client goes on
    /// sending is thrown away for a while.
    pub(super) async fn linger(mut self) {
        let drained = timeout(LINGER, async {
            poll_fn(|cx| self.poll_shutdown(cx)).await?;
            let mut left = LINGER_BYTES_MAX;
            // Not a part of the future, which every connection carries.
            let mut scratch = vec![0; READ_BUFFER_BYTES];
            while left > 0 {
                match self.socket.read(&mut scratch).await? {
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
