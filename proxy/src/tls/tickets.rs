//! The keys of a listener's session tickets: its own, which change by themselves, or those of a fleet. They are never another
//! listener's.

pub mod file;
mod key;

use std::sync::{PoisonError, RwLock};

use rustls::server::ProducesTickets;

use self::key::{Key, SECRET_BYTES, TICKET_AGE_MAX, is_younger};
use crate::clock;

/// How long tickets are sealed with a key of the listener's own, in seconds.
const ROTATION_INTERVAL: i64 = 6 * 60 * 60;
/// How long they are opened with it.
const KEY_AGE_MAX: i64 = 2 * ROTATION_INTERVAL;
/// What [`Tickets::export`] begins with.
const EXPORT_VERSION: u8 = 1;
const DATE_BYTES: usize = 8;
const EXPORTED_KEY_BYTES: usize = DATE_BYTES + SECRET_BYTES;
/// More than two only if the clock was set back.
const EXPORTED_KEYS_MAX: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub struct Tickets {
    listener: Box<str>,
    origin: Origin,
    /// The first one seals. Empty only if the system gives no random numbers.
    keys: RwLock<Vec<DatedKey>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Made here, or by the process before.
    Own,
    /// Whoever writes the file sees to its age.
    Fleet,
}

#[derive(Debug)]
struct DatedKey {
    key: Key,
    /// Seconds since 1970.
    made_at: i64,
}

impl Tickets {
    /// Keys of the listener's own: those that [`export`](Self::export) gave to another process before, as far as they are
    /// still good, or a new one.
    pub fn own(listener: &str, inherited: Option<&[u8]>, now: i64) -> Self {
        let inherited = inherited.and_then(|bytes| import(bytes, listener));
        let tickets = Self {
            listener: listener.into(),
            origin: Origin::Own,
            keys: RwLock::new(inherited.unwrap_or_default()),
        };
        tickets.rotate(now);
        tickets
    }

    /// The keys of a fleet.
    pub fn of_fleet(listener: &str, secrets: Vec<[u8; SECRET_BYTES]>) -> Self {
        let keys = secrets.into_iter().map(|secret| DatedKey {
            key: Key::new(secret, listener),
            made_at: 0,
        });
        Self {
            listener: listener.into(),
            origin: Origin::Fleet,
            keys: RwLock::new(keys.collect()),
        }
    }

    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The listener's own keys, for the process that takes it over. Those of a fleet are in their file.
    pub fn export(&self) -> Option<Vec<u8>> {
        if self.origin == Origin::Fleet {
            return None;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![EXPORT_VERSION];
        for key in keys.iter().take(EXPORTED_KEYS_MAX) {
            bytes.extend_from_slice(&key.made_at.to_be_bytes());
            bytes.extend_from_slice(key.key.secret());
        }
        Some(bytes)
    }

    /// Forgets keys that are too old, and makes a new one if it is time. Each use of the keys does so first; called
    /// besides, so that keys of a listener without clients do not stay.
    pub fn rotate(&self, now: i64) {
        let has_new = |keys: &[DatedKey]| {
            let seals = keys.first();
            seals.is_some_and(|key| is_younger(key.made_at, ROTATION_INTERVAL, now))
        };
        let is_good = |key: &DatedKey| is_younger(key.made_at, KEY_AGE_MAX, now);
        let is_due = |keys: &[DatedKey]| !has_new(keys) || !keys.iter().all(is_good);
        if self.origin == Origin::Fleet
            || !is_due(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
        {
            return;
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(is_good);
        // Another thread may have been here first.
        if has_new(&keys) {
            return;
        }
        // Without random numbers the one before goes on for as long as it may.
        if let Ok(key) = Key::generate(&self.listener) {
            keys.insert(0, DatedKey { key, made_at: now });
        }
    }

    fn seal(&self, session: &[u8], now: i64) -> Option<Vec<u8>> {
        self.rotate(now);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.first()?.key.seal(session, now)
    }

    fn open(&self, ticket: &[u8], now: i64) -> Option<Vec<u8>> {
        self.rotate(now);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find_map(|key| key.key.open(ticket, now))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(TICKET_AGE_MAX).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, clock::unix_now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, clock::unix_now())
    }
}

/// `None` for bytes that no [`Tickets::export`] has given.
fn import(bytes: &[u8], listener: &str) -> Option<Vec<DatedKey>> {
    let (&version, keys) = bytes.split_first()?;
    let (keys, rest) = keys.as_chunks::<EXPORTED_KEY_BYTES>();
    if version != EXPORT_VERSION || !rest.is_empty() || keys.len() > EXPORTED_KEYS_MAX {
        return None;
    }
    let keys = keys.iter().filter_map(|key| {
        let (made_at, secret) = key.split_first_chunk()?;
        Some(DatedKey {
            key: Key::new(secret.try_into().ok()?, listener),
            made_at: i64::from_be_bytes(*made_at),
        })
    });
    Some(keys.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const HOUR: i64 = 60 * 60;

    fn count(tickets: &Tickets) -> usize {
        tickets.keys.read().unwrap().len()
    }

    #[test]
    fn own_keys_change_and_the_ones_before_stay_for_a_while() {
        let tickets = Tickets::own("edge", None, NOW);
        let ticket = tickets.seal(b"session", NOW).unwrap();
        let opened = |hours: i64| tickets.open(&ticket, NOW + hours * HOUR);
        assert_eq!(opened(0).unwrap(), b"session");
        assert_eq!(opened(5).unwrap(), b"session");
        assert_eq!(count(&tickets), 1);
        assert_eq!(opened(6).unwrap(), b"session");
        assert_eq!(count(&tickets), 2);
        let later = tickets.seal(b"later", NOW + 11 * HOUR).unwrap();
        assert_eq!(opened(11).unwrap(), b"session");
        assert_eq!(count(&tickets), 2);
        assert_eq!(opened(12), None);
        assert_eq!(count(&tickets), 2, "one is new");
        assert_eq!(tickets.open(&later, NOW + 17 * HOUR).unwrap(), b"later");
        // Nobody came for a day: none of them is left.
        tickets.rotate(NOW + 48 * HOUR);
        assert_eq!(count(&tickets), 1);
        assert_eq!(tickets.open(&later, NOW + 17 * HOUR), None);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_no_key_for_ever() {
        let tickets = Tickets::own("edge", None, NOW);
        let ticket = tickets.seal(b"session", NOW).unwrap();
        assert!(tickets.open(&ticket, NOW - 1).is_some());
        assert_eq!(count(&tickets), 1);
        assert!(tickets.open(&ticket, NOW - 24 * HOUR).is_none());
        assert_eq!(count(&tickets), 1);
        assert!(tickets.seal(b"session", NOW - 24 * HOUR).is_some());
    }

    #[test]
    fn a_successor_opens_the_tickets_of_the_process_before() {
        let before = Tickets::own("edge", None, NOW);
        let old = before.seal(b"old", NOW).unwrap();
        let new = before.seal(b"new", NOW + 7 * HOUR).unwrap();
        let exported = before.export().unwrap();
        let after = Tickets::own("edge", Some(&exported), NOW + 8 * HOUR);
        assert_eq!(after.open(&old, NOW + 8 * HOUR).unwrap(), b"old");
        assert_eq!(after.open(&new, NOW + 8 * HOUR).unwrap(), b"new");
        assert_eq!(after.export().unwrap(), exported);
        let sealed = after.seal(b"after", NOW + 8 * HOUR).unwrap();
        assert_eq!(before.open(&sealed, NOW + 8 * HOUR).unwrap(), b"after");
        // They grow old as if nothing had happened.
        assert_eq!(after.open(&old, NOW + 12 * HOUR), None);
        assert_eq!(count(&after), 1);
        // And they are no other listener's.
        let other = Tickets::own("other", Some(&exported), NOW + 8 * HOUR);
        assert_eq!(other.open(&new, NOW + 8 * HOUR), None);
    }

    #[test]
    fn what_is_no_export_gives_new_keys() {
        let exported = Tickets::own("edge", None, NOW).export().unwrap();
        let too_many = [&exported[..1], &exported[1..].repeat(9)].concat();
        let other_version = [&[2][..], &exported[1..]].concat();
        let cut = &exported[..exported.len() - 1];
        for bytes in [&b""[..], &[1], cut, &too_many, &other_version] {
            let tickets = Tickets::own("edge", Some(bytes), NOW);
            assert_eq!(count(&tickets), 1, "{bytes:?}");
            assert!(tickets.seal(b"session", NOW).is_some());
        }
        let too_old = Tickets::own("edge", Some(&exported), NOW + 24 * HOUR);
        assert_eq!(count(&too_old), 1);
        assert_ne!(too_old.export().unwrap(), exported);
    }

    #[test]
    fn the_first_key_of_a_fleet_seals_and_all_open() {
        let mut old = [1; SECRET_BYTES];
        old[0] = 2;
        let new = [&old[1..], &[9]].concat().try_into().unwrap();
        let before = Tickets::of_fleet("edge", vec![old]);
        let during = Tickets::of_fleet("edge", vec![new, old]);
        let after = Tickets::of_fleet("edge", vec![new]);
        let ticket = before.seal(b"session", NOW).unwrap();
        assert!(during.open(&ticket, NOW).is_some());
        assert!(after.open(&ticket, NOW).is_none());
        let ticket = during.seal(b"session", NOW).unwrap();
        assert!(after.open(&ticket, NOW).is_some());
        assert!(before.open(&ticket, NOW).is_none());
        // Nothing makes others of them, and they are nobody's to pass on.
        during.rotate(NOW + 1_000 * HOUR);
        assert_eq!(count(&during), 2);
        assert_eq!(during.export(), None);
    }
}
