//! Where an admitted request goes: its cell, and the endpoint of each attempt.

use std::{net::SocketAddr, sync::Arc};

use cellgate_table::Generation;
use http::HeaderValue;
use smallvec::SmallVec;

use crate::{
    cell::{EndpointUse, InFlight, OpenConnection},
    snapshot::{CellRuntime, EndpointRuntime, Snapshot},
};

/// Holds what the request needs of its cell, and its places in the counts of cell and endpoint.
#[derive(Debug)]
pub struct Destination {
    cell: Arc<CellRuntime>,
    generation: Generation,
    generation_header: HeaderValue,
    /// The tenant, when it is another one than the key (an alias).
    alias_target: Option<Box<[u8]>>,
    attempt: Option<Attempt>,
    /// Endpoints tried, the current one included.
    tried: SmallVec<[SocketAddr; 2]>,
    /// Held for its `Drop`.
    _place: Place,
}

/// A place in a cell.
#[derive(Debug)]
#[expect(dead_code, reason = "each is held for its `Drop`")]
pub(super) enum Place {
    Request(InFlight),
    Connection(OpenConnection),
}

#[derive(Debug)]
struct Attempt {
    /// The endpoint's position in its cell.
    at: usize,
    /// Held for its `Drop`.
    _in_use: EndpointUse,
}

impl Destination {
    pub(super) fn new(
        snapshot: &Snapshot,
        cell: &Arc<CellRuntime>,
        alias_target: Option<Box<[u8]>>,
        place: Place,
    ) -> Self {
        Self {
            cell: Arc::clone(cell),
            generation: snapshot.generation,
            generation_header: snapshot.generation_header.clone(),
            alias_target,
            attempt: None,
            tried: SmallVec::new(),
            _place: place,
        }
    }

    pub fn cell(&self) -> &CellRuntime {
        &self.cell
    }

    /// The table by which the request was routed.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub fn generation_header(&self) -> &HeaderValue {
        &self.generation_header
    }

    /// How a head for the cell ends, behind the tenant's name.
    pub fn head_end(&self) -> &[u8] {
        &self.cell.head_end
    }

    /// How many endpoints were tried, the current one included.
    pub fn attempts(&self) -> usize {
        self.tried.len()
    }

    /// The endpoint of the current attempt.
    pub fn endpoint(&self) -> Option<&EndpointRuntime> {
        let attempt = self.attempt.as_ref()?;
        Some(&self.cell.endpoints[attempt.at])
    }

    pub(super) fn alias_target(&self) -> Option<&[u8]> {
        self.alias_target.as_deref()
    }

    /// Begins the next attempt, at an endpoint that was not tried as long as there is one.
    pub(super) fn choose_endpoint(&mut self, now_ms: u64, random: [u32; 2]) -> Option<()> {
        self.attempt = None;
        let at = self
            .cell
            .choose_endpoint(&self.tried, now_ms, random)
            // The same one again is better than none.
            .or_else(|| self.cell.choose_endpoint(&[], now_ms, random))?;
        let endpoint = &self.cell.endpoints[at].state;
        self.tried.push(endpoint.address);
        self.attempt = Some(Attempt {
            at,
            _in_use: endpoint.enter(),
        });
        Some(())
    }
}
