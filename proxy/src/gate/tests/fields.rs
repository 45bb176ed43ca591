//! The header fields, each and together.

use super::*;

#[test]
fn hosts() {
    for value in [
        "a",
        "A-b.c_d~e",
        "example.com.",
        "example.com:",
        "example.com:80",
        "a:65535",
        "127.0.0.1:1",
        "[::1]",
        "[2001:db8::1]:443",
        "xn--bcher-kva.example",
        "  a  ",
    ] {
        check_host(value, Ok(()));
    }
    check_host("", Err(EmptyHost));
    check_host(" \t ", Err(EmptyHost));
    for value in [
        "a, b",
        "a,b",
        "a b",
        "a\tb",
        "a/",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        "u:p@a",
        "a\\b",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:000080",
        "a:999999",
        "a:+1",
        "a:-1",
        ":80",
        ".",
        ".a",
        "a..b",
        "a%2eb",
        "a;b",
        "a'b",
        "a*",
        "[::1",
        "[]",
        "[a]",
        "[::1]a",
        "[::1]:x",
        "[::1%25lo]",
        "[v1.a]",
        "::1",
        "http://a",
        "b\u{fc}cher.example",
    ] {
        check_host(value, Err(BadHost));
    }
    check_host(&"a".repeat(260), Ok(()));
    check_host(&"a".repeat(261), Err(BadHost));
    check(b"GET / HTTP/1.1\r\n\r\n", Err(MissingHost));
    check(b"GET http://a/ HTTP/1.1\r\n\r\n", Err(MissingHost));
    check(b"GET / HTTP/1.0\r\nHost:\r\n\r\n", Err(EmptyHost));
    check_field(b"Host: a", Err(RepeatedHost));
    check_field(b"hOST: b", Err(RepeatedHost));
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n").host, None);
    assert_eq!(
        head("GET http://b:1/ HTTP/1.0\r\n\r\n").host,
        Some(&b"b:1"[..])
    );
}

/// The target's host is the one that counts (RFC 9112 section 3.2.2), and Host has to say the same: in the same bytes, or
/// in others that mean the same by the rules of the scheme.
#[test]
fn absolute_targets_and_hosts() {
    let seen = |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        inspect_head(request.as_bytes(), &GateLimits::default()).map(|head| {
            let host = head.host.unwrap_or_default();
            assert!(
                head.respelled_host
                    .is_none_or(|other| other.as_bytes() == host)
            );
            (
                String::from_utf8_lossy(host).into_owned(),
                head.respelled_host.is_some(),
            )
        })
    };
    for (target, host, counts, is_respelled) in [
        ("/", "A", "A", false),
        ("http://a/", "a", "a", false),
        ("http://a:8080/", "a:8080", "a:8080", false),
        ("http://A/", "a", "A", true),
        ("http://a/", "A", "a", true),
        ("http://a:80/", "a", "a:80", true),
        ("http://a/", "a:80", "a", true),
        ("http://a:/", "a", "a:", true),
        ("http://a/", "a:", "a", true),
        ("HTTP://a:80?x", "A:", "a:80", true),
        ("http://a:0080", "a:80", "a:0080", true),
        ("https://a:443/", "a", "a:443", true),
        ("HTTPS://a", "a:443", "a", true),
        ("http://[::A]:80/", "[::a]", "[::A]:80", true),
        ("http://[::1]:8080/", "[::1]:8080", "[::1]:8080", false),
    ] {
        let expected = Ok((counts.to_owned(), is_respelled));
        assert_eq!(seen(target, host), expected, "{target} {host}");
    }
    for (target, host) in [
        ("http://a/", "b"),
        ("http://a/", "a."),
        ("http://a:443/", "a"),
        ("https://a:80/", "a"),
        ("https://a/", "a:80"),
        ("http://a:8080/", "a"),
        ("http://a/", "a:8080"),
        ("http://a:8080/", "a:8081"),
        ("http://a:8080/", "a:"),
        ("http://[::1]/", "[0::1]"),
        ("http://[::1]/", "1"),
    ] {
        assert_eq!(seen(target, host), Err(HostMismatch), "{target} {host}");
    }
}

#[test]
fn field_lines() {
    check_field(b"Name : value", Err(SpaceInName));
    check_field(b"Name\t: value", Err(SpaceInName));
    check_field(b"Na me: value", Err(SpaceInName));
    check_field(b"Transfer-Encoding : chunked", Err(SpaceInName));
    check_field(b" folded", Err(LineFolding));
    check_field(b"\tfolded: a", Err(LineFolding));
    check_field(b"Name", Err(MissingColon));
    check_field(b": value", Err(EmptyName));
    check_field(b":", Err(EmptyName));
    check_field(b"N(me: value", Err(BadName));
    check_field(b"N\xc3\xa4me: value", Err(BadName));
    check_field("Tran\u{17f}fer-Encoding: chunked".as_bytes(), Err(BadName));
    check_field(b"\xa0Content-Length: 1", Err(BadName));
    check_field(b"Na\x01me: value", Err(ControlByte));
    check_field(b"Name\0: value", Err(ControlByte));
    check_field(b"Name: a\0b", Err(ControlByte));
    check_field(b"Name: a\x0bb", Err(ControlByte));
    check_field(b"Name: \x7f", Err(ControlByte));
    check_field(b"Name: a\rb", Err(BareCr));
    check_field(b"Name: a\r\r", Err(BareCr));
    check_field(b"Name: a\nb: c", Err(BareLf));
    check_field(b"\rName: a", Err(BareCr));
    // The first line is a field like any other.
    check(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(LineFolding));
    check(b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(BareLf));
    check(b"GET / HTTP/1.1\r\nHost: a\n\n", Err(BareLf));
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(BareLf));
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", Err(BareCr));
}

#[test]
fn lookalike_names() {
    for name in [
        "Transfer_Encoding",
        "Transfer---Encoding",
        "Transfer.Encoding",
        "TransferEncoding",
        "'Transfer-Encoding",
        "Transfer-Encoding_",
        "Content_Length",
        "ContentLength",
        "content-length-",
        "Host_",
        "_host",
        "H-O-S-T",
    ] {
        check_field(format!("{name}: 1").as_bytes(), Err(LookalikeName));
    }
}

#[test]
fn content_lengths() {
    for value in ["0", "5", "0005", "9223372036854775807", " 5\t"] {
        check_field(format!("Content-Length: {value}").as_bytes(), Ok(()));
    }
    for value in [
        "",
        " ",
        "5, 5",
        "5,5",
        "5 5",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5.0",
        "5e1",
        "5_0",
        "a",
        "5;",
        "\u{665}",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let line = format!("Content-Length: {value}");
        check_field(line.as_bytes(), Err(BadContentLength));
    }
    let repeated = b"Content-Length: 5\r\ncontent-length: 5";
    check_field(repeated, Err(RepeatedContentLength));
    let length = head("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 070\r\n\r\n");
    assert_eq!(length.body, BodyFraming::Length(70));
}

#[test]
fn transfer_encodings() {
    for value in [
        "chunked",
        "CHUNKED",
        "\tchunked ",
        "gzip, chunked",
        "gzip , deflate,\tidentity\t,x-gzip, Chunked",
    ] {
        check_field(format!("Transfer-Encoding: {value}").as_bytes(), Ok(()));
    }
    for value in [
        "",
        ",",
        "chunked,",
        ",chunked",
        "chunked,,chunked",
        "chunked, chunked",
        "chunked, gzip",
        "gzip",
        "identity",
        "gzip, deflate",
        "chunked;",
        "chunked;a=b",
        "chunked gzip",
        "\"chunked\"",
        "chunked\u{a0}",
        "chunked;q=1, chunked",
    ] {
        let line = format!("Transfer-Encoding: {value}");
        check_field(line.as_bytes(), Err(BadTransferEncoding));
    }
    for value in ["xchunked", "chunk", "cow, chunked", "chunkedd"] {
        let line = format!("Transfer-Encoding: {value}");
        check_field(line.as_bytes(), Err(UnknownTransferCoding));
    }
    let lines = |lines: &str| lines.replace('|', "\r\nTransfer-Encoding: ");
    check_field(lines("X: y|gzip|chunked").as_bytes(), Ok(()));
    check_field(
        lines("X: y|chunked|chunked").as_bytes(),
        Err(BadTransferEncoding),
    );
    check_field(
        lines("X: y|chunked|gzip").as_bytes(),
        Err(BadTransferEncoding),
    );
    check_field(lines("X: y|chunked|").as_bytes(), Err(BadTransferEncoding));
    for other in [
        "X: y|chunked\r\nContent-Length: 5",
        "Content-Length: 5|chunked",
        "Content-Length: 0|gzip",
    ] {
        check_field(lines(other).as_bytes(), Err(LengthAndEncoding));
    }
    check(
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Err(EncodingInHttp10),
    );
    let extra = |value: &str| {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n");
        head(&request).extra_codings
    };
    assert!(!extra("chunked"));
    assert!(extra("gzip, chunked"));
    assert!(extra("gzip\r\nTransfer-Encoding: chunked"));
}

#[test]
fn bodies_of_methods() {
    let body =
        |method: &str, field: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    check(
        body("TRACE", "Content-Length: 1").as_bytes(),
        Err(TraceWithBody),
    );
    check(body("TRACE", "Content-Length: 0").as_bytes(), Ok(()));
    let is_undefined = |method, field| head(&body(method, field)).has_undefined_body;
    assert!(is_undefined("GET", "Content-Length: 1"));
    assert!(is_undefined("HEAD", "Transfer-Encoding: chunked"));
    assert!(!is_undefined("GET", "Content-Length: 0"));
    assert!(is_undefined("DELETE", "Content-Length: 1"));
    assert!(!is_undefined("POST", "Content-Length: 1"));
}

#[test]
fn connection_options() {
    check_field(b"Connection: x-y, TE, Cookie", Ok(()));
    for option in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Content_Length",
    ] {
        let line = format!("Connection: close, {option}");
        check_field(line.as_bytes(), Err(ConnectionNamesFraming));
    }
}

#[test]
fn upgrades() {
    let upgrade =
        |fields: &str| head(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).upgrade;
    for (fields, expected) in [
        ("Connection: upgrade", Upgrade::None),
        ("Upgrade: websocket", Upgrade::Dropped),
        (
            "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket",
            Upgrade::Asked,
        ),
        ("Upgrade: websocket\r\nConnection: upgrade", Upgrade::Asked),
        ("Connection: upgrade\r\nUpgrade: TLS/1.0", Upgrade::Dropped),
        ("Connection: upgrade\r\nUpgrade:", Upgrade::Dropped),
        (
            "Connection: upgrade\r\nUpgrade: foo, websocket",
            Upgrade::Asked,
        ),
        (
            "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket",
            Upgrade::Asked,
        ),
        (
            "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c",
            Upgrade::Asked,
        ),
        (
            "Connection: upgrade\r\nUpgrade: websocket/13",
            Upgrade::Dropped,
        ),
        // curl --http2 sends bodies with its offer of h2c.
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nContent-Length: 5",
            Upgrade::Dropped,
        ),
        ("Upgrade: websocket\r\nContent-Length: 5", Upgrade::Dropped),
        (
            "Connection: upgrade\r\nUpgrade: foo\r\nTransfer-Encoding: chunked",
            Upgrade::Dropped,
        ),
    ] {
        assert_eq!(upgrade(fields), expected, "{fields}");
    }
    assert_eq!(
        head("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").upgrade,
        Upgrade::Dropped
    );
    for body in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let line = format!("Connection: upgrade\r\nUpgrade: websocket\r\n{body}");
        check_field(line.as_bytes(), Err(UpgradeWithBody));
    }
    check_field(
        b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0",
        Ok(()),
    );
    // Nothing is asked for where nothing is allowed.
    let nothing = GateLimits {
        upgrades: &[],
        ..GateLimits::default()
    };
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let seen = inspect_head(request.as_bytes(), &nothing).expect(request);
    assert_eq!(seen.upgrade, Upgrade::Dropped);
}

#[test]
fn expectations() {
    let expects = |version: &str, fields: &str| {
        head(&format!(
            "POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n"
        ))
        .expects_continue
    };
    assert!(expects("1.1", "Expect: 100-Continue\r\nContent-Length: 5"));
    assert!(!expects("1.1", "Expect: 100-continue"));
    assert!(!expects("1.0", "Expect: 100-continue\r\nContent-Length: 5"));
    assert!(!expects("1.1", "Content-Length: 5"));
    check_field(b"Expect: y 100-continue", Err(BadExpectation));
    check_field(b"Expect: 100-continue, 100-continue", Err(BadExpectation));
    check_field(
        b"Expect: 100-continue\r\nExpect: 100-continue",
        Err(BadExpectation),
    );
    check_field(b"Expect:", Err(BadExpectation));
}
