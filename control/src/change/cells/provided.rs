//! What came of what providers were asked for, and of the checks of their cells.

use std::{collections::BTreeSet, net::SocketAddr};

use cellgate_table::CellId;
use serde_json::json;

use crate::{
    change::transition::{enter, put_state},
    model::{CellState, Settings, cell::EndpointSpec},
    refusal::Refusal,
    store::Write,
};

/// Records that a provider has made a cell.
pub fn provisioned(
    write: &mut Write<'_>,
    operation: &str,
    endpoints: Vec<EndpointSpec>,
    output: &str,
) -> Result<(), Refusal> {
    let Some(id) = open_operation(write, operation)? else {
        return Ok(());
    };
    let mut cell = write.read().cell(&id)?;
    if cell.state != CellState::Provisioning {
        // Nobody waits for it any more.
        write.end_operation(operation, output, None)?;
        let detail = json!({ "state": cell.state });
        write.note("cell.provisioned", id.as_str(), &detail)?;
        return Ok(());
    }
    let mut spec = cell.settings.spec();
    spec.endpoints = endpoints;
    match spec.check() {
        Ok(settings) if is_anothers(write, &id, &settings)? => {
            let error = format!(
                "the provider named an address that another cell has: {}",
                shown(&settings)
            );
            write.end_operation(operation, output, Some(&error))?;
            enter(write, &mut cell, CellState::Failed, Some(error))?;
        }
        Ok(settings) if !settings.endpoints.is_empty() => {
            cell.settings = settings;
            write.end_operation(operation, output, None)?;
            enter(write, &mut cell, CellState::Warming, None)?;
        }
        Ok(_) => {
            let error = "the provider named no endpoint";
            write.end_operation(operation, output, Some(error))?;
            enter(write, &mut cell, CellState::Failed, Some(error.to_owned()))?;
        }
        Err(problems) => {
            let error = format!("the provider's answer: {}", problems.summary());
            write.end_operation(operation, output, Some(&error))?;
            enter(write, &mut cell, CellState::Failed, Some(error))?;
        }
    }
    let detail = json!({ "state": cell.state, "reason": cell.state_reason });
    write.note("cell.provisioned", id.as_str(), &detail)?;
    Ok(())
}

/// Whether another cell is reached at one of these addresses: its tenants' requests would be answered by this one. Cells
/// that people name themselves may share one, for whatever reason they have.
fn is_anothers(write: &Write<'_>, id: &CellId, settings: &Settings) -> Result<bool, Refusal> {
    let cells = write.read().cells()?;
    let others = cells
        .iter()
        .filter(|other| other.id != *id && other.state != CellState::Removed);
    let taken: BTreeSet<SocketAddr> = others
        .flat_map(|other| other.settings.endpoints.iter().map(|it| it.address))
        .collect();
    Ok(settings
        .endpoints
        .iter()
        .any(|endpoint| taken.contains(&endpoint.address)))
}

fn shown(settings: &Settings) -> String {
    let addresses = settings.endpoints.iter().map(|it| it.address.to_string());
    addresses.collect::<Vec<_>>().join(", ")
}

/// Records that a provider has taken a cell down.
pub fn taken_down(write: &mut Write<'_>, operation: &str, output: &str) -> Result<(), Refusal> {
    let Some(id) = open_operation(write, operation)? else {
        return Ok(());
    };
    let mut cell = write.read().cell(&id)?;
    write.end_operation(operation, output, None)?;
    // No proxy named it any more: a cell that is added under its id begins anew.
    cell.was_in_table = false;
    put_state(write, &mut cell, CellState::Removed, None)?;
    write.note("cell.removed", id.as_str(), &json!({}))?;
    Ok(())
}

/// Records that a provider failed.
pub fn provider_failed(
    write: &mut Write<'_>,
    operation: &str,
    output: &str,
    error: &str,
) -> Result<(), Refusal> {
    let Some(id) = open_operation(write, operation)? else {
        return Ok(());
    };
    let mut cell = write.read().cell(&id)?;
    write.end_operation(operation, output, Some(error))?;
    if cell.state == CellState::Provisioning {
        enter(write, &mut cell, CellState::Failed, Some(error.to_owned()))?;
    } else {
        cell.state_reason = Some(format!("removal failed: {error}"));
        write.put_cell(&cell)?;
    }
    write.note("cell.failed", id.as_str(), &json!({ "error": error }))?;
    Ok(())
}

/// The cell of an operation that has not ended.
fn open_operation(write: &Write<'_>, id: &str) -> Result<Option<CellId>, Refusal> {
    use crate::store::OperationState::{Pending, Running};
    let operation = write.read().operation(id)?;
    Ok(operation
        .filter(|operation| matches!(operation.state, Pending | Running))
        .map(|operation| operation.cell))
}

/// Records that a warming cell has passed its checks, or has not in time.
pub fn warmed(
    write: &mut Write<'_>,
    id: &CellId,
    outcome: Result<(), String>,
) -> Result<(), Refusal> {
    let mut cell = write.read().cell(id)?;
    if cell.state != CellState::Warming {
        return Ok(());
    }
    match outcome {
        Ok(()) => {
            enter(write, &mut cell, CellState::Active, None)?;
            write.note("cell.active", id.as_str(), &json!({}))?;
        }
        Err(reason) => {
            enter(write, &mut cell, CellState::Failed, Some(reason.clone()))?;
            write.note("cell.failed", id.as_str(), &json!({ "error": reason }))?;
        }
    }
    Ok(())
}

/// Records that a running cell of a provider is reached elsewhere from now on.
pub fn readdress(
    write: &mut Write<'_>,
    id: &CellId,
    endpoints: Vec<EndpointSpec>,
) -> Result<(), Refusal> {
    let mut cell = write.read().cell(id)?;
    let mut spec = cell.settings.spec();
    if !cell.state.is_running() || spec.endpoints == endpoints {
        return Ok(());
    }
    if endpoints.is_empty() {
        let hint = "the provider has to name at least one address of a cell that runs";
        return Err(Refusal::bad_input("endpoints", "are empty", hint));
    }
    spec.endpoints = endpoints;
    cell.settings = spec.check().map_err(Refusal::BadInput)?;
    if is_anothers(write, id, &cell.settings)? {
        let hint = "the provider has to name addresses of this cell alone";
        let message = format!("another cell has one of {}", shown(&cell.settings));
        return Err(Refusal::bad_input("endpoints", message, hint));
    }
    write.put_cell(&cell)?;
    if cell.state.is_in_table() {
        write.touch_table();
    }
    let detail = json!({ "endpoints": cell.settings.spec().endpoints });
    write.note("cell.readdressed", id.as_str(), &detail)?;
    Ok(())
}
