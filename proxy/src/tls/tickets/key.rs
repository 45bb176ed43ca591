//! One key of session tickets: seals the state of a session, and opens what it has sealed. Pure but for random numbers.

use std::fmt;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Prk},
    rand::{SecureRandom as _, SystemRandom},
};

pub(super) const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 16;
const SALT_BYTES: usize = 32;
const DATE_BYTES: usize = 8;
const HEADER_BYTES: usize = ID_BYTES + SALT_BYTES;
const NONCE_BYTES: usize = 12;

/// How old a ticket may be, in seconds.
pub(super) const TICKET_AGE_MAX: i64 = 12 * 60 * 60;
/// How far the clocks of those who share a key may differ, in seconds.
const CLOCK_DIFFERENCE_MAX: i64 = 5 * 60;

/// A ticket is the key's id, a salt, and, sealed, the time and the session. The salt makes a key of the ticket's own out of
/// the secret: however many proxies share it, and however many tickets they seal, no key meets a nonce a second time.
pub(super) struct Key {
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
    prk: Prk,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// How many bytes are derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Key {
    /// Of a new secret.
    pub(super) fn generate(listener: &str) -> Result<Self, Unspecified> {
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret)?;
        Ok(Self::new(secret, listener))
    }

    /// Two listeners with the same secret have different keys: a session of one is nothing to another, which may ask other
    /// things of its clients.
    pub(super) fn new(secret: [u8; SECRET_BYTES], listener: &str) -> Self {
        let shared = Prk::new_less_safe(HKDF_SHA256, &secret);
        let info = [&b"session tickets of listener "[..], listener.as_bytes()];
        let prk = Prk::from(
            shared
                .expand(&info, HKDF_SHA256)
                .expect("as long as the hash is not too long"),
        );
        let mut id = [0; ID_BYTES];
        prk.expand(&[b"id"], Length(ID_BYTES))
            .and_then(|derived| derived.fill(&mut id))
            .expect("it has that length, which is not too long");
        Self { id, secret, prk }
    }

    pub(super) fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// `now` is in seconds since 1970. `None` if the system gives no random numbers.
    pub(super) fn seal(&self, session: &[u8], now: i64) -> Option<Vec<u8>> {
        let mut header = [0; HEADER_BYTES];
        let (id, salt) = header.split_at_mut(ID_BYTES);
        id.copy_from_slice(&self.id);
        SystemRandom::new().fill(salt).ok()?;
        let mut sealed = [&now.to_be_bytes()[..], session].concat();
        self.cipher(salt)
            .seal_in_place_append_tag(nonce(), Aad::from(&header), &mut sealed)
            .ok()?;
        Some([&header[..], &sealed].concat())
    }

    /// `None` if it is not a ticket of this key, or too old.
    pub(super) fn open(&self, ticket: &[u8], now: i64) -> Option<Vec<u8>> {
        let (header, sealed) = ticket.split_first_chunk::<HEADER_BYTES>()?;
        let (id, salt) = header.split_at(ID_BYTES);
        if id != self.id {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let opened = self
            .cipher(salt)
            .open_in_place(nonce(), Aad::from(header), &mut sealed)
            .ok()?;
        let (sealed_at, session) = opened.split_first_chunk::<DATE_BYTES>()?;
        is_younger(i64::from_be_bytes(*sealed_at), TICKET_AGE_MAX, now).then(|| session.to_vec())
    }

    fn cipher(&self, salt: &[u8]) -> LessSafeKey {
        let info = [b"ticket", salt];
        let derived = self.prk.expand(&info, &AES_256_GCM);
        LessSafeKey::new(UnboundKey::from(
            derived.expect("a key of AES is not too long"),
        ))
    }
}

/// The only one that a ticket's key is used with.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_BYTES])
}

/// Whether what was made then is younger than so many seconds. Clocks may differ a little, and are set back at times.
pub(super) fn is_younger(made_at: i64, age: i64, now: i64) -> bool {
    (-CLOCK_DIFFERENCE_MAX..age).contains(&now.saturating_sub(made_at))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn a_ticket_is_opened_by_its_key_alone() {
        let key = Key::new([7; SECRET_BYTES], "edge");
        for session in [&b""[..], b"session", &[3; 5_000]] {
            let ticket = key.seal(session, NOW).unwrap();
            assert_eq!(key.open(&ticket, NOW).unwrap(), session);
            for other in [
                Key::new([8; SECRET_BYTES], "edge"),
                Key::new([7; SECRET_BYTES], "other"),
                Key::generate("edge").unwrap(),
            ] {
                assert_eq!(other.open(&ticket, NOW), None);
            }
            let same = Key::new([7; SECRET_BYTES], "edge");
            assert_eq!(same.open(&ticket, NOW).unwrap(), session);
        }
    }

    #[test]
    fn a_ticket_that_was_changed_anywhere_is_none() {
        let key = Key::generate("edge").unwrap();
        let ticket = key.seal(b"session", NOW).unwrap();
        for at in 0..ticket.len() {
            for bit in 0..8 {
                let mut changed = ticket.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(key.open(&changed, NOW), None, "byte {at}, bit {bit}");
            }
            assert_eq!(key.open(&ticket[..at], NOW), None);
        }
        assert_eq!(key.open(&[&ticket[..], b"x"].concat(), NOW), None);
    }

    #[test]
    fn no_two_tickets_have_the_same_salt() {
        let key = Key::generate("edge").unwrap();
        let salts: HashSet<Vec<u8>> = (0..1_000)
            .map(|_| key.seal(b"session", NOW).unwrap()[ID_BYTES..HEADER_BYTES].to_vec())
            .collect();
        assert_eq!(salts.len(), 1_000);
    }

    #[test]
    fn a_ticket_is_good_for_a_while() {
        let key = Key::generate("edge").unwrap();
        let ticket = key.seal(b"session", NOW).unwrap();
        let is_good = |later: i64| key.open(&ticket, NOW + later).is_some();
        assert!(is_good(TICKET_AGE_MAX - 1) && is_good(-CLOCK_DIFFERENCE_MAX));
        assert!(!is_good(TICKET_AGE_MAX) && !is_good(-CLOCK_DIFFERENCE_MAX - 1));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let key = Key::new([7; SECRET_BYTES], "edge");
        assert_eq!(format!("{key:?}"), "Key { .. }");
    }
}
