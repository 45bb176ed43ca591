//! The life of a TCP listener's connection: whose it is, where it goes, and its end.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use cellgate_process::descriptors::is_exhaustion;
use pingora::server::ShutdownWatch;
use tokio::time::sleep_until;
use tracing::{debug, field::display, info};

use super::{
    end::End,
    hello::{self, NoHello},
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
    tls::CellSocket,
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
    server_name: Option<String>,
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
            connection: opened.connection,
        };
        let mut exchange = Exchange::of_connection(began, client.connection.peer);
        let outcome = match self.admit(&mut exchange, &mut client).await {
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
            Ok(cell) => Some(Trip {
                relay: Relay::new(client.socket, cell, &client.ahead, &self.pipes),
                connection: client.connection,
                exchange,
                began,
                connected: Instant::now(),
                _place: opened.place,
            }),
            // Without a byte, somebody has looked whether anybody is here.
            Err(Closed {
                end: End::NoHello(NoHello::Gone),
                ..
            }) if client.ahead.is_empty() && !opened.is_negotiated => None,
            Err(closed) => {
                self.close(&client.connection, &exchange, &closed, began);
                if relaying.starttls == Some(Starttls::PostgreSql) {
                    refusal::say(client.socket, closed.end.code()).await;
                }
                None
            }
        }
    }

    async fn admit(&self, exchange: &mut Exchange, client: &mut Client) -> Result<(), Closed> {
        let mut detail = None;
        let mut key = Box::<RequestKey>::default();
        let mut found = client.read_key(client.hello(), &mut key);
        if found == Ok(Found::NeedsHello) {
            let limit = self.services.timeouts.head;
            let asked = hello::read(&mut client.socket, &mut client.ahead, limit).await?;
            if asked.server_name.is_none() {
                detail = Some(if asked.has_ech {
                    "the client asks for a server only in encrypted form (ECH)"
                } else {
                    "the client asks for no server by name (SNI)"
                });
            }
            client.server_name = asked.server_name;
            let hello = Hello::Read(client.server_name.as_deref());
            found = client.read_key(hello, &mut key);
        }
        let key = found.map(|_| key);
        let snapshot = self.services.current.peek();
        let policy = &self.services.policy;
        let admitted = exchange.admit(policy, client.connection.peer, key, snapshot.as_deref());
        admitted.map_err(|refused| {
            let mut closed = Closed::from(refused);
            closed.detail = closed.detail.or(detail.map(ToOwned::to_owned));
            closed
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
        // Without a limit, an endpoint that takes the connection is a healthy one. The limit is the cell's: how long its
        // client took until then is not in it.
        let mut awaits_answer = relaying.first_byte;
        if awaits_answer.is_none() {
            trip.exchange.answered();
        }
        loop {
            let deadline = match awaits_answer {
                Some(limit) => (trip.connected + limit).min(trip.relay.last() + relaying.idle),
                None => trip.relay.last() + relaying.idle,
            };
            tokio::select! {
                biased;
                end = poll_fn(|cx| trip.relay.poll(cx, awaits_answer.is_some())) => match end {
                    Some(end) => return end,
                    None => {
                        awaits_answer = None;
                        trip.exchange.answered();
                    }
                },
                () = &mut cut => return End::Shutdown,
                () = sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    if awaits_answer.is_some_and(|limit| trip.connected + limit <= now) {
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

    fn finish(&self, trip: &Trip, end: End) {
        let (from_client, from_cell) = trip.relay.carried();
        trip.exchange.finish_connection(from_client, from_cell);
        self.services.policy.metrics.tcp_closed(end);
        let took = trip.began.elapsed();
        let (listener, peer) = (&*trip.connection.listener.name, trip.connection.peer);
        match end {
            End::Shutdown => info!(listener, %peer, "connection cut: the process ends"),
            _ => debug!(listener, %peer, reason = end.code(), "connection ended"),
        }
        self.services.access_log.write(|| {
            TcpEntry::new(&trip.connection, &trip.exchange, end, took)
                .carried(from_client, from_cell)
        });
    }

    fn close(&self, connection: &Connection, exchange: &Exchange, closed: &Closed, began: Instant) {
        let end = closed.end;
        self.services.policy.metrics.tcp_closed(end);
        let (listener, peer) = (&*connection.listener.name, connection.peer);
        let detail = closed.detail.as_deref().map(display);
        info!(listener, %peer, reason = end.code(), detail, "connection closed");
        let took = began.elapsed();
        self.services
            .access_log
            .write(|| TcpEntry::new(connection, exchange, end, took));
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
