//! The forms of a request target, RFC 9112 section 3.2.

use super::Refusal;
use super::bytes::{self, ODD_IN_TARGET};
use super::host::check_host;

/// Checks the form and returns the authority if the target holds one (absolute-form).
///
/// Of the characters that RFC 3986 wants percent-encoded, those pass that clients send as they are: `[]^{|}`, a quote in
/// a path, a backslash and a backtick in a query, and text in UTF-8. The others Pingora refuses, so they are refused
/// here, where the answer says why; and a backslash in a path, which URL parsers of the WHATWG kind take for a slash.
pub(super) fn authority<'a>(method: &str, target: &'a str) -> Result<Option<&'a str>, Refusal> {
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
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::BadTarget);
    }
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.is_empty() {
        return Err(Refusal::BadTarget);
    }
    let authority = check_host(authority.as_bytes())?;
    check_path(path)?;
    Ok(Some(authority))
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
