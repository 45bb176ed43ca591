//! Each rule of the head as data: the bytes, and what the gate makes of them.

mod fields;
mod request_line;
mod scan;

use super::*;
use Refusal::*;

/// Every case goes through whole, split in two at each byte, and byte by byte, and must come out the same.
#[track_caller]
fn check(request: &[u8], expected: Result<(), Refusal>) {
    let limits = GateLimits::default();
    let whole = read([request], &limits).map(|_| ());
    assert_eq!(whole, expected, "{}", request.escape_ascii());
    for at in 0..request.len() {
        let (first, second) = request.split_at(at);
        let split = read([first, second], &limits).map(|_| ());
        assert_eq!(split, expected, "{} split at {at}", request.escape_ascii());
    }
    let dripped = read(request.chunks(1), &limits).map(|_| ());
    assert_eq!(dripped, expected, "{} dripped", request.escape_ascii());
    // The inspection does not lean on the scan.
    let alone = inspect_head(request, &limits);
    assert!(
        alone.is_err() || expected.is_ok(),
        "{} passes the inspection alone",
        request.escape_ascii()
    );
}

/// What the connection loop does. `MalformedHead` also stands for a head that never ends.
fn read<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
    limits: &GateLimits<'_>,
) -> Result<String, Refusal> {
    let mut scanner = HeadScanner::new();
    let mut buffer = Vec::new();
    for part in parts {
        buffer.extend_from_slice(part);
        match scanner.scan(&buffer, limits) {
            HeadScan::Complete { skip, end } => {
                return inspect_head(&buffer[skip..end], limits).map(|head| format!("{head:?}"));
            }
            HeadScan::Partial { .. } => {}
            HeadScan::Refused(refusal) => return Err(refusal),
        }
    }
    Err(MalformedHead)
}

#[track_caller]
fn check_line(line: &str, expected: Result<(), Refusal>) {
    check(format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), expected);
}

/// A field line in a request that is fine but for it.
#[track_caller]
fn check_field(line: &[u8], expected: Result<(), Refusal>) {
    let before: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n";
    check(&[before, line, b"\r\n\r\n"].concat(), expected);
}

#[track_caller]
fn check_host(value: &str, expected: Result<(), Refusal>) {
    let request = format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
    check(request.as_bytes(), expected);
}

#[track_caller]
fn head(request: &str) -> Head<'_> {
    inspect_head(request.as_bytes(), &GateLimits::default()).expect(request)
}

#[test]
fn legal_requests_pass() {
    for request in [
        "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROPFIND /dav HTTP/1.1\r\nHost: a\r\nDepth: 1\r\n\r\n",
        "GET http://a.example:8080/x?y HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
        "GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost:a\r\nX:\r\nY: \t \r\nZ:\tz z\t\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nX-E: \u{e9}\r\n\r\n",
        "GET /%00%0d%0a%20 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET //a//b/../c\"^[]{|}';d=e?[]{}|\\^`'()!$&*+,;=:@/?#f\\\"<>` HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /stra\u{df}e HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHosts: b\r\nX-Host: b\r\nThose: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent_Type: b\r\nX_Content_Length_Y: 1\r\n\r\n",
    ] {
        check(request.as_bytes(), Ok(()));
    }
}

fn read_once(request: &str) -> Result<String, Refusal> {
    read([request.as_bytes()], &GateLimits::default())
}

/// The inspection sees by itself what the scan has seen before it.
#[test]
fn inspection_alone() {
    let inspect = |bytes: &[u8]| inspect_head(bytes, &GateLimits::default()).map(|_| ());
    let cases: &[(&[u8], Refusal)] = &[
        (b"", MalformedHead),
        (b"GET / HTTP/1.1\r", MalformedHead),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", MalformedHead),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nX", MalformedHead),
        (b"GET / HTTP/1.1\r\nHost", MalformedHead),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", BareLf),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", ControlByte),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \x01\r\n\r\n", ControlByte),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nA\x01: b\r\n\r\n",
            ControlByte,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\nC: d\r\n\r\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\rC: d\r\n\r\n", BareCr),
    ];
    for (bytes, refusal) in cases {
        assert_eq!(inspect(bytes), Err(*refusal), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_a_head_says() {
    let request = "PUT /x?y#z HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        head(request),
        Head {
            method: "PUT",
            target: b"/x?y#z",
            is_http_11: true,
            is_plain_target: false,
            host: Some(b"a:1"),
            respelled_host: None,
            body: BodyFraming::Length(3),
            has_undefined_body: false,
            extra_codings: false,
            expects_continue: false,
            upgrade: Upgrade::None,
        }
    );
}

#[test]
fn refusals_speak_alike() {
    let mut codes = std::collections::BTreeSet::new();
    for refusal in Refusal::ALL {
        let (code, sentence) = (refusal.code(), refusal.to_string());
        assert!(codes.insert(code), "{code} is used twice");
        assert!(
            code.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')),
            "{code}"
        );
        assert!(
            !sentence.ends_with('.') && sentence == sentence.to_lowercase(),
            "{sentence}"
        );
    }
}
