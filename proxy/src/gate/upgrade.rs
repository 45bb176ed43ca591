//! Upgrade, RFC 9110 section 7.8: which protocols a client may ask for on its connection, and which a cell may grant.

use std::{borrow::Cow, fmt};

use super::bytes::{self, TOKEN, trim};

/// Protocols that carry requests or hide them. Past such an upgrade the gate would see nothing of what follows, and a
/// cell would take requests that no rule of this proxy has judged.
const NEVER: [&str; 4] = ["h2", "h2c", "http", "tls"];

/// The protocols that may be asked for unless the configuration says otherwise.
static DEFAULT: [Protocol; 1] = [Protocol(Cow::Borrowed("websocket"))];

/// The name of a protocol, with a version where it has one: `websocket`, `foo/2`.
#[derive(Clone, Debug)]
pub struct Protocol(Cow<'static, str>);

/// Why a protocol cannot be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    Malformed,
    CarriesRequests,
}

/// What becomes of the Upgrade field of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// The request has no such field.
    #[default]
    None,
    /// It asks for nothing that is allowed: for other protocols only, without `Connection: upgrade`, or on HTTP/1.0. It
    /// has to be dropped, as Pingora and some cells would act on it, and the request goes on as plain HTTP.
    Dropped,
    /// It asks for a protocol that is allowed. What else it asks for has to be dropped; see [`allowed`].
    Asked,
}

impl Upgrade {
    /// Whether bytes after the head belong to the other protocol and have to wait for a 101.
    #[must_use]
    pub fn is_asked(self) -> bool {
        self == Self::Asked
    }
}

impl Protocol {
    /// # Errors
    ///
    /// What is no `protocol-name ["/" protocol-version]`, and what must never be asked for.
    pub fn parse(text: &str) -> Result<Self, ProtocolError> {
        let (name, version) = match text.split_once('/') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let is_token = |part: &str| !part.is_empty() && bytes::all(part.as_bytes(), TOKEN);
        if !is_token(name) || !version.is_none_or(is_token) {
            return Err(ProtocolError::Malformed);
        }
        if NEVER.iter().any(|never| never.eq_ignore_ascii_case(name)) {
            return Err(ProtocolError::CarriesRequests);
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }

    /// The list that holds unless the configuration has one.
    #[must_use]
    pub fn defaults() -> &'static [Self] {
        &DEFAULT
    }

    /// Names are compared without regard to case, RFC 9110 section 7.8, and versions alike.
    fn is(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(offered)
    }
}

impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.as_bytes())
    }
}

impl Eq for Protocol {}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is not the name of a protocol with an optional `/version`",
            Self::CarriesRequests => {
                "can never be allowed: requests inside it would pass unchecked"
            }
        })
    }
}

impl std::error::Error for ProtocolError {}

/// The protocols of one Upgrade line that may be asked for, as the client wrote them and in its order, which is its
/// order of preference.
pub fn allowed<'v>(
    line: &'v [u8],
    protocols: &'v [Protocol],
) -> impl Iterator<Item = &'v [u8]> + 'v {
    members(line).filter(|member| protocols.iter().any(|protocol| protocol.is(member)))
}

/// Whether everything that a cell's 101 names in an Upgrade line was in the one line that the cell was sent, and whether
/// it names anything. A 101 without that is no agreement, and what follows it nobody can read.
#[must_use]
pub fn was_offered(offered: &[u8], granted: &[u8]) -> bool {
    members(granted).next().is_some()
        && members(granted)
            .all(|granted| members(offered).any(|offered| offered.eq_ignore_ascii_case(granted)))
}

/// The members of a list, RFC 9110 section 5.6.1: empty ones do not count.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocols(names: &[&str]) -> Vec<Protocol> {
        let parse = |name: &&str| Protocol::parse(name).expect(name);
        names.iter().map(parse).collect()
    }

    #[test]
    fn names_of_protocols() {
        for text in [
            "websocket",
            "WebSocket",
            "foo/1.0",
            "x-y!/a",
            "h2x",
            "httpx",
        ] {
            assert!(Protocol::parse(text).is_ok(), "{text}");
        }
        for text in [
            "", "/", "a/", "/1", "a/b/c", "a b", "a,b", " a", "a;q=1", "\u{e4}", "*/\"",
        ] {
            let parsed = Protocol::parse(text);
            assert_eq!(parsed, Err(ProtocolError::Malformed), "{text}");
        }
        for text in [
            "h2c", "H2C", "h2", "h2c/1", "http", "HTTP/2.0", "http/1.1", "tls", "TLS/1.0", "Tls/x",
        ] {
            let parsed = Protocol::parse(text);
            assert_eq!(parsed, Err(ProtocolError::CarriesRequests), "{text}");
        }
    }

    #[test]
    fn only_what_is_allowed_is_offered_to_a_cell() {
        let all = ["websocket", "foo/1"];
        for (line, names, expected) in [
            ("websocket", &all[..], "websocket"),
            ("WebSocket", &all, "WebSocket"),
            ("WEBSOCKET , h2c,x", &all, "WEBSOCKET"),
            ("h2c, Foo/1,\tbar, websocket", &all, "Foo/1, websocket"),
            ("websocket, foo/1", &all[1..], "foo/1"),
            ("websocket", &[], ""),
            ("websocket/13, websockets, web, foo, foo/1/2", &all, ""),
            ("TLS/1.0, HTTP/2.0", &all, ""),
            ("", &all, ""),
            (" ,, ,", &all, ""),
            ("\"websocket\"", &all, ""),
            ("\x0bwebsocket", &all, ""),
        ] {
            let protocols = protocols(names);
            let offered: Vec<&[u8]> = allowed(line.as_bytes(), &protocols).collect();
            let offered = offered.join(&b", "[..]);
            assert_eq!(offered.escape_ascii().to_string(), expected, "{line}");
        }
    }

    #[test]
    fn a_cell_grants_only_what_it_was_offered() {
        for (offered, granted, expected) in [
            ("websocket", "websocket", true),
            ("websocket", "WebSocket ", true),
            ("WebSocket, foo/1", "FOO/1", true),
            ("a, b", "b, a", true),
            ("websocket", "", false),
            ("websocket", ",", false),
            ("websocket", "h2c", false),
            ("websocket", "websocket, h2c", false),
            ("websocket", "web", false),
            ("web", "websocket", false),
            ("foo", "foo/1", false),
            ("foo/1", "foo", false),
            ("", "websocket", false),
            ("", "", false),
        ] {
            let seen = was_offered(offered.as_bytes(), granted.as_bytes());
            assert_eq!(seen, expected, "{offered} -> {granted}");
        }
    }
}
