//! Clients that send too much, or too slowly, or are too many.

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    gauges::{wait_for_in_flight, wait_until_idle},
    origin::{OK, Origin, Visit, ok},
    proxy::{ONLY, Proxy, TENANT},
    wait_until,
    ways::{Way, every_way, way},
    wire::{Connection, Request},
};

every_way!(
    a_body_over_the_limit_is_read_on_until_its_refusal_has_arrived,
    a_slow_upload_is_no_failure_of_the_cell,
    a_client_that_leaves_is_no_failure_of_the_cell,
    a_client_that_reads_nothing_holds_no_place,
    connections_over_the_limit_are_answered_and_closed,
    idle_connections_close,
);

/// The head of an upload, but for the fields that frame it.
const POST: &str = "POST /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n";

/// The client goes on sending while it is refused; it gets its answer all the same, not a reset.
fn a_body_over_the_limit_is_read_on_until_its_refusal_has_arrived() {
    let cell = Origin::start(Visit::wait_for_end);
    let proxy = Proxy::in_front_of(cell.address())
        .set("limits", "{ body_bytes_max: 1000 }")
        .start();
    for framing in [
        "content-length: 1001\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n3E9\r\n",
        "transfer-encoding: chunked\r\n\r\n1\r\na\r\n3E8\r\n",
    ] {
        let mut connection = proxy.open();
        connection.send([POST, framing].concat()).unwrap();
        for _ in 0..60 {
            let sent = connection.send("x".repeat(100_000));
            sent.unwrap_or_else(|error| panic!("{framing}: not read on: {error}"));
        }
        let answer = connection.answer("POST").unwrap();
        assert_eq!(answer.verdict(), (413, Some("body_too_large")), "{framing}");
        drop(connection);
        wait_until_idle(&proxy);
    }
}

/// A client that stops in the middle of its body is at fault, not the cell, which waits for the rest.
fn a_slow_upload_is_no_failure_of_the_cell() {
    let cell = Origin::start(Visit::wait_for_end);
    let proxy = Proxy::in_front_of(cell.address())
        .set("timeouts", "{ client_idle_ms: 300, upstream_read_ms: 100 }")
        .start();
    let mut connection = proxy.open();
    let half = [POST, "content-length: 10\r\n\r\nhalf"].concat();
    let answer = connection.exchange_bytes("POST", half);
    assert_eq!(answer.verdict(), (408, Some("request_timeout")));
    drop(connection);
    wait_until_idle(&proxy);
    assert_eq!(errors(&proxy, "upstream_timeout"), Some(0.0));
}

/// How many attempts failed for this reason.
fn errors(proxy: &Proxy, reason: &str) -> Option<f64> {
    let labels = [("cell", ONLY), ("reason", reason)];
    proxy.metric("upstream_errors_total", &labels)
}

/// Whoever leaves before the answer is counted as that, and not as a failure of the cell.
fn a_client_that_leaves_is_no_failure_of_the_cell() {
    let cell = Origin::start(Visit::wait_for_end);
    let proxy = Proxy::in_front_of(cell.address()).start();
    let requests = [
        "GET /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n\r\n".to_owned(),
        [POST, "content-length: 100000\r\n\r\nhalf"].concat(),
        [POST, "transfer-encoding: chunked\r\n\r\n5\r\nha"].concat(),
    ];
    for (request, count) in requests.iter().zip([1.0, 2.0, 3.0]) {
        let mut connection = proxy.open();
        connection.send(request).unwrap();
        wait_for_in_flight(&proxy, 1);
        drop(connection);
        wait_until_idle(&proxy);
        let aborts = proxy.metric("client_aborts_total", &[]);
        assert_eq!(aborts, Some(count), "{request}");
    }
    for reason in ["upstream_error", "upstream_timeout"] {
        assert_eq!(errors(&proxy, reason), Some(0.0), "{reason}");
    }
}

/// What waits for a client that reads nothing must not hold a place in the cell's bulkhead for ever:
/// neither a large body nor many small answers.
fn a_client_that_reads_nothing_holds_no_place() {
    let long = "x".repeat(5_000);
    let small = format!("HTTP/1.1 204 No Content\r\nx-long: {long}\r\n\r\n");
    let large = ok(&"x".repeat(20_000_000));
    let cell = Origin::start(move |visit| {
        while let Some(head) = visit.head() {
            let is_large = head.path() == "/large";
            visit.send(if is_large { &large } else { small.as_bytes() });
        }
    });
    let proxy = Proxy::in_front_of(cell.address())
        .set("timeouts", "{ client_idle_ms: 300 }")
        .start();
    let request = |path: &str| Request::get(path).header(TENANT, "a").bytes();
    let mut connections = Vec::new();
    for _ in 0..3 {
        for bytes in [request("/large"), request("/small").repeat(2_000)] {
            let mut connection = proxy.open();
            connection.send(bytes).unwrap();
            connections.push(connection);
        }
    }
    wait_until("the small answers begin", PATIENCE, || {
        proxy.metric("requests_total", &[("cell", ONLY)]) >= Some(1_000.0)
    });
    // They are still there, but the proxy has closed their connections.
    wait_until_idle(&proxy);
    drop(connections);
}

fn connections_over_the_limit_are_answered_and_closed() {
    let cell = Origin::well_behaved();
    let proxy = Proxy::in_front_of(cell.address())
        .set("limits", "{ connections_max: 1 }")
        .start();
    let mut first = proxy.open();
    let request = Request::get(&format!("{OK}first")).header(TENANT, "a");
    assert_eq!(first.exchange(&request).text(), "first");
    if way() == Some(Way::Tls) {
        // An answer would take the handshake for which there is no place.
        let said = Connection::open(proxy.address()).until_broken();
        assert_eq!(said, b"");
    } else {
        let answer = proxy.open().answer("GET").unwrap();
        assert_eq!(answer.verdict(), (503, Some("overloaded")));
    }
    drop(first);
    wait_until_idle(&proxy);
    assert_eq!(proxy.answer_to(&request).text(), "first");
}

/// A connection that idles longer than its limit is closed in order, never answered by something
/// else; one that has begun a request gets an answer.
fn idle_connections_close() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::plan()
        .set("timeouts", "{ keepalive_ms: 300, head_ms: 400 }")
        .table(fleet.table())
        .start();
    let mut used = proxy.open();
    let request = Request::get("/").header(TENANT, "a");
    assert_eq!(used.exchange(&request).status, 200);
    assert_eq!(used.exchange(&request).status, 200);
    let mut silent = proxy.open();
    let mut begun = proxy.open();
    begun.send("GET / HTTP/1.1\r\nho").unwrap();
    assert_eq!(used.rest().expect("it closes in order"), b"");
    assert_eq!(silent.rest().expect("it closes in order"), b"");
    let answer = begun.answer("GET").unwrap();
    assert_eq!(answer.verdict(), (408, Some("request_timeout")));
    drop(begun);
    wait_until_idle(&proxy);
}
