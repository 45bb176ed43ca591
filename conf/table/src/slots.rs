//! Ranges of slots, as the table writes them: `"0-32767"` or `"7"`.

use std::fmt;

use crate::id::CellIndex;

/// A run of slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotRange {
    first: u32,
    last: u32,
}

/// Why a text is not a range of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRangeError {
    /// Neither one number nor two with a hyphen between them.
    Syntax,
    /// The last slot is before the first.
    Backwards,
    /// Beyond the table's last slot.
    OutOfRange { last: u32 },
}

impl SlotRange {
    /// Reads `"a-b"` or `"a"` for a table of `slots` slots.
    ///
    /// # Errors
    /// The text is no range of slots, ends before it starts, or goes beyond the table's last slot.
    pub fn parse(text: &str, slots: u32) -> Result<Self, SlotRangeError> {
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| digits.parse::<u32>().unwrap_or(u32::MAX))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(SlotRangeError::Syntax);
        };
        if first > last {
            return Err(SlotRangeError::Backwards);
        }
        if last >= slots {
            return Err(SlotRangeError::OutOfRange {
                last: slots.saturating_sub(1),
            });
        }
        Ok(Self { first, last })
    }

    /// `None` when the last slot is before the first.
    pub fn new(first: u32, last: u32) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest slot.
    pub fn first(self) -> u32 {
        self.first
    }

    /// The highest slot, which belongs to the range.
    pub fn last(self) -> u32 {
        self.last
    }

    /// How many slots, at least one.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for SlotRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("is not a range of slots"),
            Self::Backwards => f.write_str("is a range that ends before it starts"),
            Self::OutOfRange { last } => write!(f, "goes beyond the last slot, {last}"),
        }
    }
}

impl std::error::Error for SlotRangeError {}

/// The slots being handed out while a table is read.
#[derive(Debug)]
pub(crate) struct Assignment {
    owners: Vec<SlotOwner>,
    /// From each slot towards the next free one at or behind it, so that what is taken is skipped, not walked: a file
    /// full of overlapping ranges must not cost its number of ranges times its number of slots.
    next: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotOwner {
    Nobody,
    Cell(CellIndex),
    /// A cell that does not exist; its slots count as taken, so that they are not reported again as unassigned.
    UnknownCell,
}

impl Assignment {
    pub(crate) fn new(slots: u32) -> Self {
        Self {
            owners: vec![SlotOwner::Nobody; slots as usize],
            next: (0..=slots).collect(),
        }
    }

    /// Gives the free slots of a range to a cell; `None` is a cell that does not exist.
    ///
    /// # Errors
    /// The first slots of the range that are taken already, up to the next free one.
    pub(crate) fn assign(
        &mut self,
        range: SlotRange,
        cell: Option<CellIndex>,
    ) -> Result<(), SlotRange> {
        let owner = cell.map_or(SlotOwner::UnknownCell, SlotOwner::Cell);
        let mut first_taken = None;
        let mut expected = range.first;
        loop {
            let free = self.next_free(expected);
            if free != expected && expected <= range.last {
                first_taken.get_or_insert(SlotRange {
                    first: expected,
                    last: range.last.min(free - 1),
                });
            }
            if free > range.last {
                return first_taken.map_or(Ok(()), Err);
            }
            self.owners[free as usize] = owner;
            self.next[free as usize] = free + 1;
            expected = free + 1;
        }
    }

    /// The first free slot at or behind `slot`; the number of slots when no slot is free.
    fn next_free(&mut self, slot: u32) -> u32 {
        let mut free = slot;
        while self.next[free as usize] != free {
            free = self.next[free as usize];
        }
        let mut at = slot;
        while at != free {
            at = std::mem::replace(&mut self.next[at as usize], free);
        }
        free
    }

    /// The first slots of a range, as far as they have the same owner, and who it is.
    pub(crate) fn first_run(&self, range: SlotRange) -> (SlotRange, Option<CellIndex>) {
        let owners = &self.owners[range.first as usize..=range.last as usize];
        let (run, owner) = runs(owners).next().expect("a range has at least one slot");
        let run = SlotRange {
            first: range.first,
            last: range.first + run.last,
        };
        (run, owner.cell())
    }

    pub(crate) fn has_unassigned(&self) -> bool {
        self.owners.contains(&SlotOwner::Nobody)
    }

    pub(crate) fn unassigned(&self) -> impl Iterator<Item = SlotRange> {
        runs(&self.owners)
            .filter(|(_, owner)| *owner == SlotOwner::Nobody)
            .map(|(range, _)| range)
    }

    /// `None` while a slot is without a cell that exists.
    pub(crate) fn finish(self) -> Option<Box<[CellIndex]>> {
        self.owners.into_iter().map(SlotOwner::cell).collect()
    }
}

impl SlotOwner {
    fn cell(self) -> Option<CellIndex> {
        match self {
            Self::Cell(cell) => Some(cell),
            Self::Nobody | Self::UnknownCell => None,
        }
    }
}

/// Groups neighbours with the same owner.
pub(crate) fn runs<T: Copy + PartialEq>(owners: &[T]) -> impl Iterator<Item = (SlotRange, T)> {
    let mut next = 0;
    owners
        .chunk_by(|left, right| left == right)
        .map(move |run| {
            let first = next;
            next += u32::try_from(run.len()).expect("a table has at most SLOTS_MAX slots");
            (
                SlotRange {
                    first,
                    last: next - 1,
                },
                run[0],
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_print() {
        let check = |text: &str, expected: Result<&str, SlotRangeError>| {
            let range = SlotRange::parse(text, 100).map(|range| range.to_string());
            assert_eq!(
                range.as_deref(),
                expected.as_ref().map(|s| &**s),
                "{text:?}"
            );
        };
        check("0-99", Ok("0-99"));
        check("7", Ok("7"));
        check("7-7", Ok("7"));
        check("9-8", Err(SlotRangeError::Backwards));
        check("0-100", Err(SlotRangeError::OutOfRange { last: 99 }));
        check("99999999999", Err(SlotRangeError::OutOfRange { last: 99 }));
        for text in ["", "-", "1-", "-1", "1-2-3", " 1", "+1", "0x1", "a", "1–2"] {
            check(text, Err(SlotRangeError::Syntax));
        }
    }

    #[test]
    fn assignment_tells_who_was_first() {
        let (one, two) = (Some(CellIndex::new(0)), Some(CellIndex::new(1)));
        let range = |text| SlotRange::parse(text, 10).unwrap();
        let mut assignment = Assignment::new(10);
        assert_eq!(assignment.assign(range("2-4"), one), Ok(()));
        let taken = assignment.assign(range("0-5"), two).unwrap_err();
        assert_eq!(taken, range("2-4"));
        assert_eq!(assignment.first_run(taken), (range("2-4"), one));
        // The same cell again: only what was taken before counts.
        let taken = assignment.assign(range("3-6"), two).unwrap_err();
        assert_eq!(taken, range("3-5"));
        assert_eq!(assignment.first_run(taken), (range("3-4"), one));
        assert_eq!(assignment.assign(range("4"), two), Err(range("4")));
        assert_eq!(assignment.unassigned().collect::<Vec<_>>(), [range("7-9")]);
        assert_eq!(assignment.assign(range("7-8"), two), Ok(()));
        assert!(assignment.has_unassigned());
        assert_eq!(assignment.assign(range("8-9"), None), Err(range("8")));
        assert_eq!(assignment.first_run(range("9")), (range("9"), None));
        assert!(!assignment.has_unassigned());
        assert_eq!(assignment.finish(), None, "slot 9 has no cell that exists");
    }

    #[test]
    fn assignment_hands_out_every_slot() {
        let cells = [CellIndex::new(0), CellIndex::new(1)];
        let mut assignment = Assignment::new(6);
        for (range, cell) in [("4-5", 0), ("0", 0), ("1-3", 1)] {
            let range = SlotRange::parse(range, 6).unwrap();
            assert_eq!(assignment.assign(range, Some(cells[cell])), Ok(()));
        }
        let owners = assignment.finish().unwrap();
        let ranges: Vec<_> = runs(&owners)
            .map(|(range, owner)| (range.to_string(), owner.get()))
            .collect();
        let expected = [("0", 0), ("1-3", 1), ("4-5", 0)];
        assert_eq!(
            ranges,
            expected.map(|(range, cell)| (range.to_owned(), cell))
        );
    }

    /// A million slots, each range over all of them: linear in slots plus ranges.
    #[test]
    fn assignment_of_overlapping_ranges_is_quick() {
        let slots = crate::limits::SLOTS_MAX;
        let all = SlotRange::parse(&format!("0-{}", slots - 1), slots).unwrap();
        let mut assignment = Assignment::new(slots);
        let started = std::time::Instant::now();
        for number in 0..100_000 {
            let expected = if number == 0 { Ok(()) } else { Err(all) };
            assert_eq!(assignment.assign(all, Some(CellIndex::new(0))), expected);
        }
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }
}
