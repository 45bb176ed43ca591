//! Fields that are lists: `x-forwarded-for`, and `forwarded` (RFC 7239).

use std::net::IpAddr;

use super::Hop;

/// The members of a list without the white space around them; empty ones are dropped (RFC 9110, section 5.6.1).
pub(super) fn members(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// The value of `for` in an element of `forwarded`. Two of them are as good as none, and so is one in an element that is
/// malformed: that may be a piece of somebody's quoted text, which a comma cut off.
pub(super) fn for_of(element: &[u8]) -> Option<&[u8]> {
    if !is_forwarded(element) {
        return None;
    }
    let mut values = element.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let name = pair[..at].trim_ascii();
        name.eq_ignore_ascii_case(b"for")
            .then(|| pair[at + 1..].trim_ascii())
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// A hop as an element of `forwarded`.
pub(super) fn element(hop: &Hop<'_>) -> Vec<u8> {
    let mut element = match hop.peer {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    }
    .into_bytes();
    if let Some(host) = hop.host {
        element.extend_from_slice(b";host=");
        push_value(&mut element, host);
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(hop.proto.as_bytes());
    element
}

/// Writes a token, or else a quoted string.
fn push_value(to: &mut Vec<u8>, value: &[u8]) {
    if !value.is_empty() && value.iter().all(|byte| is_token(*byte)) {
        to.extend_from_slice(value);
        return;
    }
    to.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            to.push(b'\\');
        }
        to.push(*byte);
    }
    to.push(b'"');
}

/// Whether a whole `forwarded` field can be read in one way: elements of pairs, each value a quoted string or, as many
/// write it, anything without a separator or quote. An open quote would hide what is appended behind it.
pub(super) fn is_forwarded(value: &[u8]) -> bool {
    let mut rest = value;
    loop {
        rest = rest.trim_ascii_start();
        // Between two separators may be nothing.
        if let Some(after) = pair(rest) {
            rest = after.trim_ascii_start();
        }
        match rest {
            [] => return true,
            [b',' | b';', after @ ..] => rest = after,
            _ => return false,
        }
    }
}

/// What follows the pair that the text begins with.
fn pair(text: &[u8]) -> Option<&[u8]> {
    let name = text.iter().take_while(|byte| is_token(**byte)).count();
    let value = text[name..].strip_prefix(b"=").filter(|_| name > 0)?;
    let Some(quoted) = value.strip_prefix(b"\"") else {
        let is_separator = |byte: &u8| matches!(byte, b',' | b';' | b' ' | b'\t');
        let end = value.iter().position(is_separator).unwrap_or(value.len());
        let is_plain = end > 0 && !value[..end].iter().any(|byte| matches!(byte, b'"' | b'\\'));
        return is_plain.then_some(&value[end..]);
    };
    let mut rest = quoted;
    loop {
        rest = match rest {
            [] | [b'\\'] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
        }
    }
}

/// A character of a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
