//! An index from names to what the table says of them: a Swiss table whose entries hold short keys in place.
//!
//! Its control bytes (one for each name) fit into a core's caches even for a million names, so a name that is not there
//! seldom touches memory beyond them, and one that is there touches one line more.

use cellgate_table::{CellIndex, Owner};
use hashbrown::HashTable;

/// Where a tenant is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    pub cell: CellIndex,
    pub owner: Owner,
    pub is_rejected: bool,
}

/// What the table says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Tenant(Destination),
    /// The number of the alias in the routes' list of targets.
    Alias(u32),
}

/// Keys up to this length are held in the entry itself; longer ones in a shared arena.
const INLINE_BYTES: usize = 25;

/// One name: 32 bytes, aligned so that none straddles two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Place {
    /// A cell or the number of an alias, by `kind`.
    value: u32,
    length: u16,
    kind: Kind,
    key: [u8; INLINE_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Override,
    OverrideRejected,
    SlotRejected,
    Alias,
}

#[derive(Debug)]
pub(super) struct NameIndex {
    places: HashTable<Place>,
    /// The bytes of the keys that are too long to be held in place.
    arena: Vec<u8>,
}

impl NameIndex {
    /// An index with room for that many names.
    pub(super) fn for_names(count: usize) -> Self {
        Self {
            places: HashTable::with_capacity(count),
            arena: Vec::new(),
        }
    }

    /// Adds a name that is not there yet.
    ///
    /// # Panics
    /// When the index is full: it is made for a count of names, and they are distinct.
    pub(super) fn insert(&mut self, hash: u64, name: &[u8], entry: Entry) {
        let mut key = [0; INLINE_BYTES];
        if name.len() <= INLINE_BYTES {
            key[..name.len()].copy_from_slice(name);
        } else {
            key[..8].copy_from_slice(&(self.arena.len() as u64).to_le_bytes());
            self.arena.extend_from_slice(name);
        }
        let (kind, value) = Kind::of(entry);
        let length = u16::try_from(name.len()).expect("a key has at most 256 bytes");
        let place = Place {
            value,
            length,
            kind,
            key,
        };
        self.places.insert_unique(hash, place, |_| {
            unreachable!("the index was made with room for all of its names")
        });
    }

    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Entry> {
        let place = self.places.find(hash, |place| self.key_of(place) == name)?;
        Some(place.kind.entry(place.value))
    }

    fn key_of<'k>(&'k self, place: &'k Place) -> &'k [u8] {
        let length = usize::from(place.length);
        if length <= INLINE_BYTES {
            return &place.key[..length];
        }
        let offset = place.key[..8]
            .try_into()
            .expect("eight bytes make an offset");
        let offset = usize::try_from(u64::from_le_bytes(offset)).expect("it was a usize");
        &self.arena[offset..offset + length]
    }
}

impl Kind {
    fn of(entry: Entry) -> (Self, u32) {
        match entry {
            Entry::Alias(number) => (Self::Alias, number),
            Entry::Tenant(Destination {
                cell,
                owner,
                is_rejected,
            }) => {
                let kind = match (owner, is_rejected) {
                    (Owner::Override, false) => Self::Override,
                    (Owner::Override, true) => Self::OverrideRejected,
                    // A tenant whose slot decides is named only to be rejected.
                    (Owner::Slot, _) => Self::SlotRejected,
                };
                (kind, u32::from(cell.number()))
            }
        }
    }

    fn entry(self, value: u32) -> Entry {
        let tenant = |owner, is_rejected| {
            let number = u16::try_from(value).expect("a cell's number was put in");
            Entry::Tenant(Destination {
                cell: CellIndex::from_number(number),
                owner,
                is_rejected,
            })
        };
        match self {
            Self::Alias => Entry::Alias(value),
            Self::Override => tenant(Owner::Override, false),
            Self::OverrideRejected => tenant(Owner::Override, true),
            Self::SlotRejected => tenant(Owner::Slot, true),
        }
    }
}
