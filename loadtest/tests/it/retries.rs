//! Trying again: only inside the cell, and only where the request cannot have been executed already
//! or may be executed twice.

use crate::support::{
    gauges::wait_until_idle,
    origin::{OK, Origin, ok},
    proxy::{Proxy, TENANT},
    ways::both_ways,
    wire::Request,
};

both_ways!(
    a_kept_connection_that_closes,
    a_repeated_request_is_the_same,
);

/// Answers the first request of each connection and closes when the next one comes: what a kept
/// connection does that its other end gave up at that very moment.
fn closing_on_second_request() -> Origin {
    Origin::start(|visit| {
        if visit.request().is_some() {
            visit.send(ok("first"));
            visit.request();
        }
    })
}

/// A request that leaves a connection to the cell in the pool.
#[track_caller]
fn ask_first(proxy: &Proxy) {
    let answer = proxy.get("a", &format!("{OK}first"));
    assert_eq!(answer.text(), "first");
}

/// A request with this much of a body.
fn again(method: &str, body_bytes: usize) -> Request {
    Request::new(method, "/again")
        .header(TENANT, "a")
        .body("y".repeat(body_bytes))
}

fn a_kept_connection_that_closes() {
    for (method, body_bytes, status, connections) in [
        ("GET", 0, 200, 2),
        ("PUT", 4, 200, 2),
        // It may have been executed already.
        ("POST", 4, 502, 1),
        // More than can be kept for a second attempt.
        ("PUT", 100_000, 502, 1),
    ] {
        let cell = closing_on_second_request();
        let proxy = Proxy::in_front_of(cell.address())
            .set("upstream", "{ ejection: { after_failures: 1 } }")
            .start();
        ask_first(&proxy);
        let answer = again(method, body_bytes).send(proxy.address());
        let case = format!("{method} of {body_bytes} bytes: {answer:?}");
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(cell.connections(), connections, "{case}");
        wait_until_idle(&proxy);
    }
}

fn a_repeated_request_is_the_same() {
    let cell = closing_on_second_request();
    let proxy = Proxy::in_front_of(cell.address()).start();
    ask_first(&proxy);
    let answer = again("PUT", 30_000).send(proxy.address());
    assert_eq!(answer.status, 200);
    let received = cell.received();
    let (_, first_attempt) = received[0].rsplit_once("PUT /again").unwrap();
    let (_, second_attempt) = received[1].split_once("PUT /again").unwrap();
    assert_eq!(first_attempt, second_attempt);
    let body = format!(r"\r\n\r\n{}", "y".repeat(30_000));
    assert!(second_attempt.ends_with(&body), "{second_attempt}");
}
