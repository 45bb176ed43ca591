//! The life of a client's connection: head, gate, Pingora, and again.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::BytesMut;
use pingora::{
    apps::HttpServerApp as _, protocols::http::ServerSession, proxy::HttpProxy,
    server::ShutdownWatch,
};
use tokio::time::timeout;

use super::{
    body_buffers::{BodyBuffers, Reserved},
    client::{BodyRead, BodyWait, ClientStream, HeadWait, NextHead},
    direct::{HandedOver, Outcome, PlanRules, Seen, Trip, inspect_and_plan},
    gateway::Gateway,
    head::with_host,
    inspected::{Inspected, named},
    lent::{LentStream, LentTerms},
    local::Local,
    returned::{End, Returned},
    services::Services,
    stop::Stop,
    timer::Timer,
    tunnel::{self, Ticket},
    turn::{Arrival, Arrived, Turn},
};
use crate::{
    access_log::Entry,
    answer::{Extras, Reason, closing_response},
    config::{InterimAnswers, Limits},
    exchange::Connection,
    field_lines::FieldLines,
    gate::{BodyFraming, BodyTracker, GateLimits, Refusal, inspect_lines},
    lifecycle::Phase,
    listen::{Accepted, ClientSocket, Opened, Opener, ServeConnection, SourcePlace, Unopened},
    metrics::Metrics,
    request_id::RequestId,
    tls::Refused,
    upstream::Switched,
};

/// Longest request target. RFC 9112, section 3, asks for at least 8,000 bytes.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Takes client connections.
pub struct Edge {
    pub proxy: Arc<HttpProxy<Gateway>>,
    pub services: Arc<Services>,
    pub rules: Arc<PlanRules>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub body_buffers: Arc<BodyBuffers>,
    pub opener: Arc<Opener>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl ServeConnection for Edge {
    async fn serve(&self, accepted: Box<Accepted>, shutdown: &ShutdownWatch) {
        let Some(open) = self
            .services
            .lifecycle
            .connection(self.services.budget.connections_max)
        else {
            self.metrics.connections_refused.inc();
            self.metrics.rejected_without_cell(Reason::Overloaded);
            // Who speaks TLS could not read it, and a handshake is what there is no place for.
            if accepted.terminator.is_none() {
                let client = ClientStream::new(ClientSocket::Plain(accepted.socket), &[]);
                let id = self.new_request_id();
                client
                    .cut_with(&closing_response(
                        Reason::Overloaded,
                        None,
                        named(id.as_ref()),
                    ))
                    .await;
            }
            return;
        };
        self.services.share_descriptors();
        match self.opener.open(accepted, shutdown).await {
            Ok(Some(opened)) => self.serve_requests(self.begin(opened), shutdown).await,
            Ok(None) => {}
            Err(unopened) => Box::pin(self.answer_unopened(unopened)).await,
        }
        drop(open);
        self.services.share_descriptors();
    }

    fn listeners_closed(&self) {
        self.services.lifecycle.enter(Phase::ListenersClosed);
    }
}

/// A connection before its first request.
struct Begun {
    client: ClientStream,
    connection: Arc<Connection>,
    first: HeadWait,
    /// Held as long as the connection.
    place: Option<SourcePlace>,
}

/// How a request leaves its connection.
enum After {
    /// The next one may come.
    Next(ClientStream),
    Closed,
}

impl Edge {
    fn begin(&self, opened: Box<Opened>) -> Begun {
        let Opened {
            socket,
            ahead,
            waited,
            connection,
            place,
            ..
        } = *opened;
        Begun {
            client: ClientStream::new(socket, &ahead),
            connection: Arc::new(connection),
            first: HeadWait {
                idle_until: None,
                head: self.services.timeouts.head.saturating_sub(waited),
            },
            place,
        }
    }

    /// One request after the other, until the connection is done. What is rare is boxed, so that an idle connection does not
    /// carry it.
    fn serve_requests<'s>(
        &'s self,
        begun: Begun,
        shutdown: &'s ShutdownWatch,
    ) -> impl Future<Output = ()> + Send + 's {
        // Taken apart here: the future would have a second place for whatever it takes apart itself.
        let Begun {
            mut client,
            connection,
            first: mut wait,
            place,
        } = begun;
        async move {
            let (_held, limits) = (&place, self.gate_limits());
            let mut timer = Timer::default();
            let drain_idle = self.services.timeouts.drain_idle;
            let mut stop = Stop::new(&self.services.lifecycle, drain_idle, shutdown);
            loop {
                let alarms = (&mut timer, &mut stop);
                let head_bytes = match client.next_head(&limits, wait, alarms).await {
                    NextHead::Head { bytes } => bytes,
                    end => return self.end_without_head(client, &connection, end).await,
                };
                // In flight from the last byte of the head until the answer is written.
                let _busy = self.services.lifecycle.request();
                let mut request = match self.inspect(&client, head_bytes, &limits, &connection) {
                    Ok(request) => request,
                    Err(refusal) => {
                        return Box::pin(self.refuse_malformed(client, &connection, refusal)).await;
                    }
                };
                if let Some(local) = request.local.take() {
                    let answering = self.answer_locally(client, &connection, &request, local);
                    match Box::pin(answering).await {
                        After::Next(next) => client = next,
                        After::Closed => return,
                    }
                    wait = self.next_wait(Instant::now());
                    continue;
                }
                // Held until the request is over.
                let mut memory = None;
                let reading = self.read_small_body(&mut client, &mut request, &mut memory);
                if let Err(end) = reading.await {
                    return Box::pin(self.end_unread(client, &connection, &request, end)).await;
                }
                let mut trip = (request.take_whole(&connection))
                    .map(|whole| Trip::new(&self.services, &mut client, &mut timer, whole));
                let outcome = match &mut trip {
                    Some(trip) => Some(trip.run().await),
                    None => None,
                };
                // With it goes what it held of its cell, before anything is waited for.
                drop(trip);
                let handed_over = match outcome {
                    None => None,
                    Some(Outcome::Answered { at, is_kept }) => {
                        wait = self.next_wait(at);
                        if is_kept {
                            continue;
                        }
                        if client.ahead.is_empty() {
                            return client.end().await;
                        }
                        return Box::pin(client.linger()).await;
                    }
                    Some(Outcome::HandedOver(what)) => Some(what),
                    Some(Outcome::Cut) => return,
                };
                let serving =
                    self.serve_request(client, &connection, request, handed_over, shutdown);
                match Box::pin(serving).await {
                    After::Next(next) => client = next,
                    After::Closed => return,
                }
                wait = self.next_wait(Instant::now());
            }
        }
    }

    /// Boxed like whatever ends a connection, so that one that is served does not carry it.
    fn end_without_head<'s>(
        &'s self,
        client: ClientStream,
        connection: &'s Connection,
        end: NextHead,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 's>> {
        match end {
            NextHead::TimedOut => {
                Box::pin(self.refuse(client, connection, Reason::RequestTimeout, None))
            }
            NextHead::Refused(refusal) => {
                Box::pin(self.refuse_malformed(client, connection, refusal))
            }
            NextHead::Head { .. } | NextHead::Done => Box::pin(client.end()),
        }
    }

    /// How long the next head may take, after a request that was over `at` this time.
    fn next_wait(&self, at: Instant) -> HeadWait {
        let timeouts = &self.services.timeouts;
        HeadWait {
            idle_until: Some((at + timeouts.keepalive).into()),
            head: timeouts.head,
        }
    }

    /// Reads a small body, so that it is in hand before its cell is asked. The error is how it ended.
    async fn read_small_body(
        &self,
        client: &mut ClientStream,
        request: &mut Inspected,
        memory: &mut Option<Reserved>,
    ) -> Result<(), BodyRead> {
        let Some(length) = self.small_body(&request.arrival) else {
            return Ok(());
        };
        let head = request.head_bytes;
        if client.ahead.len() - head < length {
            let memory = memory.insert(self.body_buffers.begin());
            let reading = client.read_body(head, length, self.body_wait(), memory);
            match Box::pin(reading).await {
                BodyRead::Whole | BodyRead::NoMemory => {}
                end @ (BodyRead::Gone | BodyRead::TimedOut) => return Err(end),
            }
        }
        request.arrival.is_body_in_hand = client.ahead.len() - head >= length;
        Ok(())
    }

    /// Lends the connection to Pingora, and sees to what is left of it.
    async fn serve_request(
        &self,
        mut client: ClientStream,
        connection: &Arc<Connection>,
        request: Inspected,
        handed_over: Option<Box<HandedOver>>,
        shutdown: &ShutdownWatch,
    ) -> After {
        let Inspected {
            head_bytes,
            mut arrival,
            body,
            respelled_host,
            request_id,
            sends_hsts,
            ..
        } = request;
        let head = &client.ahead[..head_bytes];
        let head = match respelled_host {
            Some(host) => with_host(head, &host),
            None => head.into(),
        };
        client.ahead.advance(head_bytes);
        if arrival.body == BodyFraming::Chunked && !arrival.expects_continue {
            arrival.is_body_in_hand = body.clone().is_ended_by(&client.ahead);
        }
        let turn = Arc::new(Turn::default());
        let session = self.session(client, head, body, &arrival, &turn);
        let arrived = Arrived {
            connection: Arc::clone(connection),
            arrival,
            turn: Arc::clone(&turn),
            handed_over,
            sends_hsts,
            request_id,
        };
        let processing = self.proxy.process_new_http(session, shutdown);
        let is_kept = arrived.scope(processing).await.map(drop).is_some();
        let Some(Returned { client, end }) = turn.take_client() else {
            return After::Closed;
        };
        match (end, turn.take_tunnel()) {
            (End::RequestComplete, None) if is_kept && client.unsent() == 0 => {
                return After::Next(client);
            }
            (End::RequestComplete, None) if client.ahead.is_empty() => {}
            (End::RequestComplete | End::StillSending, None) => client.linger().await,
            (End::Switched, Some((ticket, Some(cell)))) => {
                self.carry_tunnel(client, ticket, cell).await;
            }
            // One side of it was gone before it could begin.
            (_, Some((ticket, _))) => self.services.access_log.write(|| *ticket.entry),
            (End::Switched | End::Cut, None) => {}
        }
        After::Closed
    }

    /// Answers a request that no cell is asked about.
    async fn answer_locally(
        &self,
        mut client: ClientStream,
        connection: &Connection,
        request: &Inspected,
        mut local: Box<Local>,
    ) -> After {
        let services = &self.services;
        // Its client is to come back on another connection, to another process.
        local.closes |= services.lifecycle.has_reached(Phase::Draining);
        let answer = local.answer(services, request.extras(connection)).await;
        if let Some(reason) = answer.reason {
            self.metrics.rejected_without_cell(reason);
        }
        let listener = &connection.listener.name;
        self.metrics
            .local_response(listener, local.kind(), answer.status);
        if local.is_logged() {
            let took = request.arrival.at.elapsed();
            let head = &client.ahead[..request.head_bytes];
            services.access_log.write(|| {
                let mut entry = Entry::body_unread(connection, head, answer.reason, took);
                let mut lines = Vec::new();
                // It has passed the gate.
                let _ = inspect_lines(head, &self.gate_limits(), |line, _| lines.push(line));
                entry.client = connection.client(&self.rules.trust, FieldLines(&lines));
                entry.status = answer.status;
                entry.response_body_bytes = answer.content;
                entry.called(request.request_id.as_ref())
            });
        }
        if answer.closes {
            client.close_with(&answer.bytes).await;
            return After::Closed;
        }
        client.ahead.advance(request.head_bytes);
        let sending = timeout(
            services.timeouts.client_idle,
            client.send_all(&answer.bytes),
        );
        match sending.await {
            Ok(Ok(())) => After::Next(client),
            Ok(Err(_)) | Err(_) => After::Closed,
        }
    }

    /// Ends a request whose body did not come: the cell never heard of it.
    async fn end_unread(
        &self,
        client: ClientStream,
        connection: &Connection,
        request: &Inspected,
        end: BodyRead,
    ) {
        let took = request.arrival.at.elapsed();
        let head = &client.ahead[..request.head_bytes];
        let id = request.request_id.as_ref();
        let reason = (end == BodyRead::TimedOut).then_some(Reason::RequestTimeout);
        self.services
            .access_log
            .write(|| Entry::body_unread(connection, head, reason, took).called(id));
        match reason {
            Some(reason) => {
                self.metrics.rejected_without_cell(reason);
                let extras = request.extras(connection);
                client
                    .close_with(&closing_response(reason, None, extras))
                    .await;
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
            idle: self.services.timeouts.client_idle,
            bytes_per_second_min: self.limits.body_bytes_per_second_min,
        }
    }

    async fn carry_tunnel(&self, client: ClientStream, ticket: Ticket, cell: Switched) {
        let Ticket { mut entry, open } = ticket;
        let began = Instant::now();
        let carried = tunnel::carry(client, cell, self.services.timeouts.upgrade_idle).await;
        drop(open);
        entry.time = SystemTime::now();
        entry.took += began.elapsed();
        entry.request_body_bytes += carried.from_client;
        entry.response_body_bytes += carried.from_cell;
        self.services.access_log.write(|| *entry);
    }

    /// Answers a client without TLS on a listener with it, as far as it can be answered.
    async fn answer_unopened(&self, unopened: Unopened) {
        let Unopened {
            refused: Refused::PlainHttp(socket),
            place: _place,
        } = unopened
        else {
            return;
        };
        let reason = Reason::BadRequest;
        self.metrics.rejected_without_cell(reason);
        let detail = "this port speaks TLS: the URL has to begin with https://";
        let id = self.new_request_id();
        ClientStream::new(ClientSocket::Plain(socket), &[])
            .close_with(&closing_response(reason, Some(detail), named(id.as_ref())))
            .await;
    }

    /// Shows the head to the gate.
    fn inspect(
        &self,
        client: &ClientStream,
        head_bytes: usize,
        limits: &GateLimits<'_>,
        connection: &Connection,
    ) -> Result<Inspected, Refusal> {
        let (head, behind) = client.ahead.split_at(head_bytes);
        let random = fastrand::u128(..);
        let Seen {
            head: seen,
            request_id,
            plan,
        } = inspect_and_plan(head, limits, &self.rules, connection, random)?;
        let local = Local::of(&connection.listener.http, &seen, head).map(Box::new);
        if seen.host.is_none() && local.is_none() {
            // HTTP/1.0 may do without Host, but cells are asked in HTTP/1.1, which may not.
            return Err(Refusal::MissingHost);
        }
        let arrival = Arrival::of(&seen);
        if arrival.asks_for_switch() && !behind.is_empty() {
            return Err(Refusal::BytesBeforeSwitch);
        }
        Ok(Inspected {
            head_bytes,
            body: BodyTracker::new(seen.body, self.limits.body_bytes_max)?,
            arrival,
            respelled_host: seen.respelled_host.map(Into::into),
            request_id,
            sends_hsts: connection.hsts(seen.host).is_some(),
            local,
            plan,
        })
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
        let idle = self.services.timeouts.client_idle;
        let terms = LentTerms {
            asks_for_switch: arrival.asks_for_switch(),
            expects_continue: arrival.expects_continue,
            guards_interim: self.services.upstream.interim_answers == InterimAnswers::Guarded,
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
        let id = self.new_request_id();
        let id = id.as_ref();
        self.services
            .access_log
            .write(|| Entry::refused_unread(connection, reason, refusal).called(id));
        let detail = refusal.map(|refusal| refusal.to_string());
        let extras = Extras {
            request_id: id,
            hsts: connection.hsts_unread(),
        };
        client
            .close_with(&closing_response(reason, detail.as_deref(), extras))
            .await;
    }

    /// For a request that could not be read.
    fn new_request_id(&self) -> Option<RequestId> {
        self.rules.new_request_id(fastrand::u128(..))
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
