//! Header hygiene: what clients may not say is dropped, what cells must know is added.
//!
//! Hop-by-hop fields and those that `Connection` names are Pingora's work, done before these functions run; so a client
//! cannot nominate a field that is added here.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
};

use super::exchange::Destination;
use crate::net::Networks;

const TENANT: HeaderName = HeaderName::from_static("x-cellgate-tenant");
const CELL: HeaderName = HeaderName::from_static("x-cellgate-cell");
const GENERATION: HeaderName = HeaderName::from_static("x-cellgate-generation");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const OUR_PREFIX: &str = "x-cellgate-";
const FORWARDED: [&str; 4] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
];

/// What is known of the way a request came.
pub(super) struct Forwarded<'r> {
    /// Whoever connected to the proxy.
    pub(super) peer: IpAddr,
    /// It is a proxy of our own, whose word on the client is taken.
    pub(super) peer_is_trusted: bool,
    pub(super) host: Option<&'r HeaderValue>,
}

/// The request target without scheme and authority, and without a fragment, which is no part of it.
pub(super) fn origin_form(target: &[u8]) -> &[u8] {
    let target = target
        .split(|byte| *byte == b'#')
        .next()
        .unwrap_or_default();
    let Some(at) = target.windows(3).position(|window| window == b"://") else {
        return target;
    };
    // A scheme comes before any slash; `/a://b` is a path.
    if target[..at].contains(&b'/') {
        return target;
    }
    let rest = &target[at + 3..];
    rest.iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .map_or(b"/", |start| &rest[start..])
}

/// The name in Host, without the port. The gate has seen to it that there is one and that it is well-formed.
pub(super) fn host_name(request: &RequestHeader) -> &[u8] {
    let host = request
        .headers
        .get(header::HOST)
        .map_or(&b""[..], HeaderValue::as_bytes);
    if host.starts_with(b"[") {
        let end = host
            .iter()
            .position(|byte| *byte == b']')
            .map_or(host.len(), |at| at + 1);
        return &host[..end];
    }
    host.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// The client's address: the nearest one in `x-forwarded-for` that is no proxy of our own, if our own proxies say so.
pub(super) fn client_behind(request: &RequestHeader, peer: IpAddr, trusted: &Networks) -> IpAddr {
    let mut client = peer;
    if trusted.is_empty() || !trusted.contain(peer) {
        return client;
    }
    for line in request.headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let text = std::str::from_utf8(entry.trim_ascii()).unwrap_or_default();
            let Ok(address) = text.parse::<IpAddr>() else {
                return client;
            };
            client = address.to_canonical();
            if !trusted.contain(client) {
                return client;
            }
        }
    }
    client
}

/// Drops what clients send under our names, in any spelling, and says anew who forwarded what.
pub(super) fn clean(request: &mut RequestHeader, forwarded: &Forwarded<'_>) -> Result<()> {
    let chain = forwarded
        .peer_is_trusted
        .then(|| joined(request, &FORWARDED_FOR));
    let proto = forwarded
        .peer_is_trusted
        .then(|| request.headers.get(FORWARDED_PROTO).cloned());
    let host = forwarded
        .peer_is_trusted
        .then(|| request.headers.get(FORWARDED_HOST).cloned());
    let dropped: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| is_ours(name.as_str()))
        .cloned()
        .collect();
    for name in dropped {
        request.remove_header(&name);
    }
    let peer = forwarded.peer.to_string();
    let chain = match chain {
        Some(chain) if !chain.is_empty() => [&chain[..], b", ", peer.as_bytes()].concat(),
        _ => peer.into_bytes(),
    };
    request.insert_header(FORWARDED_FOR, chain)?;
    let proto = proto.flatten().unwrap_or(HeaderValue::from_static("http"));
    request.insert_header(FORWARDED_PROTO, proto)?;
    if let Some(host) = host.flatten().as_ref().or(forwarded.host) {
        request.insert_header(FORWARDED_HOST, host)?;
    }
    Ok(())
}

/// Tells the cell whom the request is for and by which table it came.
pub(super) fn identify(
    request: &mut RequestHeader,
    tenant: &[u8],
    destination: &Destination,
) -> Result<()> {
    request.insert_header(TENANT, tenant)?;
    request.insert_header(CELL, &destination.cell().id_header)?;
    request.insert_header(GENERATION, &destination.snapshot.generation_header)
}

/// A cell cannot speak in the proxy's name.
pub(super) fn clean_response(response: &mut ResponseHeader) {
    let dropped: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with(OUR_PREFIX))
        .cloned()
        .collect();
    for name in dropped {
        response.remove_header(&name);
    }
}

pub(super) fn drop_upgrade(request: &mut RequestHeader) {
    request.remove_header(&header::UPGRADE);
    request.remove_header("http2-settings");
}

/// Pingora frames a body anew as plain `chunked`; a coding below that is still on the body and has to be named, in one
/// line, as a cell that looks at one line only would see another framing.
pub(super) fn restore_codings(request: &mut RequestHeader, from: &RequestHeader) -> Result<()> {
    let codings = joined(from, &header::TRANSFER_ENCODING);
    request.remove_header(&header::TRANSFER_ENCODING);
    request.insert_header(header::TRANSFER_ENCODING, codings)
}

/// All lines of a field as one list (RFC 9110, section 5.3).
fn joined(request: &RequestHeader, name: &HeaderName) -> Vec<u8> {
    let lines: Vec<&[u8]> = request
        .headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    lines.join(&b", "[..])
}

/// Our own names and those that tell the way of a request, with `_` taken for `-` as some servers do.
fn is_ours(name: &str) -> bool {
    let same = |known: &str| name.len() == known.len() && begins_like(name, known);
    begins_like(name, OUR_PREFIX) || FORWARDED.iter().any(|known| same(known))
}

/// Names are lower case already.
fn begins_like(name: &str, known: &str) -> bool {
    name.len() >= known.len()
        && name
            .bytes()
            .zip(known.bytes())
            .all(|(n, k)| n == k || (n == b'_' && k == b'-'))
}

#[cfg(test)]
mod tests;
