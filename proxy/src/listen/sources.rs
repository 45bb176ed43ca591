//! How many connections each source has open.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Parts that are locked apart from each other.
const SHARDS: usize = 16;

/// Only sources with an open connection are remembered, so the limit of connections bounds the memory.
#[derive(Debug)]
pub(super) struct Sources {
    connections_max: NonZeroU32,
    shards: [Mutex<HashMap<Source, u32>>; SHARDS],
    hasher: RandomState,
}

/// An IPv4 address, or a /64 of IPv6: one subscriber has all of that, so there a single address means little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(u128);

impl Source {
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().into()),
            IpAddr::V6(address) => Self(u128::from(address) >> 64 << 64),
        }
    }
}

/// A source's place for one connection. Dropping it gives it back.
#[derive(Debug)]
pub struct SourcePlace {
    sources: Arc<Sources>,
    source: Source,
}

impl Sources {
    pub(super) fn new(connections_max: NonZeroU32) -> Self {
        Self {
            connections_max,
            shards: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// `None` when the peer's source has as many as it may.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<SourcePlace> {
        let source = Source::of(peer);
        let mut shard = self.shard(source);
        let open = shard.entry(source).or_insert(0);
        if *open >= self.connections_max.get() {
            return None;
        }
        *open += 1;
        Some(SourcePlace {
            sources: Arc::clone(self),
            source,
        })
    }

    fn shard(&self, source: Source) -> MutexGuard<'_, HashMap<Source, u32>> {
        // Its last bits.
        let [.., number] = self.hasher.hash_one(source).to_be_bytes();
        let shard = &self.shards[usize::from(number) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SourcePlace {
    fn drop(&mut self) {
        let mut shard = self.sources.shard(self.source);
        if let Some(open) = shard.get_mut(&self.source) {
            *open -= 1;
            if *open == 0 {
                shard.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_places_and_nobody_elses() {
        let sources = Arc::new(Sources::new(NonZeroU32::new(2).unwrap()));
        let take = |peer: &str| sources.take(peer.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let _second = take("::ffff:192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        assert!(take("192.0.2.2").is_some());
        drop(first);
        let _third = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        let _v6 = [
            take("2001:db8::1").unwrap(),
            take("2001:db8::ffff:0:0:1").unwrap(),
        ];
        assert!(take("2001:db8::2").is_none());
        assert!(take("2001:db8:0:1::2").is_some());
    }

    #[test]
    fn a_source_without_connections_is_forgotten() {
        let sources = Arc::new(Sources::new(NonZeroU32::MIN));
        for last in 0..100 {
            let peer = IpAddr::from([192, 0, 2, last]);
            let _place = sources.take(peer).unwrap();
            assert!(sources.take(peer).is_none());
        }
        let remembered = |shard: &Mutex<HashMap<_, _>>| shard.lock().unwrap().len();
        assert_eq!(sources.shards.iter().map(remembered).sum::<usize>(), 0);
    }
}
