//! Who owns which slots, as runs of one owner.

use std::collections::BTreeMap;

use cellgate_table::{CellId, HashSpec, Slot, slots::SlotRange};

/// The owner of every slot. Neighbouring runs have different owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    hash: HashSpec,
    /// By first slot. Empty before the first table, else without gaps.
    runs: Vec<(SlotRange, CellId)>,
}

impl SlotMap {
    /// No slot has an owner yet.
    pub fn unassigned(hash: HashSpec) -> Self {
        Self {
            hash,
            runs: Vec::new(),
        }
    }

    /// A map of these owners, one for each slot.
    ///
    /// # Panics
    /// When there are not as many owners as slots.
    pub fn of_owners<'c>(hash: HashSpec, owners: impl IntoIterator<Item = &'c CellId>) -> Self {
        let mut runs: Vec<(u32, u32, &CellId)> = Vec::new();
        let mut count = 0;
        for owner in owners {
            match runs.last_mut() {
                Some((_, last, same)) if *same == owner => *last = count,
                _ => runs.push((count, count, owner)),
            }
            count += 1;
        }
        assert_eq!(count, hash.slots(), "every slot has one owner");
        let run = |(first, last, owner): (u32, u32, &CellId)| {
            let range = SlotRange::new(first, last).expect("a run ends at or behind its beginning");
            (range, owner.clone())
        };
        Self {
            hash,
            runs: runs.into_iter().map(run).collect(),
        }
    }

    /// How keys become slots.
    pub fn hash(&self) -> HashSpec {
        self.hash
    }

    /// True before the first table.
    pub fn is_unassigned(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs, in the order of slots.
    pub fn runs(&self) -> &[(SlotRange, CellId)] {
        &self.runs
    }

    /// Who owns a slot.
    pub fn owner(&self, slot: Slot) -> Option<&CellId> {
        let at = self
            .runs
            .partition_point(|(range, _)| range.last() < slot.get());
        self.runs.get(at).map(|(_, owner)| owner)
    }

    /// The owner of each slot, in the order of slots.
    pub fn owners(&self) -> impl Iterator<Item = &CellId> {
        self.runs
            .iter()
            .flat_map(|(range, owner)| std::iter::repeat_n(owner, range.count() as usize))
    }

    /// How many slots each cell owns; cells without one are not named.
    pub fn counts(&self) -> BTreeMap<&CellId, u32> {
        let mut counts = BTreeMap::new();
        for (range, owner) in &self.runs {
            *counts.entry(owner).or_insert(0) += range.count();
        }
        counts
    }

    /// How many slots a cell owns.
    pub fn count_of(&self, cell: &CellId) -> u32 {
        let of_cell = self.runs.iter().filter(|(_, owner)| owner == cell);
        of_cell.map(|(range, _)| range.count()).sum()
    }

    /// The same map with these slots in other hands.
    ///
    /// # Panics
    /// When a range lies beyond the last slot.
    #[must_use]
    pub fn with(&self, moves: &[(SlotRange, CellId)]) -> Self {
        let mut owners: Vec<&CellId> = self.owners().collect();
        for (range, to) in moves {
            owners[range.first() as usize..=range.last() as usize].fill(to);
        }
        Self::of_owners(self.hash, owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> CellId {
        CellId::new(text).unwrap()
    }

    fn range(text: &str) -> SlotRange {
        SlotRange::parse(text, 100).unwrap()
    }

    fn shown(map: &SlotMap) -> String {
        let runs = map.runs().iter();
        let words: Vec<String> = runs
            .map(|(range, owner)| format!("{range}:{owner}"))
            .collect();
        words.join(" ")
    }

    #[test]
    fn runs_are_the_longest_there_are() {
        let (a, b) = (id("a"), id("b"));
        let map = SlotMap::of_owners(HashSpec::new(0, 6).unwrap(), [&a, &a, &b, &b, &b, &a]);
        assert_eq!(shown(&map), "0-1:a 2-4:b 5:a");
        let map = map.with(&[(range("2-3"), a.clone()), (range("5"), b.clone())]);
        assert_eq!(shown(&map), "0-3:a 4-5:b");
        assert_eq!((map.count_of(&a), map.count_of(&b)), (4, 2));
        let owners: Vec<&CellId> = map.owners().collect();
        for (slot, owner) in owners.iter().enumerate() {
            let slot = map.hash().slot_of_hash((slot as u64 * (u64::MAX / 6)) + 6);
            assert_eq!(map.owner(slot), Some(*owner), "{slot}");
        }
        assert_eq!(map.counts(), BTreeMap::from([(&a, 4), (&b, 2)]));
    }

    #[test]
    fn nobody_owns_anything_at_first() {
        let map = SlotMap::unassigned(HashSpec::new(0, 6).unwrap());
        assert!(map.is_unassigned());
        assert_eq!(map.owner(map.hash().slot(b"acme")), None);
        assert_eq!(map.count_of(&id("a")), 0);
    }
}
