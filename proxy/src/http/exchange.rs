//! One request and its answer, as the hooks see it: what arrived, where it goes, what came of it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use cellgate_table::CellIndex;

use crate::{
    answer::Reason,
    cell::{EndpointUse, InFlight},
    clock,
    gate::{BodyFraming, Refusal, Upgrade},
    snapshot::{CellRuntime, Snapshot},
    tenant_key::RequestKey,
};

/// What the connection loop knows of a request before Pingora has parsed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) client: IpAddr,
    pub(super) body: BodyFraming,
    pub(super) expects_continue: bool,
    pub(super) upgrade: Upgrade,
    /// Its body went through another coding before `chunked`.
    pub(super) extra_codings: bool,
    /// The connection to the cell is not to be used again after this request.
    pub(super) spoils_upstream: bool,
}

/// The context that Pingora carries from hook to hook. Dropping it ends every count.
#[derive(Debug, Default)]
pub struct Exchange {
    pub(super) arrival: Option<Arrival>,
    pub(super) key: Option<RequestKey>,
    pub(super) destination: Option<Destination>,
    /// Why the proxy answered by itself, if it did.
    pub(super) reason: Option<Reason>,
    /// What the gate said of the body, if that is why.
    pub(super) refusal: Option<Refusal>,
    /// The client's address behind trusted proxies.
    pub(super) client: Option<IpAddr>,
}

/// Where an admitted request goes.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) cell: CellIndex,
    /// The tenant, when it is another one than the key (an alias).
    pub(super) alias_target: Option<Box<[u8]>>,
    pub(super) endpoint: Option<EndpointUse>,
    /// Endpoints tried, the current one included.
    pub(super) tried: Vec<SocketAddr>,
    /// Held for its `Drop`.
    _in_flight: InFlight,
}

impl Arrival {
    /// It asks for another protocol on this connection.
    pub(super) fn asks_for_switch(&self) -> bool {
        self.upgrade.is_asked()
    }
}

impl Exchange {
    pub(super) fn arrived_at(&self) -> Instant {
        self.arrival.map_or_else(Instant::now, |arrival| arrival.at)
    }

    /// The tenant's bytes, as far as they are known.
    pub(super) fn tenant(&self) -> Option<&[u8]> {
        let alias_target = self
            .destination
            .as_ref()
            .and_then(|to| to.alias_target.as_deref());
        alias_target.or_else(|| self.key.as_ref().map(RequestKey::as_bytes))
    }
}

impl Destination {
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        cell: CellIndex,
        alias_target: Option<Box<[u8]>>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            snapshot,
            cell,
            alias_target,
            endpoint: None,
            tried: Vec::new(),
            _in_flight: in_flight,
        }
    }

    pub(super) fn cell(&self) -> &CellRuntime {
        self.snapshot.cell(self.cell)
    }

    /// Draws an endpoint for the next try; false when the cell has none that may be chosen.
    pub(super) fn draw_endpoint(&mut self) -> bool {
        let dice = [fastrand::u32(..), fastrand::u32(..)];
        let now = clock::now_ms();
        let cell = self.snapshot.cell(self.cell);
        let chosen = cell
            .choose_endpoint(&self.tried, now, dice)
            // Every usable endpoint was tried: the same one again is better than none.
            .or_else(|| cell.choose_endpoint(&[], now, dice));
        let Some(endpoint) = chosen else { return false };
        let entered = endpoint.enter();
        self.tried.push(endpoint.address);
        self.endpoint = Some(entered);
        true
    }
}
