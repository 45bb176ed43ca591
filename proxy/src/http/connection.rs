//! The life of a client's connection: head, gate, Pingora, and again.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::{
    apps::HttpServerApp as _, protocols::http::ServerSession, proxy::HttpProxy,
    server::ShutdownWatch,
};
use tokio::net::TcpStream;

use super::{
    body_buffers::BodyBuffers,
    client::{BodyRead, BodyWait, ClientStream, HeadWait, NextHead},
    gateway::Gateway,
    head::with_host,
    lent::{LentStream, LentTerms},
    listen::ServeConnection,
    returned::{End, Returned},
    tunnel::{self, Ticket},
    turn::{Arrival, Arrived, Turn},
};
use crate::{
    access_log::{AccessLog, Entry},
    answer::{Reason, closing_response},
    config::{InterimAnswers, Limits, Timeouts},
    exchange::Connection,
    gate::{BodyFraming, BodyTracker, GateLimits, Refusal, inspect_head},
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    upstream::Switched,
};

/// Longest request target. RFC 9112, section 3, asks for at least 8,000 bytes.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Takes client connections.
pub struct Edge {
    pub proxy: Arc<HttpProxy<Gateway>>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub interim_answers: InterimAnswers,
    pub lifecycle: Arc<Lifecycle>,
    pub metrics: Arc<Metrics>,
    pub access_log: AccessLog,
    pub body_buffers: Arc<BodyBuffers>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ServeConnection for Edge {
    async fn serve(&self, socket: TcpStream, connection: Connection, shutdown: &ShutdownWatch) {
        let client = ClientStream::new(socket);
        let Some(_open) = self.lifecycle.connection(self.limits.connections_max) else {
            self.metrics.connections_refused.inc();
            self.metrics.rejected_without_cell(Reason::Overloaded);
            return client
                .cut_with(&closing_response(Reason::Overloaded, None))
                .await;
        };
        self.serve_requests(client, Arc::new(connection), shutdown)
            .await;
    }

    async fn listeners_closed(&self) {
        self.lifecycle.enter(Phase::ListenersClosed);
    }
}

/// How a request leaves its connection.
enum After {
    /// The next one may come.
    Next(ClientStream),
    Closed,
}

impl Edge {
    /// One request after the other, until the connection is done.
    async fn serve_requests(
        &self,
        mut client: ClientStream,
        connection: Arc<Connection>,
        shutdown: &ShutdownWatch,
    ) {
        let limits = self.gate_limits();
        let mut shutdown_seen = shutdown.clone();
        let mut wait = HeadWait {
            idle: None,
            head: self.timeouts.head,
        };
        loop {
            let mut head = match client.next_head(&limits, wait, &mut shutdown_seen).await {
                NextHead::Head(head) => head,
                NextHead::Done => return,
                NextHead::TimedOut => {
                    return self
                        .refuse(client, &connection, Reason::RequestTimeout, None)
                        .await;
                }
                NextHead::Refused(refusal) => {
                    return self.refuse_malformed(client, &connection, refusal).await;
                }
            };
            // In flight from the last byte of the head until the answer is written.
            let _busy = self.lifecycle.request();
            let (arrival, body) = match self.inspect(&mut head, &limits, &client) {
                Ok(request) => request,
                Err(refusal) => {
                    return self.refuse_malformed(client, &connection, refusal).await;
                }
            };
            match self
                .serve_request(client, &connection, head, (arrival, body), shutdown)
                .await
            {
                After::Next(next) => client = next,
                After::Closed => return,
            }
            wait.idle = Some(self.timeouts.keepalive);
        }
    }

    /// Reads a small body, lends the connection to Pingora, and sees to what is left of it.
    async fn serve_request(
        &self,
        mut client: ClientStream,
        connection: &Arc<Connection>,
        head: BytesMut,
        (mut arrival, body): (Arrival, BodyTracker),
        shutdown: &ShutdownWatch,
    ) -> After {
        let mut memory = None;
        if let Some(length) = self.small_body(&arrival) {
            let memory = memory.insert(self.body_buffers.begin());
            match client.read_body(length, self.body_wait(), memory).await {
                BodyRead::Whole => arrival.is_body_in_hand = true,
                BodyRead::NoMemory => {}
                end @ (BodyRead::Gone | BodyRead::TimedOut) => {
                    let took = arrival.at.elapsed();
                    self.end_unread(client, connection, &head, end, took).await;
                    return After::Closed;
                }
            }
        } else if arrival.body == BodyFraming::Chunked && !arrival.expects_continue {
            arrival.is_body_in_hand = body.clone().is_ended_by(&client.ahead);
        }
        let turn = Arc::new(Turn::default());
        let session = self.session(client, head, body, &arrival, &turn);
        let arrived = Arrived {
            connection: Arc::clone(connection),
            arrival,
            turn: Arc::clone(&turn),
        };
        let processing = self.proxy.process_new_http(session, shutdown);
        let is_kept = arrived.scope(processing).await.map(drop).is_some();
        drop(memory);
        let Some(Returned { client, end }) = turn.take_client() else {
            return After::Closed;
        };
        match (end, turn.take_tunnel()) {
            (End::RequestComplete, None) if is_kept => return After::Next(client),
            (End::RequestComplete, None) if client.ahead.is_empty() => {}
            (End::RequestComplete | End::StillSending, None) => client.linger().await,
            (End::Switched, Some((ticket, Some(cell)))) => {
                self.carry_tunnel(client, ticket, cell).await;
            }
            // One side of it was gone before it could begin.
            (_, Some((ticket, _))) => self.access_log.write(|| *ticket.entry),
            (End::Switched | End::Cut, None) => {}
        }
        After::Closed
    }

    /// Ends a request whose body did not come: the cell never heard of it.
    async fn end_unread(
        &self,
        client: ClientStream,
        connection: &Connection,
        head: &[u8],
        end: BodyRead,
        took: Duration,
    ) {
        let reason = (end == BodyRead::TimedOut).then_some(Reason::RequestTimeout);
        self.access_log
            .write(|| Entry::body_unread(connection, head, reason, took));
        match reason {
            Some(reason) => {
                self.metrics.rejected_without_cell(reason);
                client.close_with(&closing_response(reason, None)).await;
            }
            None => self.metrics.client_aborts.inc(),
        }
    }

    /// The length of a body that is to be read before its cell is asked.
    fn small_body(&self, arrival: &Arrival) -> Option<usize> {
        let BodyFraming::Length(length) = arrival.body else {
            return None;
        };
        let length = usize::try_from(length).ok()?;
        let is_small = (1..=self.limits.body_buffered_bytes_max).contains(&length);
        // A client that waits for a 100 sends nothing before somebody says so.
        (is_small && !arrival.expects_continue).then_some(length)
    }

    fn body_wait(&self) -> BodyWait {
        BodyWait {
            idle: self.timeouts.client_idle,
            bytes_per_second_min: self.limits.body_bytes_per_second_min,
        }
    }

    async fn carry_tunnel(&self, client: ClientStream, ticket: Ticket, cell: Switched) {
        let Ticket { mut entry, open } = ticket;
        let began = Instant::now();
        let carried = tunnel::carry(client, cell, self.timeouts.upgrade_idle).await;
        drop(open);
        entry.time = SystemTime::now();
        entry.took += began.elapsed();
        entry.request_body_bytes += carried.from_client;
        entry.response_body_bytes += carried.from_cell;
        self.access_log.write(|| *entry);
    }

    /// Shows the head to the gate.
    fn inspect(
        &self,
        head: &mut BytesMut,
        limits: &GateLimits<'_>,
        client: &ClientStream,
    ) -> Result<(Arrival, BodyTracker), Refusal> {
        let seen = inspect_head(head, limits)?;
        if seen.host.is_none() {
            // HTTP/1.0 may do without Host, but cells are asked in HTTP/1.1, which may not.
            return Err(Refusal::MissingHost);
        }
        let body = BodyTracker::new(seen.body, self.limits.body_bytes_max)?;
        let arrival = Arrival::of(&seen);
        if arrival.asks_for_switch() && !client.ahead.is_empty() {
            return Err(Refusal::BytesBeforeSwitch);
        }
        if let Some(host) = seen.respelled_host {
            *head = with_host(head, host);
        }
        Ok((arrival, body))
    }

    /// Whether the connection may be kept is not said here: Pingora decides that anew once it has parsed the head.
    fn session(
        &self,
        client: ClientStream,
        head: BytesMut,
        body: BodyTracker,
        arrival: &Arrival,
        turn: &Arc<Turn>,
    ) -> ServerSession {
        let idle = self.timeouts.client_idle;
        let terms = LentTerms {
            asks_for_switch: arrival.asks_for_switch(),
            expects_continue: arrival.expects_continue,
            guards_interim: self.interim_answers == InterimAnswers::Guarded,
            stall_limit: idle,
            bytes_per_second_min: self.limits.body_bytes_per_second_min,
        };
        let stream = LentStream::new(client, body, terms, Arc::clone(turn));
        let mut session = ServerSession::new_http1(Box::new(stream));
        session.set_read_timeout(Some(idle));
        session.set_write_timeout(Some(idle));
        session.set_total_drain_timeout(Some(idle));
        session.set_pipelined_prefix(head);
        session
    }

    async fn refuse_malformed(
        &self,
        client: ClientStream,
        connection: &Connection,
        refusal: Refusal,
    ) {
        self.metrics.gate_refused(refusal);
        self.refuse(client, connection, refusal.into(), Some(refusal))
            .await;
    }

    async fn refuse(
        &self,
        client: ClientStream,
        connection: &Connection,
        reason: Reason,
        refusal: Option<Refusal>,
    ) {
        self.metrics.rejected_without_cell(reason);
        self.access_log
            .write(|| Entry::refused_unread(connection, reason, refusal));
        let detail = refusal.map(|refusal| refusal.to_string());
        client
            .close_with(&closing_response(reason, detail.as_deref()))
            .await;
    }

    fn gate_limits(&self) -> GateLimits<'_> {
        GateLimits {
            head_bytes_max: self.limits.head_bytes_max,
            headers_max: self.limits.headers_max,
            target_bytes_max: TARGET_BYTES_MAX.min(self.limits.head_bytes_max),
            upgrades: &self.limits.upgrades,
        }
    }
}
