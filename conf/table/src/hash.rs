//! From a tenant key to its slot. Frozen by format 1: a change here would send every tenant to another cell.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::id::Slot;

/// How a table hashes: the seed of XXH3 and the number of slots, 1 to [`SLOTS_MAX`](crate::limits::SLOTS_MAX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSpec {
    seed: u64,
    slots: u32,
}

impl HashSpec {
    /// `None` when `slots` is out of range.
    pub fn new(seed: u64, slots: u32) -> Option<Self> {
        (1..=crate::limits::SLOTS_MAX)
            .contains(&slots)
            .then_some(Self { seed, slots })
    }

    /// The seed of XXH3.
    pub fn seed(self) -> u64 {
        self.seed
    }

    /// The number of slots.
    pub fn slots(self) -> u32 {
        self.slots
    }

    /// XXH3 (64 bits, <https://xxhash.com>) of the exact bytes of the key.
    pub fn hash(self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    /// The slot of a hash: its share of the 64-bit range, scaled to the number of slots. No modulo, so any number of
    /// slots is hit evenly (Lemire, "Fast random integer generation in an interval", 2019).
    pub fn slot_of_hash(self, hash: u64) -> Slot {
        let scaled = (u128::from(hash) * u128::from(self.slots)) >> 64;
        Slot(u32::try_from(scaled).expect("a scaled hash is below the number of slots"))
    }

    /// The slot of a key.
    pub fn slot(self, key: &[u8]) -> Slot {
        self.slot_of_hash(self.hash(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors are shared with every other implementation of format 1.
    #[test]
    fn shared_vectors() {
        let vectors = include_str!("../vectors/hash.tsv");
        let mut count = 0;
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [key, seed, slots, hash, slot] = fields[..] else {
                panic!("not five fields: {line:?}");
            };
            let spec = HashSpec::new(seed.parse().unwrap(), slots.parse().unwrap()).unwrap();
            assert_eq!(
                format!("{:016x}", spec.hash(key.as_bytes())),
                hash,
                "hash of {key:?}"
            );
            assert_eq!(
                spec.slot(key.as_bytes()).get(),
                slot.parse::<u32>().unwrap(),
                "slot of {key:?}"
            );
            count += 1;
        }
        assert!(count >= 280, "only {count} vectors were read");
    }

    #[test]
    fn slots_are_in_range() {
        assert_eq!(HashSpec::new(0, 0), None);
        assert_eq!(HashSpec::new(0, crate::limits::SLOTS_MAX + 1), None);
        let spec = HashSpec::new(0, 5).unwrap();
        assert_eq!(spec.slot_of_hash(0).get(), 0);
        assert_eq!(spec.slot_of_hash(u64::MAX).get(), 4);
    }
}
