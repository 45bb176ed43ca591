//! What stands in a hello.

use std::collections::BTreeSet;

use super::{fault::Fault, host_name};

const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;
const EXTENSION_SERVER_NAME: u16 = 0;
/// RFC 9849.
const EXTENSION_ECH: u16 = 0xfe0d;
const NAME_HOST: u8 = 0;

/// What it asks for.
pub(super) struct Wishes {
    pub(super) server_name: Option<String>,
    pub(super) has_ech: bool,
}

/// Reads a whole one, without the type and length before it.
pub(super) fn read(message: &[u8]) -> Result<Wishes, Fault> {
    let mut rest = Bytes(message);
    let [major, _] = rest.take()?;
    rest.take::<RANDOM_BYTES>()?;
    let session_id = rest.block::<1>()?;
    let suites = rest.block::<2>()?;
    let compressions = rest.block::<1>()?;
    let is_plain = major == 3
        && session_id.len() <= SESSION_ID_BYTES_MAX
        && !suites.is_empty()
        && suites.len() % 2 == 0
        && !compressions.is_empty();
    if !is_plain {
        return Err(Fault::Malformed);
    }
    // Clients of old need not have any extensions.
    let mut extensions = Bytes(if rest.0.is_empty() {
        &[]
    } else {
        rest.block::<2>()?
    });
    if !rest.0.is_empty() {
        return Err(Fault::Malformed);
    }
    let (mut server_name, mut has_ech) = (None, false);
    let mut seen = BTreeSet::new();
    while !extensions.0.is_empty() {
        let kind = u16::from_be_bytes(extensions.take()?);
        let value = extensions.block::<2>()?;
        if !seen.insert(kind) {
            return Err(Fault::Malformed);
        }
        match kind {
            EXTENSION_SERVER_NAME => server_name = Some(read_names(value)?),
            EXTENSION_ECH => has_ech = true,
            _ => {}
        }
    }
    Ok(Wishes {
        server_name,
        has_ech,
    })
}

/// A list of names by its form, but of each type there may be one only, and there is only one type.
fn read_names(value: &[u8]) -> Result<String, Fault> {
    let mut value = Bytes(value);
    let mut names = Bytes(value.block::<2>()?);
    let [kind] = names.take()?;
    let name = names.block::<2>()?;
    if kind != NAME_HOST || !names.0.is_empty() || !value.0.is_empty() {
        return Err(Fault::Malformed);
    }
    host_name::read(name).ok_or(Fault::ServerName)
}

/// What is still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// What has its length, of so many bytes, before it.
    fn block<const LENGTH_BYTES: usize>(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.take::<LENGTH_BYTES>()?;
        let length = length
            .into_iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(byte));
        let (block, rest) = self.0.split_at_checked(length).ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(block)
    }
}
