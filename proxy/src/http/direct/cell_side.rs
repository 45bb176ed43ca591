//! The connection to the cell during one exchange on the direct way: how much of the request is sent, and what has come
//! of the answer.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use cellgate_process::descriptors::is_exhaustion;

use super::super::services::Services;
use crate::{
    buffer::Buffer,
    config::Timeouts,
    exchange::{Exchange, Failure, UpstreamFault},
    outgoing::Pieces,
    upstream::{
        AnswerRefusal, Connection, IdleCheck, answer::AnswerScan, connect_to_cell, is_refusal,
    },
};

/// See the module's documentation.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something of its own of the exchange"
)]
pub(super) struct CellSide {
    /// `None` once it was put back.
    connection: Option<Connection>,
    /// Bytes of the request that are sent.
    sent: usize,
    is_sent: bool,
    /// The cell took nothing when it was last offered something.
    was_blocked: bool,
    /// The machine ran out of what a connection needs, so the exchange cannot go on; the cell is not to blame.
    is_out_of_resources: bool,
    /// The cell refused what was shown to it, after a handshake that seemed done.
    is_unmet: bool,
    /// The rest of the request stays unsent.
    pub(super) is_cut: bool,
    /// Read from the cell and not taken yet.
    buffer: Buffer,
    scan: AnswerScan,
    /// The task is woken when the answer begins.
    was_awaited: bool,
    pub(super) has_begun: bool,
    pub(super) has_ended: bool,
    /// Bytes of no answer came behind the answer.
    pub(super) has_surplus: bool,
    /// The answer has no body, whatever its fields say.
    pub(super) had_no_body: bool,
    /// The cell closes the connection after this answer.
    pub(super) closes: bool,
    /// When the wait for its next bytes began.
    waits_since: Instant,
    /// How long it may say or take nothing.
    pub(super) until: tokio::time::Instant,
}

/// What came of waiting for the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Came,
    Ended,
    Broke,
}

impl CellSide {
    /// A kept connection to the exchange's endpoint, or a new one.
    pub(super) async fn connect(
        services: &Services,
        exchange: &Exchange,
        is_idempotent: bool,
        may_reuse: bool,
        now: Instant,
    ) -> Result<Self, Failure> {
        let destination = exchange.destination().ok_or(Failure::Internal)?;
        let endpoint = destination.endpoint().ok_or(Failure::Internal)?;
        let check = IdleCheck::before(is_idempotent);
        let kept = may_reuse.then(|| {
            let tenant = services.only_of(exchange);
            services.pool.take(&endpoint.transport, tenant, check, now)
        });
        if let Some(connection) = kept.flatten() {
            return Ok(Self::new(connection, now));
        }
        let address = endpoint.state.address;
        let limit = services.timeouts.connect;
        // Boxed, as it is rare: what serves a client has no place for it.
        match Box::pin(connect_to_cell(address, endpoint.tls.as_ref(), limit)).await {
            Ok(connection) => Ok(Self::new(connection, Instant::now())),
            Err(error) if is_exhaustion(&error) => Err(Failure::OutOfResources),
            Err(_) => Err(Failure::Unreachable),
        }
    }

    fn new(connection: Connection, now: Instant) -> Self {
        Self {
            connection: Some(connection),
            sent: 0,
            is_sent: false,
            was_blocked: false,
            is_out_of_resources: false,
            is_unmet: false,
            is_cut: false,
            buffer: Buffer::new(),
            scan: AnswerScan::default(),
            was_awaited: false,
            has_begun: false,
            has_ended: false,
            has_surplus: false,
            had_no_body: false,
            closes: false,
            waits_since: now,
            until: now.into(),
        }
    }

    /// What it means that the connection ended before the answer did.
    pub(super) fn broke(&self) -> Failure {
        if self.is_out_of_resources {
            return Failure::OutOfResources;
        }
        if self.is_unmet {
            return Failure::Unreachable;
        }
        let was_kept = self.connection.as_ref().is_some_and(Connection::was_kept);
        if was_kept && !self.has_begun {
            Failure::StaleConnection
        } else {
            Failure::Upstream(UpstreamFault::Broken)
        }
    }

    /// Begins to wait for the cell's next bytes.
    pub(super) fn begin_wait(&mut self, timeouts: &Timeouts) {
        // The first wait begins when the request is there: the clock need not be asked again.
        if self.has_begun {
            self.waits_since = Instant::now();
        }
        self.set_limit(timeouts);
    }

    fn set_limit(&mut self, timeouts: &Timeouts) {
        let limit = if self.is_sent || self.is_cut {
            timeouts.upstream_read
        } else {
            timeouts.upstream_write
        };
        self.until = (self.waits_since + limit).into();
    }

    /// Sends what is left of the request, as far as the cell takes it. What the cell says counts more than that it takes
    /// no more.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        timeouts: &Timeouts,
        request: Pieces<'_>,
    ) {
        while !self.is_sent && !self.is_cut {
            let Some(connection) = &mut self.connection else {
                return;
            };
            let written = request.poll_write(&mut connection.socket, cx, self.sent);
            match written {
                Poll::Ready(Ok(count @ 1..)) => self.sent += count,
                Poll::Ready(Ok(0)) => self.is_cut = true,
                Poll::Ready(Err(error)) => {
                    self.is_cut = true;
                    self.is_out_of_resources |= is_exhaustion(&error);
                }
                Poll::Pending => {
                    self.was_blocked = true;
                    return;
                }
            }
            self.is_sent = self.sent == request.len();
            if std::mem::take(&mut self.was_blocked) {
                self.waits_since = Instant::now();
            }
            self.set_limit(timeouts);
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Event::Ended);
        };
        if !self.buffer.has_memory() {
            // A buffer is held only once there is something to read.
            if !self.was_awaited {
                self.was_awaited = true;
                if connection.socket.poll_read_ready(cx).is_pending() && !self.is_out_of_resources {
                    return Poll::Pending;
                }
            }
            self.buffer.reserve_for_reading();
        }
        let read = connection.socket.poll_receive(cx, &mut self.buffer);
        // Nobody would send the rest of the request, and the cell may wait for it.
        if read.is_pending() && self.is_out_of_resources {
            return Poll::Ready(Event::Broke);
        }
        read.map(|outcome| match outcome {
            Ok(0) => {
                self.has_ended = true;
                Event::Ended
            }
            Ok(_) => {
                self.has_begun = true;
                Event::Came
            }
            Err(error) => {
                self.is_out_of_resources |= is_exhaustion(&error);
                let Connection { tls, served, .. } = connection;
                self.is_unmet |= !self.has_begun && is_refusal(tls.as_ref(), *served, &error);
                Event::Broke
            }
        })
    }

    /// As much came as there was room for: there may be more.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.room() == 0
    }

    /// Reads on without waiting, in place of what was taken. Whether anything came, or the end.
    pub(super) async fn more(&mut self, room: usize) -> Result<bool, Failure> {
        self.make_room(room);
        match poll_fn(|cx| Poll::Ready(self.poll_read(cx))).await {
            Poll::Ready(Event::Came | Event::Ended) => Ok(true),
            Poll::Ready(Event::Broke) => Err(self.broke()),
            Poll::Pending => Ok(false),
        }
    }

    /// Where the head ends that the buffer begins with, once it is whole.
    pub(super) fn scan(&mut self) -> Result<Option<usize>, AnswerRefusal> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let end = self.scan.scan(&self.buffer)?;
        if end.is_none() {
            self.buffer.reserve_for_reading();
        }
        Ok(end)
    }

    /// How much came that was not taken yet.
    pub(super) fn came(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn head(&self, end: usize) -> &[u8] {
        &self.buffer[..end]
    }

    /// The interim head was passed on or not, and is done with.
    pub(super) fn next_head(&mut self, end: usize) {
        self.take_head(end);
        self.scan = AnswerScan::default();
        self.buffer.reserve_for_reading();
    }

    pub(super) fn take_head(&mut self, end: usize) {
        self.buffer.advance(end);
    }

    /// What came of the body.
    pub(super) fn piece(&self) -> &[u8] {
        &self.buffer
    }

    /// The piece was taken; the next one may have this many bytes.
    pub(super) fn make_room(&mut self, bytes: usize) {
        self.buffer.clear();
        self.buffer.reserve(bytes.max(1));
    }

    /// The answer is over: keeps the connection for the next request, if nothing of this one can be left on it.
    pub(super) fn put_back(&mut self, services: &Services, exchange: &Exchange, now: Instant) {
        let is_clean = self.is_sent && !self.closes && !self.has_surplus && !self.has_ended;
        let endpoint = exchange.destination().and_then(|to| to.endpoint());
        if let (true, Some(endpoint), Some(mut connection)) =
            (is_clean, endpoint, self.connection.take())
        {
            connection.served += 1;
            connection.is_suspect = self.had_no_body;
            let tenant = services.only_of(exchange).map(Into::into);
            let transport = Arc::clone(&endpoint.transport);
            services.pool.put(transport, tenant, connection, now);
        }
    }
}
