//! Ranges of slots, as the table writes them: `"0-32767"` or `"7"`.

use std::fmt;

use crate::id::CellIndex;

/// A run of slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotRange {
    first: u32,
    last: u32,
}

/// Why a text is not a range of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRangeError {
    Syntax,
    Backwards,
    /// Beyond the table's last slot.
    OutOfRange {
        last: u32,
    },
}

impl SlotRange {
    /// Reads `"a-b"` or `"a"` for a table of `slots` slots.
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

    pub fn first(self) -> u32 {
        self.first
    }

    pub fn last(self) -> u32 {
        self.last
    }

    /// How many slots, at least one.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }

    pub(crate) fn indices(self) -> std::ops::RangeInclusive<usize> {
        self.first as usize..=self.last as usize
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
    owners: Vec<Option<CellIndex>>,
}

impl Assignment {
    pub(crate) fn new(slots: u32) -> Self {
        Self {
            owners: vec![None; slots as usize],
        }
    }

    /// Gives the free slots of a range to a cell.
    ///
    /// # Errors
    /// The first run of the range that somebody owns already, and who.
    pub(crate) fn assign(
        &mut self,
        range: SlotRange,
        cell: CellIndex,
    ) -> Result<(), (SlotRange, CellIndex)> {
        let part = &mut self.owners[range.indices()];
        let taken = runs(part).find_map(|(run, owner)| owner.map(|owner| (run, owner)));
        for owner in part.iter_mut().filter(|owner| owner.is_none()) {
            *owner = Some(cell);
        }
        match taken {
            None => Ok(()),
            Some((run, owner)) => {
                let shifted = SlotRange {
                    first: range.first + run.first,
                    last: range.first + run.last,
                };
                Err((shifted, owner))
            }
        }
    }

    pub(crate) fn unassigned(&self) -> impl Iterator<Item = SlotRange> {
        runs(&self.owners)
            .filter(|(_, owner)| owner.is_none())
            .map(|(range, _)| range)
    }

    /// `None` while a slot is unassigned.
    pub(crate) fn finish(self) -> Option<Box<[CellIndex]>> {
        self.owners.into_iter().collect()
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
        let (one, two) = (CellIndex::new(0), CellIndex::new(1));
        let range = |text| SlotRange::parse(text, 10).unwrap();
        let mut assignment = Assignment::new(10);
        assert_eq!(assignment.assign(range("2-4"), one), Ok(()));
        assert_eq!(
            assignment.assign(range("0-5"), two),
            Err((range("2-4"), one))
        );
        assert_eq!(assignment.unassigned().collect::<Vec<_>>(), [range("6-9")]);
        assert_eq!(assignment.assign(range("6-9"), two), Ok(()));
        let owners = assignment.finish().unwrap();
        let ranges: Vec<_> = runs(&owners)
            .map(|(range, owner)| (range.to_string(), owner))
            .collect();
        assert_eq!(
            ranges,
            [
                ("0-1".to_owned(), two),
                ("2-4".to_owned(), one),
                ("5-9".to_owned(), two)
            ]
        );
    }
}
