//! Interim answers (1xx): which of them reach the client, and that none puts its connection out of step.

use std::sync::{Mutex, mpsc};

use crate::support::{
    gauges::wait_until_idle,
    origin::{OK, Origin, ok},
    proxy::{Proxy, TENANT},
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    a_client_that_waits_sees_all_but_a_continue_it_did_not_ask_for,
    a_continue_that_was_asked_for_passes,
    a_client_that_does_not_wait_gets_one_final_answer_and_no_second_one,
    a_client_that_does_not_wait_is_served_where_all_is_forwarded,
    a_client_of_http_1_0_sees_none,
    a_cell_that_sends_too_many_is_refused,
);

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nall";

/// Interim answers that one request may have.
const INTERIM_MAX: usize = 64;

/// How often a client that does not wait is tried.
const HASTY: usize = 100;

const GUARDED: &str = "{}";
const FORWARDED: &str = "{ interim_answers: forwarded }";

/// A proxy in front of a cell that answers all paths but those of [`OK`] with these bytes.
fn start(upstream: &str, answer: impl Into<Vec<u8>>) -> (Origin, Proxy) {
    let answer = answer.into();
    let cell = Origin::start(move |visit| {
        while let Some(head) = visit.head() {
            if head.path().starts_with(OK) {
                visit.send(ok(head.id()));
            } else {
                visit.send(&answer);
            }
        }
    });
    let proxy = Proxy::in_front_of(cell.address())
        .set("upstream", upstream)
        .start();
    (cell, proxy)
}

fn get(path: &str) -> Vec<u8> {
    Request::get(path).header(TENANT, "a").bytes()
}

/// The statuses up to the final one, whose body stays where it is.
#[track_caller]
fn statuses(connection: &mut Connection) -> Vec<u16> {
    let mut statuses = Vec::new();
    while statuses.last().is_none_or(|status| *status < 200) {
        statuses.push(connection.interim().expect("an answer comes"));
    }
    statuses
}

/// A client that waits for its final answer sees these statuses, and its connection goes on.
#[track_caller]
fn check(upstream: &str, answer: &str, expected: &[u16]) {
    let (_cell, proxy) = start(upstream, answer);
    let mut connection = Connection::open(proxy.address());
    for _ in 0..2 {
        connection.send(get("/x")).expect("the proxy listens");
        assert_eq!(statuses(&mut connection), expected, "{answer}");
        assert_eq!(connection.take(3).expect("the body comes"), b"all");
        let next = connection.exchange_bytes("GET", get(&format!("{OK}next")));
        assert_eq!((next.status, next.text()), (200, "next"));
    }
    drop(connection);
    wait_until_idle(&proxy);
}

fn a_client_that_waits_sees_all_but_a_continue_it_did_not_ask_for() {
    check(GUARDED, &format!("{CONTINUE}{FINAL}"), &[200]);
    check(GUARDED, &format!("{HINT}{FINAL}"), &[103, 200]);
    let several = [HINT, CONTINUE, CONTINUE, HINT, FINAL].concat();
    check(GUARDED, &several, &[103, 103, 200]);
    check(FORWARDED, &several, &[103, 100, 100, 103, 200]);
}

fn a_continue_that_was_asked_for_passes() {
    for upstream in [GUARDED, FORWARDED] {
        let cell = Origin::start(|visit| {
            while let Some(head) = visit.head() {
                if head.header("expect").is_some() {
                    visit.send(CONTINUE);
                }
                let body = visit.body_of(&head).unwrap_or_default();
                visit.send(ok(&String::from_utf8_lossy(&body)));
            }
        });
        let proxy = Proxy::in_front_of(cell.address())
            .set("upstream", upstream)
            .start();
        let mut connection = Connection::open(proxy.address());
        for _ in 0..2 {
            let head = "POST /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\ncontent-length: 4\r\n\
                        expect: 100-continue\r\n\r\n";
            connection.send(head).expect("the proxy listens");
            assert_eq!(connection.interim().expect("it may go on"), 100);
            connection.send("body").expect("it is taken");
            assert_eq!(statuses(&mut connection), [200]);
            assert_eq!(connection.take(4).expect("it comes back"), b"body");
        }
        drop(connection);
        wait_until_idle(&proxy);
    }
}

/// A cell that sends its final answer when the test says so, and the proxy before it.
fn start_waiting(upstream: &str) -> (Origin, Proxy, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let cell = Origin::start(move |visit| {
        while let Some(head) = visit.head() {
            if head.path().starts_with(OK) {
                visit.send(ok(head.id()));
                continue;
            }
            visit.send(HINT);
            if wait.lock().is_ok_and(|wait| wait.recv().is_ok()) {
                visit.send(FINAL);
            }
        }
    });
    let proxy = Proxy::in_front_of(cell.address())
        .set("upstream", upstream)
        .start();
    (cell, proxy, go)
}

/// It may have taken the hint for its answer: then it would take the final answer for that to its next request.
fn a_client_that_does_not_wait_gets_one_final_answer_and_no_second_one() {
    let (cell, proxy, go) = start_waiting(GUARDED);
    for round in 0..HASTY {
        let mut connection = Connection::open(proxy.address());
        connection.send(get("/x")).expect("the proxy listens");
        assert_eq!(connection.interim().expect("a hint comes"), 103);
        let next = get(&format!("{OK}second"));
        connection.send(next).expect("it is taken");
        go.send(()).expect("the cell waits");
        assert_eq!(statuses(&mut connection), [200], "round {round}");
        let rest = connection.until_broken();
        assert_eq!(rest.escape_ascii().to_string(), "all", "round {round}");
    }
    assert!(!cell.has_received("second"), "{:?}", cell.received());
    wait_until_idle(&proxy);
}

fn a_client_that_does_not_wait_is_served_where_all_is_forwarded() {
    let (_cell, proxy, go) = start_waiting(FORWARDED);
    let mut connection = Connection::open(proxy.address());
    connection.send(get("/x")).expect("the proxy listens");
    assert_eq!(connection.interim().expect("a hint comes"), 103);
    let next = get(&format!("{OK}second"));
    connection.send(next).expect("it is taken");
    go.send(()).expect("the cell waits");
    for expected in ["all", "second"] {
        let answer = connection.answer("GET").expect("it is answered");
        assert_eq!((answer.status, answer.text()), (200, expected));
    }
    drop(connection);
    wait_until_idle(&proxy);
}

fn a_client_of_http_1_0_sees_none() {
    for upstream in [GUARDED, FORWARDED] {
        let (_cell, proxy) = start(upstream, [HINT, CONTINUE, HINT, FINAL].concat());
        let mut connection = Connection::open(proxy.address());
        let request = "GET /x HTTP/1.0\r\nhost: test\r\nx-tenant-id: a\r\n\r\n";
        connection.send(request).expect("the proxy listens");
        assert_eq!(statuses(&mut connection), [200], "{upstream}");
        assert_eq!(connection.rest().expect("it closes"), b"all");
    }
}

fn a_cell_that_sends_too_many_is_refused() {
    let most = HINT.repeat(INTERIM_MAX) + FINAL;
    check(
        GUARDED,
        &most,
        &[[103; INTERIM_MAX].as_slice(), &[200]].concat(),
    );
    for upstream in [GUARDED, FORWARDED] {
        for interim in [HINT, CONTINUE] {
            let (_cell, proxy) = start(upstream, interim.repeat(INTERIM_MAX + 1) + FINAL);
            let mut connection = Connection::open(proxy.address());
            connection.send(get("/x")).expect("the proxy listens");
            let answer = connection.answer("GET").expect("it is answered");
            let expected = (502, Some("upstream_error"));
            assert_eq!(answer.verdict(), expected, "{upstream} {interim}");
            drop(connection);
            wait_until_idle(&proxy);
        }
    }
}
