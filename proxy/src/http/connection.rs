//! The life of a client's connection: head, gate, Pingora, and again.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::{
    apps::{HttpServerApp as _, ReusedHttpStream, ServerApp},
    protocols::{Stream, http::ServerSession},
    proxy::HttpProxy,
    server::ShutdownWatch,
};

use super::{
    exchange::Arrival,
    gateway::Gateway,
    head::with_host,
    stream::{GatedStream, HeadWait, NextHead},
};
use crate::{
    access_log::{AccessLog, Entry},
    answer::{Reason, closing_response},
    config::{Limits, Timeouts},
    gate::{BodyTracker, GateLimits, Head, Refusal, inspect_head},
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
};

/// Longest request target. RFC 9112, section 3, asks for at least 8,000 bytes.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Takes client connections.
pub struct Edge {
    pub proxy: Arc<HttpProxy<Gateway>>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub lifecycle: Arc<Lifecycle>,
    pub metrics: Arc<Metrics>,
    pub access_log: AccessLog,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.serve(stream, shutdown).await;
        None
    }

    /// Called once the listeners are closed.
    async fn cleanup(&self) {
        self.lifecycle.enter(Phase::ListenersClosed);
    }
}

impl Edge {
    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let client = client_address(&stream);
        let (stream, mut leftover) = GatedStream::new(stream);
        let Some(_open) = self.lifecycle.connection(self.limits.connections_max) else {
            self.metrics.connections_refused.inc();
            self.metrics.rejected_without_cell(Reason::Overloaded);
            stream
                .cut_with(&closing_response(Reason::Overloaded, None))
                .await;
            return;
        };
        self.serve_requests(stream, client, shutdown).await;
        if let Ok(leftover) = leftover.try_recv() {
            leftover.linger().await;
        }
    }

    /// One request after the other, until the connection is done.
    async fn serve_requests(
        &self,
        mut stream: GatedStream,
        client: IpAddr,
        shutdown: &ShutdownWatch,
    ) {
        let limits = self.gate_limits();
        let mut shutdown_seen = shutdown.clone();
        let mut wait = HeadWait {
            idle: None,
            head: self.timeouts.head,
        };
        loop {
            let mut head = match stream.next_head(&limits, wait, &mut shutdown_seen).await {
                NextHead::Head(head) => head,
                NextHead::Done => return,
                NextHead::TimedOut => {
                    return self
                        .refuse(stream, client, Reason::RequestTimeout, None)
                        .await;
                }
                NextHead::Refused(refusal) => {
                    return self.refuse_malformed(stream, client, refusal).await;
                }
            };
            // In flight from the last byte of the head until the answer is written.
            let busy = self.lifecycle.request();
            let arrival = match self.admit(&mut head, &limits, &mut stream, client) {
                Ok(arrival) => arrival,
                Err(refusal) => {
                    drop(busy);
                    return self.refuse_malformed(stream, client, refusal).await;
                }
            };
            let session = self.session(stream, head, arrival);
            match self
                .proxy
                .process_new_http(session, shutdown)
                .await
                .and_then(reclaim)
            {
                Some(next) => stream = next,
                None => return,
            }
            wait.idle = Some(self.timeouts.keepalive);
        }
    }

    /// Shows the head to the gate and sets the stream up for its body.
    fn admit(
        &self,
        head: &mut BytesMut,
        limits: &GateLimits<'_>,
        stream: &mut GatedStream,
        client: IpAddr,
    ) -> Result<Arrival, Refusal> {
        let seen = inspect_head(head, limits)?;
        // HTTP/1.0 may do without Host, but cells are asked in HTTP/1.1, which may not.
        if seen.host.is_none() {
            return Err(Refusal::MissingHost);
        }
        let body = BodyTracker::new(seen.body, self.limits.body_bytes_max)?;
        let arrival = arrival_of(&seen, client);
        stream.begin(body, arrival.asks_for_switch(), self.idle_limit(&arrival))?;
        if let Some(host) = seen.respelled_host {
            *head = with_host(head, host);
        }
        Ok(arrival)
    }

    fn idle_limit(&self, arrival: &Arrival) -> Duration {
        if arrival.asks_for_switch() {
            self.timeouts.upgrade_idle
        } else {
            self.timeouts.client_idle
        }
    }

    /// Whether the connection may be kept is not said here: Pingora decides that anew once it has parsed the head.
    fn session(&self, stream: GatedStream, head: BytesMut, arrival: Arrival) -> ServerSession {
        let mut session = ServerSession::new_http1(Box::new(stream));
        let idle = self.idle_limit(&arrival);
        session.set_read_timeout(Some(idle));
        session.set_write_timeout(Some(idle));
        session.set_total_drain_timeout(Some(self.timeouts.client_idle));
        session.set_connection_user_context(Some(Box::new(arrival)));
        session.set_pipelined_prefix(head);
        session
    }

    async fn refuse_malformed(&self, stream: GatedStream, client: IpAddr, refusal: Refusal) {
        self.metrics.gate_refused(refusal);
        self.refuse(stream, client, refusal.into(), Some(refusal))
            .await;
    }

    async fn refuse(
        &self,
        stream: GatedStream,
        client: IpAddr,
        reason: Reason,
        refusal: Option<Refusal>,
    ) {
        self.metrics.rejected_without_cell(reason);
        self.access_log
            .write(|| Entry::refused_unread(client, reason, refusal));
        let detail = refusal.map(|refusal| refusal.to_string());
        stream
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

fn arrival_of(head: &Head<'_>, client: IpAddr) -> Arrival {
    Arrival {
        at: Instant::now(),
        client,
        body: head.body,
        expects_continue: head.expects_continue,
        upgrade: head.upgrade,
        extra_codings: head.extra_codings,
        // What follows a body that some servers do not read must not share its connection.
        spoils_upstream: head.has_undefined_body || head.extra_codings,
    }
}

/// The connection back from Pingora, if the next request may follow on it.
fn reclaim(reused: ReusedHttpStream) -> Option<GatedStream> {
    let (stream, _) = reused.consume();
    let stream = stream.into_any().downcast::<GatedStream>().ok()?;
    stream.is_at_request_end().then_some(*stream)
}

fn client_address(stream: &Stream) -> IpAddr {
    let digest = stream.get_socket_digest();
    let address = digest
        .as_ref()
        .and_then(|digest| digest.peer_addr())
        .and_then(|addr| addr.as_inet());
    // A connection without an address cannot be told from any other; no network contains the unspecified one.
    address.map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |address| {
        address.ip().to_canonical()
    })
}
