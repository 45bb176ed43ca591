//! What is seen of proxies and cells. It is told, and nothing is done because of it: a cell that looks sick is a matter for
//! people, or for a plan that knows more than one signal.
//!
//! Looks come at a constant rate, whatever they find, so that an outage does not make work of its own.

pub mod cells;
pub mod proxies;
mod samples;
mod suspicion;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cellgate_table::CellId;

use crate::publish::Sighting;

pub use self::{
    cells::{CellSight, EndpointSight, Looked},
    proxies::{ProxySight, ProxyState},
    samples::{ErrorShare, Samples},
    suspicion::{Evidence, Signal, Usual, suspicion},
};

/// What was seen last.
#[derive(Debug, Default)]
pub struct Observed {
    inner: Mutex<Seen>,
}

/// See [`Observed`].
#[derive(Debug, Default)]
pub struct Seen {
    /// By name.
    pub proxies: BTreeMap<String, ProxySight>,
    pub cells: BTreeMap<CellId, CellSight>,
    /// Why a cell looks sick, for those that do.
    pub suspects: BTreeMap<CellId, Vec<Signal>>,
    /// What cells wait for that are to be taken down.
    pub waiting: BTreeMap<CellId, String>,
}

impl Observed {
    /// What was seen last. Held for a moment only.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The largest generation that a proxy has.
    pub fn newest_generation(&self) -> Option<u64> {
        self.proxies
            .values()
            .filter_map(|proxy| proxy.generation)
            .max()
    }

    /// Whether every proxy that answers has this very table.
    pub fn all_have(&self, generation: u64, digest: &str) -> bool {
        self.proxies
            .values()
            .filter(|proxy| proxy.state == ProxyState::Reachable)
            .all(|proxy| {
                proxy.generation == Some(generation) && proxy.digest.as_deref() == Some(digest)
            })
    }

    /// Whether each of these proxies was seen with at least this generation. One that is silent now comes back with the
    /// table that it had.
    pub fn all_of_have<'n>(&self, names: impl Iterator<Item = &'n str>, generation: u64) -> bool {
        let generation_of = |name: &str| self.proxies.get(name)?.generation;
        names
            .into_iter()
            .all(|name| generation_of(name) >= Some(generation))
    }

    /// The tables that proxies which answer have.
    pub fn sightings(&self) -> Vec<Sighting> {
        self.proxies
            .iter()
            .filter(|(_, proxy)| proxy.state == ProxyState::Reachable)
            .filter_map(|(name, proxy)| {
                Some(Sighting {
                    proxy: name.clone(),
                    generation: proxy.generation?,
                    digest: proxy.digest.clone()?,
                })
            })
            .collect()
    }

    /// Whether a proxy may still send requests to a cell: its table names it, as far as was seen, or nothing was seen yet.
    pub fn may_name(&self, proxy: &str, cell: &CellId) -> bool {
        self.proxies
            .get(proxy)
            .filter(|sight| sight.seen_ms.is_some())
            .is_none_or(|sight| sight.cells.contains_key(cell.as_str()))
    }
}
