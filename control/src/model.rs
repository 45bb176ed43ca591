//! What the control plane knows and intends: cells, tenants, slots. Pure data and pure decisions about it; no database,
//! no clock, no network.

pub mod capacity;
pub mod cell;
pub mod slots;
pub mod table;
pub mod tenant;
pub mod tls;

pub use self::{
    capacity::{Amounts, Dimension, tightest},
    cell::{Cell, CellState, Settings},
    slots::SlotMap,
    tenant::{PlacedBy, Tenant},
};
