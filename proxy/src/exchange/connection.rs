//! What is known of a client's connection.

use std::{net::IpAddr, sync::Arc};

use crate::{
    config::Listener,
    field_lines::FieldLines,
    forwarding::{self, Hop, Trust},
    request_id::RequestId,
    tenant_key::{ConnectionView, Evidence, Hello, host_name},
};

/// Made once when a client's connection is accepted, and shared by all of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whoever connected to the proxy, in canonical form: a client, or a load balancer in front.
    pub peer: IpAddr,
    /// The port that it has connected from, as far as whoever passes the connection on says so.
    pub peer_port: u16,
    /// If the peer is a trusted proxy, it is believed whom its requests come from.
    pub may_vouch: bool,
    peer_text: Box<str>,
    hop_lines: Box<[u8]>,
    /// What took the connection.
    pub listener: Arc<Listener>,
    pub scheme: Scheme,
    /// What its TLS handshake agreed on.
    pub tls: Option<TlsFacts>,
    /// What it proves, as far as the listener's key rules ask for that.
    pub evidence: Option<Box<Evidence>>,
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
            peer_port: 0,
            may_vouch: true,
            peer_text,
            hop_lines: hop_lines.into(),
            listener,
            scheme,
            tls: None,
            evidence: None,
        }
    }

    /// The same connection after its TLS handshake.
    #[must_use]
    pub fn with_tls(self, facts: TlsFacts) -> Self {
        Self {
            tls: Some(facts),
            peer_port: self.peer_port,
            may_vouch: self.may_vouch,
            evidence: self.evidence,
            ..Self::new(self.peer, self.listener, Scheme::Https)
        }
    }

    /// What keeps the browsers of this host on HTTPS, if the listener says so. An IP address has no such thing (RFC 6797,
    /// section 8.1.1).
    pub fn hsts(&self, host: Option<&[u8]>) -> Option<&str> {
        let hsts = self.listener.http.hsts.as_ref()?;
        let is_name = host.is_some_and(|host| !is_address(host_name(host)));
        (self.tls.is_some() && is_name).then(|| hsts.value())
    }

    /// The same where the request could not be read: only the handshake says what its host is called.
    pub fn hsts_unread(&self) -> Option<&str> {
        let name = self.tls.as_ref()?.server_name.as_deref()?;
        self.hsts(Some(name.as_bytes()))
    }

    /// Where to note what it proves.
    pub fn evidence_mut(&mut self) -> &mut Evidence {
        self.evidence.get_or_insert_default()
    }

    /// What of it can name a tenant, if it carries no requests. `hello` is what is known of a `ClientHello`.
    pub fn key_view<'c>(&'c self, hello: Hello<'c>) -> ConnectionView<'c> {
        ConnectionView {
            client: self.peer,
            evidence: self.evidence.as_deref(),
            hello,
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
            request_id,
        }
    }
}

/// Whether a host is an IP address in any form in which browsers read one: in brackets, or with a number at its end (URL
/// standard, section 3.5).
fn is_address(host: &[u8]) -> bool {
    let last = host.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_hex = matches!(last, [b'0', b'x' | b'X', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit));
    host.starts_with(b"[") || is_hex || (!last.is_empty() && last.iter().all(u8::is_ascii_digit))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Hsts;

    #[test]
    fn only_names_over_tls_are_kept_on_https() {
        let mut listener = Listener::new("edge", ([127, 0, 0, 1], 8443).into());
        let plain = Connection::new(
            IpAddr::from([192, 0, 2, 1]),
            Arc::new(listener.clone()),
            Scheme::Http,
        );
        listener.http.hsts = Some(Hsts::new(7, true, false));
        let mut connection = Connection::new(plain.peer, listener.into(), Scheme::Http);
        assert_eq!(connection.hsts(Some(b"a.example")), None, "no TLS");
        connection = connection.with_tls(TlsFacts {
            version: "1.3",
            cipher: "x",
            server_name: Some("a.example".into()),
        });
        let value = Some("max-age=7; includeSubDomains");
        for host in [
            "a.example",
            "a.example:8443",
            "localhost",
            "a.0xg",
            "1.example.",
        ] {
            assert_eq!(connection.hsts(Some(host.as_bytes())), value, "{host}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:8443",
            "[::1]",
            "[::1]:443",
            "127.1",
            "0x7f000001",
            "1.0X7f",
            "10",
        ] {
            assert_eq!(connection.hsts(Some(host.as_bytes())), None, "{host}");
        }
        assert_eq!(connection.hsts(None), None);
        assert_eq!(connection.hsts_unread(), value);
        assert_eq!(plain.hsts(Some(b"a.example")), None, "not configured");
    }
}
