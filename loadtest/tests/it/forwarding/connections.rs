//! Which connections stay open once a request is answered, and which carry no other.

use super::{POST, get};
use crate::support::{
    origin::{OK, Origin},
    proxy::{ONLY, Proxy, TENANT},
    table::TableText,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    a_cell_of_http_1_0_costs_no_client_its_connection,
    a_client_may_close_after_its_answer,
    a_refused_request_leaves_its_connection_usable,
    a_body_without_a_meaning_spoils_its_connection,
    several_codings_arrive_in_one_line,
);

fn a_cell_of_http_1_0_costs_no_client_its_connection() {
    let cell = Origin::start(|visit| {
        visit.head();
        visit.send("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = Connection::open(proxy.address());
    for _ in 0..2 {
        let answer = connection.exchange(&get());
        assert_eq!((answer.status, answer.text()), (200, "ok"));
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

/// The cell's connection is no business of a client's.
fn a_client_may_close_after_its_answer() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = Connection::open(proxy.address());
    let answer = connection.exchange(&get().header("connection", "close"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(connection.rest().unwrap(), b"");
    let next = get().send(proxy.address());
    assert_eq!(next.status, 200);
    assert_eq!(cell.connections(), 1);
}

fn a_refused_request_leaves_its_connection_usable() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::plan()
        .table(TableText::new([(ONLY, vec![cell.address()])]).reject("evil"))
        .start();
    let mut connection = Connection::open(proxy.address());
    let evil = |method: &str| Request::new(method, "/x").header(TENANT, "evil");
    for request in [
        evil("GET"),
        evil("POST").body("a body that nobody wants"),
        evil("HEAD"),
    ] {
        let answer = connection.exchange(&request);
        assert_eq!(answer.verdict(), (403, Some("rejected")));
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
    let next = Request::get(&format!("{OK}next")).header(TENANT, "a");
    assert_eq!(connection.exchange(&next).text(), "next");
    assert!(!cell.has_received("evil"), "{:?}", cell.received());
}

/// A request whose body some servers do not read shares its connection with no other.
fn a_body_without_a_meaning_spoils_its_connection() {
    let with_body = |method: &str| {
        let request = Request::new(method, "/x").header(TENANT, "a");
        request.body("body").bytes()
    };
    let coded = [
        POST,
        "transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ]
    .concat();
    for (first, connections) in [
        (with_body("POST"), 1),
        (with_body("GET"), 2),
        (with_body("DELETE"), 2),
        (coded.into_bytes(), 2),
    ] {
        let cell = Origin::well_behaved();
        let proxy = Proxy::in_front_of(cell.address()).start();
        let answer = Connection::open(proxy.address()).exchange_bytes("POST", &first);
        let first = first.escape_ascii();
        assert_eq!(answer.status, 200, "{first}");
        assert_eq!(get().send(proxy.address()).status, 200, "{first}");
        assert_eq!(cell.connections(), connections, "{first}");
    }
}

fn several_codings_arrive_in_one_line() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address()).start();
    let codings = "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";
    let request = [POST, codings, "5\r\nhello\r\n0\r\n\r\n"].concat();
    let answer = Connection::open(proxy.address()).exchange_bytes("POST", request);
    assert_eq!(answer.status, 200);
    let received = cell.received().concat().to_ascii_lowercase();
    let codings = r"\r\ntransfer-encoding: gzip, chunked\r\n";
    assert!(received.contains(codings), "{received}");
    assert!(
        received.contains(r"\r\nconnection: close\r\n"),
        "{received}"
    );
}
