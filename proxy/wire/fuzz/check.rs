//! What must hold for any bytes: shared by the fuzz targets and the crate's own tests.

use std::fmt;

use cellgate_wire::{client_hello, postgres, proxy_protocol};

/// Bytes as the beginning of a connection with a PROXY header.
///
/// # Panics
/// When something does not hold.
pub(crate) fn proxy_protocol(bytes: &[u8]) {
    use proxy_protocol::{HEADER_BYTES_MAX, Progress, begins_header, extensions, parse};
    let whole = keeps_its_verdict(bytes, HEADER_BYTES_MAX, parse, &Ok(Progress::Partial));
    match whole {
        Ok(Progress::Complete { bytes: end, .. }) => {
            assert!(end <= bytes.len() && end <= HEADER_BYTES_MAX);
            assert_eq!(parse(&bytes[..end]), whole, "it is the same by itself");
            let length: usize = extensions(&bytes[..end]).map(|(_, it)| 3 + it.len()).sum();
            assert!(length <= end);
            assert_eq!(begins_header(bytes), Some(true));
        }
        Ok(Progress::Partial) => assert!(begins_header(bytes) != Some(false)),
        Err(_) => {}
    }
}

/// Bytes as the beginning of a connection with TLS.
///
/// # Panics
/// When something does not hold.
pub(crate) fn client_hello(bytes: &[u8]) {
    use client_hello::{HELLO_BYTES_MAX, Progress, parse};
    let whole = keeps_its_verdict(bytes, HELLO_BYTES_MAX, parse, &Ok(Progress::Partial));
    if let Ok(Progress::Complete { server_name, .. }) = whole {
        let is_name = |name: &String| {
            let is_plain =
                |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
            (1..=253).contains(&name.len()) && name.bytes().all(is_plain)
        };
        assert!(server_name.as_ref().is_none_or(is_name), "{server_name:?}");
    }
}

/// Bytes as the beginning of a connection of PostgreSQL.
///
/// # Panics
/// When something does not hold.
pub(crate) fn postgres(bytes: &[u8]) {
    use postgres::{PACKET_BYTES_MAX, Progress, parse};
    let whole = keeps_its_verdict(bytes, PACKET_BYTES_MAX, parse, &Ok(Progress::Partial));
    if let Ok(Progress::Complete { bytes: end, .. }) = whole {
        assert!(end <= bytes.len() && end <= PACKET_BYTES_MAX);
        assert_eq!(parse(&bytes[..end]), whole, "it is the same by itself");
    }
}

/// Reads longer and longer beginnings. Once there is a verdict, it stays; and there is one within the limit. Returns
/// what all of the bytes are.
fn keeps_its_verdict<P: PartialEq + fmt::Debug>(
    bytes: &[u8],
    limit: usize,
    parse: impl Fn(&[u8]) -> P,
    partial: &P,
) -> P {
    let whole = parse(bytes);
    // All of the first ones, where most is decided, and then some.
    let ends = (0..bytes.len()).filter(|end| *end < 512 || end % 61 == 0);
    let mut ended = false;
    for parsed in ends.map(|end| parse(&bytes[..end])) {
        ended |= parsed != *partial;
        assert!(!ended || parsed == whole, "{parsed:?} became {whole:?}");
    }
    assert!(bytes.len() < limit || whole != *partial, "still undecided");
    whole
}
