//! The PROXY protocol, versions 1 and 2: by a header before its first byte, a load balancer says whose connection it
//! passes on.
//!
//! A receiver must not guess: bytes are a header, the beginning of one, or none, and what is a header is valid in whole
//! or refused. That holds for the parts that are not used, too.

mod crc32c;
mod fault;
mod outgoing;
mod tlvs;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use fault::Fault;
pub use outgoing::{OWN_V1, OWN_V2, Outgoing};

/// The longest header that is taken. Addresses have 216 bytes at most; the rest is for a balancer's extensions, such as
/// the name of a private link, which have a few hundred. The format allows 64 KiB.
pub const HEADER_BYTES_MAX: usize = 4_096;

/// How a header of version 1 begins, which is a line of text.
const V1_BEGINNING: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"UNKNOWN";
/// Of that line, its CR LF included.
const V1_BYTES_MAX: usize = 107;
const V2_BEGINNING: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Up to the length of what follows.
const V2_FIXED_BYTES: usize = 16;

/// What a balancer says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It connects on its own behalf, such as to see whether anybody is here.
    Local,
    /// It passes on a connection without an IP address, over a Unix socket or of an unknown kind; some checks whether
    /// anybody is here look like that, too.
    Unknown,
    /// It passes on a connection that this address has made.
    For(SocketAddr),
}

/// What bytes are, as far as they have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a header: every byte so far is a part of it.
    Partial,
    /// A header of so many bytes.
    Complete { bytes: usize, header: Header },
}

/// Whether bytes begin like a header. `None` while they are too few to say.
pub fn begins_header(bytes: &[u8]) -> Option<bool> {
    let is_begun = [V1_BEGINNING, V2_BEGINNING].into_iter().any(|beginning| {
        let common = beginning.len().min(bytes.len());
        beginning[..common] == bytes[..common]
    });
    let is_whole = bytes.starts_with(V1_BEGINNING) || bytes.starts_with(V2_BEGINNING);
    (is_whole || !is_begun).then_some(is_whole)
}

/// Reads the header that a connection has to begin with, out of what has come so far.
///
/// # Errors
/// What is wrong, as soon as it shows; the bytes that come after cannot make it right.
pub fn parse(bytes: &[u8]) -> Result<Progress, Fault> {
    match begins_header(bytes) {
        None => Ok(Progress::Partial),
        Some(false) => Err(Fault::NoHeader),
        Some(true) if bytes.starts_with(V1_BEGINNING) => parse_v1(bytes),
        Some(true) => parse_v2(bytes),
    }
}

/// The extensions of a whole and valid header (TLVs), by type. One that passes on no connection has none that count.
pub fn extensions(header: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let fixed = header.first_chunk::<V2_FIXED_BYTES>();
    let fixed = fixed.filter(|fixed| fixed.starts_with(V2_BEGINNING));
    let begin = fixed.and_then(|fixed| match (command(fixed[12]), family(fixed[13])) {
        (Ok(Kind::Proxy), Ok(Family::Unspecified)) => None,
        (Ok(Kind::Proxy), Ok(family)) => Some(V2_FIXED_BYTES + family.bytes()),
        _ => None,
    });
    tlvs::all(
        begin
            .and_then(|begin| header.get(begin..))
            .unwrap_or_default(),
    )
}

fn parse_v1(bytes: &[u8]) -> Result<Progress, Fault> {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < V1_BYTES_MAX {
            Ok(Progress::Partial)
        } else {
            Err(Fault::TooLarge)
        };
    };
    let line = &window[V1_BEGINNING.len()..end];
    let header = if line == UNKNOWN || line.starts_with(&[UNKNOWN, b" "].concat()) {
        // Whatever follows is to be ignored.
        Header::Unknown
    } else {
        let line = std::str::from_utf8(line).map_err(|_| Fault::Malformed)?;
        Header::For(read_line(line)?)
    };
    Ok(Progress::Complete {
        bytes: end + 2,
        header,
    })
}

/// What stands behind `PROXY `.
fn read_line(line: &str) -> Result<SocketAddr, Fault> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    let parse: fn(&str) -> Option<IpAddr> = match family {
        "TCP4" => |word| word.parse().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse().ok().map(IpAddr::V6),
        _ => return Err(Fault::Malformed),
    };
    let mut word = || words.next().ok_or(Fault::Malformed);
    let address = |word| parse(word).ok_or(Fault::Malformed);
    let source = address(word()?)?;
    address(word()?)?;
    let source_port = port(word()?)?;
    port(word()?)?;
    match words.next() {
        None => Ok(SocketAddr::new(source, source_port)),
        Some(_) => Err(Fault::Malformed),
    }
}

fn port(word: &str) -> Result<u16, Fault> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let has_one_form = word == "0" || !word.starts_with('0');
    if !is_plain || !has_one_form {
        return Err(Fault::Malformed);
    }
    word.parse().map_err(|_| Fault::Malformed)
}

/// Whose connection a header of version 2 is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

impl Family {
    /// What both addresses and ports take.
    fn bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Inet => 12,
            Self::Inet6 => 36,
            Self::Unix => 216,
        }
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Progress, Fault> {
    let command = bytes.get(12).copied().map(command).transpose()?;
    let (Some(command), Some(&family)) = (command, bytes.get(13)) else {
        return Ok(Progress::Partial);
    };
    let family = match command {
        // Whatever else it says is to be ignored.
        Kind::Local => None,
        Kind::Proxy => Some(self::family(family)?),
    };
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(Progress::Partial);
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let total = V2_FIXED_BYTES + length;
    if total > HEADER_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Progress::Partial);
    };
    let header = match family {
        None => Header::Local,
        Some(family) => read_block(&bytes[..total], family, block)?,
    };
    Ok(Progress::Complete {
        bytes: total,
        header,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Proxy,
}

fn command(byte: u8) -> Result<Kind, Fault> {
    match byte {
        0x20 => Ok(Kind::Local),
        0x21 => Ok(Kind::Proxy),
        _ => Err(Fault::Malformed),
    }
}

fn family(byte: u8) -> Result<Family, Fault> {
    // A stream, or of an unknown kind: what is passed on here cannot have been a datagram.
    match byte {
        0x00..=0x01 | 0x10 | 0x20 | 0x30 => Ok(Family::Unspecified),
        0x11 => Ok(Family::Inet),
        0x21 => Ok(Family::Inet6),
        0x31 => Ok(Family::Unix),
        _ => Err(Fault::Malformed),
    }
}

/// What follows the fixed part. `header` is all of it.
fn read_block(header: &[u8], family: Family, block: &[u8]) -> Result<Header, Fault> {
    let (addresses, extensions) = block
        .split_at_checked(family.bytes())
        .ok_or(Fault::Malformed)?;
    if family == Family::Unspecified {
        // What follows need not be extensions.
        return Ok(Header::Unknown);
    }
    tlvs::check(header, header.len() - extensions.len())?;
    let port_at = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let source = match family {
        Family::Inet => {
            let octets = addresses.first_chunk::<4>().ok_or(Fault::Malformed)?;
            (Ipv4Addr::from(*octets), port_at(8)).into()
        }
        Family::Inet6 => {
            let octets = addresses.first_chunk::<16>().ok_or(Fault::Malformed)?;
            (Ipv6Addr::from(*octets), port_at(32)).into()
        }
        Family::Unix | Family::Unspecified => return Ok(Header::Unknown),
    };
    Ok(Header::For(source))
}

#[cfg(test)]
mod tests;
