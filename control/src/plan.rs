//! Decides who should live where. Pure: what is known goes in, a plan comes out, with what it leaves alone and why.

pub mod imported;
pub mod placement;
pub mod rebalance;
pub mod shares;

pub use self::{
    imported::{ImportWarning, ImportWarningCode, import_warnings},
    placement::{Candidate, NoCapacity, Placed, place},
    rebalance::{LeftAlone, Plan, SlotMove, drain, rebalance},
    shares::{spread, targets},
};
