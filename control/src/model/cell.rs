//! A cell as the control plane keeps it: what the operator asked for, and how far it has come.

use std::{collections::BTreeMap, fmt};

use cellgate_table::{
    self as table, CellId, Endpoint, HealthCheck, Problems, Share, TlsClient,
    address::{self, Use},
    file::{
        CellFile, EndpointFile, HashFile, HealthCheckFile, HealthCheckKind, ShareFile,
        SlotRangeFile, TableFile,
    },
    limits,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{capacity::Amounts, tls::TlsSpec};

/// Labels of one cell.
pub const LABELS_MAX: usize = 32;
/// Length of a label's name, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 63;
/// Length of a label's value, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 255;

/// How far a cell has come.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum CellState {
    /// Its provider is making it.
    Provisioning,
    /// It exists, and has yet to show that it is healthy.
    Warming,
    /// It serves, and may get tenants.
    Active,
    /// It serves what it has, and gets no more.
    Draining,
    /// It owns nothing any more.
    Drained,
    /// It is gone; the record is kept.
    Removed,
    /// It did not come up; the reason says why.
    Failed,
}

impl CellState {
    /// Every state, in the order of a cell's life.
    pub const ALL: [Self; 7] = [
        Self::Provisioning,
        Self::Warming,
        Self::Active,
        Self::Draining,
        Self::Drained,
        Self::Removed,
        Self::Failed,
    ];

    /// The states that may follow. A forced removal stands outside of these.
    pub fn followers(self) -> &'static [Self] {
        match self {
            Self::Provisioning => &[Self::Warming, Self::Failed],
            Self::Warming => &[Self::Active, Self::Failed],
            Self::Active => &[Self::Draining],
            Self::Draining => &[Self::Active, Self::Drained],
            Self::Drained => &[Self::Active, Self::Removed],
            Self::Removed => &[Self::Provisioning],
            Self::Failed => &[Self::Provisioning, Self::Removed],
        }
    }

    /// Whether `next` may follow.
    pub fn may_become(self, next: Self) -> bool {
        self.followers().contains(&next)
    }

    /// Whether the table names a cell in this state. One that owns tenants always is in such a state.
    pub fn is_in_table(self) -> bool {
        matches!(self, Self::Active | Self::Draining)
    }

    /// Whether new tenants and slots may be given to it.
    pub fn takes_tenants(self) -> bool {
        self == Self::Active
    }

    /// Whether it has endpoints that should be checked.
    pub fn is_running(self) -> bool {
        matches!(
            self,
            Self::Warming | Self::Active | Self::Draining | Self::Drained
        )
    }

    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Warming => "warming",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Removed => "removed",
            Self::Failed => "failed",
        }
    }

    /// The state of that word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for CellState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operator may set of a cell, checked by the library that checks tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub endpoints: Vec<Endpoint>,
    pub in_flight_max: u32,
    pub tunnels_max: u32,
    pub connections_max: u32,
    pub share: Option<Share>,
    pub health_check: Option<HealthCheck>,
    pub tls: Option<TlsClient>,
}

/// Settings as they are written: in JSON, by people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsSpec {
    /// The cell's addresses. A provider that makes cells names them itself; leave them out then.
    #[serde(default)]
    #[schema(max_items = 256)]
    pub endpoints: Vec<EndpointSpec>,
    /// Requests in flight to the cell from one proxy; more are refused immediately.
    #[serde(default = "in_flight_default")]
    #[schema(minimum = 1, maximum = 1_000_000, default = 1_024)]
    pub max_in_flight: u32,
    /// Upgraded connections, such as WebSockets, to the cell from one proxy; more are refused immediately.
    #[serde(default = "tunnels_default")]
    #[schema(minimum = 0, maximum = 1_000_000, default = 10_000)]
    pub tunnels_max: u32,
    /// Connections of TCP listeners to the cell from one proxy; more are closed immediately.
    #[serde(default = "connections_default")]
    #[schema(minimum = 0, maximum = 1_000_000, default = 10_000)]
    pub connections_max: u32,
    /// Whose requests may follow each other on a kept connection. Where it is missing, each proxy's own configuration
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareSpec>,
    /// How proxies and the daemon find out whether an endpoint is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSpec>,
    /// How proxies speak TLS to the cell. Where it is missing, they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

/// One address of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// IP address and port.
    #[schema(example = "127.0.0.1:9001", max_length = 64)]
    pub address: String,
    /// Relative to the other endpoints of the cell.
    #[serde(default = "weight_default")]
    #[schema(minimum = 1, maximum = 1_000, default = 1)]
    pub weight: u16,
}

/// How an endpoint is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckSpec {
    #[serde(rename = "type")]
    pub kind: ProbeKind,
    /// What to ask for; with `http` only. Default `/healthz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1_024)]
    pub path: Option<String>,
    /// What the request says in `Host`: a name or an IP address, with or without a port; with `http` only. By default the
    /// endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 259, example = "shop.example.com")]
    pub host: Option<String>,
    #[serde(default = "interval_default")]
    #[schema(minimum = 100, maximum = 600_000, default = 2_000)]
    pub interval_ms: u32,
    #[serde(default = "timeout_default")]
    #[schema(minimum = 10, maximum = 600_000, default = 1_000)]
    pub timeout_ms: u32,
    #[serde(default = "unhealthy_default")]
    #[schema(minimum = 1, maximum = 100, default = 3)]
    pub unhealthy_after: u32,
    #[serde(default = "healthy_default")]
    #[schema(minimum = 1, maximum = 100, default = 2)]
    pub healthy_after: u32,
}

/// What a health check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// `GET path` is answered with 200 to 299.
    Http,
    /// The connection is taken.
    Tcp,
}

/// Whose requests may follow each other on a kept connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShareSpec {
    /// Those of all tenants of the cell.
    Cell,
    /// Those of one tenant only.
    Tenant,
}

impl ShareSpec {
    fn of(share: Share) -> Self {
        match share {
            Share::Cell => Self::Cell,
            Share::Tenant => Self::Tenant,
        }
    }

    fn share(self) -> Share {
        match self {
            Self::Cell => Share::Cell,
            Self::Tenant => Share::Tenant,
        }
    }

    fn file(self) -> ShareFile {
        match self {
            Self::Cell => ShareFile::Cell,
            Self::Tenant => ShareFile::Tenant,
        }
    }
}

fn in_flight_default() -> u32 {
    limits::IN_FLIGHT_DEFAULT
}

fn tunnels_default() -> u32 {
    limits::TUNNELS_DEFAULT
}

fn connections_default() -> u32 {
    limits::CONNECTIONS_DEFAULT
}

fn weight_default() -> u16 {
    1
}

fn interval_default() -> u32 {
    2_000
}

fn timeout_default() -> u32 {
    1_000
}

fn unhealthy_default() -> u32 {
    3
}

fn healthy_default() -> u32 {
    2
}

impl SettingsSpec {
    /// The settings, if a table may hold a cell like this.
    ///
    /// A cell that has no endpoint yet is checked as if it had one: its provider will name them.
    ///
    /// # Errors
    /// Everything that is wrong, each with the path of its key.
    pub fn check(&self) -> Result<Settings, Problems> {
        let stand_in = EndpointFile {
            address: ([127, 0, 0, 1], 1).into(),
            weight: 1,
        };
        let mut problems = Problems::default();
        let mut endpoints = Vec::with_capacity(self.endpoints.len());
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            match address::parse(&endpoint.address, Use::Connect) {
                Ok(address) => endpoints.push(EndpointFile {
                    address,
                    weight: endpoint.weight,
                }),
                Err(objection) => problems.push(table::Problem {
                    line: None,
                    column: None,
                    path: format!("endpoints[{at}].address"),
                    message: objection.message,
                    hint: objection.hint,
                }),
            }
        }
        let has_endpoints = !self.endpoints.is_empty();
        if endpoints.is_empty() {
            endpoints.push(stand_in);
        }
        let file = CellFile {
            endpoints,
            max_in_flight: self.max_in_flight,
            tunnels_max: self.tunnels_max,
            connections_max: self.connections_max,
            share: self.share.map(ShareSpec::file),
            health_check: self.health_check.as_ref().map(HealthCheckSpec::file),
            tls: self.tls.as_ref().map(TlsSpec::file),
        };
        match check_alone(file) {
            Ok(cell) if problems.is_empty() => Ok(Settings {
                endpoints: if has_endpoints {
                    cell.endpoints().to_vec()
                } else {
                    Vec::new()
                },
                in_flight_max: cell.in_flight_max(),
                tunnels_max: cell.tunnels_max(),
                connections_max: cell.connections_max(),
                share: cell.share(),
                health_check: cell.health_check().cloned(),
                tls: cell.tls().cloned(),
            }),
            Ok(_) => Err(problems),
            Err(others) => {
                for problem in others.problems {
                    problems.push(problem);
                }
                Err(problems)
            }
        }
    }
}

impl SettingsSpec {
    /// The settings of a spec that was checked before, when it was stored; `None` if it was not.
    pub fn settings(&self) -> Option<Settings> {
        let endpoint = |it: &EndpointSpec| {
            Some(Endpoint {
                address: it.address.parse().ok()?,
                weight: it.weight,
            })
        };
        Some(Settings {
            endpoints: self.endpoints.iter().map(endpoint).collect::<Option<_>>()?,
            in_flight_max: self.max_in_flight,
            tunnels_max: self.tunnels_max,
            connections_max: self.connections_max,
            share: self.share.map(ShareSpec::share),
            health_check: self.health_check.as_ref().map(HealthCheckSpec::check),
            tls: self.tls.as_ref().map(TlsSpec::client),
        })
    }
}

impl HealthCheckSpec {
    fn check(&self) -> HealthCheck {
        let default_path = || "/healthz".into();
        HealthCheck {
            probe: match self.kind {
                ProbeKind::Tcp => table::Probe::Tcp,
                ProbeKind::Http => table::Probe::Http {
                    path: self.path.as_deref().map_or_else(default_path, Into::into),
                    host: self.host.as_deref().map(Into::into),
                },
            },
            interval_ms: self.interval_ms,
            timeout_ms: self.timeout_ms,
            unhealthy_after: self.unhealthy_after,
            healthy_after: self.healthy_after,
        }
    }

    fn file(&self) -> HealthCheckFile {
        HealthCheckFile {
            kind: match self.kind {
                ProbeKind::Http => HealthCheckKind::Http,
                ProbeKind::Tcp => HealthCheckKind::Tcp,
            },
            path: self.path.clone(),
            host: self.host.clone(),
            interval_ms: self.interval_ms,
            timeout_ms: self.timeout_ms,
            unhealthy_after: self.unhealthy_after,
            healthy_after: self.healthy_after,
        }
    }

    fn of(check: &HealthCheck) -> Self {
        let (kind, path, host) = match &check.probe {
            table::Probe::Tcp => (ProbeKind::Tcp, None, None),
            table::Probe::Http { path, host } => {
                let host = host.as_ref().map(ToString::to_string);
                (ProbeKind::Http, Some(path.to_string()), host)
            }
        };
        Self {
            kind,
            path,
            host,
            interval_ms: check.interval_ms,
            timeout_ms: check.timeout_ms,
            unhealthy_after: check.unhealthy_after,
            healthy_after: check.healthy_after,
        }
    }
}

/// What the library says of a table that holds this cell and nothing else: the ranges and words of a cell are its
/// business, and what the daemon accepts the proxies must accept too.
fn check_alone(cell: CellFile) -> Result<table::Cell, Problems> {
    const NAME: &str = "cell";
    let file = TableFile {
        format: 1,
        generation: None,
        allow_move: false,
        hash: HashFile { seed: 0, slots: 1 },
        cells: BTreeMap::from([(NAME.to_owned(), cell)]),
        slots: BTreeMap::from([(NAME.to_owned(), vec![SlotRangeFile("0".to_owned())])]),
        overrides: BTreeMap::new(),
        aliases: BTreeMap::new(),
        rejects: Vec::new(),
        holds: BTreeMap::new(),
        history: Vec::new(),
    };
    let text = table::file::write(&file);
    let table = table::parse(text.as_bytes()).map_err(|mut problems| {
        for problem in &mut problems.problems {
            // The caller wrote no YAML: lines and columns would point nowhere.
            (problem.line, problem.column) = (None, None);
            let path = problem.path.strip_prefix("cells.cell.");
            problem.path = path.unwrap_or(&problem.path).to_owned();
        }
        problems
    })?;
    Ok(table.cells()[0].clone())
}

impl Settings {
    /// The settings as they are written.
    pub fn spec(&self) -> SettingsSpec {
        SettingsSpec {
            endpoints: self.endpoints.iter().map(EndpointSpec::of).collect(),
            max_in_flight: self.in_flight_max,
            tunnels_max: self.tunnels_max,
            connections_max: self.connections_max,
            share: self.share.map(ShareSpec::of),
            health_check: self.health_check.as_ref().map(HealthCheckSpec::of),
            tls: self.tls.as_ref().map(TlsSpec::of),
        }
    }

    /// The cell as the table writes it.
    pub fn file(&self) -> CellFile {
        CellFile {
            endpoints: self
                .endpoints
                .iter()
                .map(|endpoint| EndpointFile {
                    address: endpoint.address,
                    weight: endpoint.weight,
                })
                .collect(),
            max_in_flight: self.in_flight_max,
            tunnels_max: self.tunnels_max,
            connections_max: self.connections_max,
            share: self.share.map(|share| ShareSpec::of(share).file()),
            health_check: self
                .health_check
                .as_ref()
                .map(|check| HealthCheckSpec::of(check).file()),
            tls: self.tls.as_ref().map(|tls| TlsSpec::of(tls).file()),
        }
    }

    /// The settings that a table gives a cell.
    pub fn of_table(cell: &table::Cell) -> Self {
        Self {
            endpoints: cell.endpoints().to_vec(),
            in_flight_max: cell.in_flight_max(),
            tunnels_max: cell.tunnels_max(),
            connections_max: cell.connections_max(),
            share: cell.share(),
            health_check: cell.health_check().cloned(),
            tls: cell.tls().cloned(),
        }
    }
}

impl EndpointSpec {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            address: endpoint.address.to_string(),
            weight: endpoint.weight,
        }
    }
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub id: CellId,
    pub state: CellState,
    /// Why it is in this state, if there is more to say than its name does.
    pub state_reason: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub state_since_ms: i64,
    /// The name of the provider that makes it.
    pub provider: String,
    /// What the provider is given besides, as it stands.
    pub params: serde_json::Value,
    pub settings: Settings,
    pub labels: BTreeMap<String, String>,
    /// Its tenants have no data in it, so they may be moved by the table alone.
    pub is_stateless: bool,
    /// The most it may hold, by dimension; what is missing has no limit.
    pub capacity: Amounts,
    /// What it holds besides tenants, as it was reported last.
    pub usage: Amounts,
    /// A table that was published, or was about to be, has named it, so proxies may still send requests to it.
    pub was_in_table: bool,
    /// How many registered tenants live in it.
    pub tenants: u64,
}

/// What is wrong with labels, if anything.
pub fn objection_to_labels(labels: &BTreeMap<String, String>) -> Option<String> {
    if labels.len() > LABELS_MAX {
        return Some(format!("{} labels, more than {LABELS_MAX}", labels.len()));
    }
    for (name, value) in labels {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX || !name.chars().all(is_word) {
            return Some(format!(
                "the label name `{name}` is not 1 to {LABEL_NAME_BYTES_MAX} letters, digits, `-`, `_`, `.` or `/`"
            ));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
            return Some(format!(
                "the value of label `{name}` is longer than {LABEL_VALUE_BYTES_MAX} bytes or holds control characters"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests;
