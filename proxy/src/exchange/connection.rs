//! What is known of a client's connection.

use std::{net::IpAddr, sync::Arc};

use crate::{
    config::Listener,
    field_lines::FieldLines,
    forwarding::{self, Hop, Trust},
};

/// Made once when a client's connection is accepted, and shared by all of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whoever connected to the proxy, in canonical form: a client, or a load balancer in front.
    pub peer: IpAddr,
    /// If the peer is a trusted proxy, it is believed whom its requests come from.
    pub may_vouch: bool,
    peer_text: Box<str>,
    hop_lines: Box<[u8]>,
    /// What took the connection.
    pub listener: Arc<Listener>,
    pub scheme: Scheme,
}

impl Connection {
    pub fn new(peer: IpAddr, listener: Arc<Listener>, scheme: Scheme) -> Self {
        let peer = peer.to_canonical();
        let peer_text: Box<str> = peer.to_string().into();
        let hop_lines = forwarding::lines_before_host(&peer_text, scheme.as_str());
        Self {
            peer,
            may_vouch: true,
            peer_text,
            hop_lines: hop_lines.into(),
            listener,
            scheme,
        }
    }

    /// Whom a request with these fields comes from.
    pub fn client(&self, trust: &Trust, lines: FieldLines<'_>) -> IpAddr {
        if self.may_vouch {
            trust.client_behind(lines, self.peer)
        } else {
            self.peer
        }
    }

    /// The hop of a request on it that is for `host`.
    pub fn hop<'r>(&'r self, host: Option<&'r [u8]>) -> Hop<'r> {
        Hop {
            peer: self.peer,
            may_vouch: self.may_vouch,
            peer_text: &self.peer_text,
            lines_before_host: &self.hop_lines,
            proto: self.scheme.as_str(),
            host,
        }
    }
}

/// What a client's URL begins with, as far as the listener knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }
}
