//! Header hygiene: what clients may not say is dropped, what cells must know is added.
//!
//! Hop-by-hop fields and those that `Connection` names are Pingora's work, done before these functions run; so a client
//! cannot nominate a field that is added here.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue, StatusCode, Version, header};
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

/// The request target without scheme and authority, and without a fragment, which is no part of it. An empty path before
/// a query stays empty.
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

/// What an absolute target names between its scheme and its path.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let at = target.windows(3).position(|window| window == b"://")?;
    let rest = &target[at + 3..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let is_path = target.starts_with(b"/");
    (!is_path).then(|| &rest[..end.unwrap_or(rest.len())])
}

/// The host that a request is for, as the client wrote it: Host, or without one (HTTP/1.0) what the target names.
fn host_of(request: &RequestHeader) -> &[u8] {
    request
        .headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .or_else(|| authority(request.raw_path()))
        .unwrap_or_default()
}

/// The name of the host, without the port, and without the dot at the end that makes a name absolute and changes nothing
/// else. The gate has seen to it that there is one and that it is well-formed.
pub(super) fn host_name(request: &RequestHeader) -> &[u8] {
    let host = host_of(request);
    if host.starts_with(b"[") {
        let end = host
            .iter()
            .position(|byte| *byte == b']')
            .map_or(host.len(), |at| at + 1);
        return &host[..end];
    }
    let name = host.split(|byte| *byte == b':').next().unwrap_or_default();
    name.strip_suffix(b".").unwrap_or(name)
}

/// The client's address: the nearest one in `x-forwarded-for` that is no proxy of our own, if our own proxies say so.
pub(super) fn client_behind(request: &RequestHeader, peer: IpAddr, trusted: &Networks) -> IpAddr {
    let mut client = peer;
    if trusted.is_empty() || !trusted.contain(peer) {
        return client;
    }
    for line in request.headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let Some(address) = address_in(entry) else {
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

/// An address, with or without a port as some load balancers write it.
fn address_in(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(with_port)
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

/// Why an answer is not passed on, if it is not: what one program takes for its end, another does not.
pub(super) fn objection_to(
    response: &ResponseHeader,
    asked_for_switch: bool,
) -> Option<&'static str> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !asked_for_switch {
        return Some("the cell changes to a protocol that nobody asked for");
    }
    let lines = response.headers.get_all(header::TRANSFER_ENCODING);
    let mut codings = lines
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    // With anything after it, the end of `chunked` is not the end of the body (RFC 9112, section 6.3).
    let is_chunked = codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    (is_chunked && codings.next().is_some())
        .then_some("the answer has a transfer coding after `chunked`")
}

/// Fields of an answer that speak of the connection to the cell and not of the one to the client (RFC 9110, section
/// 7.6.1), but for those that Pingora writes anew. Trailers of an answer are not passed on, so none is announced.
const OF_THE_CONNECTION: [&str; 4] = ["keep-alive", "proxy-connection", "te", "trailer"];

/// A cell cannot speak in the proxy's name, nor of the connection to the client.
pub(super) fn clean_response(response: &mut ResponseHeader) {
    let nominated = nominated(response);
    let switches = matches!(response.status.as_u16(), 101 | 426);
    let dropped: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with(OUR_PREFIX)
                || OF_THE_CONNECTION.contains(&name)
                || (!switches && (name == "upgrade" || nominated.iter().any(|other| other == name)))
        })
        .cloned()
        .collect();
    for name in dropped {
        response.remove_header(&name);
    }
    if response.version == Version::HTTP_10 && !response.status.is_informational() {
        // The version is that of the message's sender, which is the proxy (RFC 9110, section 6.2).
        response.set_version(Version::HTTP_11);
    }
}

/// The fields that an answer's `Connection` names, lower-cased. What frames the message is not among them: nobody may
/// have that removed.
fn nominated(response: &ResponseHeader) -> Vec<String> {
    response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !matches!(name.as_str(), "content-length" | "transfer-encoding"))
        .collect()
}

/// A cell is asked in origin-form, whatever form the client used (RFC 9112, section 3.2.1).
pub(super) fn to_origin_form(request: &mut RequestHeader) -> Result<()> {
    let target = request.raw_path();
    if target.starts_with(b"/") || target == b"*" {
        return Ok(());
    }
    let origin_form = match origin_form(target) {
        query @ [b'?', ..] => [b"/", query].concat(),
        path => path.to_vec(),
    };
    if !request.headers.contains_key(header::HOST) {
        let host = host_of(request).to_vec();
        request.insert_header(header::HOST, host)?;
    }
    request.set_raw_path(&origin_form)
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
