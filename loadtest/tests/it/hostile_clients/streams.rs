//! Long streams: large bodies, and connections that change their protocol.

use std::{io::Write, thread, time::Duration};

use sha2::{Digest, Sha256};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy,
    origin::{Origin, Visit, ok},
    proxy::Proxy,
    wait_until,
    ways::{both_ways, every_way},
};

// Whoever sends and receives at the same time does so without TLS here.
both_ways!(large_bodies_pass_whole_and_leave_the_memory_flat);

every_way!(
    an_upgraded_connection_passes_every_way_and_ends,
    bytes_before_the_switch_go_nowhere,
    a_declined_upgrade_is_an_answer_like_any_other,
);

/// Of the large bodies.
const BODY_BYTES: usize = 50 << 20;
/// How much the proxy may grow by one of them.
const GROWTH_MAX: u64 = 16 << 20;

/// Goes up in chunks or with a length, comes back as it is, and the proxy keeps little of it.
fn large_bodies_pass_whole_and_leave_the_memory_flat() {
    let _alone = heavy::alone();
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    assert_eq!(proxy.cell_of("a"), "cell-1");
    let before = proxy.resident_bytes();
    for framing in ["content-length", "chunked"] {
        let connection = proxy.open();
        let stream = connection.stream().try_clone().expect("the socket is open");
        let sender = thread::spawn(move || upload(stream, framing));
        let mut connection = connection;
        let answer = connection.answer("POST").expect("it comes back");
        let sent = sender.join().expect("it goes up");
        assert_eq!(answer.body.len(), BODY_BYTES, "{framing}");
        assert_eq!(Sha256::digest(&answer.body)[..], sent[..], "{framing}");
        let grown = proxy.resident_bytes().saturating_sub(before);
        heavy::figure(format!(
            "{} MB up and down, {framing}: the proxy grew by {} kB",
            BODY_BYTES >> 20,
            grown >> 10
        ));
        assert!(
            grown < GROWTH_MAX,
            "{framing}: the proxy grew by {grown} bytes"
        );
    }
    wait_until_idle(&proxy);
}

/// Returns the digest of what was sent.
fn upload(mut stream: std::net::TcpStream, framing: &str) -> Vec<u8> {
    let mut sum = Sha256::new();
    let head = "POST /echo/x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n";
    let field = match framing {
        "chunked" => "transfer-encoding: chunked\r\n\r\n".to_owned(),
        _ => format!("content-length: {BODY_BYTES}\r\n\r\n"),
    };
    stream
        .write_all([head, &field].concat().as_bytes())
        .expect("it is taken");
    let mut piece = vec![0_u8; 1 << 16];
    for number in 0..BODY_BYTES / piece.len() {
        for (at, byte) in piece.iter_mut().enumerate() {
            *byte = u8::try_from((number + at * 31) % 251).expect("it is below 251");
        }
        sum.update(&piece);
        if framing == "chunked" {
            stream.write_all(b"10000\r\n").expect("it is taken");
        }
        stream.write_all(&piece).expect("it is taken");
        if framing == "chunked" {
            stream.write_all(b"\r\n").expect("it is taken");
        }
    }
    if framing == "chunked" {
        stream.write_all(b"0\r\n\r\n").expect("it is taken");
    }
    sum.finalize().to_vec()
}

const UPGRADE: &str = "GET /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// Switches, repeats each byte it gets, and says goodbye when that ends.
fn switching_cell(visit: &mut Visit) {
    while let Some(head) = visit.head() {
        if head.header("upgrade").is_none() {
            visit.send(ok(head.id()));
            continue;
        }
        thread::sleep(Duration::from_millis(100));
        visit.send(SWITCHING);
        while let Ok(byte) = visit.take(1) {
            if byte == b"!" {
                visit.send("bye");
                return;
            }
            visit.send(byte);
        }
        return;
    }
}

fn an_upgraded_connection_passes_every_way_and_ends() {
    let cell = Origin::start(switching_cell);
    let proxy = Proxy::in_front_of(cell.address()).start();
    for end in [
        "the cell ends it",
        "the client ends it",
        "the client is done",
    ] {
        let mut connection = proxy.open();
        connection.send(UPGRADE).expect("the proxy listens");
        let answer = connection.answer("GET").expect("it switches");
        assert_eq!(answer.status, 101, "{end}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        // Looks like a request, but is not one.
        let text =
            "GET /behind HTTP/1.1\r\n\r\n \0\u{e9} GET / HTTP/9.9\r\ncontent-length: 9, 9\r\n\r\n";
        for byte in text.bytes() {
            connection.send([byte]).expect("it is still open");
            let echo = connection.take(1).expect("it comes back");
            assert_eq!(echo[0], byte);
        }
        let only = proxy.status()["cells"]["only"].clone();
        assert_eq!(
            (&only["in_flight"], &only["tunnels"]),
            (&0.into(), &1.into()),
            "{end}"
        );
        match end {
            "the cell ends it" => {
                connection.send("!").expect("it is still open");
                assert_eq!(connection.rest().expect("it ends in order"), b"bye");
            }
            "the client is done" => {
                let done = connection.finish();
                done.expect("it is still open");
                let _ = connection.rest();
            }
            _ => {}
        }
        drop(connection);
        wait_until_idle(&proxy);
    }
    let answer = proxy.get("a", "/ok/1");
    assert_eq!(answer.text(), "1");
}

/// Until the cell has agreed, bytes behind the request could be meant for either protocol.
fn bytes_before_the_switch_go_nowhere() {
    let cell = Origin::start(switching_cell);
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = proxy.open();
    connection.send(UPGRADE).expect("the proxy listens");
    wait_until("the cell is asked", PATIENCE, || {
        cell.has_received("upgrade")
    });
    let behind = "GET /behind HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n\r\n";
    let _ = connection.send(behind);
    let rest = connection.rest().unwrap_or_default();
    let rest = rest.escape_ascii().to_string();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 400"),
        "{rest}"
    );
    wait_until_idle(&proxy);
    assert!(!cell.has_received("behind"));
}

/// A cell may decline, and the connection goes on as it was. Its body begins like the head
/// of a switch, and is not one.
fn a_declined_upgrade_is_an_answer_like_any_other() {
    let cell = Origin::answering(ok("HTTP/1.1 101 "));
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut connection = proxy.open();
    for _ in 0..3 {
        let answer = connection.exchange_bytes("GET", UPGRADE);
        assert_eq!((answer.status, answer.text()), (200, "HTTP/1.1 101 "));
    }
    drop(connection);
    wait_until_idle(&proxy);
}
