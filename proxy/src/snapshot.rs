//! The view that a request has of the world: one table and the running state of its cells, behind one pointer.
//!
//! A request loads the pointer once, so its key, cell and endpoint all come from one generation. Nothing in a snapshot
//! changes after it was built, but for the counters and health that snapshots share.

use std::{collections::HashMap, net::SocketAddr, ops::Deref, sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use cellgate_table::{Cell, CellId, CellIndex, Digest, Generation, Share, Table};
use http::HeaderValue;
use serde::Serialize;

use crate::{
    cell::{
        Candidate, CellState, Change, EndpointState, InFlight, OpenConnection, OpenTunnel, choose,
        may_eject_one_more,
    },
    config::Ejection,
    field_lines::{OWN_CELL, OWN_GENERATION},
    metrics::Metrics,
    route::Routes,
    tls::{CellIdentities, CellIdentity, CellTls},
    upstream::Transport,
};

/// Where the table in force came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    File,
    LastGood,
}

/// A table that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub table: Table,
    pub generation: Generation,
    pub digest: Digest,
    /// Of other files that said the same under the same generation, such as one without a comment.
    pub other_digests: Vec<Digest>,
    pub source: Source,
    /// How its cells with TLS are met, as their files were read.
    pub cell_tls: CellIdentities,
}

/// One generation of the table, ready to route by.
#[derive(Debug)]
pub struct Snapshot {
    pub generation: Generation,
    pub generation_header: HeaderValue,
    pub digest: Digest,
    /// See [`Accepted::other_digests`].
    pub other_digests: Vec<Digest>,
    pub source: Source,
    pub loaded_at: SystemTime,
    pub table: Table,
    /// How its cells with TLS are met. Renewed files make another snapshot of the same table.
    pub cell_tls: CellIdentities,
    pub routes: Routes,
    cells: Box<[Arc<CellRuntime>]>,
}

/// A cell as one generation describes it. A request under way holds this, not the snapshot with all of its names.
#[derive(Debug)]
pub struct CellRuntime {
    pub state: Arc<CellState>,
    pub id_header: HeaderValue,
    /// How a head for the cell ends, behind the tenant's name: the lines about the cell and the table.
    pub head_end: Box<[u8]>,
    pub in_flight_max: u32,
    pub tunnels_max: u32,
    pub connections_max: u32,
    /// Whose requests may share a kept connection, if the table says so.
    pub share: Option<Share>,
    pub endpoints: Box<[EndpointRuntime]>,
}

/// An endpoint as one generation describes it.
#[derive(Debug)]
pub struct EndpointRuntime {
    pub weight: u16,
    /// What a kept connection to it has to be. It belongs to the generation and not to the state that outlives it: a table
    /// that changes how the endpoint is reached must not meet connections made the old way.
    pub transport: Arc<Transport>,
    /// How TLS begins on a connection to it, if the cell wants that.
    pub tls: Option<Arc<CellTls>>,
    pub state: Arc<EndpointState>,
}

/// The pointer to the snapshot in force; empty until there is a table.
#[derive(Debug, Default)]
pub struct Current(ArcSwapOption<Snapshot>);

impl Current {
    /// For whoever works with the snapshot for a while.
    pub fn load(&self) -> Option<Arc<Snapshot>> {
        self.0.load_full()
    }

    /// For a short read, such as a request's: no reference is counted.
    pub fn peek(&self) -> impl Deref<Target = Option<Arc<Snapshot>>> + use<> {
        self.0.load()
    }

    pub(crate) fn store(&self, snapshot: Arc<Snapshot>) {
        self.0.store(Some(snapshot));
    }
}

impl Snapshot {
    /// Builds the view of an accepted table. Cells and endpoints that the previous view knew keep their
    /// state, which this changes nothing of.
    pub fn build(accepted: Accepted, previous: Option<&Self>, metrics: &Metrics) -> Self {
        let known = Known::of(previous);
        let (table, generation, cell_tls) =
            (accepted.table, accepted.generation, accepted.cell_tls);
        let cells = table
            .cells()
            .iter()
            .map(|cell| {
                let identity = cell_tls.of(cell.id());
                let runtime = CellRuntime::new(cell, generation, identity, &known, metrics);
                Arc::new(runtime)
            })
            .collect();
        Self {
            generation: accepted.generation,
            generation_header: HeaderValue::from(accepted.generation.get()),
            digest: accepted.digest,
            other_digests: accepted.other_digests,
            source: accepted.source,
            loaded_at: SystemTime::now(),
            routes: Routes::new(&table),
            table,
            cell_tls,
            cells,
        }
    }

    /// Forgets what checks said of the endpoints of cells that have no check any more: nobody else would correct it. Not
    /// before it is in force, since until then the table before it goes by the same state.
    pub fn forget_ended_checks(&self) {
        for (cell, runtime) in self.table.cells().iter().zip(&self.cells) {
            if cell.health_check().is_none() {
                for endpoint in &runtime.endpoints {
                    endpoint.state.health.forget_checks();
                }
            }
        }
    }

    pub fn cells(&self) -> &[Arc<CellRuntime>] {
        &self.cells
    }

    pub fn cell(&self, index: CellIndex) -> &Arc<CellRuntime> {
        &self.cells[index.get()]
    }
}

impl CellRuntime {
    fn new(
        cell: &Cell,
        generation: Generation,
        identity: Option<&Arc<CellIdentity>>,
        known: &Known<'_>,
        metrics: &Metrics,
    ) -> Self {
        let id = cell.id();
        let state = known.cells.get(id.as_str()).map_or_else(
            || Arc::new(CellState::new(id.clone(), metrics.of_cell(id.as_str()))),
            |state| Arc::clone(state),
        );
        let endpoints = cell.endpoints().iter().map(|endpoint| {
            let address = endpoint.address;
            let known = known.endpoints.get(&(id.as_str(), address));
            let state = known.map_or_else(
                || Arc::new(EndpointState::new(address)),
                |known| Arc::clone(&known.state),
            );
            let tls = identity.map(|identity| {
                let known = known.and_then(|known| known.tls.as_ref());
                known.filter(|tls| tls.is_of(identity)).map_or_else(
                    || {
                        let metrics = metrics.cell_tls.of(id.as_str());
                        let identity = Arc::clone(identity);
                        Arc::new(CellTls::new(id.clone(), address, identity, metrics))
                    },
                    Arc::clone,
                )
            });
            let digest = tls.as_ref().map(|tls| tls.digest());
            EndpointRuntime {
                weight: endpoint.weight,
                transport: Arc::new(Transport::new(id.clone(), address, digest)),
                tls,
                state,
            }
        });
        Self {
            id_header: HeaderValue::from_str(id.as_str()).expect("a cell id is plain ASCII"),
            head_end: head_end(id, generation).into(),
            in_flight_max: cell.in_flight_max(),
            tunnels_max: cell.tunnels_max(),
            connections_max: cell.connections_max(),
            share: cell.share(),
            endpoints: endpoints.collect(),
            state,
        }
    }

    /// The bulkhead.
    pub fn admit(&self) -> Option<InFlight> {
        self.state.admit(self.in_flight_max)
    }

    /// A place for a tunnel of this tenant; `None` when the cell has as many as it may.
    pub fn admit_tunnel(&self, tenant: &[u8]) -> Option<OpenTunnel> {
        self.state.admit_tunnel(tenant, self.tunnels_max)
    }

    /// A place for a TCP connection of this tenant; `None` when the cell has as many as it may.
    pub fn admit_connection(&self, tenant: &[u8]) -> Option<OpenConnection> {
        self.state.admit_connection(tenant, self.connections_max)
    }

    /// The position of an endpoint for a request that has tried `tried` already, which are left out.
    pub fn choose_endpoint(
        &self,
        tried: &[SocketAddr],
        now_ms: u64,
        random: [u32; 2],
    ) -> Option<usize> {
        let candidate = |at: usize| {
            let endpoint = &self.endpoints[at];
            Candidate {
                weight: endpoint.weight,
                in_flight: endpoint.state.in_flight(),
                is_usable: endpoint.state.health.is_usable(now_ms)
                    && !tried.contains(&endpoint.state.address),
            }
        };
        if self.endpoints.len() == 1 {
            return candidate(0).is_usable.then_some(0);
        }
        choose(self.endpoints.len(), candidate, random)
    }

    /// Records that a request failed on an endpoint, which may be left out for a while because of it.
    pub fn endpoint_failed(
        &self,
        endpoint: &EndpointState,
        now_ms: u64,
        rules: &Ejection,
    ) -> Option<Change> {
        if !endpoint.health.failed(now_ms, rules) {
            return None;
        }
        let _deciding = self.state.deciding_ejection();
        let count = self.endpoints.len();
        let out = count - self.usable_endpoints(now_ms);
        if may_eject_one_more(out, count, rules.percent_max) {
            Some(endpoint.health.eject(now_ms, rules))
        } else {
            endpoint.health.suppress_ejection(now_ms, rules)
        }
    }

    pub fn usable_endpoints(&self, now_ms: u64) -> usize {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.state.health.is_usable(now_ms))
            .count()
    }
}

fn head_end(cell: &CellId, generation: Generation) -> Vec<u8> {
    let (cell, generation) = (cell.as_str(), generation.get());
    format!("\r\n{OWN_CELL}: {cell}\r\n{OWN_GENERATION}: {generation}\r\n\r\n").into_bytes()
}

/// The state that the previous snapshot hands on.
#[derive(Default)]
struct Known<'s> {
    cells: HashMap<&'s str, &'s Arc<CellState>>,
    endpoints: HashMap<(&'s str, SocketAddr), &'s EndpointRuntime>,
}

impl<'s> Known<'s> {
    fn of(previous: Option<&'s Snapshot>) -> Self {
        let mut known = Self::default();
        for cell in previous.map(Snapshot::cells).unwrap_or_default() {
            let id = cell.state.id.as_str();
            known.cells.insert(id, &cell.state);
            for endpoint in &cell.endpoints {
                known
                    .endpoints
                    .insert((id, endpoint.state.address), endpoint);
            }
        }
        known
    }
}

#[cfg(test)]
mod tests;
