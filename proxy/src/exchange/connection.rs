//! What is known of a client's connection.

use std::{net::IpAddr, sync::Arc};

use crate::{
    config::Listener,
    field_lines::FieldLines,
    forwarding::{self, Hop, Trust},
    request_id::RequestId,
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
    /// What its TLS handshake agreed on.
    pub tls: Option<TlsFacts>,
}

/// What is known of a connection's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The name of the cipher suite.
    pub cipher: &'static str,
    /// The server's name that the client asked for.
    pub server_name: Option<Box<str>>,
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
            tls: None,
        }
    }

    /// The same connection after its TLS handshake.
    #[must_use]
    pub fn with_tls(self, facts: TlsFacts) -> Self {
        Self {
            tls: Some(facts),
            may_vouch: self.may_vouch,
            ..Self::new(self.peer, self.listener, Scheme::Https)
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

    /// What its peer calls a request with these fields, if that is believed.
    pub fn request_id(&self, trust: &Trust, lines: FieldLines<'_>) -> Option<RequestId> {
        let given = self.may_vouch.then(|| trust.request_id(lines, self.peer));
        given.flatten()
    }

    /// The hop of a request on it that is for `host`, and is called `request_id` from here on.
    pub fn hop<'r>(&'r self, host: Option<&'r [u8]>, request_id: Option<&'r RequestId>) -> Hop<'r> {
        Hop {
            peer: self.peer,
            may_vouch: self.may_vouch,
            peer_text: &self.peer_text,
            lines_before_host: &self.hop_lines,
            proto: self.scheme.as_str(),
            host,
            request_id: request_id.map(RequestId::as_bytes),
        }
    }
}

/// What a client's URL begins with, as far as the listener knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
