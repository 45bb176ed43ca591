//! Every limit of the table's format, with its unit. A file beyond one of them is refused; nothing panics at a limit.

/// Size of a table file, in bytes. A million overrides take about 30 MiB.
pub const FILE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Places in a file where a YAML value may begin (line ends, commas, brackets and the like). Reading takes memory for
/// each, about 200 bytes.
pub const YAML_NODES_MAX: usize = 16_000_000;

/// Nesting of lists and mappings in a file, in levels. The YAML parser's own limit.
pub const YAML_DEPTH_MAX: usize = 128;

/// Largest generation. Every JSON reader can hold it exactly, and counting on from it never runs over.
pub const GENERATION_MAX: u64 = (1 << 53) - 1;

/// Number of cells in a table.
pub const CELLS_MAX: usize = 4_096;

/// Length of a cell's id, in bytes.
pub const CELL_ID_BYTES_MAX: usize = 63;

/// Number of endpoints of one cell.
pub const ENDPOINTS_PER_CELL_MAX: usize = 256;

/// Weight of an endpoint, relative to its siblings in the same cell.
pub const ENDPOINT_WEIGHT_MAX: u16 = 1_000;

/// Requests in flight to one cell from one proxy.
pub const IN_FLIGHT_MAX: u32 = 1_000_000;

/// Requests in flight to one cell from one proxy where the table says nothing.
pub const IN_FLIGHT_DEFAULT: u32 = 1_024;

/// Open tunnels (upgraded connections, such as WebSockets) to one cell from one proxy.
pub const TUNNELS_MAX: u32 = 1_000_000;

/// Open tunnels to one cell from one proxy where the table says nothing.
pub const TUNNELS_DEFAULT: u32 = 10_000;

/// Connections of TCP listeners to one cell from one proxy.
pub const CONNECTIONS_MAX: u32 = 1_000_000;

/// The same where the table says nothing.
pub const CONNECTIONS_DEFAULT: u32 = 10_000;

/// Number of slots of a table.
pub const SLOTS_MAX: u32 = 1_048_576;

/// Number of overrides of a table.
pub const OVERRIDES_MAX: usize = 4_000_000;

/// Number of aliases of a table.
pub const ALIASES_MAX: usize = 1_000_000;

/// Number of rejected tenants of a table.
pub const REJECTS_MAX: usize = 1_000_000;

/// Entries of a table's history.
pub const HISTORY_STEPS_MAX: usize = 64;

/// Named tenants that one step of a table's history may say it moved: all that a table can name.
pub const MOVED_OVERRIDES_MAX: u32 = 5_000_000;

/// What floating point may add to a percentage of slots; one slot is at least 0.00009 %.
pub(crate) const PERCENT_ROUNDING: f64 = 1e-9;

/// Length of a tenant key, in bytes, in the table and in a request.
pub const TENANT_KEY_BYTES_MAX: usize = 256;

/// Length of a health check's path, in bytes.
pub const HEALTH_PATH_BYTES_MAX: usize = 1_024;

/// Length of the host that a health check names, in bytes: that of a name in DNS, and a port.
pub const HEALTH_HOST_BYTES_MAX: usize = 259;

/// Length of the name that a cell's certificate has to have, in bytes: that of a name in DNS.
pub const TLS_NAME_BYTES_MAX: usize = 253;

/// Length of the path of a file that a table names, in bytes: that of a path in Linux, without its end.
pub const PATH_BYTES_MAX: usize = 4_095;

/// Interval and time limit of a health check, in milliseconds.
pub const HEALTH_MS_MAX: u32 = 600_000;

/// Checks in a row that change an endpoint's state.
pub const HEALTH_STREAK_MAX: u32 = 100;

/// Problems of one file that are reported one by one; the rest are counted.
pub const PROBLEMS_REPORTED_MAX: usize = 100;
