//! What changes for tenants from one table to the next.

use serde::Serialize;

use crate::{
    id::{CellId, CellIndex, TenantKey},
    table::Table,
};

/// The difference between two tables, seen from the tenants.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// The share of all possible keys whose slot's owner changes, from 0 to 1; overrides are not counted here.
    pub moved_share: f64,
    /// Slots that change owner, as runs, by slot. Empty when the hash itself changes (then `rehashed`).
    pub slot_moves: Vec<SlotMove>,
    /// The seed or the number of slots changes, so slots of the two tables cannot be compared one by one.
    pub rehashed: bool,
    /// Keys whose override or alias changes (or the override of the tenant that they are an alias of) and that lead to
    /// another cell by that, by key. Who only follows a slot is counted under `moved_share`.
    pub tenant_moves: Vec<TenantMove>,
    /// Cells of the new table only, by id.
    pub cells_added: Vec<CellId>,
    /// Cells of the old table only, by id.
    pub cells_removed: Vec<CellId>,
    /// Cells whose endpoints, limits or checks change.
    pub cells_changed: Vec<CellId>,
    /// Tenants that are rejected from now on, by key.
    pub rejects_added: Vec<TenantKey>,
    /// Tenants that are no longer rejected, by key.
    pub rejects_removed: Vec<TenantKey>,
}

/// A run of slots that go from one cell to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotMove {
    /// As a table writes it, such as `0-32767`.
    pub slots: String,
    /// How many slots these are, at least one.
    pub count: u32,
    pub from: CellId,
    pub to: CellId,
}

/// A named tenant, or another key of one, that goes from one cell to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantMove {
    /// The key as the table names it: the tenant's own or an alias.
    pub tenant: TenantKey,
    pub from: CellId,
    pub to: CellId,
}

impl Diff {
    /// How many slots change owner; 0 when the tables are `rehashed`.
    pub fn moved_slots(&self) -> u32 {
        self.slot_moves
            .iter()
            .map(|slot_move| slot_move.count)
            .sum()
    }
}

/// Compares two tables.
pub fn diff(old: &Table, new: &Table) -> Diff {
    let rehashed = old.hash() != new.hash();
    let (cells_added, cells_removed, cells_changed) = cell_changes(old, new);
    let (rejects_removed, rejects_added) = only_in_one(old.rejects(), new.rejects());
    Diff {
        moved_share: moved_share(old, new),
        slot_moves: if rehashed {
            Vec::new()
        } else {
            slot_moves(old, new)
        },
        rehashed,
        tenant_moves: tenant_moves(old, new),
        cells_added,
        cells_removed,
        cells_changed,
        rejects_added,
        rejects_removed,
    }
}

fn slot_moves(old: &Table, new: &Table) -> Vec<SlotMove> {
    let pairs: Vec<(CellIndex, CellIndex)> = old
        .slot_owners()
        .iter()
        .copied()
        .zip(new.slot_owners().iter().copied())
        .collect();
    let mut moves = Vec::new();
    for (range, (from, to)) in crate::slots::runs(&pairs) {
        let (from, to) = (old.cell(from).id(), new.cell(to).id());
        if from != to {
            moves.push(SlotMove {
                slots: range.to_string(),
                count: range.count(),
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
    moves
}

/// The share of the hash's range whose owner changes. With another seed every key gets a new, independent hash, so the
/// share is what chance leaves.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share is shown to a few digits"
)]
fn moved_share(old: &Table, new: &Table) -> f64 {
    if old.hash().seed() != new.hash().seed() {
        let (old_shares, new_shares) = (shares(old), shares(new));
        let stays: f64 = (old.cells().iter().zip(old_shares))
            .filter_map(|(cell, share)| Some(share * new_shares[new.index_of(cell.id())?.get()]))
            .sum();
        return 1.0 - stays;
    }
    // Slot i of n covers the i-th of n equal parts of the range. In units of 1/(n·m) both tables' borders are whole
    // numbers, and n·m stays below 2^40.
    let (n, m) = (u64::from(old.hash().slots()), u64::from(new.hash().slots()));
    let (mut at, mut moved) = (0_u64, 0_u64);
    while at < n * m {
        let (i, j) = (at / m, at / n);
        let border = ((i + 1) * m).min((j + 1) * n);
        if owner_id(old, i) != owner_id(new, j) {
            moved += border - at;
        }
        at = border;
    }
    moved as f64 / (n * m) as f64
}

fn owner_id(table: &Table, slot: u64) -> &CellId {
    let slot = usize::try_from(slot).expect("a table has at most SLOTS_MAX slots");
    table.cell(table.slot_owners()[slot]).id()
}

/// The share of the slots that each cell owns, by cell.
fn shares(table: &Table) -> Vec<f64> {
    let mut owned = vec![0_u32; table.cells().len()];
    for owner in table.slot_owners() {
        owned[owner.get()] += 1;
    }
    let slots = f64::from(table.hash().slots());
    owned
        .into_iter()
        .map(|count| f64::from(count) / slots)
        .collect()
}

/// The [`Diff::tenant_moves`]. Two sorted walks, so that a million unchanged overrides
/// cost a comparison each.
fn tenant_moves(old: &Table, new: &Table) -> Vec<TenantMove> {
    let renumbered: Vec<Option<CellIndex>> = old
        .cells()
        .iter()
        .map(|cell| new.index_of(cell.id()))
        .collect();
    let mut changed: Vec<&TenantKey> = Vec::new();
    changed_keys(
        old.overrides(),
        new.overrides(),
        |from, to| renumbered[from.get()] == Some(*to),
        &mut changed,
    );
    changed_keys(
        old.aliases(),
        new.aliases(),
        |from, to| from == to,
        &mut changed,
    );
    // An alias moves with its tenant; only a few tenants changed, so each alias is asked about them once.
    changed.sort_unstable();
    changed.dedup();
    let followers: Vec<&TenantKey> = new
        .aliases()
        .iter()
        .filter(|(_, tenant)| changed.binary_search(&tenant).is_ok())
        .map(|(alias, _)| alias)
        .collect();
    changed.extend(followers);
    changed.sort_unstable();
    changed.dedup();
    let mut moves = Vec::new();
    for key in changed {
        let from = old.cell(old.home_of(key.as_bytes()).cell).id();
        let to = new.cell(new.home_of(key.as_bytes()).cell).id();
        if from != to {
            moves.push(TenantMove {
                tenant: key.clone(),
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
    moves
}

/// The keys of two sorted lists that are in one of them only, or in both with different values.
fn changed_keys<'t, V>(
    old: &'t [(TenantKey, V)],
    new: &'t [(TenantKey, V)],
    same: impl Fn(&V, &V) -> bool,
    changed: &mut Vec<&'t TenantKey>,
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some((left, from)), Some((right, to))) if left == right => {
                if !same(from, to) {
                    changed.push(left);
                }
                old.next();
                new.next();
            }
            (Some((left, _)), Some((right, _))) if left < right => {
                changed.push(left);
                old.next();
            }
            (Some((left, _)), None) => {
                changed.push(left);
                old.next();
            }
            (_, Some((right, _))) => {
                changed.push(right);
                new.next();
            }
        }
    }
}

fn only_in_one(old: &[TenantKey], new: &[TenantKey]) -> (Vec<TenantKey>, Vec<TenantKey>) {
    let missing = |from: &[TenantKey], other: &[TenantKey]| {
        from.iter()
            .filter(|key| other.binary_search(key).is_err())
            .cloned()
            .collect()
    };
    (missing(old, new), missing(new, old))
}

fn cell_changes(old: &Table, new: &Table) -> (Vec<CellId>, Vec<CellId>, Vec<CellId>) {
    let (mut added, mut removed, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for cell in new.cells() {
        match old.index_of(cell.id()) {
            None => added.push(cell.id().clone()),
            Some(index) if old.cell(index) != cell => changed.push(cell.id().clone()),
            Some(_) => {}
        }
    }
    for cell in old.cells() {
        if new.index_of(cell.id()).is_none() {
            removed.push(cell.id().clone());
        }
    }
    (added, removed, changed)
}

#[cfg(test)]
mod tests;
