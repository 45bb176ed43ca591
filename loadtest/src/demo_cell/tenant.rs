//! Tenant keys, and the file each tenant's data lies in.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::limits::TENANT_BYTES_MAX;

/// The bytes that name a tenant: 1 to [`TENANT_BYTES_MAX`] of any value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TenantKey(Arc<[u8]>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantKeyError {
    #[error("the tenant key is empty")]
    Empty,
    #[error("the tenant key has {bytes} bytes, more than {TENANT_BYTES_MAX}")]
    TooLong { bytes: usize },
}

impl TenantKey {
    /// Keys up to this many bytes stand in the file name as they are, if their bytes allow it.
    const PLAIN_BYTES_MAX: usize = 64;

    /// How much of any other key is shown in the file name, for people.
    const HINT_BYTES_MAX: usize = 24;

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name of the tenant's database file.
    ///
    /// Two tenants never share one, on a file system that ignores case neither, for a name holds
    /// only lower-case letters, digits, `-`, `_` and the one `.` of its ending. Short keys made of
    /// `a-z`, `0-9` and `-` become `t-KEY.sqlite`; all others `h-SHA256-HINT.sqlite`. At most 98
    /// bytes.
    #[must_use]
    pub fn file_name(&self) -> String {
        if let Some(plain) = self.plain() {
            return format!("t-{plain}.sqlite");
        }

        let mut name = String::from("h-");
        for byte in Sha256::digest(&self.0) {
            write!(name, "{byte:02x}").expect("a String takes whatever is written");
        }
        name.push('-');
        name.extend(self.0.iter().take(Self::HINT_BYTES_MAX).map(|byte| {
            match byte.to_ascii_lowercase() {
                letter if is_plain(letter) => char::from(letter),
                _ => '_',
            }
        }));
        name.push_str(".sqlite");
        name
    }

    fn plain(&self) -> Option<&str> {
        if self.0.len() > Self::PLAIN_BYTES_MAX || !self.0.iter().copied().all(is_plain) {
            return None;
        }
        str::from_utf8(&self.0).ok()
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

impl TryFrom<&[u8]> for TenantKey {
    type Error = TenantKeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, TenantKeyError> {
        match bytes.len() {
            0 => Err(TenantKeyError::Empty),
            1..=TENANT_BYTES_MAX => Ok(Self(bytes.into())),
            bytes => Err(TenantKeyError::TooLong { bytes }),
        }
    }
}

/// The key with everything but printable ASCII escaped, for people and logs.
impl fmt::Display for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests;
