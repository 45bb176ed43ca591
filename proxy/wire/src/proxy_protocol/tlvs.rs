//! A header's extensions: type, length, value, one behind the other. They are checked, so that a header is valid
//! in whole or refused, whether or not anybody asks for what they say.

use super::{crc32c, fault::Fault};

pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CHECKSUM: u8 = 0x03;
/// Of each, before its value.
const FIXED_BYTES: usize = 3;

/// Each type with its value, as far as they are whole.
pub(super) fn all(mut extensions: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, high, low], rest) = extensions.split_first_chunk::<FIXED_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length)?;
        extensions = rest;
        Some((kind, value))
    })
}

/// Checks the extensions that begin at `at`, and the header by its checksum if it has one.
pub(super) fn check(header: &[u8], mut at: usize) -> Result<(), Fault> {
    let mut checksum_at = None;
    while at < header.len() {
        let fixed = header[at..].first_chunk::<FIXED_BYTES>();
        let &[kind, high, low] = fixed.ok_or(Fault::Malformed)?;
        let value = at + FIXED_BYTES;
        let length = usize::from(u16::from_be_bytes([high, low]));
        at = value + length;
        if at > header.len() {
            return Err(Fault::Malformed);
        }
        if kind == CHECKSUM && (length != 4 || checksum_at.replace(value).is_some()) {
            return Err(Fault::Malformed);
        }
    }
    let Some(at) = checksum_at else {
        return Ok(());
    };
    // It is taken with zeros in its own place.
    let sum = crc32c::of(&[&header[..at], &[0; 4], &header[at + 4..]]);
    if header[at..at + 4] == sum.to_be_bytes() {
        Ok(())
    } else {
        Err(Fault::Checksum)
    }
}
