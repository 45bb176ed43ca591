//! Connections that change their protocol: none ends before one of its sides wants it, and they
//! have a limit of their own.

use std::{
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    heavy::{figure, is_acceptance},
    origin::{OK, Origin, Visit, ok},
    proxy::{ONLY, Proxy},
    table::TableText,
    wait_until,
    ways::both_ways,
    wire::{Answer, Connection},
};

both_ways!(
    no_handshake_is_closed_early,
    half_a_tunnel_may_close,
    tunnels_are_limited_by_cell_apart_from_requests,
    a_cell_that_hangs_is_given_up_in_time_whatever_was_asked_for,
    a_switch_to_another_protocol_is_refused,
);

const UPGRADE: &str = "GET /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A text frame of the cell, `hello`.
const HELLO: &[u8] = b"\x81\x05hello";
/// A text frame of a client, with a mask.
const PING: &[u8] = b"\x81\x84\x01\x02\x03\x04qkmc";

/// Clients that shake hands at the same time.
const AT_ONCE: usize = 24;

const TUNNELS_MAX: usize = 3;

/// The cell's time to answer, short where it uses it up.
const READ_MS: u64 = 300;

/// Switches immediately, its first frame in the same segment, and sends each frame of [`PING`]'s length
/// back. Other requests it answers.
fn talkative(visit: &mut Visit) {
    while let Some(head) = visit.head() {
        if head.header("upgrade").is_none() {
            visit.send(ok(head.id()));
            continue;
        }
        visit.send([SWITCHING.as_bytes(), HELLO].concat());
        while let Ok(frame) = visit.take(PING.len()) {
            visit.send(frame);
        }
        return;
    }
}

/// Asks for a switch; the answer, whatever it is.
#[track_caller]
fn switch(proxy: &Proxy) -> (Connection, Answer) {
    switch_to(proxy, "websocket")
}

/// Asks for a switch to this protocol.
#[track_caller]
fn switch_to(proxy: &Proxy, protocol: &str) -> (Connection, Answer) {
    let request = UPGRADE.replace("websocket", protocol);
    let mut connection = Connection::open(proxy.address());
    let answer = connection.exchange_bytes("GET", request);
    (connection, answer)
}

/// Whether everything that should come did.
fn talk(proxy: &Proxy) -> Result<(), String> {
    let mut connection =
        Connection::try_open(proxy.address()).map_err(|error| error.to_string())?;
    let mut steps = || {
        connection.send(UPGRADE)?;
        let status = connection.answer("GET")?.status;
        let hello = connection.take(HELLO.len())?;
        connection.send(PING)?;
        let echo = connection.take(PING.len())?;
        Ok::<_, std::io::Error>((status, hello, echo))
    };
    match steps() {
        Ok((101, hello, echo)) if hello == HELLO && echo == PING => Ok(()),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn no_handshake_is_closed_early() {
    let handshakes = if is_acceptance() { 6_000 } else { 600 };
    let cell = Origin::start(talkative);
    let proxy = Proxy::in_front_of(cell.address()).start();
    let failed: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let talks = (0..handshakes / AT_ONCE).map(|_| talk(&proxy));
                    talks.filter_map(Result::err).collect::<Vec<_>>()
                })
            })
            .collect();
        let failed = clients.into_iter().map(thread::ScopedJoinHandle::join);
        failed
            .flat_map(|failed| failed.expect("it only talks"))
            .collect()
    });
    figure(format!(
        "{} of {handshakes} handshakes closed early",
        failed.len()
    ));
    assert_eq!(failed, [""; 0]);
    wait_until_idle(&proxy);
}

/// A side that has sent all it has may still receive.
fn half_a_tunnel_may_close() {
    let cell = Origin::start(|visit| {
        visit.head();
        visit.send(SWITCHING);
        // Until the client has sent all of it.
        visit.wait_for_end();
        visit.send("goodbye");
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    let (mut connection, answer) = switch(&proxy);
    assert_eq!(answer.status, 101);
    connection.send("that was all").expect("it is open");
    let shut = connection.stream().shutdown(Shutdown::Write);
    shut.expect("it is open");
    let rest = connection.rest().expect("it closes in order");
    assert_eq!(rest.escape_ascii().to_string(), "goodbye");
    assert!(cell.has_received("that was all"));
    drop(connection);
    wait_until_idle(&proxy);

    let cell = Origin::start(|visit| {
        visit.head();
        visit.send([SWITCHING, "that was all"].concat());
        visit.end_sending();
        visit.wait_for_end();
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    let (mut connection, answer) = switch(&proxy);
    assert_eq!(answer.status, 101);
    let rest = connection.rest().expect("it closes in order");
    assert_eq!(rest.escape_ascii().to_string(), "that was all");
    connection.send("goodbye").expect("this way is still open");
    wait_until("the cell has it", PATIENCE, || cell.has_received("goodbye"));
    drop(connection);
    wait_until_idle(&proxy);
}

/// Open tunnels have a limit of their own, and use up no other.
fn tunnels_are_limited_by_cell_apart_from_requests() {
    let cell = Origin::start(talkative);
    let table = TableText::new([(ONLY, vec![cell.address()])])
        .cell_line(ONLY, "max_in_flight: 1")
        .cell_line(ONLY, &format!("tunnels_max: {TUNNELS_MAX}"));
    let proxy = Proxy::start(table);
    let mut open: Vec<Connection> = (0..TUNNELS_MAX)
        .map(|_| {
            let (mut connection, answer) = switch(&proxy);
            assert_eq!(answer.status, 101, "{answer:?}");
            let hello = connection.take(HELLO.len());
            assert_eq!(hello.expect("the tunnel is open"), HELLO);
            connection
        })
        .collect();
    let (_, answer) = switch(&proxy);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("x-cellgate-reason").is_some(), "{answer:?}");
    // A client has its answer a moment before its place in the cell is free.
    wait_until("no request is in flight", PATIENCE, || {
        proxy.status()["cells"][ONLY]["in_flight"] == 0
    });
    let answer = proxy.get("a", &format!("{OK}next"));
    assert_eq!((answer.status, answer.text()), (200, "next"));

    open.pop();
    wait_until("there is room for another", PATIENCE, || {
        switch(&proxy).1.status == 101
    });
    for connection in &mut open {
        connection.send(PING).expect("the tunnel is open");
        let echo = connection.take(PING.len());
        assert_eq!(echo.expect("the tunnel is open"), PING);
    }
    drop(open);
    wait_until_idle(&proxy);
}

/// What a client wants is not agreed yet: until the 101, a cell has no more time than for any other answer.
fn a_cell_that_hangs_is_given_up_in_time_whatever_was_asked_for() {
    let cell = Origin::start(|visit| {
        visit.head();
        visit.wait_for_end();
    });
    let proxy = Proxy::in_front_of(cell.address())
        .set("timeouts", &format!("{{ upstream_read_ms: {READ_MS} }}"))
        .set("limits", "{ upgrades: [websocket, other] }")
        .start();
    // The last one is not allowed, so its request goes on as a plain one.
    for protocol in ["websocket", "other", "x"] {
        let began = Instant::now();
        let (_, answer) = switch_to(&proxy, protocol);
        let took = began.elapsed();
        assert_eq!(
            answer.verdict(),
            (504, Some("upstream_timeout")),
            "{protocol}"
        );
        assert!(
            took >= Duration::from_millis(READ_MS),
            "{protocol}: {took:?}"
        );
        assert!(took < PATIENCE / 2, "{protocol}: {took:?}");
    }
    let received = cell.received().concat().to_ascii_lowercase();
    for (offer, count) in [("websocket", 1), ("other", 1), ("x", 0)] {
        let found = received
            .matches(&format!(r"\r\nupgrade: {offer}\r\n"))
            .count();
        assert_eq!(found, count, "{offer} in {received}");
    }
    wait_until_idle(&proxy);
}

/// RFC 9110, section 7.8: a server switches to nothing that was not offered.
fn a_switch_to_another_protocol_is_refused() {
    for chosen in ["other", "x", "h2c", "websocket, other", "websocket/13", ""] {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {chosen}\r\n\r\nhello"
        );
        let cell = Origin::answering(answer);
        let proxy = Proxy::in_front_of(cell.address())
            .set("limits", "{ upgrades: [websocket, other] }")
            .start();
        let (mut connection, answer) = switch_to(&proxy, "websocket");
        assert_eq!(answer.verdict(), (502, Some("upstream_error")), "{chosen}");
        assert_eq!(connection.until_broken(), b"", "{chosen}");
        drop(connection);
        wait_until_idle(&proxy);
    }
}
