//! What the API shows: plain data, made from what the rooms know.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    clock::{now_ms, rfc3339},
    model::{
        Cell, CellState, PlacedBy, Tenant,
        cell::{EndpointSpec, HealthCheckSpec, ShareSpec},
        tightest,
        tls::TlsSpec,
    },
    observe::{ProxyState, ProxyStatus, Seen, Signal, proxies::ProxyCell},
    store::{AuditEntry, KeptTable, Operation, TableState},
    turns::Standing,
};

/// A cell.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CellView {
    pub id: String,
    pub state: CellState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// What its removal waits for, in whatever state it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// It runs, but not as it should, as its provider sees it: such as a process that keeps ending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<DegradedView>,
    /// RFC 3339.
    pub state_since: String,
    /// The states that may follow.
    pub may_become: Vec<CellState>,
    pub provider: String,
    /// Shown only to callers with the token: there may be secrets in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Value>,
    pub endpoints: Vec<EndpointSpec>,
    pub max_in_flight: u32,
    pub tunnels_max: u32,
    pub connections_max: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    pub labels: BTreeMap<String, String>,
    pub stateless: bool,
    pub capacity: BTreeMap<String, f64>,
    pub usage: BTreeMap<String, f64>,
    /// Registered tenants that live in it.
    pub tenants: u64,
    pub slots: u32,
    /// The dimension in which it is fullest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tightest: Option<TightestView>,
    pub health: HealthView,
}

/// Why a cell is degraded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DegradedView {
    pub reason: String,
    /// RFC 3339.
    pub since: String,
}

/// How full a cell is in one dimension.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TightestView {
    pub dimension: String,
    pub used: f64,
    pub limit: f64,
    /// `used` divided by `limit`; `null` where the limit is 0.
    pub share: Option<f64>,
}

/// What is seen of a cell.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(super) struct HealthView {
    /// The daemon's own checks.
    pub endpoints: Vec<EndpointHealth>,
    /// What speaks against the cell; empty unless at least two things do.
    pub suspicion: Vec<Signal>,
    /// What each proxy that answers says of it.
    pub proxies: BTreeMap<String, ProxyCell>,
    /// Requests a second that the proxies sent to it, over the window.
    pub requests_per_second: f64,
    /// The share of these that failed, from 0 to 1.
    pub error_share: f64,
}

/// An endpoint, as the daemon saw it last.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct EndpointHealth {
    pub address: String,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Checks in a row that ended like this.
    pub streak: u32,
    pub seen: String,
}

/// Something that a provider was asked to do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OperationView {
    pub id: String,
    pub verb: String,
    pub state: String,
    pub asked: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    pub attempts: u64,
    /// The end of what the provider wrote. Shown only to callers with the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A cell with what its provider did.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CellDetail {
    #[serde(flatten)]
    pub cell: CellView,
    pub operations: Vec<OperationView>,
}

/// A tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TenantView {
    pub key: String,
    pub cell: String,
    pub placed_by: PlacedBy,
    pub rejected: bool,
    /// The revision since which it lives there.
    pub since_revision: u64,
    pub why: String,
    pub registered: String,
}

/// A tenant with all that decides where its requests go.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TenantDetail {
    #[serde(flatten)]
    pub tenant: TenantView,
    pub aliases: Vec<String>,
    /// The hash of its key, 16 hexadecimal digits.
    pub hash: String,
    pub slot: u32,
    /// The cell that owns the slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_owner: Option<String>,
    /// The reason that was given for its pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_reason: Option<String>,
}

/// Where a key leads, registered or not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ExplainView {
    pub key: String,
    /// The tenant: the key itself, or what it is an alias of.
    pub tenant: String,
    pub is_alias: bool,
    pub registered: bool,
    pub rejected: bool,
    pub hash: String,
    pub slot: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_owner: Option<String>,
    /// `slot`, `override` or `pin`.
    pub placed_by: PlacedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The revision since which it leads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_revision: Option<u64>,
    pub why: String,
    /// The reason that was given for its pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_reason: Option<String>,
}

/// A line of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AuditView {
    pub id: u64,
    pub revision: u64,
    pub at: String,
    pub actor: String,
    pub action: String,
    pub subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// A published table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct KeptTableView {
    pub generation: u64,
    pub digest: String,
    /// `published`, or `writing` if it never got into its place.
    pub state: String,
    pub at: String,
    pub bytes: u64,
    /// How many changes it holds that the table before it does not.
    pub change_count: u64,
    /// The newest of them: who, what and why.
    pub changes: Vec<AuditView>,
}

/// A proxy, as it was seen last.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ProxyView {
    pub name: String,
    pub admin: String,
    pub state: ProxyState,
    pub state_since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `file` or `last_good`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why it refused the last table, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Since when its table is older than the published one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<String>,
    /// How long it has had an older table, by the daemon's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_for_ms: Option<u64>,
    /// Published generation less its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_by: Option<u64>,
    /// An operator has said that it is gone, and it has not answered since: nothing waits for it.
    pub forgotten: bool,
}

/// Milliseconds since then.
pub(super) fn ms_since(then_ms: i64) -> u64 {
    u64::try_from(now_ms() - then_ms).unwrap_or(0)
}

impl CellView {
    /// As a caller of this standing sees it.
    pub(super) fn of(cell: &Cell, slots: u32, seen: &Seen, standing: Standing) -> Self {
        let spec = cell.settings.spec();
        #[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
        let tenants = cell.tenants as f64;
        Self {
            id: cell.id.to_string(),
            state: cell.state,
            state_reason: cell.state_reason.clone(),
            waiting_for: seen.waiting.get(&cell.id).cloned(),
            degraded: seen.degraded.get(&cell.id).map(|it| DegradedView {
                reason: it.reason.clone(),
                since: rfc3339(it.since_ms),
            }),
            state_since: rfc3339(cell.state_since_ms),
            may_become: cell.state.followers().to_vec(),
            provider: cell.provider.clone(),
            params: for_holders(standing, cell.params.clone()),
            endpoints: spec.endpoints,
            max_in_flight: spec.max_in_flight,
            tunnels_max: spec.tunnels_max,
            connections_max: spec.connections_max,
            share: spec.share,
            health_check: spec.health_check,
            tls: spec.tls,
            labels: cell.labels.clone(),
            stateless: cell.is_stateless,
            capacity: cell.capacity.to_map(),
            usage: cell.usage.to_map(),
            tenants: cell.tenants,
            slots,
            tightest: tightest(&cell.capacity, &cell.usage, tenants).map(|tight| TightestView {
                dimension: tight.dimension.to_owned(),
                used: tight.used,
                limit: tight.limit,
                share: Some(tight.share()).filter(|share| share.is_finite()),
            }),
            health: HealthView::of(cell, seen),
        }
    }
}

impl HealthView {
    fn of(cell: &Cell, seen: &Seen) -> Self {
        let endpoints = seen.cells.get(&cell.id).map(|status| {
            let endpoint = |it: &crate::observe::EndpointStatus| EndpointHealth {
                address: it.address.to_string(),
                ok: it.error.is_none(),
                error: it.error.clone(),
                streak: it.streak,
                seen: rfc3339(it.seen_ms),
            };
            status.endpoints.iter().map(endpoint).collect()
        });
        let answering = || {
            seen.proxies
                .iter()
                .filter(|(_, proxy)| proxy.state == ProxyState::Reachable)
        };
        let id = cell.id.as_str();
        let errors = answering()
            .map(|(_, proxy)| proxy.samples.of(id))
            .fold(crate::observe::ErrorShare::default(), |all, one| {
                all.plus(one)
            });
        Self {
            endpoints: endpoints.unwrap_or_default(),
            suspicion: seen.suspects.get(&cell.id).cloned().unwrap_or_default(),
            proxies: answering()
                .filter_map(|(name, proxy)| Some((name.clone(), *proxy.cells.get(id)?)))
                .collect(),
            // The sum of no numbers is -0.0.
            requests_per_second: answering()
                .map(|(_, proxy)| proxy.samples.rate(id))
                .fold(0.0, |all, one| all + one),
            error_share: errors.share(),
        }
    }
}

/// What only holders of the token see.
fn for_holders<T>(standing: Standing, value: T) -> Option<T> {
    match standing {
        Standing::WithToken => Some(value),
        Standing::AtSocket | Standing::WithoutToken => None,
    }
}

impl OperationView {
    /// As a caller of this standing sees it.
    pub(super) fn of(operation: Operation, standing: Standing) -> Self {
        Self {
            id: operation.id,
            verb: operation.verb,
            state: operation.state.as_str().to_owned(),
            asked: rfc3339(operation.asked_ms),
            started: operation.started_ms.map(rfc3339),
            ended: operation.ended_ms.map(rfc3339),
            attempts: operation.attempts,
            output: for_holders(standing, operation.output),
            error: operation.error,
        }
    }
}

impl TenantView {
    pub(super) fn of(tenant: &Tenant) -> Self {
        Self {
            key: tenant.key.to_string(),
            cell: tenant.cell.to_string(),
            placed_by: tenant.placed_by,
            rejected: tenant.is_rejected,
            since_revision: tenant.since,
            why: tenant.why.clone(),
            registered: rfc3339(tenant.registered_ms),
        }
    }
}

impl AuditView {
    pub(super) fn of(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            revision: entry.revision,
            at: rfc3339(entry.at_ms),
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
            reason: entry.reason,
            detail: entry.detail,
        }
    }
}

impl KeptTableView {
    pub(super) fn of(table: &KeptTable, change_count: u64, changes: Vec<AuditEntry>) -> Self {
        Self {
            generation: table.generation,
            digest: table.digest.clone(),
            state: match table.state {
                TableState::Writing => "writing",
                TableState::Published => "published",
            }
            .to_owned(),
            at: rfc3339(table.at_ms),
            bytes: table.bytes,
            change_count,
            changes: changes.into_iter().map(AuditView::of).collect(),
        }
    }
}

impl ProxyView {
    pub(super) fn of(name: &str, status: &ProxyStatus, published: Option<u64>) -> Self {
        let behind_by = published
            .zip(status.generation)
            .map(|(published, own)| published.saturating_sub(own))
            .filter(|behind| *behind > 0);
        Self {
            name: name.to_owned(),
            admin: status.admin.clone(),
            state: status.state,
            state_since: rfc3339(status.state_since_ms),
            error: status.error.clone(),
            seen: status.seen_ms.map(rfc3339),
            ready: status.is_ready && status.state == ProxyState::Reachable,
            version: status.version.clone(),
            generation: status.generation,
            digest: status.digest.clone(),
            source: status.source.clone(),
            refusal: status.refusal.clone(),
            behind_since: status.behind_since_ms.map(rfc3339),
            behind_for_ms: status.behind_since_ms.map(ms_since),
            behind_by,
            forgotten: status.is_forgotten,
        }
    }
}
