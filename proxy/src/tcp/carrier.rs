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

use super::{end::End, relay::Relay, splice::Pipes};
use crate::{
    access_log::TcpEntry,
    answer::Reason,
    clock,
    config::Relaying,
    exchange::{Connection, Exchange, Failure, Refused, UpstreamFault, Verdict},
    http::Services,
    listen::{Accepted, ClientSocket, Opened, Opener, SourcePlace},
    tenant_key::{Found, Hello, KeyError, RequestKey},
    tls::CellSocket,
    upstream::connect_to_cell,
};

/// Connections are cut so long before the process ends: it has to be written down.
const CUT_BEFORE: Duration = Duration::from_millis(100);

/// Takes the connections of TCP listeners.
#[derive(Debug)]
pub struct Carrier {
    pub services: Arc<Services>,
    pub opener: Arc<Opener>,
    pub connections_max: usize,
    pub pipes: Arc<Pipes>,
}

/// A connection with both of its sides.
struct Trip {
    relay: Relay<ClientSocket, CellSocket>,
    connection: Connection,
    exchange: Exchange,
    began: Instant,
    /// Held as long as the connection.
    _place: Option<SourcePlace>,
}

impl Carrier {
    pub async fn serve(&self, accepted: Accepted, relaying: Relaying, shutdown: &ShutdownWatch) {
        let lifecycle = &self.services.lifecycle;
        let Some(_open) = lifecycle.connection(self.connections_max) else {
            let metrics = &self.services.policy.metrics;
            metrics.connections_refused.inc();
            metrics.rejected_without_cell(Reason::Overloaded);
            metrics.tcp_closed(End::Refused(Reason::Overloaded));
            return;
        };
        // Not a part of the future, which every connection carries.
        if let Some(mut trip) = Box::pin(self.begin(accepted, shutdown)).await {
            let end = self.carry(&mut trip, relaying, shutdown).await;
            self.finish(&trip, end);
        }
    }

    /// `None` if nothing is to be carried: the connection is closed.
    async fn begin(&self, accepted: Accepted, shutdown: &ShutdownWatch) -> Option<Trip> {
        let began = Instant::now();
        let Opened {
            socket,
            ahead,
            connection,
            place,
            ..
        } = *self.opener.open(accepted, shutdown).await.ok()??;
        let mut exchange = Exchange::of_connection(began, connection.peer);
        let outcome = match self.admit(&mut exchange, &connection) {
            Ok(()) => self.connect(&mut exchange).await,
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok(cell) => Some(Trip {
                relay: Relay::new(socket, cell, &ahead, &self.pipes),
                connection,
                exchange,
                began,
                _place: place,
            }),
            Err(refused) => {
                self.refuse(&connection, &exchange, &refused, began);
                None
            }
        }
    }

    fn admit(&self, exchange: &mut Exchange, connection: &Connection) -> Result<(), Refused> {
        let snapshot = self.services.current.peek();
        exchange.admit(
            &self.services.policy,
            connection.peer,
            key_of(connection),
            snapshot.as_deref(),
        )
    }

    /// Connects to the cell. No byte was passed yet, so another endpoint may be tried.
    async fn connect(&self, exchange: &mut Exchange) -> Result<CellSocket, Refused> {
        loop {
            let random = [fastrand::u32(..), fastrand::u32(..)];
            let Some(endpoint) = exchange.next_endpoint(clock::now_ms(), random) else {
                return Err(Reason::NoHealthyEndpoint.into());
            };
            let (address, limit) = (endpoint.state.address, self.services.timeouts.connect);
            let failure = match connect_to_cell(address, endpoint.tls.as_ref(), limit).await {
                Ok(connection) => return Ok(connection.socket),
                Err(error) => failure_of(&error),
            };
            match self
                .services
                .judge(exchange, failure, true, clock::now_ms())
            {
                Verdict::Retry => {}
                Verdict::Answer(refused) => return Err(refused),
                Verdict::LetGo => return Err(Reason::ConnectFailed.into()),
            }
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
        // Without a limit, an endpoint that takes the connection is a healthy one.
        let mut awaits_answer = relaying.first_byte;
        if awaits_answer.is_none() {
            trip.exchange.answered();
        }
        loop {
            let deadline = match awaits_answer {
                Some(limit) => (trip.began + limit).min(trip.relay.last() + relaying.idle),
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
                    if awaits_answer.is_some_and(|limit| trip.began + limit <= now) {
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

    fn refuse(
        &self,
        connection: &Connection,
        exchange: &Exchange,
        refused: &Refused,
        began: Instant,
    ) {
        let end = End::Refused(refused.reason);
        self.services.policy.metrics.tcp_closed(end);
        let (listener, peer) = (&*connection.listener.name, connection.peer);
        let detail = refused.detail.as_deref().map(display);
        info!(listener, %peer, reason = end.code(), detail, "connection closed");
        let took = began.elapsed();
        self.services
            .access_log
            .write(|| TcpEntry::new(connection, exchange, end, took));
    }
}

fn key_of(connection: &Connection) -> Result<Box<RequestKey>, KeyError> {
    let hello = match &connection.tls {
        Some(facts) => Hello::Read(facts.server_name.as_deref()),
        None => Hello::Unread,
    };
    let mut key = Box::<RequestKey>::default();
    let rules = &connection.listener.key_rules;
    match rules.read_connection_key(&connection.key_view(hello), &mut key)? {
        Found::Key => Ok(key),
        Found::NeedsHello => Err(KeyError::Missing),
    }
}

fn failure_of(error: &io::Error) -> Failure {
    if is_exhaustion(error) {
        Failure::OutOfResources
    } else {
        Failure::Unreachable
    }
}
