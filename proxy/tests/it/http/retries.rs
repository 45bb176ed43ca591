//! Trying again: only inside the cell, and only where it is safe.

use super::*;

/// Answers the first request of each connection and closes when the next one comes: what a kept connection does that
/// its other end gave up at that very moment.
fn closing_on_second_request() -> Origin {
    Origin::start(|connection| {
        connection.request().unwrap();
        connection.send(OK);
        connection.request();
    })
}

#[test]
fn a_kept_connection_that_closes() {
    let check = |second: String, status: u16, connections: usize| {
        let origin = closing_on_second_request();
        let proxy = Proxy::with(
            "upstream: { ejection: { after_failures: 1 } }",
            "",
            &[origin.address()],
        );
        assert_eq!(proxy.ask(get("/", "")).status, 200);
        let answer = proxy.ask(&second);
        assert_eq!(answer.status, status, "{second:?}");
        let received = origin.received();
        assert_eq!(received.len(), connections, "{second:?}: {received:?}");
        proxy.wait_in_flight(0);
    };
    check(get("/again", ""), 200, 2);
    check(post("/again", "body").replace("POST", "PUT"), 200, 2);
    // It may have been carried out already.
    check(post("/again", "body"), 502, 1);
    // More than can be kept for a second time.
    check(
        post("/again", &"x".repeat(100_000)).replace("POST", "PUT"),
        502,
        1,
    );
}

#[test]
fn a_repeated_request_says_the_same() {
    let origin = closing_on_second_request();
    let proxy = Proxy::start(&[origin.address()]);
    assert_eq!(proxy.ask(get("/", "")).status, 200);
    let body = "y".repeat(30_000);
    let request = post("/again", &body).replace("POST", "PUT");
    assert_eq!(proxy.ask(request).status, 200);
    let received = origin.received();
    let (_, first_try) = received[0].rsplit_once("PUT /again").unwrap();
    let (_, second_try) = received[1].split_once("PUT /again").unwrap();
    assert_eq!(first_try, second_try);
    assert!(second_try.ends_with(&format!("\r\n\r\n{body}")));
}

#[test]
fn an_endpoint_that_refuses_connections() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::with(
        "upstream: { ejection: { after_failures: 2 } }",
        "",
        &[origin.address(), Origin::nobody()],
    );
    for method in ["GET", "POST"] {
        for _ in 0..10 {
            // Nothing was sent, so even a POST may be tried again.
            let request = post("/", "body").replace("POST", method);
            assert_eq!(proxy.ask(request).status, 200, "{method}");
        }
    }
    assert_eq!(proxy.metric("endpoint_ejections_total{cell=\"only\"}"), 1);
}

#[test]
fn a_cell_that_cannot_be_reached() {
    let proxy = Proxy::with(
        "upstream: { retries: 2, ejection: { after_failures: 2 } }",
        "",
        &[Origin::nobody()],
    );
    for _ in 0..5 {
        let answer = proxy.ask(get("/", ""));
        assert_eq!((answer.status, answer.reason()), (502, "connect_failed"));
    }
    assert_eq!(
        proxy.metric("upstream_errors_total{cell=\"only\",reason=\"connect_failed\"}"),
        15
    );
    assert_eq!(proxy.metric("upstream_retries_total{cell=\"only\"}"), 10);
    // The floor: the last endpoint of a cell stays in, however often it fails.
    assert_eq!(proxy.endpoint_state(), "healthy");
}

#[test]
fn a_cell_without_a_healthy_endpoint() {
    let proxy = Proxy::with(
        "",
        "health_check: { type: tcp, interval_ms: 100, unhealthy_after: 1 },",
        &[Origin::nobody()],
    );
    wait_until("the endpoint is found unhealthy", || {
        proxy.endpoint_state() == "unhealthy"
    });
    let answer = proxy.ask(get("/", ""));
    assert_eq!(
        (answer.status, answer.reason()),
        (503, "no_healthy_endpoint")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    proxy.wait_in_flight(0);
}
