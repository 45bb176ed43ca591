//! Limits and endings on the client's side: too much, too slow, gone.

use super::*;

#[test]
fn answers_of_the_proxy_itself() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::start(&[origin.address()]);
    let check = |request: &str, status: u16, reason: &str| {
        let answer = proxy.ask(request);
        assert_eq!(
            (answer.status, answer.reason()),
            (status, reason),
            "{request:?}"
        );
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["status"], status, "{request:?}");
        assert_eq!(problem["reason"], reason, "{request:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    };
    check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "no_tenant_key");
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nX-Tenant-Id: a\r\nX_Tenant_Id: b\r\n\r\n",
        400,
        "bad_tenant_key",
    );
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nX-Tenant-Id: evil\r\n\r\n",
        403,
        "rejected",
    );
    check("GET / HTTP/1.1\r\n\r\n", 400, "bad_request");
    check(
        "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
        405,
        "method_not_allowed",
    );
    check(
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        505,
        "version_not_supported",
    );
    let long = "x".repeat(40_000);
    check(
        &format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"),
        431,
        "head_too_large",
    );
    check(
        &format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"),
        414,
        "target_too_long",
    );
    assert!(origin.received().is_empty());
}

#[test]
fn a_refused_request_leaves_its_connection_usable() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    let evil = |request: String| request.replace("acme", "evil");
    for request in [
        evil(get("/", "")),
        evil(post("/", "a body that nobody wants")),
    ] {
        let answer = client.send(request).answer();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (403, Some("keep-alive"))
        );
    }
    let head = evil(get("/", "")).replace("GET", "HEAD");
    assert_eq!(client.send(head).head().status, 403);
    assert_eq!(client.send(get("/", "")).answer().status, 200);
}

#[test]
fn a_client_may_close_after_its_answer() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    let answer = client.send(get("/", "Connection: close\r\n")).answer();
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.rest(), "");
    // The cell's connection is no business of the client's.
    assert_eq!(proxy.ask(get("/", "")).status, 200);
    assert_eq!(origin.received().len(), 1);
}

#[test]
fn an_idle_connection_is_closed() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::with(
        "timeouts: { keepalive_ms: 100, head_ms: 200 }",
        "",
        &[origin.address()],
    );
    let mut client = proxy.connect();
    client.send(get("/", "")).answer();
    assert_eq!(client.rest(), "", "an idle connection ends without a word");
    assert_eq!(
        proxy.connect().rest(),
        "",
        "so does one that says nothing at all"
    );

    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHo");
    let answer = client.answer();
    assert_eq!((answer.status, answer.reason()), (408, "request_timeout"));
}

/// The client goes on sending while it is refused; it gets its answer all the same, not a reset.
#[test]
fn a_body_over_the_limit() {
    let origin = Origin::start(OriginConnection::hang);
    let proxy = Proxy::with("limits: { body_bytes_max: 1000 }", "", &[origin.address()]);
    let check = |request: &str| {
        let mut client = proxy.connect();
        client.send(request);
        for _ in 0..60 {
            client.upload("x".repeat(100_000));
        }
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.reason()),
            (413, "body_too_large"),
            "{request:?}"
        );
        proxy.wait_in_flight(0);
    };
    check(&post("/", "").replace("Content-Length: 0", "Content-Length: 1001"));
    let chunked = post("/", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    check(&format!("{chunked}3E9\r\n"));
    check(&format!("{chunked}1\r\na\r\n3E8\r\n"));
}

#[test]
fn a_malformed_chunk_reaches_no_cell() {
    let origin = Origin::start(OriginConnection::hang);
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    client.send(post("/", "").replace("Content-Length: 0", "Transfer-Encoding: chunked"));
    proxy.wait_in_flight(1);
    let answer = client.send("0x5\r\nsmuggled").answer();
    assert_eq!((answer.status, answer.reason()), (400, "bad_request"));
    proxy.wait_in_flight(0);
    assert!(!origin.received().concat().contains("smuggled"));
}

/// A client that stops in the middle of its body is its own fault, not the cell's, which waits for the rest.
#[test]
fn a_slow_upload_is_no_failure_of_the_cell() {
    let origin = Origin::start(OriginConnection::hang);
    let proxy = Proxy::with(
        "timeouts: { client_idle_ms: 300, upstream_read_ms: 100 }",
        "",
        &[origin.address()],
    );
    let mut client = proxy.connect();
    client.send(post("/", "").replace("Content-Length: 0", "Content-Length: 10"));
    let answer = client.send("half").answer();
    assert_eq!((answer.status, answer.reason()), (408, "request_timeout"));
    proxy.wait_in_flight(0);
    assert_eq!(
        proxy.metric("upstream_errors_total{cell=\"only\",reason=\"upstream_timeout\"}"),
        0
    );
}

#[test]
fn a_client_that_goes_away() {
    let origin = Origin::start(OriginConnection::hang);
    let proxy = Proxy::start(&[origin.address()]);
    let requests = [
        get("/", ""),
        post("/", "").replace("Content-Length: 0", "Content-Length: 10") + "half",
        post("/", "").replace("Content-Length: 0", "Transfer-Encoding: chunked") + "5\r\nha",
    ];
    for (request, count) in requests.iter().zip(1..) {
        let mut client = proxy.connect();
        client.send(request);
        proxy.wait_in_flight(1);
        drop(client);
        proxy.wait_in_flight(0);
        assert_eq!(proxy.metric("client_aborts_total"), count, "{request:?}");
    }
    for reason in ["upstream_error", "upstream_timeout"] {
        let name = format!("upstream_errors_total{{cell=\"only\",reason=\"{reason}\"}}");
        assert_eq!(proxy.metric(&name), 0);
    }
}

/// What waits for a client that reads nothing must not hold a place in the cell's bulkhead for ever: neither a large body
/// nor what Pingora itself writes without a limit, heads and the ends of bodies.
#[test]
fn a_client_that_reads_nothing() {
    let long = "x".repeat(5_000);
    let head = format!("HTTP/1.1 204 No Content\r\nX: {long}\r\n\r\n");
    let large = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n{}",
        "x".repeat(20_000_000)
    );
    let origin = Origin::start(move |connection| {
        while let Some(request) = connection.head() {
            let is_large = request.starts_with("GET /large");
            connection.send(if is_large { &large } else { &head });
        }
    });
    let proxy = Proxy::with("timeouts: { client_idle_ms: 300 }", "", &[origin.address()]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        for request in [get("/large", ""), get("/", "").repeat(2_000)] {
            let mut client = proxy.connect();
            client.send(request);
            clients.push(client);
        }
    }
    wait_until("all of them got through", || {
        proxy.metric("requests_total{cell=\"only\"}") >= 1_000
    });
    proxy.wait_in_flight(0);
    wait_until("all of their connections are closed", || {
        proxy.status()["client_connections"] == 0
    });
}

#[test]
fn too_many_connections() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::with("limits: { connections_max: 1 }", "", &[origin.address()]);
    let mut first = proxy.connect();
    assert_eq!(first.send(get("/", "")).answer().status, 200);
    let answer = proxy.connect().answer();
    assert_eq!((answer.status, answer.reason()), (503, "overloaded"));
    drop(first);
    wait_until("there is room again", || {
        proxy.status()["client_connections"] == 0
    });
    assert_eq!(proxy.ask(get("/", "")).status, 200);
}

#[test]
fn the_bulkhead() {
    let origin = Origin::start(OriginConnection::hang);
    let proxy = Proxy::with("", "max_in_flight: 1,", &[origin.address()]);
    let mut client = proxy.connect();
    client.send(get("/", ""));
    proxy.wait_in_flight(1);
    let answer = proxy.ask(get("/", ""));
    assert_eq!((answer.status, answer.reason()), (503, "cell_overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        proxy.metric("rejected_total{cell=\"only\",reason=\"cell_overloaded\"}"),
        1
    );
}
