//! Finds the one raw value that a rule looks at: of a header, a query parameter or a cookie.
//!
//! A name that is there more than once, or without a value, is an error and not a value that is missing: the next rule
//! might find another tenant than the cell does.

use super::{
    KeyError,
    escapes::{Decoded, Plus},
};
use crate::field_lines::FieldLines;

type Found<'r> = Result<Option<&'r [u8]>, KeyError>;

/// `name` is in lower case.
pub(super) fn header_value<'r>(lines: FieldLines<'r>, name: &str) -> Found<'r> {
    let (mut found, mut is_repeated) = (None, false);
    for line in lines.iter().filter(|line| line.name.len() == name.len()) {
        if line.is(name) {
            is_repeated |= found.replace(line.value).is_some();
        } else if is_look_alike(line.name, name) {
            return Err(KeyError::LookAlike);
        }
    }
    if is_repeated {
        return Err(KeyError::Repeated);
    }
    not_empty(found)
}

/// Same name but for `_` in the place of `-`. A server that maps headers to variables (CGI, WSGI) takes one for the other.
fn is_look_alike(other: &[u8], name: &str) -> bool {
    other
        .iter()
        .zip(name.bytes())
        .all(|(other, name)| other.to_ascii_lowercase() == name || (*other == b'_' && name == b'-'))
}

/// The parameter's value as the query has it, still encoded. `name` holds no character that needs an escape.
pub(super) fn query_value<'r>(query: &'r [u8], name: &[u8]) -> Found<'r> {
    let mut found = None;
    for pair in query.split(|byte| *byte == b'&') {
        let (raw_name, value) = split_once(pair, b'=');
        // `%74enant` is `tenant` to whoever decodes names, and another parameter to whoever does not. No client has a
        // reason to write it, so it is refused instead of being taken for either.
        if raw_name != name && means(raw_name, name) {
            return Err(KeyError::EscapedName);
        }
        let mut parts = pair.split(|byte| *byte == b';');
        if pair.contains(&b';') && parts.any(|part| means(split_once(part, b'=').0, name)) {
            return Err(KeyError::Semicolon);
        }
        if raw_name == name {
            note(&mut found, value.unwrap_or_default())?;
        }
    }
    not_empty(found)
}

fn means(raw_name: &[u8], name: &[u8]) -> bool {
    Decoded::new(raw_name, Plus::Space).is(name)
}

/// The cookie's value, without the quotes that may be around it (RFC 6265, section 4.1.1).
pub(super) fn cookie_value<'r>(lines: FieldLines<'r>, name: &[u8]) -> Found<'r> {
    let pairs = lines
        .values("cookie")
        .flat_map(|line| line.split(|byte| *byte == b';'));
    let mut found = None;
    for pair in pairs {
        // Some servers allow white space around the equals sign.
        let (pair_name, value) = split_once(pair, b'=');
        if pair_name.trim_ascii() == name {
            note(&mut found, value.unwrap_or_default().trim_ascii())?;
        } else if names_cookie_behind_comma(pair, name) {
            return Err(KeyError::CookieValue);
        }
    }
    let Some(value) = not_empty(found)? else {
        return Ok(None);
    };
    let value = without_quotes(value);
    // Neither may be in a value. A comma once separated cookies (RFC 2965), quotes and backslashes are taken away by some
    // servers and kept by others.
    if value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\\')) {
        return Err(KeyError::CookieValue);
    }
    not_empty(Some(value))
}

/// `a=b, tenant=x`: two cookies to a server that still separates them by commas.
fn names_cookie_behind_comma(pair: &[u8], name: &[u8]) -> bool {
    pair.split(|byte| *byte == b',').skip(1).any(|part| {
        let (part_name, value) = split_once(part, b'=');
        value.is_some() && part_name.trim_ascii() == name
    })
}

fn without_quotes(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// Keeps the first value; a second one is an error.
fn note<'r>(found: &mut Option<&'r [u8]>, value: &'r [u8]) -> Result<(), KeyError> {
    match found.replace(value) {
        Some(_) => Err(KeyError::Repeated),
        None => Ok(()),
    }
}

fn not_empty(found: Option<&[u8]>) -> Found<'_> {
    match found {
        Some([]) => Err(KeyError::NoValue),
        found => Ok(found),
    }
}

/// What is before the first separator, and what is after it if it is there.
fn split_once(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == separator) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}
