//! An address in every form in which load balancers write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `203.0.113.7`, `2001:db8::1`, `[2001:db8::1]`, the last two with a zone (`fe80::1%eth0`), the first and third with a
/// port; all of them in quotes too. The zone, which means something to the one who wrote it only, is left out, and a
/// mapped IPv4 address is the IPv4 address.
pub(super) fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        v6(address)?
    } else if let Some(address) = v6(text) {
        address
    } else {
        let (address, port) = text.split_once(':').unwrap_or((text, "0"));
        if !is_port(port) {
            return None;
        }
        address.parse::<Ipv4Addr>().ok()?.into()
    };
    Some(address.to_canonical())
}

fn v6(text: &str) -> Option<IpAddr> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "none"));
    let is_zone = !zone.is_empty()
        && zone
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'-' | b'.' | b'_'));
    if !is_zone {
        return None;
    }
    address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

pub(super) fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}
