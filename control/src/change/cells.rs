//! Cells: added, updated, drained, taken back, removed; and how far their providers have come.

mod changed;
mod provided;

use std::collections::BTreeMap;

use cellgate_table::{
    CellId,
    limits::{CELLS_MAX, CONNECTIONS_DEFAULT, IN_FLIGHT_DEFAULT, TUNNELS_DEFAULT},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Fleet, MovePermission, Rules, moves, settle_draining,
    transition::{REMOVE, enter, put_state},
};
use crate::{
    model::{
        Amounts, Cell, CellState, Settings,
        cell::{EndpointSpec, HealthCheckSpec, SettingsSpec, ShareSpec, objection_to_labels},
        tls::TlsSpec,
    },
    plan::{Plan, drain as plan_drain},
    refusal::Refusal,
    store::{OperationState, Write},
};

pub use self::changed::FieldChange;
pub use self::provided::{provider_failed, provisioned, readdress, taken_down, warmed};

/// The provider of cells that somebody else runs.
pub const STATIC: &str = "static";
/// Length of what a provider is given besides, in bytes of JSON.
const PARAMS_BYTES_MAX: usize = 64 * 1024;

/// A cell to add.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCell {
    /// 1 to 63 letters, digits, `-`, `_` or `.`, the first one a letter or digit.
    #[schema(max_length = 63, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub id: String,
    /// Who makes the cell: `static` for one that runs already, or a provider of the configuration.
    #[serde(default = "static_provider")]
    #[schema(default = "static", max_length = 63)]
    pub provider: String,
    /// What the provider is given besides.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Needed with `static`, where they are all that is known of the cell; others name their own.
    #[serde(default)]
    #[schema(max_items = 256)]
    pub endpoints: Vec<EndpointSpec>,
    /// Requests in flight to the cell from one proxy; more are refused immediately. Default 1,024.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_in_flight: Option<u32>,
    /// Upgraded connections, such as WebSockets, to the cell from one proxy; more are refused immediately. Default 10,000.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub tunnels_max: Option<u32>,
    /// Connections of TCP listeners to the cell from one proxy; more are closed immediately. Default 10,000.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub connections_max: Option<u32>,
    /// Whose requests may follow each other on a kept connection. Where it is missing, each proxy's own configuration
    /// decides.
    #[serde(default)]
    pub share: Option<ShareSpec>,
    #[serde(default)]
    pub health_check: Option<HealthCheckSpec>,
    /// How proxies speak TLS to the cell. Where it is missing, they do not.
    #[serde(default)]
    pub tls: Option<TlsSpec>,
    /// Such as zone and version.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its tenants keep no data in it: the table alone can move them.
    #[serde(default)]
    pub stateless: bool,
    /// The most it may hold, by dimension: `tenants`, or one of your own. What is missing has no limit.
    #[serde(default)]
    pub capacity: BTreeMap<String, f64>,
}

/// What to change of a cell; what is missing stays. `null` takes `health_check`, `tls` or `share` away.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CellPatch {
    /// In the place of those there are. Only where the provider is `static`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 256)]
    pub endpoints: Option<Vec<EndpointSpec>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_in_flight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub tunnels_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub connections_max: Option<u32>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<ShareSpec>)]
    pub share: Option<Option<ShareSpec>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<HealthCheckSpec>)]
    pub health_check: Option<Option<HealthCheckSpec>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<TlsSpec>)]
    pub tls: Option<Option<TlsSpec>>,
    /// In the place of those there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stateless: Option<bool>,
    /// In the place of those there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<BTreeMap<String, f64>>,
}

fn static_provider() -> String {
    STATIC.to_owned()
}

/// Distinguishes a field that is null from one that is not there.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Adds a cell, or begins anew with one that was removed.
pub fn add(write: &mut Write<'_>, new: &NewCell, rules: &Rules) -> Result<Cell, Refusal> {
    let id = parse_id(&new.id)?;
    let read = write.read();
    let cells = read.cells()?;
    let before = cells.iter().find(|cell| cell.id == id);
    if let Some(cell) = before
        && cell.state != CellState::Removed
    {
        return Err(Refusal::CellExists {
            cell: id,
            state: cell.state,
        });
    }
    let was_in_table = before.is_some_and(|cell| cell.was_in_table);
    let present = |cell: &&Cell| cell.state != CellState::Removed;
    if cells.iter().filter(present).count() >= CELLS_MAX {
        return Err(Refusal::TooManyCells { max: CELLS_MAX });
    }
    if !rules.providers.contains(&new.provider) {
        return Err(Refusal::NoSuchProvider {
            provider: new.provider.clone(),
            known: rules.providers.clone(),
        });
    }
    let settings = first_settings(&id, new)?;
    check_labels(&new.labels)?;
    let params = json!(new.params);
    if params.to_string().len() > PARAMS_BYTES_MAX {
        let message = format!("have more than {PARAMS_BYTES_MAX} bytes");
        return Err(Refusal::bad_input(
            "params",
            message,
            "give the provider less",
        ));
    }
    let mut cell = Cell {
        id,
        state: CellState::Removed,
        state_reason: None,
        state_since_ms: write.now_ms(),
        provider: new.provider.clone(),
        params,
        settings,
        labels: new.labels.clone(),
        is_stateless: new.stateless,
        capacity: amounts("capacity", &new.capacity)?,
        usage: Amounts::default(),
        was_in_table,
        tenants: 0,
    };
    write.note(
        "cell.add",
        cell.id.as_str(),
        &json!({ "provider": cell.provider }),
    )?;
    provision(write, &mut cell)?;
    Ok(cell)
}

/// The settings that a cell begins with: its addresses come from whoever knows them.
fn first_settings(id: &CellId, new: &NewCell) -> Result<Settings, Refusal> {
    let is_static = new.provider == STATIC;
    if is_static && new.endpoints.is_empty() {
        return Err(Refusal::bad_input(
            "endpoints",
            "are missing",
            "name at least one address; a cell of the provider `static` is known by them only",
        ));
    }
    if !is_static && !new.endpoints.is_empty() {
        return Err(Refusal::EndpointsFromProvider {
            cell: id.clone(),
            provider: new.provider.clone(),
        });
    }
    let settings = SettingsSpec {
        endpoints: new.endpoints.clone(),
        max_in_flight: new.max_in_flight.unwrap_or(IN_FLIGHT_DEFAULT),
        tunnels_max: new.tunnels_max.unwrap_or(TUNNELS_DEFAULT),
        connections_max: new.connections_max.unwrap_or(CONNECTIONS_DEFAULT),
        share: new.share,
        health_check: new.health_check.clone(),
        tls: new.tls.clone(),
    };
    settings.check().map_err(Refusal::BadInput)
}

/// Asks the provider for the cell. One that runs already has nothing to wait for but its health.
fn provision(write: &mut Write<'_>, cell: &mut Cell) -> Result<(), Refusal> {
    enter(write, cell, CellState::Provisioning, None)?;
    if cell.provider == STATIC {
        return enter(write, cell, CellState::Warming, None);
    }
    write.ask(&cell.id, "provision")?;
    Ok(())
}

/// Changes what an operator may set; returns the cell, and what has changed of it.
pub fn update(
    write: &mut Write<'_>,
    id: &CellId,
    patch: &CellPatch,
) -> Result<(Cell, Vec<FieldChange>), Refusal> {
    let mut cell = write.read().cell(id)?;
    if cell.state == CellState::Removed {
        return Err(Refusal::NoSuchCell(id.clone()));
    }
    let before = cell.clone();
    let mut spec = cell.settings.spec();
    if let Some(endpoints) = &patch.endpoints {
        if cell.provider != STATIC {
            return Err(Refusal::EndpointsFromProvider {
                cell: cell.id,
                provider: cell.provider,
            });
        }
        if endpoints.is_empty() {
            let hint = "name at least one address";
            return Err(Refusal::bad_input("endpoints", "are empty", hint));
        }
        spec.endpoints.clone_from(endpoints);
    }
    if let Some(max_in_flight) = patch.max_in_flight {
        spec.max_in_flight = max_in_flight;
    }
    if let Some(tunnels_max) = patch.tunnels_max {
        spec.tunnels_max = tunnels_max;
    }
    if let Some(connections_max) = patch.connections_max {
        spec.connections_max = connections_max;
    }
    if let Some(share) = patch.share {
        spec.share = share;
    }
    if let Some(health_check) = &patch.health_check {
        spec.health_check.clone_from(health_check);
    }
    if let Some(tls) = &patch.tls {
        spec.tls.clone_from(tls);
    }
    cell.settings = spec.check().map_err(Refusal::BadInput)?;
    if let Some(labels) = &patch.labels {
        check_labels(labels)?;
        cell.labels.clone_from(labels);
    }
    if let Some(stateless) = patch.stateless {
        cell.is_stateless = stateless;
    }
    if let Some(capacity) = &patch.capacity {
        cell.capacity = amounts("capacity", capacity)?;
    }
    if cell == before {
        return Ok((cell, Vec::new()));
    }
    write.put_cell(&cell)?;
    if cell.settings != before.settings && cell.state.is_in_table() {
        write.touch_table();
    }
    let changed = changed::changed(&before, &cell);
    write.note("cell.update", id.as_str(), &changed::detail(&changed))?;
    Ok((cell, changed))
}

/// Records how much a cell holds of what the daemon cannot count.
pub fn report_usage(
    write: &mut Write<'_>,
    id: &CellId,
    usage: &BTreeMap<String, f64>,
) -> Result<Cell, Refusal> {
    let mut cell = write.read().cell(id)?;
    if cell.state == CellState::Removed {
        return Err(Refusal::NoSuchCell(id.clone()));
    }
    let usage_now = amounts("usage", usage)?;
    if cell.usage == usage_now {
        return Ok(cell);
    }
    cell.usage = usage_now;
    write.put_cell(&cell)?;
    write.note("cell.usage", id.as_str(), &json!(usage))?;
    Ok(cell)
}

/// Lets a cell have no more tenants, and moves away what has no data in it.
pub fn drain(
    write: &mut Write<'_>,
    id: &CellId,
    permission: MovePermission,
    rules: &Rules,
) -> Result<Plan, Refusal> {
    let mut cell = write.read().cell(id)?;
    // Said again it goes on: what had no recipient then may have one now.
    let is_first = cell.state != CellState::Draining;
    if is_first {
        enter(write, &mut cell, CellState::Draining, None)?;
    }
    let fleet = Fleet::of(write.read())?;
    let plan = plan_drain(&fleet.owners(), &fleet.slots, id);
    if is_first || !plan.moves_nothing() {
        write.note("cell.drain", id.as_str(), &json!({}))?;
    }
    moves::carry_out(write, &plan, &fleet, permission, rules)?;
    settle_draining(write)?;
    Ok(plan)
}

/// Lets a draining or drained cell have tenants again.
pub fn activate(write: &mut Write<'_>, id: &CellId) -> Result<Cell, Refusal> {
    let mut cell = write.read().cell(id)?;
    if cell.state == CellState::Active {
        return Ok(cell);
    }
    if cell.state == CellState::Warming {
        // Its health decides that.
        return Err(Refusal::IllegalTransition {
            cell: cell.id,
            from: CellState::Warming,
            to: CellState::Active,
        });
    }
    enter(write, &mut cell, CellState::Active, None)?;
    write.note("cell.activate", id.as_str(), &json!({}))?;
    Ok(cell)
}

/// Asks the provider once more for a cell that failed.
pub fn retry(write: &mut Write<'_>, id: &CellId) -> Result<Cell, Refusal> {
    let mut cell = write.read().cell(id)?;
    if cell.state != CellState::Failed {
        return Err(Refusal::IllegalTransition {
            cell: cell.id,
            from: cell.state,
            to: CellState::Provisioning,
        });
    }
    write.note("cell.retry", id.as_str(), &json!({}))?;
    provision(write, &mut cell)?;
    Ok(cell)
}

/// Removes a cell that owns nothing. Its provider takes it down once no proxy names it any more.
pub fn remove(write: &mut Write<'_>, id: &CellId) -> Result<Cell, Refusal> {
    let mut cell = write.read().cell(id)?;
    let slots = write.read().slots()?.count_of(id);
    if slots > 0 || cell.tenants > 0 {
        return Err(Refusal::CellOwns {
            cell: cell.id,
            slots,
            tenants: cell.tenants,
        });
    }
    if !cell.state.may_become(CellState::Removed) {
        return Err(Refusal::IllegalTransition {
            cell: cell.id,
            from: cell.state,
            to: CellState::Removed,
        });
    }
    write.note("cell.remove", id.as_str(), &json!({ "forced": false }))?;
    take_down(write, &mut cell)?;
    Ok(cell)
}

/// Removes a cell whatever it owns: its slots and tenants go to the other cells, without their data.
pub fn force_remove(
    write: &mut Write<'_>,
    id: &CellId,
    permission: MovePermission,
    rules: &Rules,
) -> Result<Cell, Refusal> {
    if write.reason().is_none() {
        return Err(Refusal::NoReason("a forced removal"));
    }
    let mut cell = write.read().cell(id)?;
    if cell.state == CellState::Removed {
        return Err(Refusal::NoSuchCell(id.clone()));
    }
    let fleet = Fleet::of(write.read())?;
    let lost = moves::evacuate(write, id, &fleet, permission, rules)?;
    let detail = json!({ "forced": true, "slots": lost.slots, "tenants": lost.tenants });
    write.note("cell.remove", id.as_str(), &detail)?;
    cell = write.read().cell(id)?;
    take_down(write, &mut cell)?;
    settle_draining(write)?;
    Ok(cell)
}

/// Whether a cell's record may go without its provider having taken it down.
///
/// A cell is forgotten only where its provider cannot take it down: otherwise what it has made would be left behind for
/// nothing.
pub fn check_forgettable(write: &Write<'_>, id: &CellId, rules: &Rules) -> Result<(), Refusal> {
    if write.reason().is_none() {
        return Err(Refusal::NoReason("a removal that forgets the cell"));
    }
    let cell = write.read().cell(id)?;
    if cell.provider == STATIC {
        return Ok(());
    }
    let operations = write.read().operations_of(&cell.id)?;
    let has_failed = operations
        .first()
        .is_some_and(|it| it.verb == REMOVE && it.state == OperationState::Failed);
    if has_failed || !rules.providers.contains(&cell.provider) {
        return Ok(());
    }
    Err(Refusal::ProviderNotAsked {
        cell: cell.id,
        provider: cell.provider,
    })
}

/// Ends the removal of a cell that [`check_forgettable`] lets go: its provider is asked for nothing, and what it made
/// stays behind.
pub fn forget(write: &mut Write<'_>, id: &CellId) -> Result<Cell, Refusal> {
    let mut cell = write.read().cell(id)?;
    write.abandon_operations(id)?;
    put_state(write, &mut cell, CellState::Removed, None)?;
    write.note(
        "cell.forget",
        id.as_str(),
        &json!({ "provider": cell.provider }),
    )?;
    Ok(cell)
}

fn take_down(write: &mut Write<'_>, cell: &mut Cell) -> Result<(), Refusal> {
    if cell.provider == STATIC {
        return put_state(write, cell, CellState::Removed, None);
    }
    if cell.state != CellState::Drained && cell.state != CellState::Failed {
        let reason = Some("being removed by force".to_owned());
        put_state(write, cell, CellState::Drained, reason)?;
    }
    write.ask(&cell.id, REMOVE)?;
    Ok(())
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    match objection_to_labels(labels) {
        None => Ok(()),
        Some(objection) => Err(Refusal::bad_input("labels", objection, "change it")),
    }
}

fn amounts(path: &str, amounts: &BTreeMap<String, f64>) -> Result<Amounts, Refusal> {
    Amounts::new(amounts.clone())
        .map_err(|objection| Refusal::bad_input(path, objection, "change it"))
}

/// A cell's id out of a request.
pub fn parse_id(text: &str) -> Result<CellId, Refusal> {
    CellId::new(text).map_err(|error| {
        let hint = "use 1 to 63 letters, digits, `-`, `_` or `.`, the first one a letter or digit";
        Refusal::bad_input("id", error.to_string(), hint)
    })
}
