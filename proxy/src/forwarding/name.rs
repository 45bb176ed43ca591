//! The names of fields that describe a request's way, and the ones of them that are trusted.

use std::fmt;

use http::HeaderName;

use crate::{field_lines::OWN_PREFIX, request_id::REQUEST_ID};

const FORWARDED_PREFIX: &str = "x-forwarded-";
/// What else load balancers and frameworks take a client's address, or another target, from.
const FORWARDING: [&str; 6] = [
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// The forwarding fields that are kept when a trusted proxy sends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedHeaders {
    names: Vec<HeaderName>,
}

/// Why a name cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    NotAName,
    /// Some server takes it for another name that it may have to be kept apart from.
    Underscore,
    /// It does not describe a request's way: it is passed on anyhow, or it is cellgate's own.
    NotForwarding,
    Repeated,
}

impl Default for TrustedHeaders {
    fn default() -> Self {
        let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port"];
        Self {
            names: names.map(HeaderName::from_static).into(),
        }
    }
}

impl TrustedHeaders {
    pub fn none() -> Self {
        Self { names: Vec::new() }
    }

    pub fn add(&mut self, text: &str) -> Result<(), NameError> {
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| NameError::NotAName)?;
        let known = name.as_str();
        if known.contains('_') && is_reserved(known.as_bytes()) {
            return Err(NameError::Underscore);
        }
        let of_the_family = known
            .strip_prefix(FORWARDED_PREFIX)
            .is_some_and(|rest| !rest.is_empty());
        if !of_the_family && !FORWARDING.contains(&known) {
            return Err(NameError::NotForwarding);
        }
        if self.contain(known.as_bytes()) {
            return Err(NameError::Repeated);
        }
        self.names.push(name);
        Ok(())
    }

    /// The name may be in any case.
    pub fn contain(&self, name: &[u8]) -> bool {
        let is_same = |known: &HeaderName| name.eq_ignore_ascii_case(known.as_str().as_bytes());
        self.names.iter().any(is_same)
    }
}

/// Whether only a trusted proxy may send a field of this name, or nobody. The name may be in any case.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    // Most names are none of these, and their first letter says so.
    if !matches!(name.first(), Some(b'x' | b'X' | b'f' | b'F' | b't' | b'T')) {
        return false;
    }
    let same = |known: &&str| name.len() == known.len() && begins_like(name, known);
    begins_like(name, OWN_PREFIX)
        || begins_like(name, FORWARDED_PREFIX)
        || FORWARDING.iter().any(same)
}

/// Whether some server would take the field for a request's id. The name may be in any case.
pub(super) fn is_request_id(name: &[u8]) -> bool {
    name.len() == REQUEST_ID.len() && begins_like(name, REQUEST_ID)
}

/// Servers that turn fields into variables (CGI) take `_` for `-`, and some any other sign too.
fn begins_like(name: &[u8], known: &str) -> bool {
    name.len() >= known.len()
        && name.iter().zip(known.bytes()).all(|(name, known)| {
            name.to_ascii_lowercase() == known || (known == b'-' && !name.is_ascii_alphanumeric())
        })
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAName => "is not a header name",
            Self::Underscore => "holds `_`",
            Self::NotForwarding => "is not a forwarding header",
            Self::Repeated => "is duplicated",
        })
    }
}

impl std::error::Error for NameError {}
