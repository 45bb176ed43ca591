//! Which tenant a request names. Pure: a view of the request in, the key's bytes or a refusal out, and no allocation.
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
mod key;
mod pattern;
mod preflight;
mod producible;
mod values;

use std::net::IpAddr;

use http::HeaderName;

pub use error::KeyError;
pub use key::RequestKey;
pub use pattern::{PathPattern, Pattern};
pub use preflight::Preflights;

use crate::field_lines::FieldLines;
use escapes::{Plus, has_dot_segments};

/// What happens to tenants that the table does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownTenants {
    /// Every key has a slot, so every key has a cell.
    Hash,
    /// Only tenants with an override, and their aliases, have a cell.
    Refuse,
}

/// The rules in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRules {
    rules: Vec<KeyRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRule {
    pub source: Source,
    /// Cuts the tenant out of a header, query parameter or cookie; without it the whole value is the key.
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
        Self { rules }
    }

    /// Every request names a tenant.
    pub fn always_match(&self) -> bool {
        let matches = |rule: &KeyRule| rule.source == Source::SourceIp;
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
            Source::Host(pattern) => {
                let Some(host) = RequestKey::lower_cased(request.host) else {
                    return Ok(false);
                };
                match pattern.cut(host.as_bytes()) {
                    // A pattern stands for one label: `{tenant}.example.com` is not meant to match `a.b.example.com`.
                    Some(tenant) if tenant.contains(&b'.') && !pattern.is_whole() => Ok(false),
                    Some(tenant) => key.set(tenant).map(|()| true),
                    None => Ok(false),
                }
            }
            Source::Path(pattern) => {
                let is_match = pattern.decode(request.path, key)?;
                if is_match && has_dot_segments(request.path) {
                    return Err(KeyError::DotSegments);
                }
                Ok(is_match)
            }
            Source::SourceIp => {
                key.set_address(request.client);
                Ok(true)
            }
        }
    }

    /// The key in a value that says what it means.
    fn cut(&self, value: Option<&[u8]>, key: &mut RequestKey) -> Result<bool, KeyError> {
        let Some(value) = value else { return Ok(false) };
        let tenant = match &self.pattern {
            Some(pattern) => pattern.cut(value),
            None => Some(value),
        };
        let Some(tenant) = tenant else {
            return Ok(false);
        };
        key.set(tenant).map(|()| true)
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
