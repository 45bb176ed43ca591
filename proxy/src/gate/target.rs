//! The forms of a request target, RFC 9112 section 3.2.

use super::Refusal;
use super::bytes::{self, ODD_IN_TARGET};
use super::host::{check_host, split_port};

/// Whom an absolute-form target is for.
pub(super) struct Authority<'a> {
    pub(super) text: &'a str,
    /// The port that the scheme stands for.
    default_port: u16,
}

impl Authority<'_> {
    /// Whether a Host field names the same: the case of a host means nothing, and neither does a port that is the
    /// scheme's own or empty (RFC 9110 section 4.2.3, RFC 3986 section 6.2.3). Only so much is normalised. A dot at the
    /// end or another way to write an address is another host.
    pub(super) fn is_same_as(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else {
            return false;
        };
        let (name, port) = split_port(self.text);
        let (other_name, other_port) = split_port(host);
        name.eq_ignore_ascii_case(other_name)
            && port.unwrap_or(self.default_port) == other_port.unwrap_or(self.default_port)
    }
}

/// Checks the form and returns the authority if the target holds one (absolute-form).
///
/// Of the characters that RFC 3986 wants percent-encoded, those pass that clients send as they are: `[]^{|}`, a quote in
/// a path, a backslash and a backtick in a query, and text in UTF-8. The others Pingora refuses, so they are refused
/// here, where the answer says why; and a backslash in a path, which URL parsers of the WHATWG kind take for a slash.
pub(super) fn authority<'a>(
    method: &str,
    target: &'a str,
) -> Result<Option<Authority<'a>>, Refusal> {
    if target.starts_with('/') {
        check_path(target)?;
        return Ok(None);
    }
    if target == "*" {
        return match method {
            "OPTIONS" => Ok(None),
            _ => Err(Refusal::BadTarget),
        };
    }
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::BadTarget)?;
    let default_port = if scheme.eq_ignore_ascii_case("http") {
        80
    } else if scheme.eq_ignore_ascii_case("https") {
        443
    } else {
        return Err(Refusal::BadTarget);
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.is_empty() {
        return Err(Refusal::BadTarget);
    }
    check_host(authority.as_bytes())?;
    check_path(path)?;
    Ok(Some(Authority {
        text: authority,
        default_port,
    }))
}

/// Checks what follows the authority. The fragment, which Pingora cuts off, may hold anything.
fn check_path(target: &str) -> Result<(), Refusal> {
    if !target.bytes().any(|byte| bytes::is(byte, ODD_IN_TARGET)) {
        return Ok(());
    }
    let (target, _) = target.split_once('#').unwrap_or((target, ""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path.contains(['<', '>', '`', '\\']) || query.contains(['"', '<', '>']) {
        return Err(Refusal::BadTargetByte);
    }
    Ok(())
}
