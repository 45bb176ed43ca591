//! What would even the fleet out, what may be moved today, and what has to stay.
//!
//! The table moves requests, not data. So only what has no data is moved: slots and tenants of cells that are marked
//! stateless. Everything else is named with the reason why it stays.

use std::collections::BTreeMap;

use cellgate_table::{CellId, slots::SlotRange};
use serde::Serialize;
use utoipa::ToSchema;

use super::shares::targets;
use crate::model::{Amounts, CellState, SlotMap};

/// A cell as the planner sees it.
#[derive(Clone, Debug)]
pub struct Owner<'c> {
    pub id: &'c CellId,
    pub state: CellState,
    pub is_stateless: bool,
    pub capacity: &'c Amounts,
    /// Tenants that the planner put here although their slot is elsewhere.
    pub overrides: u64,
    /// Tenants that an operator put here.
    pub pins: u64,
}

/// What to do, and what not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Plan {
    pub slot_moves: Vec<SlotMove>,
    pub tenant_moves: Vec<TenantMove>,
    pub left_alone: Vec<LeftAlone>,
}

/// Slots that go from one cell to another.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SlotMove {
    /// As a table writes them.
    #[schema(value_type = Vec<String>)]
    #[serde(serialize_with = "as_text")]
    pub slots: Vec<SlotRange>,
    /// How many slots these are.
    pub count: u32,
    #[schema(value_type = String)]
    pub from: CellId,
    #[schema(value_type = String)]
    pub to: CellId,
    pub why: String,
}

/// Tenants that are placed anew, each where there is room.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TenantMove {
    #[schema(value_type = String)]
    pub from: CellId,
    pub count: u64,
    pub why: String,
}

/// Something that stays where it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LeftAlone {
    #[schema(value_type = String)]
    pub cell: CellId,
    /// What stays, such as `400 slots`.
    pub what: String,
    pub why: String,
}

fn as_text<S: serde::Serializer>(ranges: &[SlotRange], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ranges.iter().map(ToString::to_string))
}

impl Plan {
    pub fn moves_nothing(&self) -> bool {
        self.slot_moves.is_empty() && self.tenant_moves.is_empty()
    }

    fn leave(&mut self, cell: &CellId, what: String, why: &str) {
        self.left_alone.push(LeftAlone {
            cell: cell.clone(),
            what,
            why: why.to_owned(),
        });
    }
}

const HAS_DATA: &str = "the cell keeps data, and nothing here can bring it along; only what a stateless cell owns is moved";
const NO_TAKER: &str = "no other cell is active";
const PINNED: &str = "an operator pinned them here; unpin them, or pin them elsewhere";

/// Evens the slots out over the active cells, and empties those that drain.
pub fn rebalance(owners: &[Owner<'_>], map: &SlotMap) -> Plan {
    let mut plan = Plan::default();
    if map.is_unassigned() {
        return plan;
    }
    let recipients: Vec<&Owner<'_>> = recipients(owners, None);
    let capacities: Vec<&Amounts> = recipients
        .iter()
        .map(|recipient| recipient.capacity)
        .collect();
    let mut wanted: BTreeMap<&CellId, u32> = recipients
        .iter()
        .map(|recipient| recipient.id)
        .zip(targets(map.hash().slots(), &capacities))
        .collect();
    let mut open: Vec<(&CellId, u32)> = Vec::new();
    for recipient in &recipients {
        let lacks = wanted[recipient.id].saturating_sub(map.count_of(recipient.id));
        if lacks > 0 {
            open.push((recipient.id, lacks));
        }
    }
    for owner in owners {
        let surplus = map
            .count_of(owner.id)
            .saturating_sub(wanted.remove(owner.id).unwrap_or(0));
        let why = if owner.state == CellState::Draining {
            "the cell drains"
        } else {
            "the cell owns more than its share"
        };
        hand_over(&mut plan, owner, map, surplus, &mut open, why);
        if owner.state == CellState::Draining {
            move_tenants(&mut plan, owner, recipients.is_empty());
        }
    }
    plan
}

/// Empties one cell, in proportion to what the others can hold.
pub fn drain(owners: &[Owner<'_>], map: &SlotMap, cell: &CellId) -> Plan {
    let mut plan = Plan::default();
    let Some(owner) = owners.iter().find(|owner| owner.id == cell) else {
        return plan;
    };
    let recipients = recipients(owners, Some(cell));
    let capacities: Vec<&Amounts> = recipients
        .iter()
        .map(|recipient| recipient.capacity)
        .collect();
    let count = map.count_of(cell);
    let mut open: Vec<(&CellId, u32)> = if recipients.is_empty() {
        Vec::new()
    } else {
        recipients
            .iter()
            .map(|recipient| recipient.id)
            .zip(targets(count, &capacities))
            .collect()
    };
    hand_over(&mut plan, owner, map, count, &mut open, "the cell drains");
    move_tenants(&mut plan, owner, recipients.is_empty());
    plan
}

fn recipients<'o, 'c>(owners: &'o [Owner<'c>], except: Option<&CellId>) -> Vec<&'o Owner<'c>> {
    owners
        .iter()
        .filter(|owner| owner.state.takes_tenants() && Some(owner.id) != except)
        .collect()
}

/// Gives `surplus` slots of a cell to those that are open for some, or says why not.
fn hand_over(
    plan: &mut Plan,
    owner: &Owner<'_>,
    map: &SlotMap,
    surplus: u32,
    open: &mut [(&CellId, u32)],
    why: &str,
) {
    if surplus == 0 {
        return;
    }
    if !owner.is_stateless {
        return plan.leave(owner.id, slots(surplus), HAS_DATA);
    }
    let mut left = surplus;
    let mut at_hand = last_slots(map, owner.id, surplus);
    for (to, lacks) in open.iter_mut() {
        let count = left.min(*lacks);
        if count == 0 {
            continue;
        }
        *lacks -= count;
        left -= count;
        plan.slot_moves.push(SlotMove {
            slots: take(&mut at_hand, count),
            count,
            from: owner.id.clone(),
            to: (*to).clone(),
            why: why.to_owned(),
        });
    }
    if left > 0 {
        plan.leave(owner.id, slots(left), NO_TAKER);
    }
}

fn move_tenants(plan: &mut Plan, owner: &Owner<'_>, nobody_takes: bool) {
    if owner.pins > 0 {
        plan.leave(owner.id, tenants(owner.pins), PINNED);
    }
    if owner.overrides == 0 {
        return;
    }
    if !owner.is_stateless {
        plan.leave(owner.id, tenants(owner.overrides), HAS_DATA);
    } else if nobody_takes {
        plan.leave(owner.id, tenants(owner.overrides), NO_TAKER);
    } else {
        plan.tenant_moves.push(TenantMove {
            from: owner.id.clone(),
            count: owner.overrides,
            why: "the cell drains".to_owned(),
        });
    }
}

fn slots(count: u32) -> String {
    format!("{count} slot{}", if count == 1 { "" } else { "s" })
}

fn tenants(count: u64) -> String {
    format!("{count} tenant{}", if count == 1 { "" } else { "s" })
}

/// The last `count` slots of a cell, from the highest down, as few runs as there are.
fn last_slots(map: &SlotMap, cell: &CellId, count: u32) -> Vec<SlotRange> {
    let mut left = count;
    let mut ranges = Vec::new();
    for (range, owner) in map.runs().iter().rev() {
        if owner != cell || left == 0 {
            continue;
        }
        let part = range.count().min(left);
        left -= part;
        ranges.extend(SlotRange::new(range.last() + 1 - part, range.last()));
    }
    ranges
}

/// Takes `count` slots from the front of the list, the highest of each range first.
fn take(ranges: &mut Vec<SlotRange>, count: u32) -> Vec<SlotRange> {
    let mut left = count;
    let mut taken = Vec::new();
    while left > 0 && !ranges.is_empty() {
        let range = ranges.remove(0);
        let part = range.count().min(left);
        left -= part;
        taken.extend(SlotRange::new(range.last() + 1 - part, range.last()));
        if part < range.count() {
            let rest = SlotRange::new(range.first(), range.last() - part);
            ranges.splice(0..0, rest);
        }
    }
    taken.sort_unstable();
    taken
}

#[cfg(test)]
mod tests;
