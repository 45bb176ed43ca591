//! Clients that say nothing at first: because their server speaks first, or because they are slow.

use std::time::Instant;

use super::*;
use crate::support::tls::{Authority, Certificates};

const ELSEWHERE: &str = "proxy_protocol: { from: [192.0.2.0/24] }";
const V1: &[u8] = b"PROXY TCP4 192.0.2.9 198.51.100.7 4711 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\xc6\x33\x64\x07\x12\x67\0\x50";

fn listening(table: impl ToString, options: &str) -> Plan {
    let listener =
        format!("[{{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, {options} }}]");
    plan(table, "")
        .set("listeners", &listener)
        .set("timeouts", "{ head_ms: 60000 }")
}

/// A cell that speaks first, and notes what it hears.
fn greeter() -> Origin {
    Origin::start(|visit| {
        visit.send("220 ready\r\n");
        visit.wait_for_end();
    })
}

fn greeted(proxy: &Proxy) -> TcpStream {
    let mut client = open(proxy);
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    client
}

/// Whoever is no load balancer need not speak first to show that it does not claim to be one.
#[test]
fn a_server_may_speak_first_to_who_must_not_send_a_header() {
    let cell = greeter();
    let proxy = listening(table(&cell), ELSEWHERE).start();
    for pieces in [
        &[&b"EHLO a\r\n"[..]][..],
        // What only begins like a header.
        &[b"P", b"ING\r\n"],
        &[b"PROXY", b"! "],
        &[b"\r\n", b"\r\n", b"QUIT\r\n"],
        &[b"\r\n\r\n\0\r\nQUIT", b"\r\n"],
        // So far, and it has ended.
        &[b"PROXY"],
    ] {
        let before = cell.received().len();
        let mut client = greeted(&proxy);
        for piece in pieces {
            client.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert!(is_closed(client));
        let came = &cell.received()[before];
        assert_eq!(*came, pieces.concat().escape_ascii().to_string());
    }
}

#[test]
fn a_header_from_elsewhere_never_gets_to_a_cell() {
    let cell = greeter();
    let proxy = listening(table(&cell), ELSEWHERE).start();
    let mut count = 0.0;
    for header in [V1, V2] {
        for end in [1, 5, header.len()] {
            let mut client = greeted(&proxy);
            client.write_all(&header[..end]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            // It may be closed already.
            let _ = client.write_all(&header[end..]);
            let _ = client.write_all(b"hello");
            assert!(is_closed(client));
            count += 1.0;
            let reason = [("reason", "proxy_header_unexpected")];
            wait_until("it is counted", PATIENCE, || {
                proxy.metric("client_connections_closed_total", &reason) == Some(count)
                    && proxy.metric("tcp_connections_closed_total", &reason) == Some(count)
            });
        }
    }
    assert!(cell.received().iter().all(String::is_empty));
    proxy.wait_for_log(&["connection closed", "proxy_header_unexpected", "WARN"]);
    wait_for_entry(&proxy, "proxy_header_unexpected");
    // Where the name in a hello is wanted, the header is in its place.
    let by_name = "proxy_protocol: { from: [192.0.2.0/24] }, tenant_key: [{ sni: \"{tenant}.a\" }]";
    let proxy = listening(table(&cell), by_name).start();
    let mut client = open(&proxy);
    client.write_all(V1).unwrap();
    assert!(is_closed(client));
    wait_for_entry(&proxy, "proxy_header_unexpected");
}

/// Whoever has asked for nothing yet does not keep the process from ending, as long as a hello might take.
#[test]
fn who_waits_with_its_hello_does_not_hold_up_the_end() {
    let (authority, folder) = (Authority::new(), Certificates::new());
    folder.write_pair("one", &authority.server(&["acme.example"]));
    let tls = format!(
        "tls: {{ directory: {}, handshake_ms: 60000 }}",
        folder.folder().display()
    );
    let by_name = "tenant_key: [{ sni: \"{tenant}.example\" }]";
    let cell = echo();
    for (protocol, options, beginning) in [
        ("tcp", by_name.to_owned(), &b"\x16\x03\x01"[..]),
        ("tcp", tls.clone(), b"\x16\x03\x01"),
        ("tcp", format!("starttls: postgresql, {by_name}"), b"\0\0"),
        (
            "tcp",
            format!("starttls: postgresql, {tls}"),
            b"\0\0\0\x08\x04\xd2\x16\x2f",
        ),
        ("http", tls.clone(), b"\x16\x03\x01"),
    ] {
        let listener = format!(
            "[{{ name: edge, address: \"127.0.0.1:0\", protocol: {protocol}, {options} }}]"
        );
        let mut proxy = plan(table(&cell), "")
            .set("listeners", &listener)
            .set(
                "timeouts",
                "{ head_ms: 60000, shutdown_ms: 60000, drain_idle_ms: 300 }",
            )
            .start();
        let silent = open(&proxy);
        let mut begun = open(&proxy);
        begun.write_all(beginning).unwrap();
        wait_until("both connections are open", PATIENCE, || {
            proxy.metric("client_connections", &[]) == Some(2.0)
        });
        let terminated = Instant::now();
        proxy.signal(Signal::TERM);
        let status = proxy.wait(PATIENCE);
        assert_eq!(status.code(), Some(0), "{options}: {status}");
        let took = terminated.elapsed();
        assert!(took >= Duration::from_millis(300), "{options}: {took:?}");
        assert!(is_closed(silent), "{options}");
        drop(begun);
    }
    assert_eq!(cell.connections(), 0);
}
