//! A table becomes the intent: one of old in a rollback, or the published one where the database was lost.

use std::collections::{BTreeMap, BTreeSet};

use cellgate_table::{CellId, Table, TenantKey};
use serde_json::json;

use super::{MovePermission, Rules, cells::STATIC, moves, settle_draining, transition::enter};
use crate::{
    model::{Amounts, Cell, CellState, PlacedBy, SlotMap, Tenant, table::parts_of},
    refusal::Refusal,
    store::{TenantFilter, Write},
};

/// What a rollback did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Tenants that live in another cell than before.
    pub moved_tenants: u64,
    /// Slots with another owner than before.
    pub moved_slots: u32,
    /// Tenants registered after that table, which stay where they are.
    pub kept_tenants: u64,
}

/// Tenants read together.
const PAGE: usize = 10_000;

/// Fills an empty database from a table that somebody published, by this daemon or by hand.
pub fn import(write: &mut Write<'_>, table: &Table) -> Result<(), Refusal> {
    if !write.read().cells()?.is_empty() {
        return Err(Refusal::CannotRestore(
            "the database holds cells already; start with an empty one".to_owned(),
        ));
    }
    let parts = parts_of(table);
    // The next table has to be newer than this one.
    let number = table
        .generation()
        .map_or(0, cellgate_table::Generation::get);
    write.skip_to(number + 1);
    write.put_hash(table.hash())?;
    for (id, settings) in &parts.cells {
        write.put_cell(&Cell {
            id: id.clone(),
            state: CellState::Active,
            // The audit log says where it came from: nothing is out of the ordinary with the cell.
            state_reason: None,
            state_since_ms: write.now_ms(),
            provider: STATIC.to_owned(),
            params: json!({}),
            settings: settings.clone(),
            labels: BTreeMap::new(),
            is_stateless: false,
            capacity: Amounts::default(),
            usage: Amounts::default(),
            was_in_table: true,
            tenants: 0,
        })?;
    }
    write.put_slots(&parts.slots)?;
    let rejected: BTreeSet<&TenantKey> = parts.rejects.iter().collect();
    let mut tenants: BTreeMap<&TenantKey, (&CellId, PlacedBy)> = parts
        .overrides
        .iter()
        .map(|(key, cell)| (key, (cell, PlacedBy::Override)))
        .collect();
    for key in parts.aliases.values().chain(&parts.rejects) {
        let slot = table.hash().slot(key.as_bytes());
        if let Some(owner) = parts.slots.owner(slot) {
            tenants.entry(key).or_insert((owner, PlacedBy::Slot));
        }
    }
    for (key, (cell, placed_by)) in &tenants {
        let slot = table.hash().slot(key.as_bytes());
        // An override to the slot's own cell means that somebody wants it to stay there.
        let at_home = parts.slots.owner(slot) == Some(*cell);
        let placed_by = match placed_by {
            PlacedBy::Override if at_home => PlacedBy::Pin,
            other => *other,
        };
        let tenant = Tenant {
            key: (*key).clone(),
            cell: (*cell).clone(),
            placed_by,
            is_rejected: rejected.contains(key),
            since: write.revision(),
            why: "imported from a table".to_owned(),
            registered_ms: write.now_ms(),
        };
        write.add_tenant(&tenant, slot.get())?;
    }
    for (alias, tenant) in &parts.aliases {
        write.add_alias(alias, tenant)?;
    }
    let detail = json!({
        "generation": number, "cells": parts.cells.len(), "tenants": tenants.len(),
        "aliases": parts.aliases.len(),
    });
    write.note("table.import", "table", &detail)?;
    Ok(())
}

/// Makes the map of an older table the intent again: slots, tenants, aliases, rejects, and the cells' settings where no
/// provider names them. Nothing is undone of what cells have become since, and tenants registered since stay where they
/// are: their data is there.
pub fn roll_back(
    write: &mut Write<'_>,
    table: &Table,
    permission: MovePermission,
    rules: &Rules,
) -> Result<Restored, Refusal> {
    let generation = table
        .generation()
        .ok_or_else(|| Refusal::CannotRestore("it has no generation".to_owned()))?
        .get();
    let slots = write.read().slots()?;
    if table.hash() != slots.hash() {
        return Err(Refusal::CannotRestore(
            "it hashes otherwise than today".to_owned(),
        ));
    }
    let parts = parts_of(table);
    restore_settings(write, &parts.cells)?;
    let mut restored = Restored {
        moved_slots: differing(&slots, &parts.slots),
        ..Restored::default()
    };
    write.put_slots(&parts.slots)?;
    let later = write.read().registered_since(generation)?;
    let mut after = None;
    loop {
        let filter = TenantFilter {
            after: after.take(),
            ..TenantFilter::default()
        };
        let page = write.read().tenants(&filter, PAGE)?;
        after = page.tenants.last().map(|tenant| tenant.key.to_string());
        for tenant in page.tenants {
            if later.contains(&tenant.key) {
                restored.kept_tenants += 1;
                keep_tenant(write, &parts.slots, tenant)?;
            } else {
                restore_tenant(write, table, tenant, &mut restored)?;
            }
        }
        if !page.has_more {
            break;
        }
    }
    moves::check_limits(
        write,
        restored.moved_slots,
        restored.moved_tenants,
        permission,
        rules,
    )?;
    restore_aliases(write, parts.aliases, &later)?;
    write.touch_table();
    let detail = json!({
        "generation": generation, "moved_slots": restored.moved_slots,
        "moved_tenants": restored.moved_tenants, "kept_tenants": restored.kept_tenants,
    });
    write.note("table.rollback", "table", &detail)?;
    settle_draining(write)?;
    Ok(restored)
}

fn differing(before: &SlotMap, after: &SlotMap) -> u32 {
    let differs = before
        .owners()
        .zip(after.owners())
        .filter(|(left, right)| left != right)
        .count();
    u32::try_from(differs).expect("a table has at most SLOTS_MAX slots")
}

fn restore_settings(
    write: &mut Write<'_>,
    cells: &BTreeMap<CellId, crate::model::Settings>,
) -> Result<(), Refusal> {
    for (id, settings) in cells {
        let mut cell = write.read().cell(id).map_err(|refusal| match refusal {
            Refusal::NoSuchCell(_) => {
                Refusal::CannotRestore(format!("there is no cell `{id}` any more"))
            }
            other => other,
        })?;
        if cell.state == CellState::Drained {
            enter(write, &mut cell, CellState::Active, None)?;
        }
        if !cell.state.is_in_table() {
            let why = format!("cell `{id}` is {}", cell.state);
            return Err(Refusal::CannotRestore(why));
        }
        let mut wanted = settings.clone();
        if cell.provider != STATIC {
            wanted.endpoints.clone_from(&cell.settings.endpoints);
        }
        if cell.settings != wanted {
            cell.settings = wanted;
            write.put_cell(&cell)?;
        }
    }
    Ok(())
}

/// The slots go back under a tenant that stays: the table has to name it where its slot leads elsewhere now.
fn keep_tenant(write: &Write<'_>, slots: &SlotMap, mut tenant: Tenant) -> Result<(), Refusal> {
    let slot = slots.hash().slot(tenant.key.as_bytes());
    let is_at_home = slots.owner(slot) == Some(&tenant.cell);
    let placed_by = match tenant.placed_by {
        PlacedBy::Pin => PlacedBy::Pin,
        PlacedBy::Slot | PlacedBy::Override if is_at_home => PlacedBy::Slot,
        PlacedBy::Slot | PlacedBy::Override => PlacedBy::Override,
    };
    if tenant.placed_by != placed_by {
        tenant.placed_by = placed_by;
        write.place_tenant(&tenant)?;
    }
    Ok(())
}

fn restore_tenant(
    write: &Write<'_>,
    table: &Table,
    mut tenant: Tenant,
    restored: &mut Restored,
) -> Result<(), Refusal> {
    let home = table.home_of(tenant.key.as_bytes());
    let is_override = home.owner == cellgate_table::Owner::Override;
    let cell = table.cell(home.cell).id();
    if home.is_rejected != tenant.is_rejected {
        write.set_rejected(&tenant.key, home.is_rejected)?;
    }
    let slot = table.hash().slot(tenant.key.as_bytes());
    let is_at_home = table.slot_owners().get(slot.get() as usize) == Some(&home.cell);
    let placed_by = match (is_override, tenant.placed_by) {
        (true, PlacedBy::Pin) => PlacedBy::Pin,
        // Named where its slot is: because all are named, and not for its own sake.
        (true, _) if is_at_home => PlacedBy::Slot,
        (true, _) => PlacedBy::Override,
        (false, _) => PlacedBy::Slot,
    };
    if tenant.cell == *cell && tenant.placed_by == placed_by {
        return Ok(());
    }
    if tenant.cell != *cell {
        restored.moved_tenants += 1;
        tenant.since = write.revision();
        "rolled back to an older table".clone_into(&mut tenant.why);
        tenant.cell = cell.clone();
    }
    tenant.placed_by = placed_by;
    write.place_tenant(&tenant)?;
    Ok(())
}

/// The aliases of then, and of the tenants that came later and stay.
fn restore_aliases(
    write: &mut Write<'_>,
    mut aliases: BTreeMap<TenantKey, TenantKey>,
    later: &BTreeSet<TenantKey>,
) -> Result<(), Refusal> {
    let today = write.read().aliases()?;
    for (alias, tenant) in today.iter().filter(|(_, tenant)| later.contains(*tenant)) {
        let then = aliases.insert(alias.clone(), tenant.clone());
        if then.is_some_and(|then| then != *tenant) {
            let why = format!("`{alias}`, an alias there, belongs to tenant `{tenant}` today");
            return Err(Refusal::CannotRestore(why));
        }
    }
    if today == aliases {
        return Ok(());
    }
    write.remove_all_aliases()?;
    for (alias, tenant) in &aliases {
        let read = write.read();
        if read.find_tenant(alias)?.is_some() {
            let why = format!("`{alias}`, an alias there, is a tenant today");
            return Err(Refusal::CannotRestore(why));
        }
        if read.find_tenant(tenant)?.is_none() {
            let why =
                format!("tenant `{tenant}`, which has an alias there, is not registered any more");
            return Err(Refusal::CannotRestore(why));
        }
        write.add_alias(alias, tenant)?;
    }
    Ok(())
}
