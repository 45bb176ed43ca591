//! The daemon's configuration: what `control.yaml` says, valid by construction. Read once, at start.

mod file;
mod read;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use cellgate_process::host::Hosts;
use cellgate_table::{HashSpec, yaml::settings::LogFormat};

use crate::publish::TableRules;

pub use self::{
    file::schema,
    read::{load, parse},
};

/// Everything that `control.yaml` says, with every default filled in. `conf/README.md` lists them.
#[derive(Debug)]
pub struct Config {
    pub table: TableRules,
    /// How keys become slots in the first table; afterwards what the database says counts.
    pub hash: HashSpec,
    pub state_dir: PathBuf,
    pub api: ApiConfig,
    pub proxies: Vec<ProxyConfig>,
    pub providers: BTreeMap<String, ProviderConfig>,
    pub cells: CellRules,
    pub observe: ObserveConfig,
    pub log_format: LogFormat,
}

impl Config {
    /// The names of the listed proxies.
    pub fn proxy_names(&self) -> impl Iterator<Item = &str> {
        self.proxies.iter().map(|proxy| &*proxy.name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    pub address: SocketAddr,
    /// A Unix socket to listen on as well.
    pub socket: Option<PathBuf>,
    pub token_file: PathBuf,
    /// The names that it answers to, besides IP addresses and `localhost`.
    pub hosts: Hosts,
    pub requests_per_second_max: u32,
    pub body_bytes_max: usize,
    pub connections: ConnectionRules,
}

/// How many callers of the API there may be by TCP, and how slow they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRules {
    pub with_token_max: usize,
    /// Of callers without the token, and of those who have not sent a whole head yet.
    pub without_token_max: usize,
    /// For a whole request head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without a byte that the caller takes of an answer, or sends of a body.
    pub stall: Duration,
}

/// A proxy to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    pub name: String,
    pub admin: SocketAddr,
}

/// How cells of a provider are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderConfig {
    Process(ProcessConfig),
    Exec(ExecConfig),
}

/// Cells as processes of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The program and its arguments, with `{cell}`, `{address}`, `{port}`, `{dir}` and `{param.NAME}` to fill in.
    pub command: Vec<String>,
    /// One folder per cell lies in here.
    pub directory: PathBuf,
    /// The ports to choose from; without it any free one.
    pub ports: Option<(u16, u16)>,
}

/// Cells made by a program of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    pub command: Vec<String>,
    pub timeout: Duration,
    /// How often it is asked to describe each of its cells.
    pub describe_interval: Duration,
}

/// When a cell counts as up, and when the first table is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRules {
    /// Checks in a row that every endpoint of a warming cell has to pass.
    pub warm_checks: u32,
    /// How long it may take to.
    pub warming_limit: Duration,
    /// The slots are spread for the first time once at least so many cells are active …
    pub first_table_cells: usize,
    /// … and for so long no cell has changed its state or is on its way.
    pub first_table_settle: Duration,
    /// An import that leaves a larger share of all tenants in one cell is warned of.
    pub tenants_percent_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserveConfig {
    /// From one check of proxies and cells to the next.
    pub interval: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// The time over which errors are counted.
    pub window: Duration,
}
