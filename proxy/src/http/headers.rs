//! Header hygiene: what clients may not say is dropped, what cells must know is added.
//!
//! Hop-by-hop fields and those that `Connection` names are Pingora's work, done before these functions run; so a client
//! cannot nominate a field that is added here.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::{
    ErrorType, OrErr as _, Result,
    http::{RequestHeader, ResponseHeader},
};

use crate::{
    answer::{Extras, HSTS},
    exchange::{Connection, Destination},
    field_lines::{FieldLine, FieldLines, OWN_CELL, OWN_GENERATION, OWN_TENANT},
    forwarding::{Hop, Trust},
    request_id::REQUEST_ID,
    tenant_key::{RequestView, host_name},
    upstream::answer::Known,
};

const TENANT: HeaderName = HeaderName::from_static(OWN_TENANT);
const CELL: HeaderName = HeaderName::from_static(OWN_CELL);
const GENERATION: HeaderName = HeaderName::from_static(OWN_GENERATION);

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

/// The fields of a parsed head.
pub(super) fn field_lines(headers: &HeaderMap) -> Vec<FieldLine<'_>> {
    headers
        .iter()
        .map(|(name, value)| FieldLine {
            name: name.as_str().as_bytes(),
            value: value.as_bytes(),
        })
        .collect()
}

/// The parts of a parsed request that can name a tenant.
pub(super) fn view<'r>(
    request: &'r RequestHeader,
    lines: FieldLines<'r>,
    client: IpAddr,
    connection: &'r Connection,
) -> RequestView<'r> {
    let target = origin_form(request.raw_path());
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    RequestView {
        lines,
        path: parts.next().unwrap_or_default(),
        query: parts.next(),
        host: host_name(host_of(request)),
        client,
        evidence: connection.evidence.as_deref(),
    }
}

/// Drops what clients send under our names, in any spelling, and says anew who forwarded what.
pub(super) fn clean(request: &mut RequestHeader, trust: &Trust, hop: &Hop<'_>) -> Result<()> {
    let (dropped, added) = {
        let headers = &request.headers;
        let lines = field_lines(headers);
        let rewrite = trust.rewrite(FieldLines(&lines), hop);
        let names: Vec<&HeaderName> = headers.iter().map(|(name, _)| name).collect();
        let dropped: Vec<HeaderName> = rewrite
            .dropped
            .iter()
            .map(|place| names[*place].clone())
            .collect();
        let value = |value| {
            HeaderValue::from_bytes(value)
                .or_err(ErrorType::InvalidHTTPHeader, "a forwarding field")
        };
        let added: Result<Vec<_>> = rewrite
            .added()
            .map(|(name, bytes)| Ok((name, value(bytes)?)))
            .collect();
        (dropped, added?)
    };
    for name in &dropped {
        request.remove_header(name);
    }
    for (name, value) in added {
        request.insert_header(name, value)?;
    }
    Ok(())
}

/// Says to the cell whom the request is for and by which table it came.
pub(super) fn identify(
    request: &mut RequestHeader,
    tenant: &[u8],
    destination: &Destination,
) -> Result<()> {
    request.insert_header(TENANT, tenant)?;
    request.insert_header(CELL, &destination.cell().id_header)?;
    request.insert_header(GENERATION, destination.generation_header())
}

/// A cell cannot speak in the proxy's name, nor of the connection to the client. What it calls the request gives way to
/// what the request is called here.
pub(super) fn clean_response(response: &mut ResponseHeader, extras: Extras<'_>) -> Result<()> {
    let request_id = extras.request_id;
    let nominated = nominated(response);
    let switches = matches!(response.status.as_u16(), 101 | 426);
    let dropped: Vec<HeaderName> = response
        .headers
        .keys()
        .filter(|name| match Known::of(name.as_str().as_bytes()) {
            // In a final answer Pingora writes it anew.
            Some(Known::Connection) => response.status.is_informational() && !switches,
            Some(Known::Upgrade) => !switches,
            Some(Known::RequestId) if request_id.is_some() => true,
            Some(known) if known.stays_behind() => true,
            _ => !switches && nominated.iter().any(|other| *name == other.as_str()),
        })
        .cloned()
        .collect();
    for name in dropped {
        response.remove_header(&name);
    }
    unify_length(response);
    if response.version == Version::HTTP_10 {
        // The version is that of the message's sender, which is the proxy (RFC 9110, section 6.2).
        response.set_version(Version::HTTP_11);
    }
    let is_final = !response.status.is_informational() || response.status.as_u16() == 101;
    if !is_final {
        return Ok(());
    }
    if let Some(id) = request_id {
        response.insert_header(REQUEST_ID, id.as_bytes())?;
    }
    match extras.hsts {
        Some(value) if !response.headers.contains_key(HSTS) => response.insert_header(HSTS, value),
        _ => Ok(()),
    }
}

/// Whether an answer ends with its head (RFC 9112, section 6.3).
pub(super) fn has_no_body(response: &ResponseHeader, request: &RequestHeader) -> bool {
    let length = response.headers.get(header::CONTENT_LENGTH);
    request.method == Method::HEAD
        || matches!(response.status.as_u16(), 204 | 304)
        || length.is_some_and(|length| length == "0")
}

/// An answer without a body has no framing, and any other one length, however often the cell has said it (RFC 9110,
/// section 8.6).
fn unify_length(response: &mut ResponseHeader) {
    if response.status.is_informational() || response.status == StatusCode::NO_CONTENT {
        response.remove_header(&header::CONTENT_LENGTH);
        response.remove_header(&header::TRANSFER_ENCODING);
        return;
    }
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(first), second) = (lengths.next(), lengths.next()) else {
        return;
    };
    let member = first.as_bytes().split(|byte| *byte == b',').next();
    let member = member.unwrap_or_default().trim_ascii();
    if second.is_none() && member == first.as_bytes() {
        return;
    }
    if let Ok(length) = HeaderValue::from_bytes(member) {
        // The name is a constant and the value a number: it is not refused.
        let _ = response.insert_header(header::CONTENT_LENGTH, length);
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
        // What cells usually say names no field.
        .filter(|line| !matches!(*line, "keep-alive" | "close"))
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

#[cfg(test)]
mod tests;
