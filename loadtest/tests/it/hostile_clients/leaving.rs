//! Clients that go away.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::figure,
    origin::{OK, Origin, ok},
    proxy::{Proxy, TENANT},
    wait_until,
    ways::every_way,
    wire::Request,
};

every_way!(
    clients_that_leave_in_the_middle_leave_nothing_behind,
    what_a_client_left_behind_is_nobody_elses_answer,
    half_an_upload_never_looks_whole,
    a_client_that_has_said_all_may_still_be_answered,
    slow_readers_cost_neither_memory_nor_others_time,
);

/// Clients of each kind.
const CLIENTS: usize = 50;
/// Clients that read nothing of a large answer. Many, so that what the allocator keeps in hand for the whole process
/// does not count as theirs.
const SLOW_READERS: usize = 100;

fn clients_that_leave_in_the_middle_leave_nothing_behind() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    let half_head = b"GET /half HTTP/1.1\r\nhost: test\r\nx-tenant".to_vec();
    let half_body = Request::new("POST", "/echo/half")
        .header(TENANT, "a")
        .body(vec![b'x'; 10_000])
        .bytes();
    let no_answer = Request::get("/slow/60000").header(TENANT, "a").bytes();
    let half_answer = Request::get("/bytes/50000000").header(TENANT, "a").bytes();
    for bytes in [
        &half_head,
        &half_body[..5_000].to_vec(),
        &no_answer,
        &half_answer,
    ] {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.open()).collect();
        for client in &mut clients {
            client.send(bytes).expect("the proxy listens");
        }
        if bytes == &half_answer {
            for client in &mut clients {
                client.take(1_000).expect("an answer begins");
            }
        }
        let busy = || proxy.status()["client_connections"] == CLIENTS;
        wait_until("all clients are connected", PATIENCE, busy);
        drop(clients);
        let left = Instant::now();
        wait_until_idle(&proxy);
        let took = left.elapsed();
        assert!(took < Duration::from_secs(5), "leaving took {took:?}");
    }
    assert_eq!(proxy.cell_of("a"), "cell-1");
}

/// A connection to the cell on which an answer was left half read is not used again.
fn what_a_client_left_behind_is_nobody_elses_answer() {
    let cell = Origin::start(|visit| {
        while let Some(head) = visit.head() {
            if head.path().starts_with(OK) {
                visit.send(ok(head.id()));
                continue;
            }
            // Slow enough for the client to leave in the middle.
            visit.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(5));
                visit.send("stolen ".repeat(5000 / 7));
            }
        }
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    for round in 0..20 {
        let mut leaver = proxy.open();
        let request = Request::get("/large").header(TENANT, "a");
        leaver.send(request.bytes()).expect("the proxy listens");
        thread::sleep(Duration::from_millis(3 * round));
        drop(leaver);
        for follower in 0..4 {
            let id = format!("{round}-{follower}");
            let answer = proxy.get("a", &format!("{OK}{id}"));
            assert_eq!((answer.status, answer.text()), (200, &*id));
        }
    }
    wait_until_idle(&proxy);
}

/// Half of an upload must not look like all of it to the cell.
fn half_an_upload_never_looks_whole() {
    let cell = Origin::start(|visit| {
        while let Some(head) = visit.head() {
            let whole = visit.body_of(&head).is_ok();
            visit.send(ok(if whole { "whole" } else { "half" }));
        }
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    // A smaller one of a known length is read whole before the cell hears of it.
    for framing in ["content-length: 100000\r\n\r\n", CHUNKED_64, CHUNKED_4] {
        for half_closed in [true, false] {
            // As long as the second kind of chunk says.
            let half = format!("h{:03}", cell.connections());
            let end = if framing == CHUNKED_4 { "\r\n" } else { "" };
            half_an_upload(&proxy, &[framing, &half, end].concat(), half_closed, || {
                cell.has_received(&half)
            });
            wait_until_idle(&proxy);
        }
    }
    for bytes in cell.received() {
        let ended = bytes.ends_with(r"\r\n0\r\n\r\n");
        assert!(!ended, "an end that the client did not send: {bytes}");
    }
}

const CHUNKED_64: &str = "transfer-encoding: chunked\r\n\r\n40\r\n";
const CHUNKED_4: &str = "transfer-encoding: chunked\r\n\r\n4\r\n";

#[track_caller]
fn half_an_upload(
    proxy: &Proxy,
    framing_and_half: &str,
    half_closed: bool,
    has_begun: impl FnMut() -> bool,
) {
    let mut client = proxy.open();
    let head = "POST /upload HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n";
    let sent = client.send([head, framing_and_half].concat());
    sent.expect("the proxy listens");
    wait_until("the upload begins", PATIENCE, has_begun);
    if half_closed {
        let shut = client.finish();
        shut.expect("it is open");
        let rest = client.rest().unwrap_or_default();
        assert!(!rest.ends_with(b"whole"), "{framing_and_half}");
    }
}

/// Programs such as `nc` shut their side down once they have asked.
fn a_client_that_has_said_all_may_still_be_answered() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    for path in ["/", "/slow/300"] {
        let mut client = proxy.open();
        let request = Request::get(path).header(TENANT, "a");
        client.send(request.bytes()).expect("the proxy listens");
        client.finish().expect("it is open");
        // Whether it is answered is not promised; that it is not left waiting is.
        if let Ok(answer) = client.answer("GET") {
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        drop(client);
        wait_until_idle(&proxy);
    }
}

/// Clients that ask for much and read nothing hold their own connections only, and not for ever.
fn slow_readers_cost_neither_memory_nor_others_time() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::plan()
        .set("timeouts", "{ client_idle_ms: 1500 }")
        .table(fleet.table())
        .start();
    proxy.cell_of("a");
    let before = proxy.resident_bytes();
    let mut readers: Vec<_> = (0..SLOW_READERS).map(|_| proxy.open()).collect();
    for reader in &mut readers {
        let request = Request::get("/bytes/100000000").header(TENANT, "a");
        reader.send(request.bytes()).expect("the proxy listens");
    }
    let all = || proxy.status()["requests_in_flight"] == SLOW_READERS;
    wait_until("all of them are being answered", PATIENCE, all);
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(proxy.cell_of("b"), "cell-1");
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "somebody else waited {took:?}"
        );
    }
    let grown = proxy.resident_bytes().saturating_sub(before);
    let each = grown / SLOW_READERS as u64;
    figure(format!(
        "{SLOW_READERS} slow readers: {each} bytes of memory each"
    ));
    assert!(
        each < 1_000_000,
        "{each} bytes of memory for each slow reader"
    );

    // They are still there, but the proxy has let go of them.
    let begun = Instant::now();
    wait_until_idle(&proxy);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "they held on for {took:?}");
    drop(readers);
}
