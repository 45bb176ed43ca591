//! The shape of a table file, format 1: what [`render`](crate::render()) writes and what the JSON schema describes.
//!
//! Reading does not go through these types (they would stop at the first mistake); a test holds the two together.

use std::{borrow::Cow, collections::BTreeMap, net::SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::{limits, yaml::to_text};

/// The table of cellgate, format 1: which cell each tenant lives in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "cellgate table", deny_unknown_fields)]
pub struct TableFile {
    /// Always 1.
    #[schemars(range(min = 1, max = 1))]
    pub format: u8,
    /// The table's number; it only ever grows. Leave it out in a file edited by hand: the proxy then takes the next generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::GENERATION_MAX))]
    pub generation: Option<u64>,
    /// Lets this table move more slots or overrides than the proxy's limits allow.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub allow_move: bool,
    pub hash: HashFile,
    /// The cells, by id: 1 to 63 letters, digits, `-`, `_` or `.`, the first one a letter or digit.
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = limits::CELLS_MAX,
        "propertyNames" = { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" }
    ))]
    pub cells: BTreeMap<String, CellFile>,
    /// The slots of each cell; every slot exactly once. A cell may be left out.
    pub slots: BTreeMap<String, Vec<SlotRangeFile>>,
    /// Tenants pinned to a cell, winning over their slot.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default, extend("maxProperties" = limits::OVERRIDES_MAX))]
    pub overrides: BTreeMap<String, String>,
    /// Other keys of tenants: alias to tenant. An alias names a tenant, never another alias.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default, extend("maxProperties" = limits::ALIASES_MAX))]
    pub aliases: BTreeMap<String, String>,
    /// Tenants answered 403 at the edge.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = limits::REJECTS_MAX), extend("uniqueItems" = true))]
    pub rejects: Vec<String>,
    /// Tenants in motion, whose requests wait in the proxy. Part of the format, but this version refuses a table that
    /// has any: it cannot keep requests waiting yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub holds: BTreeMap<String, HoldFile>,
    /// The newest tables before this one, by generation, the oldest first, and how much each step moved. For programs
    /// that publish tables: a proxy that was away accepts by it what came in steps within its limits. Leave it out in a
    /// file edited by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = limits::HISTORY_STEPS_MAX))]
    pub history: Vec<StepFile>,
}

/// A table that was published earlier, and how much the step from it to the next one moved. The next one is that of the
/// entry below; for the last entry it is the table that the history stands in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StepFile {
    /// The generation of that table.
    #[schemars(range(min = 1, max = limits::GENERATION_MAX))]
    pub generation: u64,
    /// SHA-256 of that table's file, as 64 lower-case hex digits.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub digest: String,
    /// Share of the slots that the step from that table to the next one gave to another cell, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub moved_slots_percent: f64,
    /// Named tenants that the step from that table to the next one took to another cell.
    #[schemars(range(min = 0, max = limits::MOVED_OVERRIDES_MAX))]
    pub moved_overrides: u64,
}

/// How tenant keys become slots. A change here moves nearly every tenant.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HashFile {
    /// The seed of XXH3.
    #[schemars(default)]
    pub seed: u64,
    /// The number of slots, 1 to 1,048,576.
    #[schemars(range(min = 1, max = limits::SLOTS_MAX))]
    pub slots: u32,
}

/// One copy of the service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CellFile {
    /// The addresses of the cell.
    #[schemars(length(min = 1, max = limits::ENDPOINTS_PER_CELL_MAX))]
    pub endpoints: Vec<EndpointFile>,
    /// Requests in flight to this cell from one proxy; more are refused immediately with `cell_overloaded`. Default
    /// 1,024.
    #[schemars(range(min = 1, max = limits::IN_FLIGHT_MAX), default = "in_flight_default")]
    pub max_in_flight: u32,
    /// Upgraded connections, such as WebSockets, to this cell from one proxy; more are refused immediately with
    /// `cell_overloaded`. Default 10,000.
    #[serde(skip_serializing_if = "is_tunnels_default")]
    #[schemars(range(min = 0, max = limits::TUNNELS_MAX), default = "tunnels_default")]
    pub tunnels_max: u32,
    /// Connections of TCP listeners to this cell from one proxy; more are closed immediately with `cell_overloaded`.
    /// Default 10,000.
    #[serde(skip_serializing_if = "is_connections_default")]
    #[schemars(range(min = 0, max = limits::CONNECTIONS_MAX), default = "connections_default")]
    pub connections_max: u32,
    /// Whose requests may follow each other on a kept connection: those of the whole cell, or of one tenant only.
    /// Without it, `upstream.share` in `proxy.yaml` decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareFile>,
    /// Without it, endpoints are judged by the requests sent to them only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckFile>,
    /// The proxy speaks TLS to the cell, and verifies its certificate. Without it, there is no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsClientFile>,
}

/// Whose requests may follow each other on a kept connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShareFile {
    Cell,
    Tenant,
}

/// One address of a cell.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EndpointFile {
    /// IP address and port, such as `127.0.0.1:9001` or `[::1]:9001`. Names are not resolved.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Relative to the other endpoints of the cell, 1 to 1,000. Default 1.
    #[schemars(range(min = 1, max = limits::ENDPOINT_WEIGHT_MAX), default = "weight_default")]
    pub weight: u16,
}

/// How a proxy finds out by itself whether the endpoints of a cell are healthy.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HealthCheckFile {
    /// `http` asks for a path and wants a status from 200 to 299; `tcp` wants its connection taken.
    #[serde(rename = "type")]
    pub kind: HealthCheckKind,
    /// The path to ask for; with `http` only. Default `/healthz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the request says in `Host`: a name or an IP address, with or without a port; with `http` only. Default: the
    /// endpoint's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Time from one check to the next, 100 to 600,000. Default 2,000.
    #[schemars(range(min = 100, max = limits::HEALTH_MS_MAX), default = "interval_default")]
    pub interval_ms: u32,
    /// How long one check may take, 10 to 600,000. Default 1,000.
    #[schemars(range(min = 10, max = limits::HEALTH_MS_MAX), default = "timeout_default")]
    pub timeout_ms: u32,
    /// Failures in a row until an endpoint is unhealthy, 1 to 100. Default 3.
    #[schemars(range(min = 1, max = limits::HEALTH_STREAK_MAX), default = "unhealthy_default")]
    pub unhealthy_after: u32,
    /// Successes in a row until it is healthy again, 1 to 100. Default 2.
    #[schemars(range(min = 1, max = limits::HEALTH_STREAK_MAX), default = "healthy_default")]
    pub healthy_after: u32,
}

/// How the proxy speaks TLS to a cell. Paths are relative to the folder of the table file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TlsClientFile {
    /// Whom the cell's certificate has to be for: a name without wildcard, or an IP address.
    #[schemars(length(min = 1, max = limits::TLS_NAME_BYTES_MAX))]
    pub server_name: String,
    /// The file with the certificates of the authorities that the proxy trusts, in PEM.
    #[schemars(length(min = 1, max = limits::PATH_BYTES_MAX))]
    pub ca: String,
    /// What the proxy shows to a cell that wants a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<ClientCertFile>,
}

/// A certificate that the proxy shows to a cell.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ClientCertFile {
    /// The file with the certificate and its chain, in PEM.
    #[schemars(length(min = 1, max = limits::PATH_BYTES_MAX))]
    pub certificate: String,
    /// The file with its private key, in PEM. Default: the file of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::PATH_BYTES_MAX))]
    pub key: Option<String>,
}

/// What a health check asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthCheckKind {
    Http,
    Tcp,
}

/// How one tenant's requests wait.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HoldFile {
    /// `writes` lets reads through, `all` nothing.
    pub mode: HoldMode,
}

/// Which requests of a held tenant wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HoldMode {
    Writes,
    All,
}

/// A run of slots: `"0-32767"`, both ends included, or a single slot.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct SlotRangeFile(pub String);

impl JsonSchema for SlotRangeFile {
    fn schema_name() -> Cow<'static, str> {
        "SlotRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A run of slots: `\"0-32767\"`, both ends included, or a single slot.",
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$" },
                { "type": "integer", "minimum": 0, "exclusiveMaximum": limits::SLOTS_MAX }
            ]
        })
    }
}

/// The JSON schema of a table file.
pub fn schema() -> Schema {
    schemars::schema_for!(TableFile)
}

/// The text of a table file, for whoever publishes tables: the same to every reader of YAML, whichever version it
/// follows. It is not checked: [`parse`](crate::parse) does that.
pub fn write(file: &TableFile) -> String {
    to_text(file)
}

/// The text of the key `history`, as it ends the text of a table file.
pub(crate) fn write_history(history: Vec<StepFile>) -> String {
    #[derive(Serialize)]
    struct Tail {
        history: Vec<StepFile>,
    }
    to_text(&Tail { history })
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

pub(crate) fn in_flight_default() -> u32 {
    limits::IN_FLIGHT_DEFAULT
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_tunnels_default(value: &u32) -> bool {
    *value == limits::TUNNELS_DEFAULT
}

pub(crate) fn tunnels_default() -> u32 {
    limits::TUNNELS_DEFAULT
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_connections_default(value: &u32) -> bool {
    *value == limits::CONNECTIONS_DEFAULT
}

pub(crate) fn connections_default() -> u32 {
    limits::CONNECTIONS_DEFAULT
}

pub(crate) fn weight_default() -> u16 {
    1
}

/// What a health check over HTTP asks for.
pub(crate) const HEALTH_PATH_DEFAULT: &str = "/healthz";

pub(crate) fn interval_default() -> u32 {
    2_000
}

pub(crate) fn timeout_default() -> u32 {
    1_000
}

pub(crate) fn unhealthy_default() -> u32 {
    3
}

pub(crate) fn healthy_default() -> u32 {
    2
}

#[cfg(test)]
mod tests;
