//! Upgraded connections to a cell (WebSockets): they last for hours, so they have a limit of their own and do not count as
//! requests in flight. By tenant too, since whoever wants to move a tenant has to know what it holds open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::CellState;

/// Who holds how many open. It has no more entries than there are open tunnels, and those are limited.
#[derive(Debug, Default)]
pub(super) struct Tunnels(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    count: u32,
    by_tenant: HashMap<Box<[u8]>, u32>,
}

/// An open tunnel. Dropping it ends the count.
#[derive(Debug)]
pub struct OpenTunnel {
    cell: Arc<CellState>,
    tenant: Box<[u8]>,
}

impl Tunnels {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CellState {
    /// `None` when `limit` tunnels are open already.
    pub fn admit_tunnel(self: &Arc<Self>, tenant: &[u8], limit: u32) -> Option<OpenTunnel> {
        let mut open = self.tunnels.open();
        if open.count >= limit {
            return None;
        }
        open.count += 1;
        *open.by_tenant.entry(tenant.into()).or_default() += 1;
        self.metrics.tunnels.inc();
        Some(OpenTunnel {
            cell: Arc::clone(self),
            tenant: tenant.into(),
        })
    }

    /// Tunnels that are open.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.open().count
    }

    /// Tunnels that one tenant holds open.
    pub fn tunnels_of(&self, tenant: &[u8]) -> u32 {
        let open = self.tunnels.open();
        open.by_tenant.get(tenant).copied().unwrap_or_default()
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let mut open = self.cell.tunnels.open();
        open.count -= 1;
        if let Some(count) = open.by_tenant.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                open.by_tenant.remove(&self.tenant);
            }
        }
        self.cell.metrics.tunnels.dec();
    }
}
