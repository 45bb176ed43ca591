//! Upgraded connections to a cell (WebSockets), and those of TCP listeners: they last for hours, so each kind has a limit of
//! its own and does not count as requests in flight. By tenant too, since whoever wants to move a tenant has to know what
//! it holds open.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Who holds how many open. It has no more entries than there are open connections, and those are limited.
#[derive(Debug, Default)]
pub(super) struct OpenByTenant(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    count: u32,
    by_tenant: HashMap<Box<[u8]>, u32>,
}

impl OpenByTenant {
    /// Counts one more; `None`, and nothing counted, when `limit` are open already.
    pub(super) fn open(&self, tenant: &[u8], limit: u32) -> Option<()> {
        let mut open = self.lock();
        if open.count >= limit {
            return None;
        }
        open.count += 1;
        *open.by_tenant.entry(tenant.into()).or_default() += 1;
        Some(())
    }

    /// Counts one less of a tenant that has one open.
    pub(super) fn close(&self, tenant: &[u8]) {
        let mut open = self.lock();
        open.count -= 1;
        if let Some(count) = open.by_tenant.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                open.by_tenant.remove(tenant);
            }
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.lock().count
    }

    pub(super) fn count_of(&self, tenant: &[u8]) -> u32 {
        let open = self.lock();
        open.by_tenant.get(tenant).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
