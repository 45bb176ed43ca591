//! What passes: which fields a cell gets of a request, which a client gets of an answer, and what
//! HTTP/1.0 gets of 1.1.

mod connections;

use std::{
    collections::BTreeSet,
    sync::{Mutex, mpsc},
};

use crate::support::{
    gauges::wait_until_idle,
    origin::{Origin, ok},
    proxy::{ONLY, Proxy, TENANT},
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    a_cell_gets_these_fields_and_no_others,
    a_client_gets_these_fields_and_no_others,
    a_client_learns_when_the_cell_made_the_answer,
    an_answer_passes_wherever_its_first_piece_ends,
    what_came_before_a_reset_passes,
    a_cell_is_asked_in_origin_form,
    interim_answers_pass,
    a_cell_may_refuse_a_body_unread,
    a_cell_may_answer_early_and_close,
    a_client_of_http_1_0_gets_what_it_knows,
    an_answer_that_breaks_off_passes_as_far_as_it_came,
);

/// The head of an upload, but for the fields that frame it.
const POST: &str = "POST /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n";

/// The same of one that asks for permission to send its body.
const EXPECTING: &str =
    "POST /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nexpect: 100-continue\r\n";

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";

fn get() -> Request {
    Request::get("/x").header(TENANT, "a")
}

fn a_cell_gets_these_fields_and_no_others() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    let request = [
        ("X-Cellgate-Tenant", "forged"),
        ("x_cellgate_cell", "forged"),
        ("X-Cellgate-Anything", "forged"),
        ("X-Forwarded-For", "192.0.2.6"),
        ("X_Forwarded_Proto", "forged"),
        ("Forwarded", "for=192.0.2.6"),
        ("Connection", "x-cellgate-tenant, x-mine"),
        ("X-Mine", "hop"),
        ("Keep-Alive", "5"),
        ("TE", "trailers"),
        ("Proxy-Connection", "keep-alive"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAA"),
        ("X-Theirs", "kept"),
    ]
    .iter()
    .fold(
        Request::get("/path?q=1").header(TENANT, "acme"),
        |request, (name, value)| request.header(name, value),
    );
    assert_eq!(request.send(proxy.address()).status, 200);
    let received = cell.received().concat();
    let (line, fields) = received.split_once(r"\r\n").unwrap();
    assert_eq!(line, "GET /path?q=1 HTTP/1.1");
    let mut fields: Vec<String> = fields
        .split_terminator(r"\r\n")
        .filter(|field| !field.is_empty())
        .map(str::to_ascii_lowercase)
        // Its value is another one each time.
        .map(|field| match field.split_once(": ") {
            Some(("x-request-id", _)) => "x-request-id".to_owned(),
            _ => field,
        })
        .collect();
    fields.sort_unstable();
    let cell_field = format!("x-cellgate-cell: {ONLY}");
    let expected = [
        "host: localhost",
        &cell_field,
        "x-cellgate-generation: 1",
        "x-cellgate-tenant: acme",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: localhost",
        "x-forwarded-proto: http",
        "x-request-id",
        "x-tenant-id: acme",
        "x-theirs: kept",
    ];
    assert_eq!(fields, expected);
}

fn a_client_gets_these_fields_and_no_others() {
    let cell = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=1\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTrailer: x\r\n\
         X-Cellgate-Reason: rejected\r\nX-Kept: 1\r\n\r\nok",
    );
    let proxy = Proxy::in_front_of(cell.address()).start();
    let answer = get().send(proxy.address());
    let names: BTreeSet<String> = answer
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    let expected = [
        "connection",
        "content-length",
        "date",
        "x-kept",
        "x-request-id",
    ];
    assert_eq!(names, BTreeSet::from(expected.map(str::to_owned)));
    assert_eq!(answer.headers.len(), names.len(), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    assert_eq!(answer.text(), "ok");
}

/// RFC 9110, section 6.6.1. A cache computes an answer's age from it.
fn a_client_learns_when_the_cell_made_the_answer() {
    const THEN: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
    let large = "x".repeat(100_000);
    let head = |status: &str, length: usize| {
        format!(
            "{HINT}HTTP/1.1 {status}\r\ncontent-length: {length}\r\ndate: {THEN}\r\nx-date: a\r\n\r\n"
        )
    };
    for (method, status, body) in [
        ("GET", "200 OK", ""),
        ("GET", "200 OK", "ok"),
        ("GET", "200 OK", &large),
        ("GET", "304 Not Modified", ""),
        ("HEAD", "200 OK", ""),
    ] {
        let length = if method == "HEAD" { 7 } else { body.len() };
        let cell = Origin::answering(head(status, length) + body);
        let proxy = Proxy::in_front_of(cell.address()).start();
        let mut connection = Connection::open(proxy.address());
        for _ in 0..2 {
            let request = Request::new(method, "/x").header(TENANT, "a");
            connection.send(request.bytes()).unwrap();
            assert_eq!(connection.interim().unwrap(), 103);
            let answer = connection.answer(method).unwrap();
            assert_eq!(answer.header("date"), Some(THEN), "{method} {status}");
            assert_eq!(answer.header("x-date"), Some("a"));
            assert_eq!(answer.text(), body);
        }
    }
    // It cannot be less wrong than the cell is.
    let twice =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: {THEN}\r\nDate: never\r\n\r\n");
    let cell = Origin::answering(twice);
    let proxy = Proxy::in_front_of(cell.address()).start();
    let answer = get().send(proxy.address());
    let dates = answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("date"));
    let dates: Vec<&[u8]> = dates.map(|(_, date)| &**date).collect();
    assert_eq!(dates, [THEN.as_bytes(), b"never"]);

    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    let answer = get().send(proxy.address());
    assert!(answer.header("date").is_some_and(|date| date != THEN));
}

/// The first read takes 4,096 bytes. What came with the head is not kept back for what has not come.
fn an_answer_passes_wherever_its_first_piece_ends() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n";
    let answer = HEAD.to_owned() + &"#".repeat(10_000);
    for first in [
        HEAD.len(),
        HEAD.len() + 1,
        4_000,
        4_095,
        4_096,
        4_097,
        8_192,
        9_000,
    ] {
        let (goes_on, may_go_on) = mpsc::channel();
        let may_go_on = Mutex::new(may_go_on);
        let sent = answer.clone();
        let cell = Origin::start(move |visit| {
            visit.head();
            visit.send(&sent[..first]);
            let may_go_on = may_go_on.lock().expect("nobody panics with it");
            if may_go_on.recv() == Ok(true) {
                visit.send(&sent[first..]);
            }
        });
        let proxy = Proxy::in_front_of(cell.address()).start();
        for is_whole in [true, false] {
            let mut connection = Connection::open(proxy.address());
            connection.send(get().bytes()).unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.extend(connection.take(1).unwrap());
            }
            let content = |bytes: usize| "#".repeat(bytes).into_bytes();
            let came = first - HEAD.len();
            assert_eq!(connection.take(came).unwrap(), content(came), "{first}");
            goes_on.send(is_whole).unwrap();
            if is_whole {
                let left = 10_000 - came;
                assert_eq!(connection.take(left).unwrap(), content(left), "{first}");
            } else {
                assert_eq!(connection.until_broken(), b"", "{first}");
            }
        }
    }
}

/// Exactly as much as the first read takes, and the end of the connection right behind it.
fn what_came_before_a_reset_passes() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n";
    let came = 4_096 - HEAD.len();
    let first = HEAD.to_owned() + &"#".repeat(came);
    let cell = Origin::start(move |visit| {
        visit.head();
        visit.end_by_reset();
        visit.send(&first);
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    for _ in 0..20 {
        let mut connection = Connection::open(proxy.address());
        connection.send(get().bytes()).unwrap();
        let seen = connection.until_broken().escape_ascii().to_string();
        assert!(seen.starts_with("HTTP/1.1 200 OK"), "{seen}");
        assert!(seen.ends_with(&"#".repeat(came)), "{seen}");
    }
}

fn a_cell_is_asked_in_origin_form() {
    for (request, expected) in [
        (
            "GET http://a.example.com/x?y#z HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
            r"GET /x?y HTTP/1.1\r\n",
        ),
        (
            "GET http://a.example.com?y HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
            r"GET /?y HTTP/1.1\r\n",
        ),
        (
            "GET http://a.example.com HTTP/1.0\r\n\r\n",
            r"GET / HTTP/1.1\r\n",
        ),
    ] {
        let cell = Origin::well_behaved();
        let proxy = Proxy::in_front_of(cell.address())
            .set("tenant_key", "[{ host: \"{tenant}.example.com\" }]")
            .start();
        let answer = Connection::open(proxy.address()).exchange_bytes("GET", request);
        assert_eq!(answer.status, 200, "{request:?}");
        let received = cell.received().concat();
        assert!(received.starts_with(expected), "{request:?}: {received}");
        let hosts = received
            .to_ascii_lowercase()
            .matches(r"\r\nhost: a.example.com\r\n")
            .count();
        assert_eq!(hosts, 1, "{request:?}: {received}");
    }
}

fn interim_answers_pass() {
    let cell = Origin::answering([HINT.as_bytes(), &ok("final")].concat());
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = Connection::open(proxy.address());
    for _ in 0..2 {
        connection.send(get().bytes()).unwrap();
        assert_eq!(connection.interim().unwrap(), 103);
        assert_eq!(connection.answer("GET").unwrap().text(), "final");
    }
}

/// The body that was announced never comes, so the connection cannot be kept.
fn a_cell_may_refuse_a_body_unread() {
    let cell = Origin::start(|visit| {
        visit.head();
        visit.send("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = Connection::open(proxy.address());
    let request = [EXPECTING, "content-length: 5\r\n\r\n"].concat();
    let answer = connection.exchange_bytes("POST", request);
    assert_eq!(answer.status, 413);
    assert_eq!(answer.header("connection"), Some("close"));
    drop(connection);
    wait_until_idle(&proxy);
}

/// The client is in the middle of its upload, and stays there until it has the answer: it gets that,
/// not a reset.
fn a_cell_may_answer_early_and_close() {
    let cell = Origin::start(|visit| {
        visit.head();
        visit.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = Connection::open(proxy.address());
    let head = [POST, "content-length: 2100000\r\n\r\n"].concat();
    connection.send(head).unwrap();
    for _ in 0..20 {
        let sent = connection.send("x".repeat(100_000));
        sent.expect("the proxy goes on reading");
    }
    // Of all that was announced, the last part is still to come.
    let answer = connection.answer("POST").unwrap();
    assert_eq!((answer.status, answer.text()), (413, "no"));
    assert_eq!(answer.header("connection"), Some("close"));
    drop(connection);
    wait_until_idle(&proxy);
}

/// RFC 9112, section 6.1: HTTP/1.0 knows neither chunks nor interim answers.
fn a_client_of_http_1_0_gets_what_it_knows() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let cell = Origin::answering([HINT, chunks].concat());
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = Connection::open(proxy.address());
    let head = "GET /x HTTP/1.0\r\nhost: test\r\nx-tenant-id: a\r\nexpect: 100-continue\r\n\r\n";
    connection.send(head).unwrap();
    let answer = connection.rest().expect("it closes in order");
    let answer = answer.escape_ascii().to_string().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 ok"), "{answer}");
    assert!(answer.ends_with(r"\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
    assert!(answer.contains(r"\r\nconnection: close\r\n"), "{answer}");
    let received = cell.received().concat().to_ascii_lowercase();
    assert!(received.starts_with("get /x http/1.1"), "{received}");
    assert!(!received.contains("expect"), "{received}");
}

/// What there was arrives, and nothing that looks like an end.
fn an_answer_that_breaks_off_passes_as_far_as_it_came() {
    for (answer, end) in [
        ("content-length: 10\r\n\r\nhalf", r"\r\n\r\nhalf"),
        (
            "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            r"4\r\nhalf\r\n",
        ),
        ("transfer-encoding: chunked\r\n\r\n8\r\nhalf", r"half\r\n"),
    ] {
        let cell = Origin::start(move |visit| {
            visit.head();
            visit.send(["HTTP/1.1 200 OK\r\n", answer].concat());
        });
        let proxy = Proxy::in_front_of(cell.address()).start();
        let mut connection = Connection::open(proxy.address());
        connection.send(get().bytes()).unwrap();
        let seen = connection.until_broken().escape_ascii().to_string();
        assert!(seen.starts_with("HTTP/1.1 200 OK"), "{answer:?}: {seen}");
        assert!(seen.ends_with(end), "{answer:?}: {seen}");
        drop(connection);
        wait_until_idle(&proxy);
        let labels = [("cell", ONLY), ("reason", "upstream_error")];
        let errors = proxy.metric("upstream_errors_total", &labels);
        assert_eq!(errors, Some(1.0), "{answer:?}");
    }
}
