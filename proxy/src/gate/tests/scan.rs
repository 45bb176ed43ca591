//! Where a head ends, and the limits on it.

use super::*;

#[test]
fn scan_reports_the_place() {
    let limits = GateLimits::default();
    let scan = |bytes: &[u8]| HeadScanner::new().scan(bytes, &limits);
    assert_eq!(scan(b""), HeadScan::Partial { searched: 0 });
    assert_eq!(scan(b"GET / HT"), HeadScan::Partial { searched: 8 });
    // A CR has to be read again once the byte after it is there.
    assert_eq!(
        scan(b"GET / HTTP/1.1\r"),
        HeadScan::Partial { searched: 14 }
    );
    let two = b"GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\n\n";
    assert_eq!(scan(two), HeadScan::Complete { skip: 0, end: 18 });
    assert_eq!(
        scan(b"\r\nGET / HTTP/1.1\r\n\r\n"),
        HeadScan::Complete { skip: 2, end: 20 }
    );
}

/// The search for the blank line goes by steps; the first one counts, wherever in a step it is.
#[test]
fn the_first_of_two_heads_ends_where_it_should() {
    let limits = GateLimits::default();
    for padding in 0..=100 {
        let first = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(padding));
        for second in ["", "G", "GET / HTTP/1.1\r\nHost: b\r\n\r\n"] {
            let both = format!("{first}{second}");
            let end = first.len();
            let found = HeadScanner::new().scan(both.as_bytes(), &limits);
            assert_eq!(found, HeadScan::Complete { skip: 0, end }, "{both:?}");
        }
    }
}

/// What is spoilt is refused with the byte that spoils it, not when the deadline passes.
#[test]
fn hopeless_heads_are_refused_at_once() {
    let limits = GateLimits::default();
    let cases: &[(&[u8], Refusal)] = &[
        (b"GET /\r\n", BadVersion),
        (b"PRI * HTTP/2.0\r\n", Http2Preface),
        (b"GET / HTTP/1.1\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\rb", BareCr),
        (b"\r\n\r\n", EmptyRequestLine),
        (b"\n", BareLf),
        (b"\x16", ControlByte),
    ];
    for (bytes, refusal) in cases {
        let (last, before) = bytes.split_last().expect("a case has bytes");
        let mut scanner = HeadScanner::new();
        let partial = scanner.scan(before, &limits);
        assert!(
            matches!(partial, HeadScan::Partial { .. }),
            "{}",
            bytes.escape_ascii()
        );
        let whole = [before, &[*last]].concat();
        assert_eq!(
            scanner.scan(&whole, &limits),
            HeadScan::Refused(*refusal),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn limits_are_exact() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n";
    let limits = GateLimits {
        head_bytes_max: request.len(),
        headers_max: 2,
        target_bytes_max: 1,
        ..GateLimits::default()
    };
    let refused = |limits| read(request.as_bytes().chunks(1), &limits).err();
    assert_eq!(refused(limits), None);
    let too_small = GateLimits {
        head_bytes_max: request.len() - 1,
        ..limits
    };
    assert_eq!(refused(too_small), Some(HeadTooLarge));
    assert_eq!(
        inspect_head(request.as_bytes(), &too_small).err(),
        Some(HeadTooLarge)
    );
    assert_eq!(
        refused(GateLimits {
            headers_max: 1,
            ..limits
        }),
        Some(TooManyHeaders)
    );
    assert_eq!(
        refused(GateLimits {
            target_bytes_max: 0,
            ..limits
        }),
        Some(TargetTooLong)
    );
    assert_eq!(
        refused(GateLimits {
            head_bytes_max: 8,
            ..limits
        }),
        Some(TargetTooLong)
    );
    // An ignored empty line does not count.
    let after_empty_line = format!("\r\n{request}");
    assert!(read(after_empty_line.as_bytes().chunks(1), &limits).is_ok());
}

/// With a head as large as the limit, what came in one read and what was dripped in are refused alike.
#[test]
fn limits_do_not_depend_on_the_reads() {
    for request in [
        "GET / HTTP/1.1\r\nA: b\r\nC: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n\r\n",
        "GET / HTTP/1.1\n",
    ] {
        for head_bytes_max in 0..=request.len() {
            let limits = GateLimits {
                head_bytes_max,
                ..GateLimits::default()
            };
            let whole = read([request.as_bytes()], &limits);
            let dripped = read(request.as_bytes().chunks(1), &limits);
            assert_eq!(whole, dripped, "{request:?} with {head_bytes_max} bytes");
        }
    }
}

#[test]
fn control_bytes_are_found_in_every_place() {
    for length in 0..40 {
        for byte in 0..=255u8 {
            for at in 0..length {
                // Bytes around it that could disturb an exact answer.
                for filler in [b' ', b'~', 0x80, 0xff, 0xa0] {
                    let mut bytes = vec![filler; length];
                    bytes[at] = byte;
                    let expected = if byte.is_ascii_control() { at } else { length };
                    assert_eq!(
                        bytes::find_control(&bytes),
                        expected,
                        "{byte:#x} at {at} of {length}"
                    );
                }
            }
        }
    }
    assert_eq!(bytes::find_control(b"ab\x7f\x01\0cdefg"), 2);
}

#[test]
fn tokens_end_where_they_should_and_their_letters_are_counted() {
    for length in 0..20 {
        for byte in 0..=255u8 {
            for at in 0..length {
                for filler in [b'a', b'Z', b'-', b'7', b'_'] {
                    let mut bytes = vec![filler; length];
                    bytes[at] = byte;
                    let is_token = bytes::is(byte, bytes::TOKEN);
                    let expected = &bytes[..if is_token { length } else { at }];
                    let letters = expected.iter().filter(|byte| byte.is_ascii_alphanumeric());
                    assert_eq!(
                        bytes::token(&bytes),
                        (expected, letters.count()),
                        "{byte:#x} at {at} of {length}"
                    );
                }
            }
        }
    }
}
