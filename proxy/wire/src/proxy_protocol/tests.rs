//! Every form of a header, cut anywhere and broken anywhere.

use proptest::prelude::*;

use super::*;

const INET: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0x1f, 0x90, 0, 80];

/// A header of version 2 with a right length.
fn v2(command: u8, family: u8, parts: &[&[u8]]) -> Vec<u8> {
    let block = parts.concat();
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&V2_BEGINNING[..], &[command, family], &length, &block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind][..], &length, value].concat()
}

/// With its checksum last, as it has to be for this to find the place.
fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let at = header.len() - 4;
    let sum = crc32c::of(&[&header]);
    header[at..].copy_from_slice(&sum.to_be_bytes());
    header
}

fn complete(bytes: &[u8], header: Header) -> Progress {
    let bytes = bytes.len();
    Progress::Complete { bytes, header }
}

fn of(address: &str) -> Header {
    Header::For(address.parse().unwrap())
}

#[test]
fn lines_of_version_1() {
    let check = |line: &str, expected: Result<Header, Fault>| {
        let line = format!("PROXY {line}\r\n");
        let expected = expected.map(|header| complete(line.as_bytes(), header));
        assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
    };
    check(
        "TCP4 192.0.2.1 198.51.100.7 8080 80",
        Ok(of("192.0.2.1:8080")),
    );
    check("TCP4 192.0.2.1 198.51.100.7 0 65535", Ok(of("192.0.2.1:0")));
    check(
        "TCP6 2001:db8::1 ::1 8080 443",
        Ok(of("[2001:db8::1]:8080")),
    );
    check(
        "TCP6 ::ffff:192.0.2.1 ::1 1 2",
        Ok(of("[::ffff:192.0.2.1]:1")),
    );
    for unknown in ["UNKNOWN", "UNKNOWN ffff:f::1 x 9 9 9"] {
        check(unknown, Ok(Header::Unknown));
    }
    for malformed in [
        "",
        "TCP",
        "UNKNOWNS",
        "TCP4",
        "tcp4 192.0.2.1 198.51.100.7 8080 80",
        "UDP4 192.0.2.1 198.51.100.7 8080 80",
        "TCP4 192.0.2.1 198.51.100.7 8080",
        "TCP4 192.0.2.1 198.51.100.7 8080 80 ",
        "TCP4  192.0.2.1 198.51.100.7 8080 80",
        "TCP4 192.0.2.1\t198.51.100.7 8080 80",
        "TCP4 192.0.2.1 198.51.100.7 +8080 80",
        "TCP4 192.0.2.1 198.51.100.7 08080 80",
        "TCP4 192.0.2.1 198.51.100.7 65536 80",
        "TCP4 192.0.2.1 198.51.100.7 8080 ",
        "TCP4 192.0.2.01 198.51.100.7 8080 80",
        "TCP4 192.0.2.1:8080 198.51.100.7 8080 80",
        "TCP4 2001:db8::1 ::1 8080 443",
        "TCP6 192.0.2.1 198.51.100.7 8080 80",
        "TCP4 192.0.2.1 198.51.100.7 8080 80\n",
    ] {
        check(malformed, Err(Fault::Malformed));
    }
}

#[test]
fn a_line_has_107_bytes_at_most() {
    let line = |blanks: usize| format!("PROXY UNKNOWN{}\r\n", " ".repeat(blanks)).into_bytes();
    let fits = line(V1_BYTES_MAX - 15);
    assert_eq!(parse(&fits), Ok(complete(&fits, Header::Unknown)));
    assert_eq!(parse(&line(V1_BYTES_MAX - 14)), Err(Fault::TooLarge));
    let endless = format!("PROXY {}", "x".repeat(200)).into_bytes();
    assert_eq!(parse(&endless[..V1_BYTES_MAX - 1]), Ok(Progress::Partial));
    assert_eq!(parse(&endless[..V1_BYTES_MAX]), Err(Fault::TooLarge));
}

#[test]
fn headers_of_version_2() {
    let check = |header: Vec<u8>, expected: Result<Header, Fault>| {
        let expected = expected.map(|it| complete(&header, it));
        assert_eq!(parse(&header), expected, "{}", header.escape_ascii());
    };
    let inet = Ok(of("192.0.2.1:8080"));
    check(v2(0x21, 0x11, &[INET]), inet);
    check(
        v2(
            0x21,
            0x11,
            &[INET, &tlv(0x02, b"shop.example"), &tlv(0xea, b"\x01vpce")],
        ),
        inet,
    );
    check(v2(0x21, 0x11, &[INET, &tlv(0x04, b"")]), inet);
    let mut inet6 = [0; 36];
    inet6[15] = 1;
    inet6[32..34].copy_from_slice(&[0x1f, 0x90]);
    check(v2(0x21, 0x21, &[&inet6]), Ok(of("[::1]:8080")));
    // Of a probe everything else is ignored.
    for family in [0x00, 0x11, 0xff] {
        check(v2(0x20, family, &[]), Ok(Header::Local));
        check(v2(0x20, family, &[b"anything"]), Ok(Header::Local));
    }
    check(v2(0x21, 0x00, &[b"x"]), Ok(Header::Unknown));
    check(v2(0x21, 0x31, &[&[0; 216]]), Ok(Header::Unknown));
    check(v2(0x21, 0x31, &[&[0; 215]]), Err(Fault::Malformed));
    check(v2(0x21, 0x11, &[&INET[..11]]), Err(Fault::Malformed));
    check(v2(0x21, 0x12, &[INET]), Err(Fault::Malformed));
    check(v2(0x21, 0x41, &[INET]), Err(Fault::Malformed));
    check(v2(0x22, 0x11, &[INET]), Err(Fault::Malformed));
    check(v2(0x11, 0x11, &[INET]), Err(Fault::Malformed));
    // Extensions that do not fill the header exactly.
    check(v2(0x21, 0x11, &[INET, &[1]]), Err(Fault::Malformed));
    check(v2(0x21, 0x11, &[INET, &[1, 0, 1]]), Err(Fault::Malformed));
    check(
        v2(0x21, 0x11, &[INET, &[1, 0xff, 0xff, 0]]),
        Err(Fault::Malformed),
    );
}

#[test]
fn a_checksum_is_checked_wherever_it_stands() {
    let authority = tlv(0x02, b"shop.example");
    let last = with_checksum(v2(0x21, 0x11, &[INET, &authority, &tlv(0x03, &[0; 4])]));
    assert_eq!(parse(&last), Ok(complete(&last, of("192.0.2.1:8080"))));
    // What HAProxy 2.6 sends with `proxy-v2-options authority,crc32c,unique-id,ssl`.
    let real = v2(
        0x21,
        0x11,
        &[
            &[127, 0, 0, 1, 127, 0, 0, 1, 0x8c, 0xe2, 0x49, 0xe1],
            &tlv(0x03, &[0x94, 0xea, 0x64, 0x7c]),
            &tlv(0x05, b""),
            &tlv(0x20, &[0; 5]),
        ],
    );
    assert_eq!(parse(&real), Ok(complete(&real, of("127.0.0.1:36066"))));
    // Each byte but the one that says that there is a checksum.
    let kind = last.len() - 7;
    for at in (V2_BEGINNING.len() + 4..last.len()).filter(|at| *at != kind) {
        let mut damaged = last.clone();
        damaged[at] ^= 0x10;
        assert!(parse(&damaged).is_err(), "byte {at}");
    }
    let twice = v2(
        0x21,
        0x11,
        &[INET, &tlv(0x03, &[0; 4]), &tlv(0x03, &[0; 4])],
    );
    assert_eq!(parse(&with_checksum(twice)), Err(Fault::Malformed));
    let short = v2(0x21, 0x11, &[INET, &tlv(0x03, &[0; 3])]);
    assert_eq!(parse(&short), Err(Fault::Malformed));
}

#[test]
fn the_size_is_refused_before_the_rest_has_come() {
    let fits = v2(
        0x21,
        0x11,
        &[INET, &tlv(0x04, &vec![0; HEADER_BYTES_MAX - 16 - 12 - 3])],
    );
    assert_eq!(fits.len(), HEADER_BYTES_MAX);
    assert_eq!(parse(&fits), Ok(complete(&fits, of("192.0.2.1:8080"))));
    for command in [0x20, 0x21] {
        let over = v2(command, 0x11, &[&vec![0; HEADER_BYTES_MAX - 15]]);
        assert_eq!(parse(&over[..16]), Err(Fault::TooLarge));
    }
}

#[test]
fn other_protocols_are_told_apart_at_their_first_odd_byte() {
    for other in [
        "GET / HTTP/1.1\r\n",
        "\x16\x03\x01",
        "\r\nGET /",
        "POST /",
        "PROXY\r\n",
        "PROXYX",
    ] {
        let bytes = other.as_bytes();
        assert_eq!(begins_header(bytes), Some(false), "{other:?}");
        assert_eq!(parse(bytes), Err(Fault::NoHeader), "{other:?}");
    }
    for partial in ["", "P", "PROXY", "\r", "\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(begins_header(partial.as_bytes()), None, "{partial:?}");
    }
}

/// Some of each form.
fn headers() -> Vec<Vec<u8>> {
    vec![
        b"PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        v2(0x21, 0x11, &[INET]),
        v2(0x21, 0x31, &[&[7; 216]]),
        v2(0x21, 0x21, &[&[7; 36], &tlv(0x02, b"shop.example")]),
        with_checksum(v2(
            0x21,
            0x11,
            &[INET, &tlv(0xea, b"\x01vpce"), &tlv(0x03, &[0; 4])],
        )),
    ]
}

#[test]
fn a_header_ends_where_it_ends_however_it_is_cut() {
    for header in headers() {
        let with_request = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&header), parse(&with_request));
        assert!(matches!(parse(&header), Ok(Progress::Complete { .. })));
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Progress::Partial), "{end}");
        }
    }
}

proptest! {
    #[test]
    fn what_any_bytes_say_does_not_depend_on_what_follows(
        which in 0..7_usize,
        changes in prop::collection::vec((0..64_usize, any::<u8>()), 0..4),
        more in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = headers().swap_remove(which);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.extend(more);
        let whole = parse(&bytes);
        if let Ok(Progress::Complete { bytes: end, .. }) = whole {
            prop_assert!(end <= bytes.len() && end <= HEADER_BYTES_MAX);
            prop_assert_eq!(parse(&bytes[..end]), whole);
        }
        let mut ended = None;
        for end in 0..=bytes.len() {
            let parsed = parse(&bytes[..end]);
            // Once there is a verdict, it stays.
            if let Some(ended) = ended {
                prop_assert_eq!(parsed, ended);
            } else if parsed != Ok(Progress::Partial) {
                ended = Some(parsed);
            }
        }
    }

    #[test]
    fn random_bytes_are_no_header(bytes in prop::collection::vec(any::<u8>(), 16..64)) {
        prop_assert_eq!(parse(&bytes), Err(Fault::NoHeader));
    }
}
