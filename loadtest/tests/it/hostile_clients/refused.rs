//! Requests that the proxy refuses: the answer says so and why, the connection closes, and nothing
//! of it, nor of what was sent behind it, reaches a cell.

use crate::support::{
    gauges::wait_until_idle,
    origin::{OK, Origin},
    proxy::{Proxy, TENANT},
    ways::every_way,
    wire::{Answer, Request},
};

every_way!(
    what_can_be_read_in_two_ways_is_refused,
    a_malformed_body_never_reaches_its_end,
    what_is_too_large_is_refused,
    tenants_that_cannot_be_known_are_refused,
);

/// What must never arrive.
const BEHIND: &str = "GET /behind HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n\r\n";

/// The usual fields, for requests that are wrong in others.
const FIELDS: &str = "host: test\r\nx-tenant-id: a\r\n";

#[track_caller]
fn check(proxy: &Proxy, name: &str, request: impl AsRef<[u8]>, status: u16, reason: &str) {
    let mut connection = proxy.open();
    // Large ones are cut off before their end.
    let _ = connection.send([request.as_ref(), BEHIND.as_bytes()].concat());
    let answer = connection
        .answer("POST")
        .unwrap_or_else(|error| panic!("{name}: no answer: {error}"));
    is_refusal(name, &answer, status, reason);
    assert_eq!(answer.header("connection"), Some("close"), "{name}");
    let rest = connection.rest().unwrap_or_default();
    assert!(rest.is_empty(), "{name}: then came {}", rest.escape_ascii());
}

#[track_caller]
fn is_refusal(name: &str, answer: &Answer, status: u16, reason: &str) {
    let seen = (answer.status, answer.header("x-cellgate-reason"));
    assert_eq!(seen, (status, Some(reason)), "{name}: {}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{name}");
    assert_eq!(problem["reason"], reason, "{name}");
    assert!(problem["title"].is_string(), "{name}");
}

fn what_can_be_read_in_two_ways_is_refused() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    for (name, request) in badly_framed().into_iter().chain(badly_addressed()) {
        check(&proxy, name, request, 400, "bad_request");
    }
    for (name, request, status, reason) in not_offered() {
        check(&proxy, name, request, status, reason);
    }
    wait_until_idle(&proxy);
    let received = cell.received();
    assert!(
        received.is_empty(),
        "something reached the cell: {received:?}"
    );
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\n{FIELDS}{fields}\r\n{body}")
}

fn line(line: &str) -> String {
    format!("{line}\r\n{FIELDS}\r\n")
}

fn badly_framed() -> Vec<(&'static str, String)> {
    vec![
        (
            "both framings",
            post(
                "content-length: 3\r\ntransfer-encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "two lengths",
            post("content-length: 3\r\ncontent-length: 4\r\n", "abcd"),
        ),
        (
            "the same length twice",
            post("content-length: 3\r\ncontent-length: 3\r\n", "abc"),
        ),
        ("a list of lengths", post("content-length: 3, 3\r\n", "abc")),
        ("a signed length", post("content-length: +3\r\n", "abc")),
        (
            "chunked twice",
            post("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ),
        (
            "chunked not last",
            post("transfer-encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        ),
        (
            "a space before a colon",
            post("content-length : 3\r\n", "abc"),
        ),
        ("a folded field", post("x-a: b\r\n c\r\n", "")),
        ("a bare carriage return", post("x-a: b\rc\r\n", "")),
        ("a bare line feed", post("x-a: b\nx-c: d\r\n", "")),
        ("a zero in a field", post("x-a: b\0c\r\n", "")),
    ]
}

fn badly_addressed() -> Vec<(&'static str, String)> {
    vec![
        (
            "no host",
            "GET /x HTTP/1.1\r\nx-tenant-id: a\r\n\r\n".into(),
        ),
        (
            "an empty host",
            "GET /x HTTP/1.1\r\nhost:\r\nx-tenant-id: a\r\n\r\n".into(),
        ),
        ("two hosts", post("host: other\r\n", "")),
        (
            "a listed host",
            "GET /x HTTP/1.1\r\nhost: a, b\r\nx-tenant-id: a\r\n\r\n".into(),
        ),
        (
            "a host with a path",
            "GET /x HTTP/1.1\r\nhost: a/b\r\nx-tenant-id: a\r\n\r\n".into(),
        ),
        (
            "another host in the target",
            line("GET http://other/x HTTP/1.1"),
        ),
        ("an asterisk with GET", line("GET * HTTP/1.1")),
        ("a space in the target", line("GET /x y HTTP/1.1")),
        ("a fragmentary line", line("GET /x")),
        (
            "an http/1.0 body in chunks",
            format!("POST /x HTTP/1.0\r\n{FIELDS}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "a connection that names its framing",
            post("connection: content-length\r\ncontent-length: 3\r\n", "abc"),
        ),
        (
            "bytes behind an upgrade",
            format!(
                "GET /x HTTP/1.1\r\n{FIELDS}connection: upgrade\r\nupgrade: websocket\r\n\r\nmore"
            ),
        ),
    ]
}

fn not_offered() -> Vec<(&'static str, String, u16, &'static str)> {
    vec![
        (
            "a tunnel",
            line("CONNECT test:443 HTTP/1.1"),
            405,
            "method_not_allowed",
        ),
        (
            "another version",
            line("GET /x HTTP/3.0"),
            505,
            "version_not_supported",
        ),
        (
            "http/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            505,
            "version_not_supported",
        ),
        (
            "an unknown coding",
            post("transfer-encoding: zip, chunked\r\n", "0\r\n\r\n"),
            501,
            "not_implemented",
        ),
        (
            "an unknown expectation",
            post("expect: more\r\n", ""),
            417,
            "expectation_failed",
        ),
    ]
}

/// A body that turns out to be malformed: by then its head is with the cell, but not its end.
fn a_malformed_body_never_reaches_its_end() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    for (name, body) in [
        ("an invalid size", "4\r\ngood\r\nxyz\r\nevil\r\n0\r\n\r\n"),
        ("a signed size", "4\r\ngood\r\n+4\r\nevil\r\n0\r\n\r\n"),
        ("a prefixed size", "4\r\ngood\r\n0x4\r\nevil\r\n0\r\n\r\n"),
        (
            "a size beyond all numbers",
            "4\r\ngood\r\nfffffffffffffffff\r\nevil\r\n0\r\n\r\n",
        ),
        (
            "a chunk longer than its size",
            "4\r\ngood\r\n2\r\nevil\r\n0\r\n\r\n",
        ),
        ("a bare line feed", "4\r\ngood\r\n4\nevil\r\n0\r\n\r\n"),
        (
            "a bare line feed in an extension",
            "4\r\ngood\r\n4;a\nevil\r\n0\r\n\r\n",
        ),
        (
            "a space before the size",
            "4\r\ngood\r\n 4\r\nevil\r\n0\r\n\r\n",
        ),
        (
            "a trailer that frames",
            "4\r\ngood\r\n0\r\ncontent-length: 5\r\n\r\n",
        ),
    ] {
        let head = format!("POST /x HTTP/1.1\r\n{FIELDS}transfer-encoding: chunked\r\n\r\n");
        check(&proxy, name, head + body, 400, "bad_request");
    }
    wait_until_idle(&proxy);
    for bytes in cell.received() {
        let ended = bytes.contains(r"\r\n0\r\n") || bytes.contains("evil");
        assert!(!ended && !bytes.contains("/behind"), "{bytes}");
    }
}

fn what_is_too_large_is_refused() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("limits", "{ head_bytes_max: 20000, body_bytes_max: 1000 }")
        .start();
    let field = |bytes| format!("x-long: {}\r\n", "x".repeat(bytes));
    let head = format!("GET /x HTTP/1.1\r\n{FIELDS}");
    let large = [head.clone(), field(20_000), "\r\n".into()].concat();
    check(&proxy, "a large head", large, 431, "head_too_large");
    let endless = [head.clone(), field(1 << 20)].concat();
    check(&proxy, "an endless head", endless, 431, "head_too_large");
    let many = [head, "a: b\r\n".repeat(200), "\r\n".into()].concat();
    check(&proxy, "many fields", many, 431, "head_too_large");

    let target = format!("GET /{} HTTP/1.1\r\n{FIELDS}\r\n", "x".repeat(17_000));
    check(&proxy, "a long target", target, 414, "target_too_long");

    let post = format!("POST /x HTTP/1.1\r\n{FIELDS}");
    let announced = [
        &post,
        "content-length: 100001\r\n\r\n",
        &"x".repeat(100_001),
    ]
    .concat();
    check(&proxy, "a large body", announced, 413, "body_too_large");
    assert!(cell.received().is_empty(), "{:?}", cell.received());

    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked = [
        &post,
        "transfer-encoding: chunked\r\n\r\n",
        &chunk.repeat(5),
        "0\r\n\r\n",
    ];
    check(
        &proxy,
        "a large body in chunks",
        chunked.concat(),
        413,
        "body_too_large",
    );
    wait_until_idle(&proxy);
    for bytes in cell.received() {
        assert!(
            !bytes.contains("0\\r\\n\\r\\nGET") && !bytes.contains("/behind"),
            "{bytes}"
        );
    }

    // Exactly at the limit.
    let request = Request::new("POST", &format!("{OK}fits"))
        .header(TENANT, "a")
        .body("x".repeat(1000));
    assert_eq!(proxy.answer_to(&request).text(), "fits");
}

fn tenants_that_cannot_be_known_are_refused() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    for (name, fields, reason) in [
        ("no tenant", "", "no_tenant_key"),
        (
            "two tenants",
            "x-tenant-id: a\r\nx-tenant-id: b\r\n",
            "bad_tenant_key",
        ),
        ("an empty tenant", "x-tenant-id:\r\n", "bad_tenant_key"),
        ("another spelling", "x_tenant_id: a\r\n", "bad_tenant_key"),
        (
            "two spellings",
            "x-tenant-id: a\r\nx_tenant_id: b\r\n",
            "bad_tenant_key",
        ),
    ] {
        let mut connection = proxy.open();
        let head = format!("GET /x HTTP/1.1\r\nhost: test\r\n{fields}\r\n");
        connection.send(head).expect("the proxy listens");
        let answer = connection.answer("GET").expect("it answers");
        assert_eq!(answer.status, 400, "{name}");
        let seen = answer.header("x-cellgate-reason").unwrap_or_default();
        assert!(seen == reason || seen == "bad_request", "{name}: {seen}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    assert!(cell.received().is_empty(), "{:?}", cell.received());
}
