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
#[derive(Clone, Copy)]
pub struct RequestKey {
    bytes: [u8; TENANT_KEY_BYTES_MAX],
    length: u16,
}

impl RequestKey {
    /// These bytes as they are.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::collect(bytes.iter().copied())
    }

    /// What an operator asks for in a URL: percent-decoded, and `+` stands for itself.
    pub fn percent_decoded(text: &[u8]) -> Result<Self, KeyError> {
        if has_broken_escape(text) {
            return Err(KeyError::Escape);
        }
        Self::collect(Decoded::new(text, Plus::Plus))
    }

    pub(super) fn collect(bytes: impl Iterator<Item = u8>) -> Result<Self, KeyError> {
        let mut key = Self::empty();
        for byte in bytes {
            let place = key
                .bytes
                .get_mut(usize::from(key.length))
                .ok_or(KeyError::Invalid(TenantKeyError::TooLong))?;
            *place = byte;
            key.length += 1;
        }
        check_tenant_key(key.as_bytes()).map_err(KeyError::Invalid)?;
        if has_outer_white_space(key.as_bytes()) {
            return Err(KeyError::OuterSpace);
        }
        Ok(key)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// A host name is at most 255 bytes; a longer one matches no rule.
    pub(super) fn lower_cased(host: &[u8]) -> Option<Self> {
        Self::collect(host.iter().map(u8::to_ascii_lowercase)).ok()
    }

    pub(super) fn of_address(address: IpAddr) -> Self {
        let mut key = Self::empty();
        let mut rest = &mut key.bytes[..];
        write!(rest, "{}", address.to_canonical()).expect("an address takes at most 39 bytes");
        let left = rest.len();
        key.length =
            u16::try_from(TENANT_KEY_BYTES_MAX - left).expect("an address takes at most 39 bytes");
        key
    }

    fn empty() -> Self {
        Self {
            bytes: [0; TENANT_KEY_BYTES_MAX],
            length: 0,
        }
    }
}

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
