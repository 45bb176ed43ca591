//! The version of HTTP that a request line ends with.

use super::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// The version at the end of a request line. RFC 9112 section 2.3: case-sensitive, one digit each.
pub(super) fn check_version(line: &[u8]) -> Result<Version, Refusal> {
    if line.ends_with(b" HTTP/1.1") {
        return Ok(Version::Http11);
    }
    if line.ends_with(b" HTTP/1.0") {
        return Ok(Version::Http10);
    }
    if line == b"PRI * HTTP/2.0" {
        return Err(Refusal::Http2Preface);
    }
    let Some(name_start) = line.len().checked_sub(" HTTP/d.d".len()) else {
        return Err(Refusal::BadVersion);
    };
    Err(match &line[name_start..] {
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Refusal::UnsupportedVersion
        }
        _ => Refusal::BadVersion,
    })
}
