//! What is read out of the daemon's answers: the fields that are shown or waited for, and no others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
pub struct Cells {
    pub cells: Vec<Cell>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Cell {
    pub id: String,
    pub state: String,
    pub state_reason: Option<String>,
    pub waiting_for: Option<String>,
    pub degraded: Option<Degraded>,
    pub state_since: String,
    pub may_become: Vec<String>,
    pub provider: String,
    /// Shown only with the token.
    #[serde(default)]
    pub params: Value,
    pub endpoints: Vec<Endpoint>,
    pub max_in_flight: u32,
    pub tunnels_max: u32,
    pub connections_max: u32,
    pub share: Option<String>,
    pub health_check: Option<HealthCheck>,
    pub tls: Option<Tls>,
    pub labels: BTreeMap<String, String>,
    pub stateless: bool,
    pub capacity: BTreeMap<String, f64>,
    pub usage: BTreeMap<String, f64>,
    pub tenants: u64,
    pub slots: u32,
    pub tightest: Option<Tightest>,
    pub health: Health,
    /// Newest first; only where one cell is asked for.
    #[serde(default)]
    pub operations: Vec<Operation>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Degraded {
    pub reason: String,
    pub since: String,
}

/// A cell after an update.
#[derive(Clone, Debug, Deserialize)]
pub struct Updated {
    #[serde(flatten)]
    pub cell: Cell,
    pub changed: Vec<FieldChange>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct FieldChange {
    pub field: String,
    pub from: Value,
    pub to: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Endpoint {
    pub address: String,
    pub weight: u16,
}

#[derive(Clone, Debug, Deserialize)]
pub struct HealthCheck {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: Option<String>,
    pub host: Option<String>,
    pub interval_ms: u32,
    pub timeout_ms: u32,
    pub unhealthy_after: u32,
    pub healthy_after: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tls {
    pub server_name: String,
    pub ca: String,
    pub client_cert: Option<ClientCert>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ClientCert {
    pub certificate: String,
    pub key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tightest {
    pub dimension: String,
    pub used: f64,
    pub limit: f64,
    pub share: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Health {
    pub endpoints: Vec<EndpointHealth>,
    pub suspicion: Vec<Value>,
    pub proxies: BTreeMap<String, ProxyCell>,
    pub requests_per_second: f64,
    pub error_share: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct EndpointHealth {
    pub address: String,
    pub ok: bool,
    pub error: Option<String>,
    pub streak: u32,
    pub seen: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ProxyCell {
    pub in_flight: u64,
    pub healthy: u64,
    pub endpoints: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Operation {
    pub id: String,
    pub verb: String,
    pub state: String,
    pub asked: String,
    pub ended: Option<String>,
    pub attempts: u64,
    /// Shown only with the token.
    #[serde(default)]
    pub output: String,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Drained {
    pub cell: Cell,
    pub plan: Plan,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    pub slot_moves: Vec<SlotMove>,
    pub tenant_moves: Vec<TenantMove>,
    pub left_alone: Vec<LeftAlone>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SlotMove {
    pub count: u32,
    pub from: String,
    pub to: String,
    pub why: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TenantMove {
    pub from: String,
    pub count: u64,
    pub why: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct LeftAlone {
    pub cell: String,
    pub what: String,
    pub why: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tenants {
    pub tenants: Vec<Tenant>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Tenant {
    pub key: String,
    pub cell: String,
    pub placed_by: String,
    pub rejected: bool,
    pub since_revision: u64,
    pub why: String,
    pub registered: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TenantDetail {
    #[serde(flatten)]
    pub tenant: Tenant,
    pub aliases: Vec<String>,
    pub hash: String,
    pub slot: u32,
    pub slot_owner: Option<String>,
    pub pin_reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Explained {
    pub key: String,
    pub tenant: String,
    pub is_alias: bool,
    pub registered: bool,
    pub rejected: bool,
    pub hash: String,
    pub slot: u32,
    pub slot_owner: Option<String>,
    pub placed_by: String,
    pub cell: Option<String>,
    pub since_revision: Option<u64>,
    pub why: String,
    pub pin_reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Imported {
    pub tenants: usize,
    pub new: usize,
    pub cells: BTreeMap<String, usize>,
    pub warnings: Vec<ImportWarning>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ImportWarning {
    pub code: String,
    pub message: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Slots {
    pub seed: u64,
    pub slots: u32,
    pub cells: Vec<SlotShare>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SlotShare {
    pub cell: String,
    pub count: u32,
    pub target: u32,
    pub ranges: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    pub revision: u64,
    pub generation: Option<u64>,
    pub digest: Option<String>,
    pub path: String,
    pub current: bool,
    pub blocked: Option<Blocked>,
    pub blocked_because: Option<String>,
    pub hint: Option<String>,
    pub blocked_since: Option<String>,
    pub move_allowed_at: Option<u64>,
    pub pending_for_ms: Option<u64>,
    pub everywhere: bool,
    pub confirmed: Vec<String>,
    pub not_confirmed: Vec<Unconfirmed>,
    pub forgotten: Vec<String>,
    pub storage_problem: Option<String>,
    /// The daemon's clock.
    pub now: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Unconfirmed {
    pub proxy: String,
    pub state: String,
    pub generation: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Blocked {
    pub code: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct History {
    pub tables: Vec<KeptTable>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct KeptTable {
    pub generation: u64,
    pub digest: String,
    pub state: String,
    pub at: String,
    pub bytes: u64,
    pub change_count: u64,
    /// The newest of them.
    pub changes: Vec<AuditEntry>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Compared {
    pub from: u64,
    pub to: u64,
    pub diff: Diff,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Diff {
    pub moved_share: f64,
    pub rehashed: bool,
    pub slot_moves: Vec<SlotRun>,
    pub tenant_moves: Vec<NamedMove>,
    pub cells_added: Vec<String>,
    pub cells_removed: Vec<String>,
    pub cells_changed: Vec<String>,
    pub rejects_added: Vec<String>,
    pub rejects_removed: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SlotRun {
    pub slots: String,
    pub count: u64,
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct NamedMove {
    pub tenant: String,
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RolledBack {
    pub to_generation: u64,
    pub moved_slots: u32,
    pub moved_tenants: u64,
    pub kept_tenants: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Proxies {
    pub published_generation: Option<u64>,
    pub proxies: Vec<Proxy>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Proxy {
    pub name: String,
    pub admin: String,
    pub state: String,
    pub state_since: String,
    pub error: Option<String>,
    pub ready: bool,
    pub version: Option<String>,
    pub generation: Option<u64>,
    pub source: Option<String>,
    pub refusal: Option<String>,
    pub behind_since: Option<String>,
    pub behind_for_ms: Option<u64>,
    pub behind_by: Option<u64>,
    pub forgotten: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    pub id: u64,
    pub at_ms: i64,
    pub kind: String,
    pub subject: String,
    pub detail: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Audit {
    pub entries: Vec<AuditEntry>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AuditEntry {
    pub revision: u64,
    pub at: String,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub reason: Option<String>,
    pub detail: Value,
}
