//! What is seen of proxies and cells. It is reported, and nothing is done because of it: a cell that looks unhealthy is a matter for
//! people, or for a plan that knows more than one signal.
//!
//! Checks and polls come at a constant rate, whatever they find, so that an outage does not make work of its own.

pub mod cells;
mod check;
mod fleet;
pub mod proxies;
mod samples;
mod suspicion;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cellgate_table::CellId;

use crate::publish::ReportedTable;

pub use self::{
    cells::{CellStatus, Checked, Degraded, EndpointStatus},
    check::CheckError,
    fleet::{Confirmations, Unconfirmed},
    proxies::{ProxyState, ProxyStatus},
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
    pub proxies: BTreeMap<String, ProxyStatus>,
    pub cells: BTreeMap<CellId, CellStatus>,
    /// Why a cell is suspected to be unhealthy, for those that are.
    pub suspects: BTreeMap<CellId, Vec<Signal>>,
    /// What cells wait for that are to be taken down.
    pub waiting: BTreeMap<CellId, String>,
    /// The first generation known not to name a cell that is to be taken down.
    pub clear_from: BTreeMap<CellId, u64>,
    /// Cells that are degraded, as their providers report.
    pub degraded: BTreeMap<CellId, Degraded>,
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

    /// The tables that proxies which answer have.
    pub fn reported_tables(&self) -> Vec<ReportedTable> {
        self.proxies
            .iter()
            .filter(|(_, proxy)| proxy.state == ProxyState::Reachable)
            .filter_map(|(name, proxy)| {
                Some(ReportedTable {
                    proxy: name.clone(),
                    generation: proxy.generation?,
                    digest: proxy.digest.clone()?,
                })
            })
            .collect()
    }
}
