//! Carries a plan out: slots change hands, and tenants are placed anew.

use cellgate_table::{CellId, slots::SlotRange};

use super::{Fleet, MovePermission, Rules, candidates, transition::enter};
use crate::{
    model::{CellState, PlacedBy, SlotMap, Tenant},
    plan::{Plan, place, targets},
    refusal::Refusal,
    store::{TenantFilter, Write},
};

/// What a cell that was removed by force had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub slots: u32,
    pub tenants: u64,
}

/// Tenants read together.
const PAGE: usize = 10_000;

/// Makes a plan the truth. What it leaves alone stays.
pub fn carry_out(
    write: &mut Write<'_>,
    plan: &Plan,
    fleet: &Fleet,
    permission: MovePermission,
    rules: &Rules,
) -> Result<(), Refusal> {
    let slots: u32 = plan.slot_moves.iter().map(|it| it.count).sum();
    let tenants: u64 = plan.tenant_moves.iter().map(|it| it.count).sum();
    check_limits(write, slots, tenants, permission, rules)?;
    let ranges: Vec<(SlotRange, CellId)> = plan
        .slot_moves
        .iter()
        .flat_map(|it| it.slots.iter().map(|range| (*range, it.to.clone())))
        .collect();
    if !ranges.is_empty() {
        give_slots(write, &fleet.slots, &fleet.slots.with(&ranges))?;
    }
    for tenant_move in &plan.tenant_moves {
        let keys = write.read().overrides_in(&tenant_move.from)?;
        let mut tenants = Vec::with_capacity(keys.len());
        for key in keys {
            tenants.push(write.read().tenant(&key)?);
        }
        place_anew(write, tenants)?;
    }
    Ok(())
}

/// Empties a cell that is given up: everything it owns goes to the others.
pub fn evacuate(
    write: &mut Write<'_>,
    cell: &CellId,
    fleet: &Fleet,
    permission: MovePermission,
    rules: &Rules,
) -> Result<Lost, Refusal> {
    let mine = fleet.cells.iter().find(|other| other.id == *cell);
    let lost = Lost {
        slots: fleet.slots.count_of(cell),
        tenants: mine.map_or(0, |mine| mine.tenants),
    };
    if lost.slots == 0 && lost.tenants == 0 {
        return Ok(lost);
    }
    check_limits(write, lost.slots, lost.tenants, permission, rules)?;
    let recipients: Vec<_> = fleet
        .cells
        .iter()
        .filter(|other| other.state.takes_tenants() && other.id != *cell)
        .collect();
    if recipients.is_empty() {
        return Err(Refusal::NoActiveCell);
    }
    // It must not be chosen for its own tenants, so it leaves the choice before they are placed.
    let capacities: Vec<_> = recipients
        .iter()
        .map(|recipient| &recipient.capacity)
        .collect();
    let shares = targets(lost.slots, &capacities);
    let mut next_owners = recipients
        .iter()
        .zip(shares)
        .flat_map(|(recipient, share)| std::iter::repeat_n(&recipient.id, share as usize));
    if lost.slots > 0 {
        let owners = fleet.slots.owners().map(|owner| {
            if owner == cell {
                next_owners.next().unwrap_or(owner)
            } else {
                owner
            }
        });
        let after = SlotMap::of_owners(fleet.slots.hash(), owners);
        give_slots(write, &fleet.slots, &after)?;
    }
    retire(write, cell)?;
    loop {
        let filter = TenantFilter {
            cell: Some(cell.clone()),
            ..TenantFilter::default()
        };
        let page = write.read().tenants(&filter, PAGE)?;
        if page.tenants.is_empty() {
            return Ok(lost);
        }
        place_anew(write, page.tenants)?;
    }
}

/// Takes a cell out of the choice for tenants.
fn retire(write: &mut Write<'_>, cell: &CellId) -> Result<(), Refusal> {
    let mut mine = write.read().cell(cell)?;
    if mine.state.takes_tenants() {
        enter(write, &mut mine, CellState::Draining, None)?;
    }
    Ok(())
}

/// Slots change hands; the tenants that live by them go along, and those that live elsewhere but now at home need no
/// line of their own any more.
pub fn give_slots(
    write: &mut Write<'_>,
    before: &SlotMap,
    after: &SlotMap,
) -> Result<u64, Refusal> {
    write.put_slots(after)?;
    let moved = write.follow_slots(before, after)?;
    write.settle_overrides(before, after)?;
    Ok(moved)
}

fn place_anew(write: &mut Write<'_>, tenants: Vec<Tenant>) -> Result<(), Refusal> {
    let read = write.read();
    let slots = read.slots()?;
    let owners: Vec<Option<&CellId>> = tenants
        .iter()
        .map(|tenant| slots.owner(slots.hash().slot(tenant.key.as_bytes())))
        .collect();
    let placed = place(&candidates(read)?, &owners)?;
    for (mut tenant, placed) in tenants.into_iter().zip(placed) {
        tenant.placed_by = if placed.is_slot_owner {
            PlacedBy::Slot
        } else {
            PlacedBy::Override
        };
        tenant.why = format!("left {}; {}", tenant.cell, placed.why);
        tenant.cell = placed.cell;
        tenant.since = write.revision();
        write.place_tenant(&tenant)?;
    }
    write.touch_table();
    Ok(())
}

/// A change that moves much needs explicit permission; with it the table says so to the proxies, which have limits too.
pub(super) fn check_limits(
    write: &mut Write<'_>,
    slots: u32,
    tenants: u64,
    permission: MovePermission,
    rules: &Rules,
) -> Result<(), Refusal> {
    let of = write.read().meta()?.hash.slots();
    let percent = f64::from(slots) * 100.0 / f64::from(of);
    let limits = &rules.move_limits;
    let too_many_slots = percent > limits.moved_percent_max;
    let too_many_tenants = tenants > limits.moved_overrides_max as u64;
    if !too_many_slots && !too_many_tenants {
        return Ok(());
    }
    if permission == MovePermission::Allowed {
        write.allow_move();
        return Ok(());
    }
    Err(Refusal::MovesTooMuch(if too_many_slots {
        format!(
            "{slots} slots ({percent:.2} %) would go to other cells, more than {} %",
            limits.moved_percent_max
        )
    } else {
        format!(
            "{tenants} tenants would go to other cells, more than {}",
            limits.moved_overrides_max
        )
    }))
}
