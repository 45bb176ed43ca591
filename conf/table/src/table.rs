//! The table: valid by construction, immutable, and the one truth about who lives where.

use std::net::SocketAddr;

use crate::{
    hash::HashSpec,
    history::Step,
    id::{CellId, CellIndex, Generation, Slot, TenantKey},
    limits,
    slots::{self, SlotRange},
};

/// A checked table. It comes from [`parse`](crate::parse) only, so every id in it resolves and every slot has an owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub(crate) generation: Option<Generation>,
    pub(crate) allow_move: bool,
    pub(crate) hash: HashSpec,
    /// Sorted by id.
    pub(crate) cells: Vec<Cell>,
    /// The owner of each slot, by slot.
    pub(crate) slots: Box<[CellIndex]>,
    /// Sorted by key, as are the two below.
    pub(crate) overrides: Vec<(TenantKey, CellIndex)>,
    pub(crate) aliases: Vec<(TenantKey, TenantKey)>,
    pub(crate) rejects: Vec<TenantKey>,
    /// By generation, the oldest first; all of them older than the table.
    pub(crate) history: Vec<Step>,
}

/// One copy of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub(crate) id: CellId,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) in_flight_max: u32,
    pub(crate) tunnels_max: u32,
    pub(crate) connections_max: u32,
    pub(crate) share: Option<Share>,
    pub(crate) health_check: Option<HealthCheck>,
    pub(crate) tls: Option<TlsClient>,
}

/// Whose requests may follow each other on a kept connection to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// Those of all tenants of the cell.
    Cell,
    /// Those of one tenant only.
    Tenant,
}

/// One address of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// An IP address and a port from 1 up.
    pub address: SocketAddr,
    /// 1 to 1,000, relative to the other endpoints of the cell.
    pub weight: u16,
}

/// How a proxy speaks TLS to a cell. The files are the proxy's: nothing here reads them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsClient {
    /// Whom the certificate has to be for: a DNS name without wildcard or final dot, or an IP address without brackets.
    /// What rustls takes for a server's name.
    pub server_name: Box<str>,
    /// The file with the certificates of the authorities that are trusted, in PEM. A path, relative to the table file.
    pub ca: Box<str>,
    /// What the proxy shows of itself, if the cell wants that.
    pub client_cert: Option<ClientCert>,
}

/// A certificate that the proxy shows to a cell, and its private key: paths relative to the table file. They may be one
/// file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCert {
    /// With its chain, in PEM.
    pub certificate: Box<str>,
    /// In PEM.
    pub key: Box<str>,
}

/// How a proxy finds out by itself whether an endpoint is healthy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Time from one check to the next, in milliseconds, 100 to 600,000.
    pub interval_ms: u32,
    /// How long one check may take, in milliseconds, 10 to 600,000. It may be longer than the interval.
    pub timeout_ms: u32,
    /// Failures in a row until an endpoint is unhealthy, 1 to 100.
    pub unhealthy_after: u32,
    /// Successes in a row until it is healthy again, 1 to 100.
    pub healthy_after: u32,
}

/// What a health check asks of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// A connection is taken.
    Tcp,
    /// `GET path` is answered with a status from 200 to 299.
    Http {
        /// Begins with `/` and is printable ASCII.
        path: Box<str>,
        /// What the request says in `Host`, a name or an address, with or without a port; `None` is the endpoint's own
        /// address.
        host: Option<Box<str>>,
    },
}

/// What a health check over HTTP says of itself in `User-Agent`.
pub const HEALTH_USER_AGENT: &str = concat!("cellgate-health/", env!("CARGO_PKG_VERSION"));

/// Where a key leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home<'a> {
    /// The tenant: the key itself, or what it is an alias of.
    pub tenant: &'a [u8],
    /// The key is an alias of the tenant.
    pub is_alias: bool,
    /// Hash and slot of the tenant.
    pub hash: u64,
    pub slot: Slot,
    /// What decided the cell.
    pub owner: Owner,
    /// Where the tenant lives, in the table that was asked.
    pub cell: CellIndex,
    /// The tenant is answered 403 at the edge.
    pub is_rejected: bool,
}

/// What decided a tenant's cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The table pins the tenant to its cell.
    Override,
    /// The tenant lives where its slot does.
    Slot,
}

impl Table {
    /// `None` in a file edited by hand.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// The file's word that it may move more than the limits allow.
    pub fn allow_move(&self) -> bool {
        self.allow_move
    }

    /// The same table with or without that word.
    #[must_use]
    pub fn with_allow_move(mut self, allow_move: bool) -> Self {
        self.allow_move = allow_move;
        self
    }

    /// How keys become slots.
    pub fn hash(&self) -> HashSpec {
        self.hash
    }

    /// All cells, by id.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// # Panics
    /// When `index` comes from another table with more cells.
    pub fn cell(&self, index: CellIndex) -> &Cell {
        &self.cells[index.get()]
    }

    /// Where a cell stands among [`cells`](Self::cells).
    pub fn index_of(&self, id: &CellId) -> Option<CellIndex> {
        self.cells
            .binary_search_by(|cell| cell.id.cmp(id))
            .ok()
            .map(CellIndex::new)
    }

    /// The owner of each slot, by slot.
    pub fn slot_owners(&self) -> &[CellIndex] {
        &self.slots
    }

    /// The slots as runs of one owner, in the order of slots.
    pub fn slot_ranges(&self) -> impl Iterator<Item = (SlotRange, CellIndex)> {
        slots::runs(&self.slots)
    }

    /// The tenants pinned to a cell, by key.
    pub fn overrides(&self) -> &[(TenantKey, CellIndex)] {
        &self.overrides
    }

    /// Other keys of tenants, with the tenant each one means, by alias.
    pub fn aliases(&self) -> &[(TenantKey, TenantKey)] {
        &self.aliases
    }

    /// Tenants answered 403 at the edge, by key.
    pub fn rejects(&self) -> &[TenantKey] {
        &self.rejects
    }

    /// The cell that a tenant is pinned to. Aliases are not followed.
    pub fn override_of(&self, tenant: &[u8]) -> Option<CellIndex> {
        find(&self.overrides, |(key, _)| key, tenant).map(|(_, cell)| *cell)
    }

    /// The tenant that a key is an alias of.
    pub fn alias_of(&self, key: &[u8]) -> Option<&TenantKey> {
        find(&self.aliases, |(alias, _)| alias, key).map(|(_, tenant)| tenant)
    }

    /// True when a tenant is to be answered 403. Aliases are not followed.
    pub fn is_rejected(&self, tenant: &[u8]) -> bool {
        find(&self.rejects, |key| key, tenant).is_some()
    }

    /// Where a key leads. Every key leads somewhere: alias first, then override, else the owner of its slot.
    pub fn home_of<'a>(&'a self, key: &'a [u8]) -> Home<'a> {
        let alias = self.alias_of(key);
        let tenant = alias.map_or(key, TenantKey::as_bytes);
        let hash = self.hash.hash(tenant);
        let slot = self.hash.slot_of_hash(hash);
        let (owner, cell) = match self.override_of(tenant) {
            Some(cell) => (Owner::Override, cell),
            None => (Owner::Slot, self.slots[slot.index()]),
        };
        let is_rejected = self.is_rejected(tenant);
        Home {
            tenant,
            is_alias: alias.is_some(),
            hash,
            slot,
            owner,
            cell,
            is_rejected,
        }
    }

    /// The newest tables before this one, as its writer says, the oldest first, and how much each step moved; at most
    /// [`HISTORY_STEPS_MAX`](crate::limits::HISTORY_STEPS_MAX).
    pub fn history(&self) -> &[Step] {
        &self.history
    }

    /// The same table with another history.
    ///
    /// # Panics
    /// If the history is not one of this table; see [`append_history`](crate::append_history).
    #[must_use]
    pub fn with_history(mut self, history: Vec<Step>) -> Self {
        let is_ordered = history.is_sorted_by(|left, right| left.generation < right.generation);
        let last = history.last().map(|step| step.generation);
        let is_older = last.is_none_or(|last| self.generation.is_some_and(|own| last < own));
        assert!(
            is_ordered && is_older && history.len() <= limits::HISTORY_STEPS_MAX,
            "a history lists older tables, the oldest first"
        );
        self.history = history;
        self
    }

    /// Same meaning, whatever the generations, the history, and the permission to move more.
    pub fn same_content(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.cells == other.cells
            && self.slots == other.slots
            && self.overrides == other.overrides
            && self.aliases == other.aliases
            && self.rejects == other.rejects
    }
}

fn find<'t, T>(sorted: &'t [T], key_of: impl Fn(&T) -> &TenantKey, key: &[u8]) -> Option<&'t T> {
    sorted
        .binary_search_by(|entry| key_of(entry).as_bytes().cmp(key))
        .ok()
        .map(|at| &sorted[at])
}

impl Cell {
    /// The cell's name, unique in its table.
    pub fn id(&self) -> &CellId {
        &self.id
    }

    /// At least one.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The bulkhead, 1 to 1,000,000: requests in flight from one proxy; more are refused immediately, for this cell
    /// only.
    pub fn in_flight_max(&self) -> u32 {
        self.in_flight_max
    }

    /// 0 to 1,000,000: upgraded connections, such as WebSockets, open at the same time from one proxy; more are
    /// refused. They do not count as requests in flight.
    pub fn tunnels_max(&self) -> u32 {
        self.tunnels_max
    }

    /// 0 to 1,000,000: connections of TCP listeners, open at the same time from one proxy; more are closed. They count
    /// neither as requests in flight nor as tunnels.
    pub fn connections_max(&self) -> u32 {
        self.connections_max
    }

    /// `None` when the proxy's own configuration decides.
    pub fn share(&self) -> Option<Share> {
        self.share
    }

    /// `None` when endpoints are judged by the requests sent to them only.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.health_check.as_ref()
    }

    /// `None` when the cell is reached without TLS.
    pub fn tls(&self) -> Option<&TlsClient> {
        self.tls.as_ref()
    }
}
