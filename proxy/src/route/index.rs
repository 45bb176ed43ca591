//! An open-addressed index from names to what the table says of them, laid out for one cache line per look-up.

use cellgate_table::{CellIndex, Owner};

use super::Destination;

/// What the table says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Tenant(Destination),
    /// The number of the alias in the routes' list of targets.
    Alias(u32),
}

/// Keys up to this length are held in the entry itself; longer ones in a shared arena.
const INLINE_BYTES: usize = 18;

/// One place of the index: 32 bytes, so two of them share a cache line and none straddles two.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Place {
    /// The low half of the hash, which tells nearly all other keys apart before any byte of the key is looked at.
    tag: u32,
    /// A cell or the number of an alias, by `kind`.
    value: u32,
    /// The key's length; 0 marks an empty place, as no key is empty.
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

const EMPTY: Place = Place {
    tag: 0,
    value: 0,
    length: 0,
    kind: Kind::Alias,
    key: [0; INLINE_BYTES],
};

#[derive(Debug)]
pub(super) struct NameIndex {
    places: Box<[Place]>,
    /// The bytes of the keys that are too long to be held in place.
    arena: Vec<u8>,
}

impl NameIndex {
    /// An index for that many names, at most three fifths full.
    pub(super) fn for_names(count: usize) -> Self {
        let places = if count == 0 { 0 } else { count * 5 / 3 + 1 };
        Self {
            places: vec![EMPTY; places].into(),
            arena: Vec::new(),
        }
    }

    /// Adds a name that is not there yet.
    ///
    /// # Panics
    /// When the index is full: it is made for a count of names, and they are distinct.
    pub(super) fn insert(&mut self, hash: u64, name: &[u8], entry: Entry) {
        assert!(
            !self.places.is_empty(),
            "the index is made for the names that are added to it"
        );
        let mut at = self.first_place(hash);
        while self.places[at].length != 0 {
            at = self.next_place(at);
        }
        let mut key = [0; INLINE_BYTES];
        if name.len() <= INLINE_BYTES {
            key[..name.len()].copy_from_slice(name);
        } else {
            key[..8].copy_from_slice(&(self.arena.len() as u64).to_le_bytes());
            self.arena.extend_from_slice(name);
        }
        let (kind, value) = Kind::of(entry);
        let length = u16::try_from(name.len()).expect("a key has at most 256 bytes");
        self.places[at] = Place {
            tag: tag_of(hash),
            value,
            length,
            kind,
            key,
        };
    }

    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Entry> {
        if self.places.is_empty() {
            return None;
        }
        let tag = tag_of(hash);
        let mut at = self.first_place(hash);
        loop {
            let place = &self.places[at];
            if place.length == 0 {
                return None;
            }
            if place.tag == tag
                && usize::from(place.length) == name.len()
                && self.key_of(place) == name
            {
                return Some(place.kind.entry(place.value));
            }
            at = self.next_place(at);
        }
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

    /// The hash's share of the 64-bit range, scaled to the number of places.
    fn first_place(&self, hash: u64) -> usize {
        let scaled = (u128::from(hash) * self.places.len() as u128) >> 64;
        usize::try_from(scaled).expect("a scaled hash is below the number of places")
    }

    fn next_place(&self, at: usize) -> usize {
        if at + 1 == self.places.len() {
            0
        } else {
            at + 1
        }
    }
}

/// The place comes from the high bits of the hash, so the low ones still tell neighbours apart.
fn tag_of(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).expect("the low half of a hash has 32 bits")
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
