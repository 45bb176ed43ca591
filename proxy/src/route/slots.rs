//! Which cell has each slot, so that a look-up seldom leaves the nearest cache.
//!
//! Slots are mostly given out in ranges. A page of slots that all belong to one cell is answered from the list of pages,
//! which is small; only a page with several owners sends the look-up on to its slot. 65,536 slots take 128 KiB, which do not
//! stay in the cache from one request to the next.

use cellgate_table::{CellIndex, Slot};

const PAGE_SLOTS: usize = 256;

#[derive(Debug)]
pub(super) struct Slots {
    /// The owner of all slots of a page, if they have the same.
    pages: Box<[Option<CellIndex>]>,
    owners: Box<[CellIndex]>,
}

impl Slots {
    pub(super) fn new(owners: &[CellIndex]) -> Self {
        let shared = |page: &[CellIndex]| {
            let first = *page.first()?;
            page.iter().all(|owner| *owner == first).then_some(first)
        };
        Self {
            pages: owners.chunks(PAGE_SLOTS).map(shared).collect(),
            owners: owners.into(),
        }
    }

    pub(super) fn owner(&self, slot: Slot) -> CellIndex {
        self.owner_of(slot.get() as usize)
    }

    fn owner_of(&self, slot: usize) -> CellIndex {
        self.pages[slot / PAGE_SLOTS].unwrap_or_else(|| self.owners[slot])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_its_owner_wherever_pages_begin_and_ranges_end() {
        for (slots, range) in [
            (1, 1),
            (97, 31),
            (1_000, 256),
            (1_024, 300),
            (4_096, 1),
            (2_000, 2_000),
        ] {
            let owners: Vec<_> = (0..slots)
                .map(|slot| CellIndex::from_number(slot / range % 7))
                .collect();
            let packed = Slots::new(&owners);
            for (slot, owner) in owners.iter().enumerate() {
                let found = packed.owner_of(slot);
                assert_eq!(found, *owner, "slot {slot} of {slots} in ranges of {range}");
            }
        }
    }
}
