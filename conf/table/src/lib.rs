//! The contract between the two planes of cellgate: the *table*, a YAML file that says which cell each tenant lives in.
//!
//! This crate is where the file is read, checked, written, compared and judged. The proxy, the control daemon and the
//! `check` command all call it, so what one of them accepts the others accept too.
//!
//! It is pure: bytes in, a [`Table`] or all of its [`Problems`] out. It must not touch the file system, the network, a
//! clock, a source of randomness or a log.
//!
//! ```
//! let text = r#"
//! format: 1
//! hash: { seed: 0, slots: 4 }
//! cells:
//!   eu-1: { endpoints: [{ address: "127.0.0.1:9001" }] }
//!   eu-2: { endpoints: [{ address: "127.0.0.1:9002" }] }
//! slots:
//!   eu-1: ["0-1"]
//!   eu-2: ["2-3"]
//! overrides: { acme: eu-2 }
//! "#;
//! let table = cellgate_table::parse(text.as_bytes())?;
//! let home = table.home_of(b"acme");
//! assert_eq!(table.cell(home.cell).id().as_str(), "eu-2");
//! # Ok::<(), cellgate_table::Problems>(())
//! ```

pub mod accept;
pub mod address;
pub mod diff;
mod digest;
pub mod file;
pub mod hash;
mod history;
pub mod id;
pub mod limits;
pub mod problem;
mod read;
mod render;
pub mod slots;
mod table;
#[cfg(test)]
mod testing;
pub mod yaml;

pub use crate::{
    digest::Digest,
    hash::HashSpec,
    history::Step,
    id::{CellId, CellIndex, Generation, Slot, TenantKey},
    problem::{Problem, Problems},
    read::parse,
    render::{append_history, render},
    table::{
        Cell, ClientCert, Endpoint, HEALTH_USER_AGENT, HealthCheck, Home, Owner, Probe, Share,
        Table, TlsClient,
    },
};
