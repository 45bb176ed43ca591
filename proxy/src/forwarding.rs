//! Whom a request comes from, and which fields its cell gets about its way. Pure: fields in, an address or the fields to drop and
//! to set out.
//!
//! A client can write anything into these fields. So those that anybody but a trusted proxy sent are dropped, and of a
//! trusted proxy's the ones that the configuration lists are kept: the others may be the client's own, passed on by a
//! proxy that does not know them. This room must not know Pingora, the configuration file or the table.

mod address;
mod hop;
mod list;
mod name;

use std::{borrow::Cow, net::IpAddr};

pub use hop::Hop;
pub use name::{NameError, TrustedHeaders};

use crate::{
    buffer::Buffer,
    field_lines::{FieldLine, FieldLines},
    net::Networks,
    request_id::{REQUEST_ID, RequestId},
};

const FORWARDED: &str = "forwarded";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Whose word on a request's way is taken, and which words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    pub proxies: Networks,
    pub headers: TrustedHeaders,
}

/// What becomes of a request's fields. What is not dropped stays as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewrite<'r> {
    /// What [`lines_before_host`] has made, when nothing of the peer's is kept.
    plain: Option<&'r [u8]>,
    /// The places of the lines that do not go on, in their order.
    pub dropped: Vec<usize>,
    pub for_line: Cow<'r, [u8]>,
    pub proto: Option<&'static str>,
    pub host: Option<&'r [u8]>,
    pub forwarded: Option<Vec<u8>>,
    pub request_id: Option<&'r RequestId>,
}

impl Rewrite<'_> {
    /// Writes the lines that are added.
    pub fn write_added(&self, out: &mut Buffer) {
        if let (Some(lines), Some(host)) = (self.plain, self.host) {
            out.extend_from_slice(lines);
            out.extend_from_slice(host);
            out.extend_from_slice(b"\r\n");
            if let Some(id) = self.request_id {
                out.extend_from_slice(id.as_line());
            }
            return;
        }
        for (name, value) in self.added() {
            write_line(out, name, value);
        }
    }

    /// The names and values of the lines that are added.
    pub fn added(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        [
            Some((FORWARDED_FOR, &*self.for_line)),
            self.proto.map(|proto| (FORWARDED_PROTO, proto.as_bytes())),
            self.host.map(|host| (FORWARDED_HOST, host)),
            self.forwarded.as_deref().map(|chain| (FORWARDED, chain)),
            self.request_id.map(|id| (REQUEST_ID, id.as_bytes())),
        ]
        .into_iter()
        .flatten()
    }
}

impl Trust {
    /// The client's address: the nearest one on the way that is no proxy of our own, if our own proxies say so.
    /// `x-forwarded-for` says it if it is trusted, else `forwarded`.
    pub fn client_behind(&self, lines: FieldLines<'_>, peer: IpAddr) -> IpAddr {
        if !self.proxies.contain(peer) {
            return peer;
        }
        if self.headers.contain(FORWARDED_FOR.as_bytes()) {
            self.walk(lines, FORWARDED_FOR, peer, address::parse)
        } else if self.headers.contain(FORWARDED.as_bytes()) {
            self.walk(lines, FORWARDED, peer, |element| {
                address::parse(list::for_of(element)?)
            })
        } else {
            peer
        }
    }

    /// From the nearest hop to the farthest, up to one that is not ours or not an address. Commas count inside quotes
    /// too: else a client's open quote would swallow what our own proxies wrote behind it.
    fn walk(
        &self,
        lines: FieldLines<'_>,
        name: &str,
        peer: IpAddr,
        address_in: impl Fn(&[u8]) -> Option<IpAddr>,
    ) -> IpAddr {
        let mut client = peer;
        for line in lines.values(name).rev() {
            for member in list::members(line).rev() {
                let Some(address) = address_in(member) else {
                    return client;
                };
                client = address;
                if !self.proxies.contain(client) {
                    return client;
                }
            }
        }
        client
    }

    /// What a trusted peer calls the request, if it says one thing and that can be used.
    pub fn request_id(&self, lines: FieldLines<'_>, peer: IpAddr) -> Option<RequestId> {
        if !self.proxies.contain(peer) {
            return None;
        }
        let mut values = lines.values(REQUEST_ID);
        let id = RequestId::parse(values.next()?)?;
        values.next().is_none().then_some(id)
    }

    /// What the cell gets: nothing that an untrusted peer says, and of a trusted one's what is listed and makes sense.
    pub fn rewrite<'r>(&self, lines: FieldLines<'r>, hop: &Hop<'r>) -> Rewrite<'r> {
        let peer_is_trusted = hop.may_vouch && self.proxies.contain(hop.peer);
        let is_kept =
            |name: &[u8]| peer_is_trusted && self.headers.contain(name) && is_sane(lines, name);
        let keeps = |name: &str| peer_is_trusted && lines.contain(name) && is_kept(name.as_bytes());
        let is_written_anew = |line: &FieldLine<'_>| line.is(FORWARDED_FOR) || line.is(FORWARDED);
        let writes_forwarded = self.headers.contain(FORWARDED.as_bytes());
        let mut rewrite = Rewrite {
            plain: (!peer_is_trusted && !writes_forwarded).then_some(hop.lines_before_host),
            request_id: hop.request_id,
            ..Rewrite::default()
        };
        for (place, line) in lines.iter().enumerate() {
            let is_dropped =
                name::is_reserved(line.name) && (is_written_anew(line) || !is_kept(line.name));
            let is_renamed = hop.request_id.is_some() && name::is_request_id(line.name);
            if is_dropped || is_renamed {
                rewrite.dropped.push(place);
            }
        }
        rewrite.for_line = if keeps(FORWARDED_FOR) {
            let mut chain = hops(lines);
            chain.push(hop.peer_text.as_bytes());
            chain.join(&b", "[..]).into()
        } else {
            hop.peer_text.as_bytes().into()
        };
        if !keeps(FORWARDED_PROTO) {
            rewrite.proto = Some(hop.proto);
        }
        if !keeps(FORWARDED_HOST) {
            rewrite.host = hop.host;
        }
        if writes_forwarded {
            let element = list::element(hop);
            let mut chain = Vec::new();
            if keeps(FORWARDED) {
                chain.extend(lines.values(FORWARDED).filter(|line| !line.is_empty()));
            }
            chain.push(&element);
            rewrite.forwarded = Some(chain.join(&b", "[..]));
        }
        rewrite
    }
}

fn write_line(out: &mut Buffer, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

/// The lines about a hop of which nothing else is known, up to the host's value.
pub fn lines_before_host(peer: &str, proto: &str) -> Vec<u8> {
    format!("{FORWARDED_FOR}: {peer}\r\n{FORWARDED_PROTO}: {proto}\r\n{FORWARDED_HOST}: ")
        .into_bytes()
}

/// The hops that `x-forwarded-for` names.
fn hops(lines: FieldLines<'_>) -> Vec<&[u8]> {
    let mut hops: Vec<&[u8]> = lines
        .values(FORWARDED_FOR)
        .flat_map(list::members)
        .collect();
    if let Some(at) = hops.iter().rposition(|member| !is_hop(member)) {
        // What is neither an address nor a name was not written by a proxy, and so neither was what is before it.
        hops.drain(..=at);
    }
    hops
}

/// A member of `x-forwarded-for`: an address, or a word such as `unknown` or `_hidden`.
fn is_hop(member: &[u8]) -> bool {
    address::parse(member).is_some() || member.iter().all(|byte| list::is_token(*byte))
}

/// Whether what a trusted proxy sends under this name can be what the name says.
fn is_sane(lines: FieldLines<'_>, name: &[u8]) -> bool {
    let is_only = |name: &str, is_good: fn(&[u8]) -> bool| {
        let mut values = lines.values(name);
        values.next().is_some_and(is_good) && values.next().is_none()
    };
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "forwarded" => lines.values(FORWARDED).all(list::is_forwarded),
        "x-forwarded-proto" => is_only(&name, |value| matches!(value, b"http" | b"https")),
        "x-forwarded-port" => is_only(&name, |value| {
            std::str::from_utf8(value).is_ok_and(address::is_port)
        }),
        "x-forwarded-host" => is_only(&name, is_host),
        "x-real-ip" | "x-client-ip" | "true-client-ip" => {
            is_only(&name, |value| address::parse(value).is_some())
        }
        _ => true,
    }
}

/// The characters of a host name or address, with or without a port.
fn is_host(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b':' | b']')
        })
}

#[cfg(test)]
mod tests;
