//! What happens to one request, from its arrival to its record: the policy that every protocol and every way shares.
//!
//! An adapter makes one [`Connection`] when a client connects and one [`Exchange`] per request. It asks
//! [`Exchange::admit`] where the request goes, [`Exchange::next_endpoint`] before each attempt, [`Exchange::failed`] what
//! a failure means, and [`Exchange::finish`] at the end. Adapters move bytes; this room decides.
//!
//! It must not do I/O, read a clock, draw random numbers, log, be asynchronous, or know a type of Pingora. Dropping an
//! exchange ends everything that it counts.

mod admission;
mod connection;
mod destination;
mod failure;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

pub use admission::{Policy, Refused};
pub use connection::{Connection, Scheme, TlsFacts};
pub use destination::Destination;
pub use failure::{ClientFault, Failure, Judgement, UpstreamFault, Verdict};

use crate::{
    answer::Reason, cell::OpenTunnel, gate::Refusal, request_id::RequestId,
    snapshot::EndpointRuntime, tenant_key::RequestKey, upstream::AnswerRefusal,
};

/// What a client sends to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Request,
    /// A whole connection of a TCP listener.
    Connection,
}

/// One request and its answer; or one connection of a TCP listener.
#[derive(Debug)]
pub struct Exchange {
    subject: Subject,
    started: Instant,
    /// The client's address, behind trusted proxies.
    client: IpAddr,
    key: Option<Box<RequestKey>>,
    destination: Option<Destination>,
    /// Why the proxy answers by itself, if it does.
    reason: Option<Reason>,
    /// Attempts over a kept connection that turned out to be closed: those are no attempts that failed.
    stale_attempts: usize,
    /// Why the cell's answer was not passed on, if it was not.
    answer_refusal: Option<AnswerRefusal>,
    /// What the gate found wrong with the request's body, if it did.
    refusal: Option<Refusal>,
    /// What the request is called, unless requests are not named.
    request_id: Option<RequestId>,
    /// When the cell's answer began in the latest attempt, if anybody asks for that.
    first_byte: Option<Instant>,
}

impl Exchange {
    /// A request that arrived at `started`, when its head was whole.
    pub fn new(started: Instant, client: IpAddr) -> Self {
        Self {
            subject: Subject::Request,
            started,
            client,
            key: None,
            destination: None,
            reason: None,
            stale_attempts: 0,
            answer_refusal: None,
            refusal: None,
            request_id: None,
            first_byte: None,
        }
    }

    /// A connection of a TCP listener that came at `started`.
    pub fn of_connection(started: Instant, client: IpAddr) -> Self {
        Self {
            subject: Subject::Connection,
            ..Self::new(started, client)
        }
    }

    #[must_use]
    pub fn called(mut self, request_id: Option<RequestId>) -> Self {
        self.request_id = request_id;
        self
    }

    pub fn request_id(&self) -> Option<&RequestId> {
        self.request_id.as_ref()
    }

    /// The first byte of an answer came from the cell, be it of an interim one.
    pub fn answer_began(&mut self, at: Instant) {
        self.first_byte.get_or_insert(at);
    }

    /// Whether nobody has said so of the latest attempt.
    pub fn awaits_answer(&self) -> bool {
        self.first_byte.is_none()
    }

    /// From the request's arrival to the first byte of the cell's answer, in the latest attempt.
    pub fn first_byte_after(&self) -> Option<Duration> {
        Some(self.first_byte?.saturating_duration_since(self.started))
    }

    pub fn client(&self) -> IpAddr {
        self.client
    }

    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    pub fn answer_refusal(&self) -> Option<AnswerRefusal> {
        self.answer_refusal
    }

    /// Where the request goes, once it is admitted.
    pub fn destination(&self) -> Option<&Destination> {
        self.destination.as_ref()
    }

    /// The tenant's bytes, as far as they are known.
    pub fn tenant(&self) -> Option<&[u8]> {
        let alias_target = self
            .destination
            .as_ref()
            .and_then(Destination::alias_target);
        alias_target.or_else(|| self.key.as_ref().map(|key| key.as_bytes()))
    }

    /// Chooses the endpoint for the next attempt. `None` when the cell has none that may be chosen, or the request was
    /// not admitted. `random` are two independent random numbers.
    pub fn next_endpoint(&mut self, now_ms: u64, random: [u32; 2]) -> Option<&EndpointRuntime> {
        self.first_byte = None;
        let destination = self.destination.as_mut()?;
        let found = destination.choose_endpoint(now_ms, random);
        if found.is_none() {
            let cell = &destination.cell().state;
            cell.metrics.rejected(Reason::NoHealthyEndpoint);
            self.reason = Some(Reason::NoHealthyEndpoint);
        }
        self.destination.as_ref()?.endpoint()
    }

    /// Both sides are about to change to another protocol. The request's place in the cell becomes a tunnel's.
    pub fn open_tunnel(&mut self) -> Result<OpenTunnel, Refused> {
        let tunnel = self.destination.as_ref().and_then(|destination| {
            let tenant = self.tenant().unwrap_or_default();
            destination.cell().admit_tunnel(tenant)
        });
        let Some(tunnel) = tunnel else {
            if let Some(destination) = &self.destination {
                let metrics = &destination.cell().state.metrics;
                metrics.rejected(Reason::CellOverloaded);
            }
            self.reason = Some(Reason::CellOverloaded);
            return Err(Reason::CellOverloaded.into());
        };
        self.answered();
        Ok(tunnel)
    }

    /// The cell's answer is in order, and yet cannot be passed on to this client.
    pub fn refuse_answer(&mut self) -> Refused {
        if let Some(destination) = &self.destination {
            let metrics = &destination.cell().state.metrics;
            metrics.upstream_error(Reason::UpstreamError);
        }
        self.reason = Some(Reason::UpstreamError);
        Reason::UpstreamError.into()
    }

    /// A final answer's head came from the cell, and it can be used.
    pub fn answered(&mut self) {
        // A failed attempt before this one is history.
        self.reason = None;
        if let Some(endpoint) = self.destination.as_ref().and_then(Destination::endpoint) {
            endpoint.state.health.succeeded();
        }
    }

    /// Records how it ended: the status that the client was given, if any, and how long it took.
    pub fn finish(&self, status: Option<u16>, now: Instant) -> Duration {
        let took = now.saturating_duration_since(self.started);
        if let Some(destination) = &self.destination {
            let metrics = &destination.cell().state.metrics;
            metrics.duration.observe(took.as_secs_f64());
            if let Some(status) = status {
                metrics.response(status);
            }
        }
        took
    }

    /// Records the bytes that a connection carried, by who sent them.
    pub fn finish_connection(&self, from_client: u64, from_cell: u64) {
        if let Some(destination) = &self.destination {
            let metrics = &destination.cell().state.metrics.tcp;
            metrics.bytes_from_clients.inc_by(from_client);
            metrics.bytes_from_cell.inc_by(from_cell);
        }
    }

    /// The endpoint of the current attempt.
    pub fn endpoint_address(&self) -> Option<SocketAddr> {
        let endpoint = self.destination.as_ref()?.endpoint()?;
        Some(endpoint.state.address)
    }
}
