//! `/v1/tenants`.

use axum::{extract::State, http::StatusCode};
use cellgate_table::{CellId, TenantKey};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{Answer, change, read},
    app::App,
    caller::{Asked, At, Json, Nothing, Params},
    problem::Problem,
    view::{ExplainView, TenantDetail, TenantView},
};
use crate::{
    change::{
        cells::parse_id,
        tenants::{self, NewTenant, parse_key},
    },
    model::{PlacedBy, Tenant},
    refusal::Refusal,
    store::{Read, TenantFilter},
};

/// Tenants of one answer.
const PAGE_MAX: usize = 1_000;
const PAGE_DEFAULT: usize = 100;

/// Which tenants to list, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those that live in this cell.
    cell: Option<String>,
    /// Only those whose key begins like this.
    prefix: Option<String>,
    placed_by: Option<PlacedBy>,
    rejected: Option<bool>,
    /// Only those behind this key: the `next` of the page before.
    after: Option<String>,
    /// How many at most, 1 to 1,000. Default 100.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// A page of tenants, by key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantList {
    tenants: Vec<TenantView>,
    /// Where the next page begins, if there is one: the value for `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Where to pin a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PinBody {
    cell: String,
    /// The tenant has no data yet, or its data is there already. Without this confirmation a tenant of a cell that keeps data
    /// cannot be pinned elsewhere.
    #[serde(default)]
    without_data: bool,
}

/// In a path it stands before a key that is `.` or `..`. No key holds it.
const ESCAPE: char = '\u{1b}';

/// A key out of the path.
///
/// Libraries for URIs take the segments `.` and `..` out of a path, also where they are written `%2E`, so that no client
/// could name a tenant of that key. With the escape character before it, `%1B.`, it comes through.
fn key_in_path(name: &str, segment: &str) -> Result<TenantKey, Refusal> {
    parse_key(name, segment.strip_prefix(ESCAPE).unwrap_or(segment))
}

pub(super) fn detail(read: Read<'_>, tenant: &Tenant) -> Result<TenantDetail, Refusal> {
    let slots = read.slots()?;
    let hash = slots.hash().hash(tenant.key.as_bytes());
    let slot = slots.hash().slot_of_hash(hash);
    let aliases = read.aliases_of(&tenant.key)?;
    Ok(TenantDetail {
        tenant: TenantView::of(tenant),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        hash: format!("{hash:016x}"),
        slot: slot.get(),
        slot_owner: slots.owner(slot).map(CellId::to_string),
        pin_reason: pin_reason(read, tenant)?,
    })
}

fn pin_reason(read: Read<'_>, tenant: &Tenant) -> Result<Option<String>, Refusal> {
    if tenant.placed_by != PlacedBy::Pin {
        return Ok(None);
    }
    Ok(read.reason_of_pin(tenant.key.as_str(), tenant.since)?)
}

/// List the tenants
#[utoipa::path(get, path = "/v1/tenants", operation_id = "list_tenants", tag = "tenants", params(ListQuery),
    responses((status = 200, body = TenantList), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(app): State<App>,
    Params(query): Params<ListQuery>,
) -> Result<Answer, Problem> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("limit is {limit}, not 1 to {PAGE_MAX}");
        return Err(Problem::bad_request(detail));
    }
    read(&app, move |_, read| {
        let filter = TenantFilter {
            cell: query.cell.as_deref().map(parse_id).transpose()?,
            prefix: query.prefix,
            placed_by: query.placed_by,
            is_rejected: query.rejected,
            after: query.after,
        };
        let page = read.tenants(&filter, limit)?;
        let last = page.tenants.last().map(|tenant| tenant.key.to_string());
        Ok(TenantList {
            next: last.filter(|_| page.has_more),
            tenants: page.tenants.iter().map(TenantView::of).collect(),
        })
    })
    .await
}

/// Register a tenant
///
/// The planner places it, or the cell is named. One that is registered already stays as it is, if that is what is asked.
#[utoipa::path(post, path = "/v1/tenants", operation_id = "register_tenant", tag = "tenants", request_body = NewTenant,
    params(("reason" = Option<String>, Query, description = "Why, for the audit log")), security(("token" = [])),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn register(
    State(app): State<App>,
    asked: Asked<Json<NewTenant>>,
) -> Result<Answer, Problem> {
    let Json(new) = asked.body;
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let registered = tenants::register(write, std::slice::from_ref(&new), &daemon.rules)
            .map_err(|(_, refusal)| refusal)?;
        detail(write.read(), &registered.tenants[0])
    })
    .await
}

/// Show a tenant
#[utoipa::path(get, path = "/v1/tenants/{key}", operation_id = "show_tenant", tag = "tenants",
    params(("key" = String, Path, description = "The tenant's key; `/` in it as `%2F`; `.` and `..` as `%1B.` and `%1B..`, as no URI holds them")),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(State(app): State<App>, At(key): At<String>) -> Result<Answer, Problem> {
    read(&app, move |_, read| {
        let tenant = read.tenant(&key_in_path("key", &key)?)?;
        detail(read, &tenant)
    })
    .await
}

/// Forget a tenant and its aliases
///
/// Its data stays where it is, and its key leads where its slot does.
#[utoipa::path(delete, path = "/v1/tenants/{key}", operation_id = "remove_tenant", tag = "tenants",
    params(("key" = String, Path, description = "The tenant's key"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = TenantView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(app): State<App>,
    At(key): At<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let key = key_in_path("key", &key)?;
        let tenant = tenants::remove(write, &key, &daemon.rules)?;
        Ok(TenantView::of(&tenant))
    })
    .await
}

/// Pin a tenant to a cell
#[utoipa::path(put, path = "/v1/tenants/{key}/pin", operation_id = "pin_tenant", tag = "tenants", request_body = PinBody,
    params(("key" = String, Path, description = "The tenant's key"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pin(
    State(app): State<App>,
    At(key): At<String>,
    asked: Asked<Json<PinBody>>,
) -> Result<Answer, Problem> {
    let Json(body) = asked.body;
    change(&app, StatusCode::OK, asked.request, move |_, write| {
        let key = key_in_path("key", &key)?;
        let cell = parse_id(&body.cell)?;
        let tenant = tenants::pin(write, &key, &cell, body.without_data)?;
        detail(write.read(), &tenant)
    })
    .await
}

/// Leave a tenant where it is, and the rest to the planner
#[utoipa::path(delete, path = "/v1/tenants/{key}/pin", operation_id = "unpin_tenant", tag = "tenants",
    params(("key" = String, Path, description = "The tenant's key"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn unpin(
    State(app): State<App>,
    At(key): At<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |_, write| {
        let tenant = tenants::unpin(write, &key_in_path("key", &key)?)?;
        detail(write.read(), &tenant)
    })
    .await
}

/// Have a tenant answered 403 at the edge
#[utoipa::path(put, path = "/v1/tenants/{key}/reject", operation_id = "reject_tenant", tag = "tenants",
    params(("key" = String, Path, description = "The tenant's key"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn reject(
    State(app): State<App>,
    At(key): At<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |_, write| {
        let tenant = tenants::set_rejected(write, &key_in_path("key", &key)?, true)?;
        detail(write.read(), &tenant)
    })
    .await
}

/// Let a rejected tenant in again
#[utoipa::path(delete, path = "/v1/tenants/{key}/reject", operation_id = "accept_tenant", tag = "tenants",
    params(("key" = String, Path, description = "The tenant's key"), ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn accept(
    State(app): State<App>,
    At(key): At<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |_, write| {
        let tenant = tenants::set_rejected(write, &key_in_path("key", &key)?, false)?;
        detail(write.read(), &tenant)
    })
    .await
}

/// Give a tenant another key
#[utoipa::path(put, path = "/v1/tenants/{key}/aliases/{alias}", operation_id = "add_alias", tag = "tenants",
    params(("key" = String, Path, description = "The tenant's key"), ("alias" = String, Path, description = "The other key"),
        ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_alias(
    State(app): State<App>,
    At((key, alias)): At<(String, String)>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |_, write| {
        let key = key_in_path("key", &key)?;
        let tenant = tenants::add_alias(write, &key, &key_in_path("alias", &alias)?)?;
        detail(write.read(), &tenant)
    })
    .await
}

/// Take a key away from a tenant
#[utoipa::path(delete, path = "/v1/tenants/{key}/aliases/{alias}", operation_id = "remove_alias", tag = "tenants",
    params(("key" = String, Path, description = "The tenant's key"), ("alias" = String, Path, description = "The other key"),
        ("reason" = Option<String>, Query, description = "Why, for the audit log")),
    security(("token" = [])),
    responses((status = 200, body = TenantDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_alias(
    State(app): State<App>,
    At((key, alias)): At<(String, String)>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    change(&app, StatusCode::OK, asked.request, move |_, write| {
        let key = key_in_path("key", &key)?;
        let tenant = tenants::remove_alias(write, &key, &key_in_path("alias", &alias)?)?;
        detail(write.read(), &tenant)
    })
    .await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainQuery {
    /// The canonical key, as logs and cells have it: without escapes.
    key: String,
}

/// Explain where a key leads, registered or not
#[utoipa::path(get, path = "/v1/explain", operation_id = "explain", tag = "tenants", params(ExplainQuery),
    responses((status = 200, body = ExplainView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn explain(
    State(app): State<App>,
    Params(query): Params<ExplainQuery>,
) -> Result<Answer, Problem> {
    read(&app, move |_, read| {
        let key = parse_key("key", &query.key)?;
        let alias_of = read.alias_of(&key)?;
        let is_alias = alias_of.is_some();
        let tenant = alias_of.unwrap_or_else(|| key.clone());
        let registered = read.find_tenant(&tenant)?;
        let slots = read.slots()?;
        let hash = slots.hash().hash(tenant.as_bytes());
        let slot = slots.hash().slot_of_hash(hash);
        let slot_owner = slots.owner(slot).map(CellId::to_string);
        let slot_since = read.slot_since(slot.get())?;
        let placed_by = registered
            .as_ref()
            .map_or(PlacedBy::Slot, |tenant| tenant.placed_by);
        let is_by_slot = placed_by == PlacedBy::Slot;
        let pin_reason = match &registered {
            Some(tenant) => pin_reason(read, tenant)?,
            None => None,
        };
        Ok(ExplainView {
            key: key.to_string(),
            tenant: tenant.to_string(),
            is_alias,
            registered: registered.is_some(),
            rejected: registered.as_ref().is_some_and(|tenant| tenant.is_rejected),
            hash: format!("{hash:016x}"),
            slot: slot.get(),
            placed_by,
            cell: match &registered {
                Some(tenant) => Some(tenant.cell.to_string()),
                None => slot_owner.clone(),
            },
            since_revision: match &registered {
                Some(tenant) if is_by_slot => slot_since.max(Some(tenant.since)),
                Some(tenant) => Some(tenant.since),
                None => slot_since,
            },
            why: match &registered {
                Some(tenant) => tenant.why.clone(),
                None => "not registered: its slot decides".to_owned(),
            },
            slot_owner,
            pin_reason,
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_named_in_a_path() {
        let check = |segment: &str, key: &str| {
            let found = key_in_path("key", segment).unwrap();
            assert_eq!(found.as_str(), key, "{segment:?}");
        };
        check("acme", "acme");
        check("\u{1b}.", ".");
        check("\u{1b}..", "..");
        check("\u{1b}acme", "acme");
        assert!(key_in_path("key", "\u{1b}\u{1b}.").is_err());
        assert!(key_in_path("key", "\u{1b}").is_err());
    }
}
