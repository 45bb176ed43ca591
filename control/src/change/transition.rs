//! One step of a cell's life: whether it may be, and what goes with it.

use cellgate_table::CellId;

use crate::{
    model::{Cell, CellState},
    refusal::Refusal,
    store::{Read, Write},
};

/// What a provider is asked to do with a cell that is to go.
pub(super) const REMOVE: &str = "remove";

/// One step of a cell's life, if it is a legal one.
pub(super) fn enter(
    write: &mut Write<'_>,
    cell: &mut Cell,
    next: CellState,
    reason: Option<String>,
) -> Result<(), Refusal> {
    if !cell.state.may_become(next) {
        return Err(Refusal::IllegalTransition {
            cell: cell.id.clone(),
            from: cell.state,
            to: next,
        });
    }
    // Its provider may be half-way: a cell that came back now would be taken down with what it has got by then.
    if next == CellState::Active && is_being_removed(write.read(), &cell.id)? {
        return Err(Refusal::BeingRemoved(cell.id.clone()));
    }
    put_state(write, cell, next, reason)
}

fn is_being_removed(read: Read<'_>, id: &CellId) -> Result<bool, Refusal> {
    let open = read.open_operations()?;
    Ok(open.iter().any(|it| it.cell == *id && it.verb == REMOVE))
}

/// The same without asking whether it is legal.
pub(super) fn put_state(
    write: &mut Write<'_>,
    cell: &mut Cell,
    next: CellState,
    reason: Option<String>,
) -> Result<(), Refusal> {
    if cell.state.is_in_table() != next.is_in_table() {
        write.touch_table();
    }
    cell.state = next;
    cell.state_reason = reason;
    cell.state_since_ms = write.now_ms();
    write.put_cell(cell)?;
    Ok(())
}
