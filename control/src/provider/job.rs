//! What a provider is asked to do, and what it answers.

use std::collections::BTreeMap;

use cellgate_process::descriptors;
use cellgate_table::CellId;
use serde_json::Value;
use tokio::process::Child;

use crate::model::{Cell, cell::EndpointSpec};

/// Bytes of a provider's output that are kept: the last ones.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// A program of somebody else's gets the limits that the daemon was started with, not those that it gave itself.
pub(super) fn restore_limits(child: &Child) {
    if let Some(id) = child.id() {
        descriptors::restore_limit_of(id);
    }
}

/// What a provider needs to know of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Asked twice with the same name, the work is done once.
    pub operation: String,
    pub cell: CellId,
    pub params: Value,
    pub labels: BTreeMap<String, String>,
    /// Where the cell is, as far as it is known.
    pub endpoints: Vec<EndpointSpec>,
}

/// A cell as its provider sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    pub endpoints: Vec<EndpointSpec>,
    /// How much it holds, by dimension, if the provider knows.
    pub usage: Option<BTreeMap<String, f64>>,
    /// The end of what the provider wrote.
    pub output: String,
    /// The cell runs, but not as it should: why.
    pub trouble: Option<String>,
    /// Its process had ended, and was started again just now.
    pub was_restarted: bool,
}

/// A provider that did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub error: String,
    pub output: String,
}

impl Job {
    pub fn new(operation: &str, cell: &Cell) -> Self {
        Self {
            operation: operation.to_owned(),
            cell: cell.id.clone(),
            params: cell.params.clone(),
            labels: cell.labels.clone(),
            endpoints: cell.settings.spec().endpoints,
        }
    }
}

impl Failed {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            output: String::new(),
        }
    }
}

/// The last bytes of an output, cut at a character.
pub(super) fn tail(output: &[u8]) -> String {
    let start = output.len().saturating_sub(OUTPUT_BYTES_MAX);
    String::from_utf8_lossy(&output[start..]).into_owned()
}
