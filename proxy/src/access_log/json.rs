//! The values of a line, as JSON. Everything is appended to bytes that are used again for the next line.
//!
//! What `serde_json` would write, without asking it: a line has some twenty names that never change, and most of its texts
//! are plain.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A text in quotes. Where `bytes` are no UTF-8, U+FFFD stands for them.
pub(super) fn push_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    // All are checked, without leaving early: several at a time that way.
    if bytes.iter().fold(true, |all, byte| all & is_plain(*byte)) {
        out.extend_from_slice(bytes);
    } else {
        push_escaped(out, bytes);
    }
    out.push(b'"');
}

/// Whether a byte stands for itself, whatever is around it.
fn is_plain(byte: u8) -> bool {
    (b' '..0x80).contains(&byte) && byte != b'"' && byte != b'\\'
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            push_escaped_byte(out, byte);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_escaped_byte(out: &mut Vec<u8>, byte: u8) {
    let escaped: &[u8] = match byte {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        0x08 => b"\\b",
        b'\t' => b"\\t",
        b'\n' => b"\\n",
        0x0c => b"\\f",
        b'\r' => b"\\r",
        ..b' ' => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            &[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]
        }
        _ => &[byte],
    };
    out.extend_from_slice(escaped);
}

pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds as a decimal number with one to three places: `0.0`, `12.5`, `7.123`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration is not negative, and 2^64 µs are half a million years"
)]
pub(super) fn push_ms(out: &mut Vec<u8>, took: Duration) {
    let micros = (took.as_secs_f64() * 1e6).round() as u64;
    push_number(out, micros / 1_000);
    let digit = |value: u64| b"0123456789"[(value % 10) as usize];
    let digits = [digit(micros / 100), digit(micros / 10), digit(micros)];
    let length = match digits {
        [_, b'0', b'0'] => 1,
        [_, _, b'0'] => 2,
        _ => 3,
    };
    out.push(b'.');
    out.extend_from_slice(&digits[..length]);
}

/// An IP address in quotes.
pub(super) fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    out.push(b'"');
    push_bare_ip(out, address);
    out.push(b'"');
}

/// An address with its port, in quotes.
pub(super) fn push_endpoint(out: &mut Vec<u8>, address: SocketAddr) {
    out.push(b'"');
    match address {
        SocketAddr::V4(address) => {
            push_bare_ip(out, (*address.ip()).into());
            out.push(b':');
            push_number(out, address.port().into());
        }
        SocketAddr::V6(address) => push_display(out, address),
    }
    out.push(b'"');
}

pub(super) fn push_bare_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            push_number(out, first.into());
            for octet in rest {
                out.push(b'.');
                push_number(out, octet.into());
            }
        }
        // The rules for its zeros (RFC 5952) are the standard library's.
        IpAddr::V6(address) => push_display(out, address),
    }
}

fn push_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a vector takes all bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_reads_as_serde_json_writes_it() {
        let check = |bytes: &[u8]| {
            let expected = serde_json::to_string(&String::from_utf8_lossy(bytes)).unwrap();
            assert_eq!(written(|out| push_text(out, bytes)), expected, "{bytes:?}");
        };
        for first in 0..=u8::MAX {
            check(&[first]);
            for second in 0..=u8::MAX {
                check(&[first, second]);
                check(&[b'a', first, b'b', second, b'c']);
            }
        }
        // Cut short, too long, a surrogate, beyond the last character; in the middle and at the end.
        for odd in ["\u{e9}", "\u{20ac}", "\u{1f600}"].map(str::as_bytes) {
            for end in 0..odd.len() {
                check(&odd[..end]);
                check(&[b"a", &odd[..end], b"b\"", odd].concat());
            }
        }
        for odd in [
            &b"\xc0\x80"[..],
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xff\xfe",
        ] {
            check(&[odd, b"x", odd].concat());
        }
        check(&b"x".repeat(100_000));
        check(&b"\xff\"".repeat(10_000));
    }

    #[test]
    fn milliseconds_read_as_serde_json_writes_them() {
        let check = |took: Duration| {
            let expected = serde_json::to_string(&((took.as_secs_f64() * 1e6).round() / 1e3));
            assert_eq!(
                written(|out| push_ms(out, took)),
                expected.unwrap(),
                "{took:?}"
            );
        };
        let mut random = fastrand::Rng::with_seed(9);
        for nanos in (0..3_000_000).step_by(250) {
            check(Duration::from_nanos(nanos));
        }
        for bits in 1..54 {
            for _ in 0..200 {
                check(Duration::from_nanos(random.u64(..1 << bits)));
                // Whole, and up to three years.
                check(Duration::from_millis(
                    random.u64(..1 << bits) % 100_000_000_000,
                ));
            }
        }
    }

    #[test]
    fn addresses_read_as_the_standard_library_writes_them() {
        for text in [
            "0.0.0.0",
            "192.0.2.10",
            "255.255.255.255",
            "::",
            "2001:db8::7",
            "::ffff:192.0.2.1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(
                written(|out| push_ip(out, address)),
                format!("\"{address}\"")
            );
            for port in [1, 80, 65_535] {
                let address = SocketAddr::new(address, port);
                assert_eq!(
                    written(|out| push_endpoint(out, address)),
                    format!("\"{address}\"")
                );
            }
        }
    }
}
