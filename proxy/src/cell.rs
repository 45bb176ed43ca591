//! What the proxy knows of a cell while it runs: requests in flight, endpoints, their health.
//!
//! This state outlives snapshots: a new table that names the same cell goes on counting on the same counters. Whatever
//! is counted up here is counted down by `Drop`.

mod balance;
mod health;
mod open;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use cellgate_table::CellId;

pub use balance::{Candidate, choose};
pub use health::{Change, Health, may_eject_one_more};

use crate::metrics::CellMetrics;
use open::OpenByTenant;

/// A cell's counters.
#[derive(Debug)]
pub struct CellState {
    pub id: CellId,
    in_flight: AtomicU32,
    tunnels: OpenByTenant,
    connections: OpenByTenant,
    ejecting: Mutex<()>,
    pub metrics: CellMetrics,
}

/// An endpoint's counters and health.
#[derive(Debug)]
pub struct EndpointState {
    pub address: SocketAddr,
    in_flight: AtomicU32,
    pub health: Health,
}

/// One request in flight to a cell. Dropping it ends the count.
#[derive(Debug)]
pub struct InFlight {
    cell: Arc<CellState>,
}

/// An open tunnel. Dropping it ends the count.
#[derive(Debug)]
pub struct OpenTunnel {
    cell: Arc<CellState>,
    tenant: Box<[u8]>,
}

/// An open TCP connection. Dropping it ends the count.
#[derive(Debug)]
pub struct OpenConnection {
    cell: Arc<CellState>,
    tenant: Box<[u8]>,
}

/// One request in flight to an endpoint. Dropping it ends the count.
#[derive(Debug)]
pub struct EndpointUse {
    endpoint: Arc<EndpointState>,
}

impl CellState {
    pub fn new(id: CellId, metrics: CellMetrics) -> Self {
        Self {
            id,
            in_flight: AtomicU32::new(0),
            tunnels: OpenByTenant::default(),
            connections: OpenByTenant::default(),
            ejecting: Mutex::new(()),
            metrics,
        }
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Held while it is decided whether an endpoint is ejected: one decision at a time, or two endpoints could each be
    /// ejected because the other one is still in.
    pub fn deciding_ejection(&self) -> MutexGuard<'_, ()> {
        self.ejecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bulkhead: `None` when `limit` requests are in flight already.
    pub fn admit(self: &Arc<Self>, limit: u32) -> Option<InFlight> {
        let admitted = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            });
        admitted.ok()?;
        self.metrics.in_flight.inc();
        Some(InFlight {
            cell: Arc::clone(self),
        })
    }

    /// `None` when `limit` tunnels are open already.
    pub fn admit_tunnel(self: &Arc<Self>, tenant: &[u8], limit: u32) -> Option<OpenTunnel> {
        self.tunnels.open(tenant, limit)?;
        self.metrics.tunnels.inc();
        Some(OpenTunnel {
            cell: Arc::clone(self),
            tenant: tenant.into(),
        })
    }

    /// `None` when `limit` TCP connections are open already.
    pub fn admit_connection(self: &Arc<Self>, tenant: &[u8], limit: u32) -> Option<OpenConnection> {
        self.connections.open(tenant, limit)?;
        self.metrics.tcp.open.inc();
        Some(OpenConnection {
            cell: Arc::clone(self),
            tenant: tenant.into(),
        })
    }

    /// TCP connections that are open.
    pub fn connections(&self) -> u32 {
        self.connections.count()
    }

    /// TCP connections that one tenant holds open.
    pub fn connections_of(&self, tenant: &[u8]) -> u32 {
        self.connections.count_of(tenant)
    }

    /// Tunnels that are open.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.count()
    }

    /// Tunnels that one tenant holds open.
    pub fn tunnels_of(&self, tenant: &[u8]) -> u32 {
        self.tunnels.count_of(tenant)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.cell.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.cell.metrics.in_flight.dec();
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.cell.tunnels.close(&self.tenant);
        self.cell.metrics.tunnels.dec();
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.cell.connections.close(&self.tenant);
        self.cell.metrics.tcp.open.dec();
    }
}

impl EndpointState {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            in_flight: AtomicU32::new(0),
            health: Health::default(),
        }
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub fn enter(self: &Arc<Self>) -> EndpointUse {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        EndpointUse {
            endpoint: Arc::clone(self),
        }
    }
}

impl EndpointUse {
    pub fn endpoint(&self) -> &Arc<EndpointState> {
        &self.endpoint
    }
}

impl Drop for EndpointUse {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
