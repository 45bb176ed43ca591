//! The slots' rows: runs of one owner.

use cellgate_table::{CellId, HashSpec, slots::SlotRange};

use super::{
    Write, as_sql, from_sql,
    read::{Read, cell_id},
};
use crate::{model::SlotMap, refusal::StorageError};

impl Read<'_> {
    pub fn slots(self) -> Result<SlotMap, StorageError> {
        let hash = self.meta()?.hash;
        let rows = self.slot_rows()?;
        if rows.is_empty() {
            return Ok(SlotMap::unassigned(hash));
        }
        let covered = rows.iter().try_fold(0, |next, (range, _, _)| {
            (range.first() == next).then_some(range.last() + 1)
        });
        if covered != Some(hash.slots()) {
            return Err(StorageError::Corrupt(
                "the slots have gaps or overlap".to_owned(),
            ));
        }
        let owners = rows
            .iter()
            .flat_map(|(range, owner, _)| std::iter::repeat_n(owner, range.count() as usize));
        Ok(SlotMap::of_owners(hash, owners))
    }

    /// The revision since which a slot has its owner; `None` before the first table.
    pub fn slot_since(self, slot: u32) -> Result<Option<u64>, StorageError> {
        let rows = self.slot_rows()?;
        let at = rows.partition_point(|(range, _, _)| range.last() < slot);
        Ok(rows.get(at).map(|(_, _, since)| *since))
    }

    fn slot_rows(self) -> Result<Vec<(SlotRange, CellId, u64)>, StorageError> {
        let sql = "SELECT first, last, cell, since FROM slots ORDER BY first";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let range = SlotRange::new(row.get(0)?, row.get(1)?)
                .ok_or_else(|| StorageError::Corrupt("a run of slots is backwards".to_owned()))?;
            let owner = cell_id(&row.get::<_, String>(2)?)?;
            found.push((range, owner, from_sql(row.get(3)?)));
        }
        Ok(found)
    }
}

impl Write<'_> {
    /// Gives the slots the owners of this map. Slots that keep theirs keep their revision too.
    pub fn put_slots(&mut self, map: &SlotMap) -> Result<(), StorageError> {
        let before = self.read().slot_rows()?;
        self.transaction.execute("DELETE FROM slots", [])?;
        let sql = "INSERT INTO slots (first, last, cell, since) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = self.transaction.prepare_cached(sql)?;
        for (range, owner) in map.runs() {
            for (part, since) in parts(*range, owner, &before, self.revision) {
                insert.execute((part.first(), part.last(), owner.as_str(), as_sql(since)))?;
            }
        }
        drop(insert);
        self.touch_table();
        Ok(())
    }

    /// Sets how keys become slots, which has to be done before the slots have owners.
    pub fn put_hash(&mut self, hash: HashSpec) -> Result<(), StorageError> {
        let sql = "UPDATE meta SET hash_seed = ?1, hash_slots = ?2";
        self.transaction
            .execute(sql, (hash.seed().cast_signed(), hash.slots()))?;
        self.touch_table();
        Ok(())
    }
}

/// A run cut where its revision changes: parts that the same cell owned before keep theirs.
fn parts(
    range: SlotRange,
    owner: &CellId,
    before: &[(SlotRange, CellId, u64)],
    now: u64,
) -> Vec<(SlotRange, u64)> {
    let mut parts: Vec<(u32, u32, u64)> = Vec::new();
    let mut add = |first: u32, last: u32, since: u64| match parts.last_mut() {
        Some((_, end, same)) if *same == since && *end + 1 == first => *end = last,
        _ => parts.push((first, last, since)),
    };
    let mut next = range.first();
    let start = before.partition_point(|(old, _, _)| old.last() < range.first());
    for (old, old_owner, since) in &before[start..] {
        if next > range.last() || old.first() > range.last() {
            break;
        }
        let last = old.last().min(range.last());
        add(next, last, if old_owner == owner { *since } else { now });
        next = last + 1;
    }
    if next <= range.last() {
        add(next, range.last(), now);
    }
    parts
        .into_iter()
        .filter_map(|(first, last, since)| Some((SlotRange::new(first, last)?, since)))
        .collect()
}
