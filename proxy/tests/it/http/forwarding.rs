//! Which fields reach the cell, and which reach the client.

use super::*;

#[test]
fn what_the_cell_is_told() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::start(&[origin.address()]);
    let answer = proxy.ask(get(
        "/path?q=1",
        "X-Cellgate-Tenant: evil\r\nx_cellgate_cell: evil\r\nX-Cellgate-Anything: evil\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Proto: evil\r\nForwarded: for=6.6.6.6\r\n\
         Connection: x-cellgate-tenant, x-mine\r\nX-Mine: hop\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nX-Theirs: kept\r\n",
    ));
    assert_eq!(answer.status, 200);
    let request = origin.received().concat();
    let (line, fields) = request.split_once("\r\n").unwrap();
    assert_eq!(line, "GET /path?q=1 HTTP/1.1");
    let mut fields: Vec<String> = fields
        .trim_end()
        .lines()
        .map(str::to_ascii_lowercase)
        .collect();
    fields.sort_unstable();
    let expected = [
        "host: h",
        "x-cellgate-cell: only",
        "x-cellgate-generation: 1",
        "x-cellgate-tenant: acme",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: h",
        "x-forwarded-proto: http",
        "x-tenant-id: acme",
        "x-theirs: kept",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn the_cell_is_told_the_tenant_behind_an_alias() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::start(&[origin.address()]);
    proxy.ask("GET / HTTP/1.1\r\nHost: WWW.example.COM.:80\r\n\r\n");
    let request = origin.received().concat().to_ascii_lowercase();
    assert!(request.contains("x-cellgate-tenant: acme\r\n"), "{request}");
}

#[test]
fn a_cell_is_asked_in_origin_form() {
    let check = |request: &str, expected: &str| {
        let origin = Origin::answering(OK);
        let proxy = Proxy::start(&[origin.address()]);
        assert_eq!(proxy.ask(request).status, 200, "{request:?}");
        let received = origin.received().concat();
        assert!(received.starts_with(expected), "{request:?}: {received}");
        let hosts = received
            .to_ascii_lowercase()
            .matches("\r\nhost: a.example.com\r\n")
            .count();
        assert_eq!(hosts, 1, "{request:?}: {received}");
    };
    check(
        "GET http://a.example.com/x?y#z HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
        "GET /x?y HTTP/1.1\r\n",
    );
    check(
        "GET http://a.example.com?y HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
        "GET /?y HTTP/1.1\r\n",
    );
    check(
        "GET http://a.example.com HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\n",
    );
}

#[test]
fn what_the_client_is_told() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=1\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTrailer: x\r\n\
         X-Cellgate-Reason: rejected\r\nX-Kept: 1\r\n\r\nok",
    );
    let proxy = Proxy::start(&[origin.address()]);
    let answer = proxy.ask(get("/", ""));
    let mut names: Vec<&str> = answer
        .head
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "content-length", "date", "x-kept"]);
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    assert_eq!(answer.body, "ok");
}

#[test]
fn trailers_of_a_request_reach_no_cell() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: h\r\nX-Tenant-Id: acme\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Cellgate-Tenant: evil\r\nX-Other: 1\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    let received = origin.received().concat();
    assert!(received.ends_with("2\r\nhi\r\n0\r\n\r\n"), "{received}");
    assert!(!received.contains("evil"), "{received}");
    // The connection stands where the next request begins.
    assert_eq!(client.send(get("/", "")).answer().status, 200);
}

#[test]
fn answers_without_a_body() {
    let check = |method: &str, answer: &'static str, status: u16| {
        let origin = Origin::answering(answer);
        let proxy = Proxy::start(&[origin.address()]);
        let mut client = proxy.connect();
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\nX-Tenant-Id: acme\r\n\r\n");
        for _ in 0..2 {
            // The second answer comes only if the first one was taken to end with its head.
            assert_eq!(
                client.send(&request).head().status,
                status,
                "{method} {answer}"
            );
        }
        assert_eq!(
            origin.received().len(),
            1,
            "{method} {answer}: the connection is kept"
        );
    };
    check("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200);
    check(
        "HEAD",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        200,
    );
    check("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204);
    check(
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        304,
    );
}

#[test]
fn interim_answers_pass() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    client.send(get("/", ""));
    assert_eq!(client.head().status, 103);
    assert_eq!(client.answer().body, "ok");
    assert_eq!(client.send(get("/", "")).head().status, 103);
}

#[test]
fn a_client_waits_for_its_100() {
    let origin = Origin::start(|connection| {
        let head = connection.head().unwrap().to_ascii_lowercase();
        assert!(head.contains("expect: 100-continue"), "{head}");
        connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        connection.take(5).unwrap();
        connection.send(OK);
        connection.hang();
    });
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    let request = post("/", "").replace(
        "Content-Length: 0",
        "Content-Length: 5\r\nExpect: 100-continue",
    );
    client.send(request);
    assert_eq!(client.head().status, 100);
    assert_eq!(client.send("hello").answer().status, 200);
}

#[test]
fn a_cell_may_refuse_a_body_unread() {
    let origin = Origin::start(|connection| {
        connection.head().unwrap();
        connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    let request = post("/", "").replace(
        "Content-Length: 0",
        "Content-Length: 5\r\nExpect: 100-continue",
    );
    let answer = client.send(request).answer();
    // The body that was announced never comes, so the connection cannot be kept.
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    drop(client);
    proxy.wait_in_flight(0);
}

/// The client is in the middle of its upload; it gets the answer, not a reset.
#[test]
fn a_cell_may_answer_early_and_close() {
    let origin = Origin::start(|connection| {
        connection.head().unwrap();
        connection
            .send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    client.send(post("/", "").replace("Content-Length: 0", "Content-Length: 2000000"));
    for _ in 0..20 {
        client.upload("x".repeat(100_000));
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (413, "no"));
    assert_eq!(answer.header("connection"), Some("close"));
    drop(client);
    proxy.wait_in_flight(0);
}

/// RFC 9112, section 6.1: HTTP/1.0 knows neither chunks nor interim answers.
#[test]
fn a_client_of_the_last_version() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n\r\n",
    );
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: h\r\nX-Tenant-Id: acme\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.header("connection"), Some("close"));
    let received = origin.received().concat().to_ascii_lowercase();
    assert!(received.starts_with("get / http/1.1\r\n"), "{received}");
    assert!(!received.contains("expect"), "{received}");
}

#[test]
fn a_cell_of_the_last_version() {
    let origin = Origin::start(|connection| {
        connection.head().unwrap();
        connection.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.send(get("/", "")).answer();
        assert!(answer.head.starts_with("http/1.1 200"), "{}", answer.head);
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

#[test]
fn a_protocol_switch() {
    let origin = Origin::start(|connection| {
        let head = connection.head().unwrap().to_ascii_lowercase();
        assert!(
            head.contains("upgrade: websocket") && head.contains("connection: upgrade"),
            "{head}"
        );
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello ",
        );
        let said = connection.take(4).unwrap();
        connection.send(said);
        connection.hang();
    });
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    client.send(get("/", "Upgrade: websocket\r\nConnection: Upgrade\r\n"));
    let answer = client.head();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(client.take(6), "hello ");
    assert_eq!(client.send("ping").take(4), "ping");
    proxy.wait_in_flight(1);
    drop(client);
    proxy.wait_in_flight(0);
}

#[test]
fn a_declined_switch_is_a_request_like_any_other() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHTTP/1.1 101 ");
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    for _ in 0..3 {
        // The body, which begins like the head of a switch, is none.
        let answer = client
            .send(get("/", "Upgrade: websocket\r\nConnection: Upgrade\r\n"))
            .answer();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "HTTP/1.1 101 ")
        );
    }
}

#[test]
fn nothing_may_follow_a_switch_before_it_is_granted() {
    let origin = Origin::start(OriginConnection::hang);
    let proxy = Proxy::start(&[origin.address()]);
    let upgrade = get("/", "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    let at_once = proxy.ask(format!("{upgrade}GET /smuggled"));
    assert_eq!((at_once.status, at_once.reason()), (400, "bad_request"));
    assert!(origin.received().is_empty());

    let mut client = proxy.connect();
    client.send(&upgrade);
    proxy.wait_in_flight(1);
    assert_eq!(client.send("GET /smuggled").answer().status, 400);
    proxy.wait_in_flight(0);
    let received = origin.received().concat();
    assert!(!received.contains("smuggled"), "{received}");
}

#[test]
fn pipelined_requests_are_answered_in_turn() {
    let origin = Origin::start(|connection| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap();
            let length = path.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}"
            ));
        }
    });
    let proxy = Proxy::start(&[origin.address()]);
    let mut client = proxy.connect();
    client.send([get("/1", ""), post("/2", "body"), get("/3", "")].concat());
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.answer().body, path);
    }
}
