//! The value of Host and the authority of a target: `uri-host [":" port]`, RFC 9110 section 7.2.

use super::Refusal;
use super::bytes::{HOST_NAME, is};

/// The longest DNS name (253), a final dot, a colon and five digits.
const HOST_BYTES_MAX: usize = 260;

/// One host name or address with an optional port, and nothing that two programs could split differently: no list, no
/// user information, no path, no percent-encoding, no empty label.
pub(super) fn check_host(value: &[u8]) -> Result<(), Refusal> {
    if value.is_empty() {
        return Err(Refusal::EmptyHost);
    }
    if value.len() > HOST_BYTES_MAX {
        return Err(Refusal::BadHost);
    }
    let port = if let [b'[', rest @ ..] = value {
        let end = rest.iter().position(|&byte| byte == b']');
        let (address, port) = rest.split_at(end.ok_or(Refusal::BadHost)?);
        check_address(address)?;
        &port[1..]
    } else {
        let end = check_name(value)?;
        &value[end..]
    };
    check_port(port)
}

/// Where the name ends.
fn check_name(host: &[u8]) -> Result<usize, Refusal> {
    // Before the first label there is a dot too many if there is one at all.
    let mut before = b'.';
    let mut end = 0;
    for &byte in host {
        if !is(byte, HOST_NAME) || (byte == b'.' && before == b'.') {
            break;
        }
        before = byte;
        end += 1;
    }
    match host.get(end) {
        None | Some(b':') if end > 0 => Ok(end),
        _ => Err(Refusal::BadHost),
    }
}

/// An IPv6 address. Zones (RFC 6874) mean something on one machine only, and nobody uses `IPvFuture`.
fn check_address(address: &[u8]) -> Result<(), Refusal> {
    let parsed = std::str::from_utf8(address)
        .ok()
        .and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
    parsed.map(|_| ()).ok_or(Refusal::BadHost)
}

/// Name or address, and the port if there is one. For what [`check_host`] has let through.
pub(super) fn split_port(host: &str) -> (&str, Option<u16>) {
    let name_end = host.find(']').unwrap_or(0);
    match host[name_end..].find(':') {
        Some(colon) => {
            let (name, port) = host.split_at(name_end + colon);
            (name, port[1..].parse().ok())
        }
        None => (host, None),
    }
}

/// Nothing, or a colon and a port. RFC 3986 section 3.2.3 allows a colon with nothing behind it.
fn check_port(port: &[u8]) -> Result<(), Refusal> {
    let digits = match port {
        [] => return Ok(()),
        [b':', digits @ ..] => digits,
        _ => return Err(Refusal::BadHost),
    };
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadHost);
    }
    let port = digits
        .iter()
        .fold(0, |port: u32, digit| port * 10 + u32::from(digit - b'0'));
    u16::try_from(port)
        .map(|_| ())
        .map_err(|_| Refusal::BadHost)
}
