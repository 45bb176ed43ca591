//! The life of a TCP listener's connection: whose it is, where it goes, and its end.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use cellgate_process::descriptors::is_exhaustion;
use pingora::server::ShutdownWatch;
use tokio::{select, time::sleep_until};
use tracing::{debug, field::display, info};

use super::{
    end::End,
    hello::{self, Asked, NoHello},
    opening::{Opening, is_declined},
    refusal,
    relay::Relay,
    splice::Pipes,
};
use crate::{
    access_log::TcpEntry,
    answer::Reason,
    clock,
    config::{Relaying, Starttls},
    exchange::{Connection, Exchange, Failure, Refused, UpstreamFault, Verdict},
    http::Services,
    listen::{Accepted, ClientSocket, Opener, SourcePlace},
    tenant_key::{Found, Hello, KeyError, RequestKey},
    tls::{CellSocket, CellTls},
    wire::proxy_protocol::begins_header,
};

/// Connections are cut so long before the process ends: it has to be written down.
const CUT_BEFORE: Duration = Duration::from_millis(100);

/// Takes the connections of TCP listeners.
#[derive(Debug)]
pub struct Carrier {
    pub services: Arc<Services>,
    pub opener: Arc<Opener>,
    pub pipes: Arc<Pipes>,
}

/// A client, before its cell is known.
struct Client {
    socket: ClientSocket,
    /// Read from it already, and the cell's.
    ahead: Vec<u8>,
    /// Of a hello that is the cell's.
    server_name: Option<Box<str>>,
    /// It must not begin with a PROXY header.
    refuses_header: bool,
    connection: Connection,
}

/// Why nothing is carried.
struct Closed {
    end: End,
    /// What is wrong with this very connection.
    detail: Option<String>,
}

/// A connection with both of its sides.
struct Trip {
    relay: Relay<ClientSocket, CellSocket>,
    connection: Connection,
    /// Of a hello that is the cell's.
    server_name: Option<Box<str>>,
    exchange: Exchange,
    began: Instant,
    /// When the cell had taken it.
    connected: Instant,
    /// Held as long as the connection.
    _place: Option<SourcePlace>,
}

impl Carrier {
    pub async fn serve(
        &self,
        accepted: Box<Accepted>,
        relaying: Relaying,
        shutdown: &ShutdownWatch,
    ) {
        let connections_max = self.services.budget.connections_max;
        let Some(open) = self.services.lifecycle.connection(connections_max) else {
            let metrics = &self.services.policy.metrics;
            metrics.connections_refused.inc();
            metrics.rejected_without_cell(Reason::Overloaded);
            metrics.tcp_closed(End::Refused(Reason::Overloaded));
            return;
        };
        self.services.share_descriptors();
        // Not a part of the future, which every connection carries.
        if let Some(mut trip) = Box::pin(self.begin(accepted, relaying, shutdown)).await {
            let end = self.carry(&mut trip, relaying, shutdown).await;
            self.finish(&trip, end);
        }
        drop(open);
        self.services.share_descriptors();
    }

    /// `None` if nothing is to be carried: the connection is closed.
    async fn begin(
        &self,
        accepted: Box<Accepted>,
        relaying: Relaying,
        shutdown: &ShutdownWatch,
    ) -> Option<Trip> {
        let began = Instant::now();
        let opened = *self.opener.open(accepted, shutdown).await.ok()??;
        let mut client = Client {
            socket: opened.socket,
            ahead: opened.ahead,
            server_name: None,
            refuses_header: opened.refuses_header,
            connection: opened.connection,
        };
        let mut exchange = Exchange::of_connection(began, client.connection.peer);
        let outcome = match self.admit(&mut exchange, &mut client, shutdown).await {
            Ok(()) => {
                let opening = Opening::new(
                    relaying,
                    &client.connection,
                    client.socket.tcp(),
                    client.server_name(),
                    opened.is_negotiated,
                );
                self.connect(&mut exchange, &opening).await
            }
            Err(closed) => Err(closed),
        };
        match outcome {
            Ok(cell) => {
                let mut relay = Relay::new(client.socket, cell, &client.ahead, &self.pipes);
                if client.refuses_header {
                    relay = relay.refusing_header();
                }
                Some(Trip {
                    relay,
                    connection: client.connection,
                    server_name: client.server_name,
                    exchange,
                    began,
                    connected: Instant::now(),
                    _place: opened.place,
                })
            }
            // Without a byte, somebody has looked whether anybody is here.
            Err(Closed {
                end: End::NoHello(NoHello::Gone),
                ..
            }) if client.ahead.is_empty() && !opened.is_negotiated => None,
            Err(closed) => {
                self.close(&client, &exchange, &closed, began);
                if relaying.starttls == Some(Starttls::PostgreSql) {
                    refusal::say(client.socket, closed.end.code()).await;
                }
                None
            }
        }
    }

    async fn admit(
        &self,
        exchange: &mut Exchange,
        client: &mut Client,
        shutdown: &ShutdownWatch,
    ) -> Result<(), Closed> {
        let mut has_ech = None;
        let mut key = Box::<RequestKey>::default();
        let mut found = client.read_key(client.hello(), &mut key);
        if found == Ok(Found::NeedsHello) {
            let asked = self.read_hello(client, shutdown).await?;
            has_ech = Some(asked.has_ech);
            client.server_name = asked.server_name.map(Into::into);
            let hello = Hello::Read(client.server_name.as_deref());
            found = client.read_key(hello, &mut key);
        }
        let key = found.map(|_| key);
        let snapshot = self.services.current.peek();
        let policy = &self.services.policy;
        let admitted = exchange.admit(policy, client.connection.peer, key, snapshot.as_deref());
        admitted.map_err(|refused| {
            let is_nobody = matches!(refused.reason, Reason::NoTenantKey | Reason::UnknownTenant);
            let mut closed = Closed::from(refused);
            if let (Some(has_ech), true) = (has_ech, is_nobody) {
                let asked = hello::explain(client.server_name.as_deref(), has_ech);
                closed.detail = Some(asked);
            }
            closed
        })
    }

    /// Reads the hello of a client whose TLS is the cell's.
    async fn read_hello(
        &self,
        client: &mut Client,
        shutdown: &ShutdownWatch,
    ) -> Result<Asked, Closed> {
        let limit = self.services.timeouts.head;
        let read = select! {
            biased;
            read = hello::read(&mut client.socket, &mut client.ahead, limit) => read,
            // It has asked for nothing yet.
            () = self.opener.drained(shutdown) => return Err(End::Shutdown.into()),
        };
        read.map_err(|reason| {
            if client.refuses_header && begins_header(&client.ahead) == Some(true) {
                End::ProxyHeader.into()
            } else {
                reason.into()
            }
        })
    }

    /// Connects to the cell. No byte was passed yet, so another endpoint may be tried.
    async fn connect(
        &self,
        exchange: &mut Exchange,
        opening: &Opening,
    ) -> Result<CellSocket, Closed> {
        loop {
            let random = [fastrand::u32(..), fastrand::u32(..)];
            let Some(endpoint) = exchange.next_endpoint(clock::now_ms(), random) else {
                return Err(Refused::from(Reason::NoHealthyEndpoint).into());
            };
            let (address, limit) = (endpoint.state.address, self.services.timeouts.connect);
            let error = match opening.connect(address, endpoint.tls.as_ref(), limit).await {
                Ok(socket) => return Ok(socket),
                Err(error) => error,
            };
            let failure = failure_of(&error);
            let verdict = self
                .services
                .judge(exchange, failure, true, clock::now_ms());
            let end = match verdict {
                Verdict::Retry => continue,
                _ if is_declined(&error) => End::CellWithoutTls,
                Verdict::Answer(refused) => End::Refused(refused.reason),
                Verdict::LetGo => End::Refused(Reason::ConnectFailed),
            };
            let detail = Some(format!("{address}: {error}"));
            return Err(Closed { end, detail });
        }
    }

    async fn carry(&self, trip: &mut Trip, relaying: Relaying, shutdown: &ShutdownWatch) -> End {
        let mut shutdown = shutdown.clone();
        let cut = async {
            // Whoever would say so is gone: that is the end too.
            let _ = shutdown.wait_for(|stop| *stop).await;
            let limit = self.services.timeouts.shutdown.saturating_sub(CUT_BEFORE);
            tokio::time::sleep(self.services.lifecycle.left_to_drain(limit)).await;
        };
        let mut cut = std::pin::pin!(cut);
        // Without a limit, an endpoint that takes the connection is a healthy one; over TLS it may still refuse what is shown
        // to it. The limit is the cell's: how long its client took until then is not in it.
        let mut first_byte = relaying.first_byte;
        let mut awaits_answer = first_byte.is_some() || trip.cell_tls().is_some();
        if !awaits_answer {
            trip.exchange.answered();
        }
        loop {
            let deadline = match first_byte {
                Some(limit) => (trip.connected + limit).min(trip.relay.last() + relaying.idle),
                None => trip.relay.last() + relaying.idle,
            };
            select! {
                biased;
                end = poll_fn(|cx| trip.relay.poll(cx, awaits_answer)) => match end {
                    Some(End::CellBroke) if self.is_refused_by_cell(trip) => {
                        return End::CellRefusedCertificate;
                    }
                    Some(end) => return end,
                    None => {
                        (awaits_answer, first_byte) = (false, None);
                        trip.exchange.answered();
                    }
                },
                () = &mut cut => return End::Shutdown,
                () = sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    if first_byte.is_some_and(|limit| trip.connected + limit <= now) {
                        let failure = Failure::Upstream(UpstreamFault::TimedOut);
                        self.services.judge(&mut trip.exchange, failure, false, clock::now_ms());
                        return End::FirstByteLate;
                    }
                    if trip.relay.last() + relaying.idle <= now {
                        return End::Idle;
                    }
                }
            }
        }
    }

    /// Whether the cell's side broke because the cell refused what was shown to it, which counts against the endpoint.
    fn is_refused_by_cell(&self, trip: &mut Trip) -> bool {
        let is_refused = (trip.cell_tls().zip(trip.relay.fault_of_silent_cell()))
            .is_some_and(|(tls, fault)| tls.is_refusal(fault));
        if is_refused {
            let failure = Failure::Upstream(UpstreamFault::Broken);
            self.services
                .judge(&mut trip.exchange, failure, false, clock::now_ms());
        }
        is_refused
    }

    fn finish(&self, trip: &Trip, end: End) {
        let (from_client, from_cell) = trip.relay.carried();
        trip.exchange.finish_connection(from_client, from_cell);
        self.services.policy.metrics.tcp_closed(end);
        let took = trip.began.elapsed();
        let (listener, peer) = (&*trip.connection.listener.name, trip.connection.peer);
        match end {
            End::ProxyHeader => self.opener.report_header(&trip.connection),
            End::Shutdown => info!(listener, %peer, "connection cut: the process ends"),
            _ => debug!(listener, %peer, reason = end.code(), "connection ended"),
        }
        self.services.access_log.write(|| {
            TcpEntry::new(&trip.connection, &trip.exchange, end, took)
                .asking_for(trip.server_name.as_deref())
                .carried(from_client, from_cell)
        });
    }

    fn close(&self, client: &Client, exchange: &Exchange, closed: &Closed, began: Instant) {
        let end = closed.end;
        self.services.policy.metrics.tcp_closed(end);
        let connection = &client.connection;
        if end == End::ProxyHeader {
            self.opener.report_header(connection);
        } else {
            let (listener, peer) = (&*connection.listener.name, connection.peer);
            let detail = closed.detail.as_deref().map(display);
            info!(listener, %peer, reason = end.code(), detail, "connection closed");
        }
        let took = began.elapsed();
        self.services.access_log.write(|| {
            TcpEntry::new(connection, exchange, end, took).asking_for(client.server_name.as_deref())
        });
    }
}

impl Trip {
    /// What the TLS of its cell was made by, if it has any.
    fn cell_tls(&self) -> Option<&Arc<CellTls>> {
        let endpoint = self.exchange.destination()?.endpoint()?;
        endpoint.tls.as_ref()
    }
}

impl Client {
    /// What is known of its hello without waiting for it.
    fn hello(&self) -> Hello<'_> {
        match &self.connection.tls {
            Some(facts) => Hello::Read(facts.server_name.as_deref()),
            None => Hello::Unread,
        }
    }

    /// The name that it asks for, if it is known.
    fn server_name(&self) -> Option<&str> {
        let of_ours = self.connection.tls.as_ref();
        let of_ours = of_ours.and_then(|facts| facts.server_name.as_deref());
        self.server_name.as_deref().or(of_ours)
    }

    fn read_key(&self, hello: Hello<'_>, key: &mut RequestKey) -> Result<Found, KeyError> {
        let rules = &self.connection.listener.key_rules;
        rules.read_connection_key(&self.connection.key_view(hello), key)
    }
}

impl From<Refused> for Closed {
    fn from(refused: Refused) -> Self {
        Self {
            end: End::Refused(refused.reason),
            detail: refused.detail,
        }
    }
}

impl From<End> for Closed {
    fn from(end: End) -> Self {
        Self { end, detail: None }
    }
}

impl From<NoHello> for Closed {
    fn from(reason: NoHello) -> Self {
        Self {
            end: End::NoHello(reason),
            detail: Some(reason.to_string()),
        }
    }
}

fn failure_of(error: &io::Error) -> Failure {
    if is_exhaustion(error) {
        Failure::OutOfResources
    } else {
        Failure::Unreachable
    }
}
