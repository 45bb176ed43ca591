//! Slots: spread over the cells for the first time, and evened out.

use serde_json::json;

use super::{Fleet, MovePermission, Rules, moves, settle_draining};
use crate::{
    plan::{Plan, rebalance, spread},
    refusal::Refusal,
    store::Write,
};

/// Gives every slot its first owner: the active cells, in proportion to what they can hold.
pub fn spread_first(write: &mut Write<'_>) -> Result<Fleet, Refusal> {
    let fleet = Fleet::of(write.read())?;
    if !fleet.slots.is_unassigned() {
        return Err(Refusal::SlotsAssigned);
    }
    let active: Vec<_> = fleet
        .cells
        .iter()
        .filter(|cell| cell.state.takes_tenants())
        .map(|cell| (&cell.id, &cell.capacity))
        .collect();
    let map = spread(fleet.slots.hash(), &active).ok_or(Refusal::NoActiveCell)?;
    moves::give_slots(write, &fleet.slots, &map)?;
    write.note("slots.spread", "slots", &json!({ "cells": active.len() }))?;
    Fleet::of(write.read()).map_err(Refusal::from)
}

/// Carries out what the planner would move today.
pub fn apply_plan(
    write: &mut Write<'_>,
    permission: MovePermission,
    rules: &Rules,
) -> Result<Plan, Refusal> {
    let fleet = Fleet::of(write.read())?;
    if fleet.slots.is_unassigned() {
        return Err(Refusal::SlotsUnassigned);
    }
    let plan = rebalance(&fleet.owners(), &fleet.slots);
    if plan.moves_nothing() {
        return Ok(plan);
    }
    moves::carry_out(write, &plan, &fleet, permission, rules)?;
    settle_draining(write)?;
    let slots: u32 = plan.slot_moves.iter().map(|it| it.count).sum();
    write.note("plan.apply", "slots", &json!({ "slots": slots }))?;
    Ok(plan)
}
