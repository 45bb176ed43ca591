//! Clients that leave, dawdle, send too much or send what could be read in two ways: they cost
//! nobody else anything, and their requests are executed once, whole, or not at all.

mod crowd;
mod leaving;
mod protocol;
mod refused;
mod streams;

use crate::support::{
    origin::Origin,
    proxy::{Plan, Proxy},
    table::TableText,
};

/// A proxy in front of one scripted cell, to which all tenants belong.
fn plan(cell: &Origin) -> Plan {
    Proxy::plan().table(TableText::new([("only", vec![cell.address()])]))
}
