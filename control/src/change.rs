//! The changes of intent: each a function from what stands to what shall stand, within one transaction.
//!
//! What is to be decided is decided by `model` and `plan`; how it is kept is the business of `store`. Nothing here knows
//! of HTTP, of files or of the clock.

pub mod cells;
pub mod moves;
pub mod proxies;
pub mod restore;
pub mod slots;
pub mod tenants;
mod transition;

use cellgate_table::accept::MoveLimits;

use crate::{
    model::{Cell, CellState, SlotMap},
    plan::{Candidate, rebalance::Owner},
    refusal::{Refusal, StorageError},
    store::{Counts, Read, Write},
};

/// What the configuration says about changes.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How much one change may move without explicit permission.
    pub move_limits: MoveLimits,
    /// The table names every registered tenant, not only those that live away from their slot.
    pub names_all_tenants: bool,
    /// The providers that there are; `static` among them.
    pub providers: Vec<String>,
}

/// The caller's permission: more may move than the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovePermission {
    WithinLimits,
    Allowed,
}

impl MovePermission {
    /// From a flag of a request.
    pub fn of(allow_move: bool) -> Self {
        if allow_move {
            Self::Allowed
        } else {
            Self::WithinLimits
        }
    }
}

/// The cells as placement sees them.
pub(crate) fn candidates(read: Read<'_>) -> Result<Vec<Candidate>, StorageError> {
    let cells = read.cells()?;
    Ok(cells
        .into_iter()
        .filter(|cell| cell.state != CellState::Removed)
        .map(|cell| Candidate {
            objection: objection(&cell),
            id: cell.id,
            capacity: cell.capacity,
            usage: cell.usage,
            tenants: cell.tenants,
        })
        .collect())
}

fn objection(cell: &Cell) -> Option<String> {
    (!cell.state.takes_tenants()).then(|| format!("is {}", cell.state))
}

/// All that the planner considers.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub cells: Vec<Cell>,
    pub counts: std::collections::BTreeMap<cellgate_table::CellId, Counts>,
    pub slots: SlotMap,
}

impl Fleet {
    pub fn of(read: Read<'_>) -> Result<Self, StorageError> {
        let mut cells = read.cells()?;
        cells.retain(|cell| cell.state != CellState::Removed);
        Ok(Self {
            cells,
            counts: read.counts()?,
            slots: read.slots()?,
        })
    }

    /// The cells as the planner sees them.
    pub fn owners(&self) -> Vec<Owner<'_>> {
        let owner = |cell: &'_ Cell| {
            let counts = self.counts.get(&cell.id).copied().unwrap_or_default();
            (counts.overrides, counts.pins)
        };
        self.cells
            .iter()
            .map(|cell| {
                let (overrides, pins) = owner(cell);
                Owner {
                    id: &cell.id,
                    state: cell.state,
                    is_stateless: cell.is_stateless,
                    capacity: &cell.capacity,
                    overrides,
                    pins,
                }
            })
            .collect()
    }
}

/// A draining cell that owns nothing any more is drained.
fn settle_draining(write: &mut Write<'_>) -> Result<(), Refusal> {
    let fleet = Fleet::of(write.read())?;
    for mut cell in fleet.cells {
        let is_empty = cell.tenants == 0 && fleet.slots.count_of(&cell.id) == 0;
        if cell.state == CellState::Draining && is_empty {
            transition::enter(write, &mut cell, CellState::Drained, None)?;
        }
    }
    Ok(())
}
