//! The shape of `control.yaml`, for its JSON schema. [`read`](super::read) is what reads it; a test holds the two together.

use std::collections::BTreeMap;

use cellgate_table::yaml::settings::{self, LogSection};
use schemars::{JsonSchema, Schema};

use super::read::{PROVIDERS_MAX, PROXIES_MAX};

/// The configuration of cellgate-control.
#[derive(JsonSchema)]
#[schemars(title = "cellgate control configuration", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct ControlFile {
    table: TableSection,
    /// Where the database, the token and the cells of process providers are kept. Default `/var/lib/cellgate-control`.
    state_dir: Option<String>,
    api: Option<ApiSection>,
    /// The proxies to watch. They need not know.
    #[schemars(length(max = PROXIES_MAX))]
    proxies: Option<Vec<ProxySection>>,
    /// Who makes cells, by name. `static`, for cells that run already, is always there.
    #[schemars(extend("maxProperties" = PROVIDERS_MAX))]
    providers: Option<BTreeMap<String, ProviderSection>>,
    cells: Option<CellsSection>,
    observe: Option<ObserveSection>,
    log: Option<LogSection>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct TableSection {
    /// The table file that the proxies read. The daemon is the only one to write it.
    path: String,
    /// The seed of the hash, in the first table. Default 0.
    seed: Option<u64>,
    /// The number of slots, in the first table. Default 65,536.
    #[schemars(range(min = 1, max = 1_048_576))]
    slots: Option<u32>,
    /// What the proxies allow one table to move, in percent of the slots. Default 25.
    #[schemars(range(min = 0, max = 100))]
    max_moved_percent: Option<f64>,
    /// The same for tenants that the table names. Default 1,000.
    max_moved_overrides: Option<u32>,
    /// How many published tables are kept. Default 20.
    #[schemars(range(min = 2, max = 1_000))]
    kept: Option<u32>,
    /// `moved`: the table names tenants that live away from their slot. `all`: it names every registered one, for proxies
    /// with `unknown_tenants: refuse`. Default `moved`.
    name_tenants: Option<NameTenants>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum NameTenants {
    Moved,
    All,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct ApiSection {
    /// Where the API is served. Default `127.0.0.1:9700`.
    address: Option<String>,
    /// A Unix socket to serve it on as well.
    socket: Option<String>,
    /// Holds the bearer token that changes need; made at the first start. Default `token` in the state directory.
    token_file: Option<String>,
    /// Host names that it answers to, besides IP addresses and `localhost`. Default none.
    hosts: Option<Vec<String>>,
    /// More are answered 429. Default 500.
    #[schemars(range(min = 1, max = 1_000_000))]
    requests_per_second_max: Option<u32>,
    /// Larger bodies are answered 413. Default 16,777,216.
    #[schemars(range(min = 1_024, max = 1_073_741_824))]
    body_bytes_max: Option<u32>,
    /// Connections by TCP that have shown the token. Default 64.
    #[schemars(range(min = 1, max = 100_000))]
    connections_with_token_max: Option<u32>,
    /// All other connections by TCP; of more, the one that has kept the daemon waiting longest is closed. Default 128.
    #[schemars(range(min = 8, max = 100_000))]
    connections_without_token_max: Option<u32>,
    /// How long a request head may take. Default 10,000.
    #[schemars(range(min = 100, max = 86_400_000))]
    head_ms: Option<u32>,
    /// How long a connection may wait for its next request. Default 60,000.
    #[schemars(range(min = 100, max = 86_400_000))]
    idle_ms: Option<u32>,
    /// How long a caller may take nothing of an answer, or send nothing of a body. Default 30,000.
    #[schemars(range(min = 100, max = 86_400_000))]
    stall_ms: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct ProxySection {
    name: String,
    /// The proxy's admin address.
    admin: String,
}

#[derive(JsonSchema)]
#[schemars(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum ProviderSection {
    /// Cells are processes of this machine, which the daemon starts and supervises.
    Process {
        /// Program and arguments; `{cell}`, `{address}`, `{port}`, `{dir}` and `{param.NAME}` are filled in.
        #[schemars(length(min = 1))]
        command: Vec<String>,
        /// Holds one folder per cell. Default `cells` in the state directory.
        directory: Option<String>,
        /// Such as `9001-9099`. Default: any free port.
        ports: Option<String>,
    },
    /// Cells are made by a program that is called with a verb, JSON in and JSON out.
    Exec {
        #[schemars(length(min = 1))]
        command: Vec<String>,
        /// How long one call may take. Default 600,000.
        #[schemars(range(min = 100, max = 86_400_000))]
        timeout_ms: Option<u32>,
        /// How often it is asked to describe each of its cells. Default 60,000.
        #[schemars(range(min = 100, max = 86_400_000))]
        describe_interval_ms: Option<u32>,
    },
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct CellsSection {
    /// Checks in a row that every endpoint of a new cell has to pass. Default 2.
    #[schemars(range(min = 1, max = 100))]
    warm_checks: Option<u32>,
    /// How long that may take. Default 60,000.
    #[schemars(range(min = 100, max = 86_400_000))]
    warming_ms_max: Option<u32>,
    /// So many cells have to be active before the slots are spread for the first time. Default 1.
    #[schemars(range(min = 1, max = 4_096))]
    first_table_cells: Option<u32>,
    /// For so long no cell may have changed, so that cells added one after the other share the slots. Default 3,000.
    #[schemars(range(max = 86_400_000))]
    first_table_settle_ms: Option<u32>,
    /// An import that leaves a larger share of all tenants in one cell is warned of; 100 warns of none. Default 60.
    #[schemars(range(min = 1, max = 100))]
    tenants_percent_max: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
#[expect(
    clippy::struct_field_names,
    reason = "they are times, and say their unit"
)]
struct ObserveSection {
    /// From one check of proxies and cells to the next. Default 1,000.
    #[schemars(range(min = 50, max = 86_400_000))]
    interval_ms: Option<u32>,
    /// How long one answer may take. Default 1,000.
    #[schemars(range(min = 10, max = 86_400_000))]
    timeout_ms: Option<u32>,
    /// The time over which errors are counted. Default 30,000.
    #[schemars(range(min = 1_000, max = 86_400_000))]
    window_ms: Option<u32>,
}

/// The JSON schema of `control.yaml`.
pub fn schema() -> Schema {
    settings::schema_of::<ControlFile>()
}
