//! The key itself: checked bytes, held in place.

use std::{fmt, io::Write as _, net::IpAddr};

use cellgate_table::{
    id::{TenantKeyError, check_tenant_key, has_outer_white_space},
    limits::TENANT_KEY_BYTES_MAX,
};

use super::{
    KeyError,
    escapes::{Decoded, Plus, has_broken_escape},
};

/// A canonical tenant key: 1 to 256 bytes without control characters, and without white space at its ends, held in
/// place.
#[derive(Clone)]
pub struct RequestKey {
    bytes: [u8; TENANT_KEY_BYTES_MAX],
    length: usize,
}

impl RequestKey {
    /// These bytes as they are.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut key = Self::default();
        key.set(bytes)?;
        Ok(key)
    }

    /// What an operator asks for in a URL: percent-decoded, and `+` stands for itself.
    pub fn percent_decoded(text: &[u8]) -> Result<Self, KeyError> {
        if has_broken_escape(text) {
            return Err(KeyError::Escape);
        }
        let mut key = Self::default();
        key.fill(Decoded::new(text, Plus::Plus))?;
        Ok(key)
    }

    /// Takes these bytes as they are.
    pub(super) fn set(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        let place = self.bytes.get_mut(..bytes.len()).ok_or(TOO_LONG)?;
        place.copy_from_slice(bytes);
        self.length = bytes.len();
        self.check()
    }

    /// Takes the bytes one by one.
    pub(super) fn fill(&mut self, bytes: impl Iterator<Item = u8>) -> Result<(), KeyError> {
        self.length = 0;
        for byte in bytes {
            *self.bytes.get_mut(self.length).ok_or(TOO_LONG)? = byte;
            self.length += 1;
        }
        self.check()
    }

    fn check(&self) -> Result<(), KeyError> {
        check_tenant_key(self.as_bytes()).map_err(KeyError::Invalid)?;
        if has_outer_white_space(self.as_bytes()) {
            return Err(KeyError::OuterSpace);
        }
        Ok(())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// A host name is at most 255 bytes; a longer one matches no rule.
    pub(super) fn lower_cased(host: &[u8]) -> Option<Self> {
        let mut name = Self::default();
        name.fill(host.iter().map(u8::to_ascii_lowercase)).ok()?;
        Some(name)
    }

    pub(super) fn set_address(&mut self, address: IpAddr) {
        self.set_shown(address.to_canonical());
    }

    /// Takes what is short and plain, such as an address or a number, as it is shown.
    pub(super) fn set_shown(&mut self, value: impl fmt::Display) {
        let mut rest = &mut self.bytes[..];
        write!(rest, "{value}").expect("it takes less than 64 bytes");
        self.length = TENANT_KEY_BYTES_MAX - rest.len();
    }
}

const TOO_LONG: KeyError = KeyError::Invalid(TenantKeyError::TooLong);

/// A place for a key. No request names the empty one.
impl Default for RequestKey {
    fn default() -> Self {
        Self {
            bytes: [0; TENANT_KEY_BYTES_MAX],
            length: 0,
        }
    }
}

impl Eq for RequestKey {}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RequestKey({:?})",
            String::from_utf8_lossy(self.as_bytes())
        )
    }
}

impl PartialEq for RequestKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
