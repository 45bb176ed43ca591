//! Providers make cells real and take them down. `static` cells are run by somebody else and never come here.

pub mod exec;
pub mod process;

use std::collections::BTreeMap;

use cellgate_table::CellId;
use serde_json::Value;

use crate::{
    config::ProviderConfig,
    model::{Cell, cell::EndpointSpec},
};

pub use self::{exec::ExecProvider, process::ProcessProvider};

/// Bytes of a provider's words that are kept: the last ones.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

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
}

/// A provider that did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub error: String,
    pub output: String,
}

/// A provider of the configuration.
#[derive(Debug)]
pub enum Provider {
    Process(ProcessProvider),
    Exec(ExecProvider),
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
    fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            output: String::new(),
        }
    }
}

impl Provider {
    pub fn new(config: &ProviderConfig) -> Self {
        match config {
            ProviderConfig::Process(config) => Self::Process(ProcessProvider::new(config.clone())),
            ProviderConfig::Exec(config) => Self::Exec(ExecProvider::new(config.clone())),
        }
    }

    /// Makes a cell, or finds the one that an earlier try made.
    pub async fn provision(&self, job: &Job) -> Result<Described, Failed> {
        match self {
            Self::Process(provider) => provider.provision(job),
            Self::Exec(provider) => provider.provision(job).await,
        }
    }

    /// Takes a cell down. One that is gone already is as good as taken down.
    pub async fn remove(&self, job: &Job) -> Result<String, Failed> {
        match self {
            Self::Process(provider) => provider.remove(job).await,
            Self::Exec(provider) => provider.remove(job).await,
        }
    }
}

/// The last bytes of an output, cut at a character.
fn tail(output: &[u8]) -> String {
    let start = output.len().saturating_sub(OUTPUT_BYTES_MAX);
    String::from_utf8_lossy(&output[start..]).into_owned()
}
