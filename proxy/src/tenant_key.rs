//! Which tenant a request names. Pure: a view of the request in, the key's bytes or a refusal out, and no allocation.
//!
//! The key is the exact bytes that a rule cuts out: case kept, nothing trimmed or decoded; host names alone are
//! lower-cased first. What two programs could read as two different tenants is refused rather than guessed: a name given
//! twice, escapes of characters that need none, dot segments in a path that names the tenant.

mod pattern;

use std::{fmt, io::Write as _, net::IpAddr};

use cellgate_table::{
    id::{TenantKeyError, check_tenant_key},
    limits::TENANT_KEY_BYTES_MAX,
};
use http::{HeaderMap, HeaderName, header};

pub use pattern::{PathPattern, Pattern};

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
    pub headers: &'r HeaderMap,
    /// The path of the request target, without query.
    pub path: &'r [u8],
    pub query: Option<&'r [u8]>,
    /// The host name, without port.
    pub host: &'r [u8],
    pub client: IpAddr,
}

/// A tenant key cut out of a request: 1 to 256 bytes without control characters, held in place.
#[derive(Clone, Copy)]
pub struct RequestKey {
    bytes: [u8; TENANT_KEY_BYTES_MAX],
    length: u16,
}

/// Why a request names no tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No rule matched.
    Missing,
    /// The tenant, or the name it is looked for under, stands in the request more than once.
    Repeated,
    /// The same header in another spelling (`_` for `-`), which a server behind the proxy may take for it.
    LookAlike,
    /// An escape (`%41`) of a character that needs none, or a broken one.
    Escape,
    /// A path that names the tenant and then walks away from it (`/../`).
    DotSegments,
    /// A `;` beside the tenant's query parameter, which some servers take for the end of a parameter and some do not.
    Semicolon,
    /// White space at an end of the key: the field that tells the cell its tenant cannot hold it.
    OuterSpace,
    Invalid(TenantKeyError),
}

impl KeyRules {
    /// Without a rule no request names a tenant; the configuration does not let that through.
    pub fn new(rules: Vec<KeyRule>) -> Self {
        Self { rules }
    }

    /// The key of the first rule that matches.
    pub fn key_of(&self, request: &RequestView<'_>) -> Result<RequestKey, KeyError> {
        for rule in &self.rules {
            if let Some(key) = rule.key_of(request)? {
                return Ok(key);
            }
        }
        Err(KeyError::Missing)
    }
}

impl KeyRule {
    /// `None` when the rule does not match this request.
    fn key_of(&self, request: &RequestView<'_>) -> Result<Option<RequestKey>, KeyError> {
        match &self.source {
            Source::Header(name) => self.cut(header_value(request.headers, name)?),
            Source::Query(name) => {
                let value = query_value(request.query.unwrap_or_default(), name)?;
                let key = self.cut(value)?;
                key.map_or(Ok(None), |key| {
                    check_escapes(key.as_bytes()).map(|()| Some(key))
                })
            }
            Source::Cookie(name) => self.cut(cookie_value(request.headers, name)?),
            Source::Host(pattern) => {
                let Some(host) = RequestKey::lower_cased(request.host) else {
                    return Ok(None);
                };
                match pattern.cut(host.as_bytes()) {
                    // A pattern stands for one label: `{tenant}.example.com` is not meant to match `a.b.example.com`.
                    Some(tenant) if tenant.contains(&b'.') && !pattern.is_whole() => Ok(None),
                    Some(tenant) => RequestKey::new(tenant).map(Some),
                    None => Ok(None),
                }
            }
            Source::Path(pattern) => {
                let Some(tenant) = pattern.cut(request.path) else {
                    return Ok(None);
                };
                check_escapes(tenant)?;
                if has_dot_segments(request.path) {
                    return Err(KeyError::DotSegments);
                }
                RequestKey::new(tenant).map(Some)
            }
            Source::SourceIp => Ok(Some(RequestKey::of_address(request.client))),
        }
    }

    fn cut(&self, value: Option<&[u8]>) -> Result<Option<RequestKey>, KeyError> {
        let Some(value) = value else { return Ok(None) };
        let tenant = match &self.pattern {
            Some(pattern) => pattern.cut(value),
            None => Some(value),
        };
        tenant.map(RequestKey::new).transpose()
    }
}

impl RequestKey {
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        check_tenant_key(bytes).map_err(KeyError::Invalid)?;
        if bytes.starts_with(b" ") || bytes.ends_with(b" ") {
            return Err(KeyError::OuterSpace);
        }
        let mut key = Self {
            bytes: [0; TENANT_KEY_BYTES_MAX],
            length: 0,
        };
        key.bytes[..bytes.len()].copy_from_slice(bytes);
        key.length = u16::try_from(bytes.len()).expect("a key has at most 256 bytes");
        Ok(key)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// A host name is at most 255 bytes; a longer one matches no rule.
    fn lower_cased(host: &[u8]) -> Option<Self> {
        let mut key = Self::new(host).ok()?;
        key.bytes[..host.len()].make_ascii_lowercase();
        Some(key)
    }

    fn of_address(address: IpAddr) -> Self {
        let mut key = Self {
            bytes: [0; TENANT_KEY_BYTES_MAX],
            length: 0,
        };
        let mut rest = &mut key.bytes[..];
        write!(rest, "{}", address.to_canonical()).expect("an address takes at most 39 bytes");
        let left = rest.len();
        key.length =
            u16::try_from(TENANT_KEY_BYTES_MAX - left).expect("an address takes at most 39 bytes");
        key
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RequestKey({:?})",
            String::from_utf8_lossy(self.as_bytes())
        )
    }
}

impl PartialEq for RequestKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

fn header_value<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'r [u8]>, KeyError> {
    if headers
        .keys()
        .any(|other| is_look_alike(other.as_str(), name.as_str()))
    {
        return Err(KeyError::LookAlike);
    }
    only(
        headers
            .get_all(name)
            .iter()
            .map(http::HeaderValue::as_bytes),
    )
}

/// Same name but for `_` in the place of `-`. A server that maps headers to variables (CGI, WSGI) takes one for the other.
fn is_look_alike(other: &str, name: &str) -> bool {
    other.len() == name.len()
        && other != name
        && other
            .bytes()
            .zip(name.bytes())
            .all(|(o, n)| o == n || (o == b'_' && n == b'-'))
}

fn query_value<'r>(query: &'r [u8], name: &[u8]) -> Result<Option<&'r [u8]>, KeyError> {
    let mut found = None;
    for pair in query.split(|byte| *byte == b'&') {
        // `%74enant` is `tenant` to whoever decodes.
        let (raw_name, _) = split_once(pair, b'=');
        if raw_name != name && decodes_to(raw_name, name) {
            return Err(KeyError::Escape);
        }
        let mut parts = pair.split(|byte| *byte == b';');
        if pair.contains(&b';') && parts.any(|part| decodes_to(split_once(part, b'=').0, name)) {
            return Err(KeyError::Semicolon);
        }
        if let Some(value) = value_named(pair, name) {
            if found.is_some() {
                return Err(KeyError::Repeated);
            }
            found = Some(value);
        }
    }
    Ok(found)
}

/// Whether a name with escapes means `name`. A broken escape means nothing.
fn decodes_to(mut escaped: &[u8], name: &[u8]) -> bool {
    for wanted in name {
        let byte = match escaped {
            [b'%', high, low, rest @ ..] => {
                escaped = rest;
                match (hex_digit(*high), hex_digit(*low)) {
                    (Some(high), Some(low)) => high * 16 + low,
                    _ => return false,
                }
            }
            [byte, rest @ ..] => {
                escaped = rest;
                *byte
            }
            [] => return false,
        };
        if byte != *wanted {
            return false;
        }
    }
    escaped.is_empty()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// What is before the first separator, and what is after it if it is there.
fn split_once(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == separator) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

fn cookie_value<'r>(headers: &'r HeaderMap, name: &[u8]) -> Result<Option<&'r [u8]>, KeyError> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let pairs = cookies.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let values = pairs.filter_map(|pair| {
        // Some servers allow white space around the equals sign.
        let (found, value) = split_once(pair, b'=');
        value
            .filter(|_| found.trim_ascii() == name)
            .map(<[u8]>::trim_ascii)
    });
    Ok(only(values)?.map(without_quotes))
}

fn value_named<'r>(pair: &'r [u8], name: &[u8]) -> Option<&'r [u8]> {
    pair.strip_prefix(name)?.strip_prefix(b"=")
}

/// A cookie's value may be quoted (RFC 6265, section 4.1.1); the quotes are not part of it.
fn without_quotes(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value)
}

fn only<'r>(mut values: impl Iterator<Item = &'r [u8]>) -> Result<Option<&'r [u8]>, KeyError> {
    let first = values.next();
    if values.next().is_some() {
        Err(KeyError::Repeated)
    } else {
        Ok(first)
    }
}

/// `%41` and `A` are the same to a server that decodes (RFC 3986, section 2.3) but not to a hash, so a key with such an
/// escape is refused. Escapes of other characters stay as they are: those bytes are the key.
fn check_escapes(key: &[u8]) -> Result<(), KeyError> {
    let mut rest = key;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).ok_or(KeyError::Escape)?;
        let digit = |byte: u8| hex_digit(byte).ok_or(KeyError::Escape);
        let byte = digit(digits[0])? * 16 + digit(digits[1])?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            return Err(KeyError::Escape);
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

/// `.` and `..` as whole segments. Dots and what separates segments may be escaped.
fn has_dot_segments(path: &[u8]) -> bool {
    let mut rest = path;
    // Dots of the segment so far, as long as it is nothing but dots.
    let mut dots = Some(0);
    loop {
        let byte = match rest {
            [] => return matches!(dots, Some(1 | 2)),
            [b'%', high, low, after @ ..] => {
                rest = after;
                match (hex_digit(*high), hex_digit(*low)) {
                    (Some(high), Some(low)) => high * 16 + low,
                    _ => b'%',
                }
            }
            [byte, after @ ..] => {
                rest = after;
                *byte
            }
        };
        dots = match byte {
            b'/' | b'\\' if matches!(dots, Some(1 | 2)) => return true,
            b'/' | b'\\' => Some(0),
            b'.' => dots.map(|dots| dots + 1),
            _ => None,
        };
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the request names no tenant"),
            Self::Repeated => f.write_str("the request names its tenant more than once"),
            Self::LookAlike => {
                f.write_str("a header looks like the tenant's but is spelt with `_`")
            }
            Self::Escape => {
                f.write_str("the tenant key holds an escape that is broken or not needed")
            }
            Self::DotSegments => {
                f.write_str("the path names a tenant and holds `.` or `..` segments")
            }
            Self::Semicolon => f.write_str(
                "the query names the tenant beside a `;`, which servers read differently",
            ),
            Self::OuterSpace => f.write_str("the tenant key begins or ends with a space"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests;
