//! Which tenant a request or a connection names. Pure: a view of it in, the key's bytes or a refusal out, and no allocation.
//!
//! The key is canonical before anything is looked up by it: alias, override, hash and the field that tells the cell its
//! tenant all see the same bytes, however the client spelt them. A rule first cuts the segment, parameter, field or
//! cookie out of the raw bytes. A path segment and a query parameter are then percent-decoded once, and in a query `+` is
//! a space: what the cell's framework sees. So `/t/%61cme/` and `/t/acme/` name one tenant, and `/t/a%2Fb/` names the
//! tenant `a/b`. Host names are lower-cased. Apart from that case is kept, and nothing is trimmed. The target that the
//! cell is sent stays as it came.
//!
//! What two programs could read as two different tenants is refused rather than guessed: a name given twice or without a
//! value, broken escapes, a parameter's name written with escapes, white space at an end of the key, dot segments in a
//! path that names the tenant, commas and quotes inside a cookie. `conf/table/vectors/keys.tsv` has examples of each.

mod error;
mod escapes;
mod evidence;
mod key;
mod names;
mod network;
mod pattern;
mod preflight;
mod producible;
mod proof;
mod values;

use std::net::IpAddr;

use http::HeaderName;

pub use error::KeyError;
pub use evidence::{CertificateNames, Evidence, Extensions, NameKind};
pub use key::RequestKey;
pub use network::PrefixLengths;
pub use pattern::{PathPattern, Pattern};
pub use preflight::Preflights;
pub use proof::{CertificateRule, ExtensionRule, Form, Otherwise};

use crate::field_lines::FieldLines;
use escapes::{Plus, has_dot_segments};
use names::{cut_host, cut_text};

/// What happens to tenants that the table does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownTenants {
    /// Every key has a slot, so every key has a cell.
    Hash,
    /// Only tenants with an override, and their aliases, have a cell.
    Refuse,
}

/// The rules in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    rules: Vec<KeyRule>,
    wanted_names: Vec<NameKind>,
    wanted_extensions: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRule {
    pub source: Source,
    /// Cuts the tenant out of a value; without it the whole value is the key.
    pub pattern: Option<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Header(HeaderName),
    Host(Pattern),
    Path(PathPattern),
    Query(Box<[u8]>),
    Cookie(Box<[u8]>),
    SourceIp,
    SourceNetwork(PrefixLengths),
    /// The server's name in a `ClientHello`. It is for connections: that of a connection with requests says nothing of
    /// whom each of them is for.
    Sni(Pattern),
    ClientCert(CertificateRule),
    ProxyTlv(ExtensionRule),
    /// Always this tenant.
    Tenant(Box<[u8]>),
}

/// The parts of a request that can name a tenant.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'r> {
    pub lines: FieldLines<'r>,
    /// The path of the request target, without query.
    pub path: &'r [u8],
    pub query: Option<&'r [u8]>,
    /// The host name, without port.
    pub host: &'r [u8],
    pub client: IpAddr,
    /// What its connection proves.
    pub evidence: Option<&'r Evidence>,
}

/// The parts of a connection that can name a tenant, where it carries anything but requests.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionView<'c> {
    pub client: IpAddr,
    pub evidence: Option<&'c Evidence>,
    pub hello: Hello<'c>,
}

/// The beginning of a connection with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello<'c> {
    /// Nobody has waited for it yet: a server may be the first to speak.
    Unread,
    /// The server's name in it, if there is one.
    Read(Option<&'c str>),
}

/// How far the rules have come with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Key,
    /// The next rule is about the `ClientHello`, and no rule before it has found a key. To be asked again once it is read.
    NeedsHello,
}

/// The name in a well-formed host, without the port, and without the dot at the end that makes a name absolute and
/// changes nothing else.
pub fn host_name(host: &[u8]) -> &[u8] {
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

impl KeyRules {
    /// Without a rule no request names a tenant; the configuration does not let that through.
    pub fn new(rules: Vec<KeyRule>) -> Self {
        let (mut wanted_names, mut wanted_extensions) = (Vec::new(), Vec::new());
        for rule in &rules {
            match &rule.source {
                Source::ClientCert(rule) if !wanted_names.contains(&rule.kind) => {
                    wanted_names.push(rule.kind);
                }
                Source::ProxyTlv(rule) if !wanted_extensions.contains(&rule.kind) => {
                    wanted_extensions.push(rule.kind);
                }
                _ => {}
            }
        }
        Self {
            rules,
            wanted_names,
            wanted_extensions,
        }
    }

    pub fn rules(&self) -> &[KeyRule] {
        &self.rules
    }

    /// The names in a client's certificate that rules ask for.
    pub fn wanted_names(&self) -> &[NameKind] {
        &self.wanted_names
    }

    /// The types of a PROXY header's extensions that rules ask for.
    pub fn wanted_extensions(&self) -> &[u8] {
        &self.wanted_extensions
    }

    /// Every request names a tenant.
    pub fn always_match(&self) -> bool {
        let matches = |rule: &KeyRule| {
            matches!(
                rule.source,
                Source::SourceIp | Source::SourceNetwork(_) | Source::Tenant(_)
            )
        };
        self.rules.iter().any(matches)
    }

    /// The key of the first rule that matches.
    pub fn key_of(&self, request: &RequestView<'_>) -> Result<RequestKey, KeyError> {
        let mut key = RequestKey::default();
        self.read_key(request, &mut key)?;
        Ok(key)
    }

    /// The same, into a place for it: a key is large to move about.
    pub fn read_key(
        &self,
        request: &RequestView<'_>,
        key: &mut RequestKey,
    ) -> Result<(), KeyError> {
        for rule in &self.rules {
            if rule.read_key(request, key)? {
                return Ok(());
            }
        }
        Err(KeyError::Missing)
    }

    /// The same of a connection that carries anything but requests. Rules about requests find nothing there.
    pub fn read_connection_key(
        &self,
        connection: &ConnectionView<'_>,
        key: &mut RequestKey,
    ) -> Result<Found, KeyError> {
        for rule in &self.rules {
            let is_found = match (&rule.source, connection.hello) {
                (Source::Sni(_), Hello::Unread) => return Ok(Found::NeedsHello),
                (Source::Sni(_), Hello::Read(None)) => false,
                (Source::Sni(pattern), Hello::Read(Some(name))) => {
                    cut_host(Some(pattern), name.as_bytes(), key)?
                }
                _ => rule.read_key_of(connection.client, connection.evidence, key)?,
            };
            if is_found {
                return Ok(Found::Key);
            }
        }
        Err(KeyError::Missing)
    }
}

impl KeyRule {
    /// False when the rule does not match this request.
    fn read_key(&self, request: &RequestView<'_>, key: &mut RequestKey) -> Result<bool, KeyError> {
        match &self.source {
            Source::Header(name) => {
                self.cut(values::header_value(request.lines, name.as_str())?, key)
            }
            Source::Query(name) => {
                let query = request.query.unwrap_or_default();
                self.decode(values::query_value(query, name)?, key)
            }
            Source::Cookie(name) => self.cut(values::cookie_value(request.lines, name)?, key),
            Source::Host(pattern) => cut_host(Some(pattern), request.host, key),
            Source::Path(pattern) => {
                let is_match = pattern.decode(request.path, key)?;
                if is_match && has_dot_segments(request.path) {
                    return Err(KeyError::DotSegments);
                }
                Ok(is_match)
            }
            _ => self.read_key_of(request.client, request.evidence, key),
        }
    }

    /// False when the rule does not match this connection, or is about something else.
    fn read_key_of(
        &self,
        client: IpAddr,
        evidence: Option<&Evidence>,
        key: &mut RequestKey,
    ) -> Result<bool, KeyError> {
        match &self.source {
            Source::SourceIp => {
                key.set_address(client);
                Ok(true)
            }
            Source::SourceNetwork(lengths) => {
                key.set_shown(lengths.network_of(client));
                Ok(true)
            }
            Source::ClientCert(rule) => rule.read_key(evidence, self.pattern.as_ref(), key),
            Source::ProxyTlv(rule) => rule.read_key(evidence, self.pattern.as_ref(), key),
            Source::Tenant(tenant) => key.set(tenant).map(|()| true),
            Source::Header(_)
            | Source::Host(_)
            | Source::Path(_)
            | Source::Query(_)
            | Source::Cookie(_)
            | Source::Sni(_) => Ok(false),
        }
    }

    /// The key in a value that says what it means.
    fn cut(&self, value: Option<&[u8]>, key: &mut RequestKey) -> Result<bool, KeyError> {
        let Some(value) = value else { return Ok(false) };
        cut_text(self.pattern.as_ref(), value, key)
    }

    /// The key in the value of a query parameter, which is encoded.
    fn decode(&self, value: Option<&[u8]>, key: &mut RequestKey) -> Result<bool, KeyError> {
        let Some(value) = value else { return Ok(false) };
        match &self.pattern {
            Some(pattern) => pattern.decode(value, Plus::Space, key),
            None => Pattern::default().decode(value, Plus::Space, key),
        }
    }
}

#[cfg(test)]
mod tests;
