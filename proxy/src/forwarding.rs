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

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use hop::Hop;
pub use name::{NameError, TrustedHeaders};

use crate::net::Networks;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whose word on a request's way is taken, and which words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    pub proxies: Networks,
    pub headers: TrustedHeaders,
}

/// What becomes of a request's fields. What is in neither list stays as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    pub dropped: Vec<HeaderName>,
    /// Each replaces all lines of its name.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl Trust {
    /// The client's address: the nearest one on the way that is no proxy of our own, if our own proxies say so.
    /// `x-forwarded-for` says it if it is trusted, else `forwarded`.
    pub fn client_behind(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        if !self.proxies.contain(peer) {
            return peer;
        }
        if self.headers.contain(&FORWARDED_FOR) {
            self.walk(headers, &FORWARDED_FOR, peer, address::parse)
        } else if self.headers.contain(&FORWARDED) {
            self.walk(headers, &FORWARDED, peer, |element| {
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
        headers: &HeaderMap,
        name: &HeaderName,
        peer: IpAddr,
        address_in: impl Fn(&[u8]) -> Option<IpAddr>,
    ) -> IpAddr {
        let mut client = peer;
        for line in headers.get_all(name).iter().rev() {
            for member in list::members(line.as_bytes()).rev() {
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

    /// What the cell gets: nothing that an untrusted peer says, and of a trusted one's what is listed and makes sense.
    pub fn rewrite(&self, headers: &HeaderMap, hop: &Hop<'_>) -> Rewrite {
        let peer_is_trusted = self.proxies.contain(hop.peer);
        let is_kept = |name: &HeaderName| {
            peer_is_trusted
                && headers.contains_key(name)
                && self.headers.contain(name)
                && is_sane(headers, name)
        };
        let mut rewrite = Rewrite::default();
        for name in headers.keys() {
            if name::is_reserved(name.as_str()) && !is_kept(name) {
                rewrite.dropped.push(name.clone());
            }
        }
        let peer = hop.peer.to_string();
        let chain = if is_kept(&FORWARDED_FOR) {
            let mut chain = hops(headers);
            chain.push(peer.as_bytes());
            joined(&chain)
        } else {
            HeaderValue::try_from(peer).expect("an address is a header value")
        };
        rewrite.set.push((FORWARDED_FOR, chain));
        if !is_kept(&FORWARDED_PROTO) {
            let proto = HeaderValue::from_static(hop.proto);
            rewrite.set.push((FORWARDED_PROTO, proto));
        }
        if let Some(host) = hop.host
            && !is_kept(&FORWARDED_HOST)
        {
            rewrite.set.push((FORWARDED_HOST, host.clone()));
        }
        if self.headers.contain(&FORWARDED) {
            let element = list::element(hop);
            let mut chain = Vec::new();
            if is_kept(&FORWARDED) {
                chain.extend(lines_of(headers, &FORWARDED).filter(|line| !line.is_empty()));
            }
            chain.push(&element);
            rewrite.set.push((FORWARDED, joined(&chain)));
        }
        rewrite
    }
}

/// The hops that `x-forwarded-for` names.
fn hops(headers: &HeaderMap) -> Vec<&[u8]> {
    let mut hops: Vec<&[u8]> = lines_of(headers, &FORWARDED_FOR)
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

fn joined(pieces: &[&[u8]]) -> HeaderValue {
    HeaderValue::from_bytes(&pieces.join(&b", "[..]))
        .expect("pieces of header values, commas and spaces make a header value")
}

fn lines_of<'r>(headers: &'r HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'r [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.map(HeaderValue::as_bytes)
}

/// Whether what a trusted proxy sends under this name can be what the name says.
fn is_sane(headers: &HeaderMap, name: &HeaderName) -> bool {
    let is_only = |is_good: fn(&[u8]) -> bool| {
        let mut lines = lines_of(headers, name);
        lines.next().is_some_and(is_good) && lines.next().is_none()
    };
    match name.as_str() {
        "forwarded" => lines_of(headers, name).all(list::is_forwarded),
        "x-forwarded-proto" => is_only(|value| matches!(value, b"http" | b"https")),
        "x-forwarded-port" => {
            is_only(|value| std::str::from_utf8(value).is_ok_and(address::is_port))
        }
        "x-forwarded-host" => is_only(is_host),
        "x-real-ip" | "x-client-ip" | "true-client-ip" => {
            is_only(|value| address::parse(value).is_some())
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
