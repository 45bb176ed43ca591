//! Providers make cells real and take them down. `static` cells are run by somebody else and never come here.

pub mod exec;
mod job;
pub mod process;
mod supervision;

use crate::config::ProviderConfig;

pub use self::{
    exec::ExecProvider,
    job::{Described, Failed, Job, OUTPUT_BYTES_MAX},
    process::ProcessProvider,
};

/// A provider of the configuration.
#[derive(Debug)]
pub enum Provider {
    Process(ProcessProvider),
    Exec(ExecProvider),
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
            // Files, and a process to be started: that waits for disks.
            Self::Process(provider) => tokio::task::block_in_place(|| provider.provision(job)),
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
