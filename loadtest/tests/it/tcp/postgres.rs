//! Connections of PostgreSQL, whose TLS begins when both sides have agreed on it.

use rustls::StreamOwned;

use super::*;
use crate::support::tls::{Authority, Certificates, client};

mod psycopg;
mod servers;

const ACME: &str = "acme.example";
const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSSENC_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0a\0\0";
const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02";

fn postgres(table: impl ToString, tls: &str) -> Plan {
    let listener = format!(
        "[{{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, starttls: postgresql {tls} }}]"
    );
    plan(table, "")
        .set("listeners", &listener)
        .set("tenant_key", "[{ sni: \"{tenant}.example\" }]")
        .set("timeouts", "{ head_ms: 1000 }")
}

/// A server that answers the first packet with these bytes, and notes what comes.
fn server(answer: &'static [u8]) -> Origin {
    Origin::start(move |visit| {
        if visit.take(8).is_ok() {
            visit.send(answer);
            visit.wait_for_end();
        }
    })
}

fn closed(proxy: &Proxy, reason: &str) -> Option<f64> {
    proxy.metric("client_connections_closed_total", &[("reason", reason)])
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut came = vec![0; bytes.len()];
    stream.read_exact(&mut came).unwrap();
    assert_eq!(came, bytes);
}

#[test]
fn tls_is_agreed_on_before_anything_else() {
    let cell = server(b"S");
    let proxy = postgres(table(&cell), "").start();
    // Without TLS: words that a client shows.
    let mut client = open(&proxy);
    client.write_all(STARTUP).unwrap();
    let mut refusal = Vec::new();
    client.read_to_end(&mut refusal).unwrap();
    let refusal = String::from_utf8_lossy(&refusal).into_owned();
    assert!(
        refusal.starts_with('E') && refusal.contains("08P01"),
        "{refusal}"
    );
    assert!(refusal.contains("sslmode=require"), "{refusal}");
    drop(client);
    wait_until("it is counted", PATIENCE, || {
        closed(&proxy, "postgres_plaintext") == Some(1.0)
    });
    for (bytes, reason) in [
        ([SSL_REQUEST, STARTUP].concat(), "postgres_ahead"),
        ([GSSENC_REQUEST, b"x"].concat(), "postgres_ahead"),
        (CANCEL.to_vec(), "postgres_cancel"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "postgres_malformed"),
        (SSL_REQUEST[..7].to_vec(), "postgres_late"),
    ] {
        let before = closed(&proxy, reason).unwrap();
        let mut client = open(&proxy);
        client.write_all(&bytes).unwrap();
        assert!(is_closed(client), "{reason}");
        wait_until(reason, PATIENCE, || {
            closed(&proxy, reason) == Some(before + 1.0)
        });
    }
    // GSSAPI once.
    let before = closed(&proxy, "postgres_malformed").unwrap();
    let mut client = open(&proxy);
    client.write_all(GSSENC_REQUEST).unwrap();
    expect(&mut client, b"N");
    client.write_all(GSSENC_REQUEST).unwrap();
    assert!(is_closed(client));
    wait_until("it is counted as what it is", PATIENCE, || {
        closed(&proxy, "postgres_malformed") == Some(before + 1.0)
    });
    assert_eq!(cell.connections(), 0);
}

#[test]
fn tls_passes_through_to_the_server_of_its_name() {
    let cell = server(b"S");
    let proxy = postgres(table(&cell), "").start();
    let config = Authority::new().client_config(rustls::DEFAULT_VERSIONS, None);
    let mut hello = Vec::new();
    client(&config, ACME).write_tls(&mut hello).unwrap();
    let mut stream = open(&proxy);
    for (request, answer) in [(GSSENC_REQUEST, b"N"), (SSL_REQUEST, b"S")] {
        stream.write_all(request).unwrap();
        expect(&mut stream, answer);
    }
    stream.write_all(&hello).unwrap();
    wait_until("the hello arrives", PATIENCE, || {
        cell.received()
            .first()
            .is_some_and(|came| came.contains("acme.example"))
    });
    let came = cell.received().concat();
    assert!(came.starts_with(r"\x00\x00\x00\x08\x04"), "{came}");
    drop(stream);
    assert_eq!(wait_for_entry(&proxy, "finished")["tenant"], "acme");
}

/// Nothing but the request may reach a server that will not have TLS, or seems to.
#[test]
fn a_server_without_tls_gets_nothing() {
    let (authority, folder) = (Authority::new(), Certificates::new());
    folder.write_pair("one", &authority.server(&[ACME]));
    let ca = folder.write("ca.pem", &authority.pem());
    let ours = format!(", tls: {{ directory: {} }}", folder.folder().display());
    let to_cell = format!("tls: {{ server_name: {ACME}, ca: {} }}", ca.display());
    let refused: &[u8] = b"E\0\0\0\x0eSFATAL\0\0\0";
    for answer in [b"N", refused, b"Sx", b"SE\0"] {
        let cell = server(answer);
        let proxy = postgres(table(&cell).cell_line(ONLY, &to_cell), &ours).start();
        let config = authority.client_config(rustls::DEFAULT_VERSIONS, None);
        let mut socket = open(&proxy);
        socket.write_all(SSL_REQUEST).unwrap();
        expect(&mut socket, b"S");
        let mut stream = StreamOwned::new(client(&Arc::clone(&config), ACME), socket);
        stream.write_all(STARTUP).unwrap();
        let mut refusal = Vec::new();
        let _ = stream.read_to_end(&mut refusal);
        let refusal = String::from_utf8_lossy(&refusal).into_owned();
        assert!(
            refusal.starts_with('E') && refusal.contains("08004"),
            "{answer:?}: {refusal}"
        );
        wait_for_entry(&proxy, "cell_without_tls");
        for came in cell.received() {
            assert!(!came.contains("user"), "{came}");
            assert!(came.len() < 40, "{came}");
        }

        // The same where the client's TLS is the cell's.
        let proxy = postgres(table(&cell), "").start();
        let mut hello = Vec::new();
        client(&config, ACME).write_tls(&mut hello).unwrap();
        let mut socket = open(&proxy);
        socket.write_all(SSL_REQUEST).unwrap();
        expect(&mut socket, b"S");
        socket.write_all(&hello).unwrap();
        let mut alert = Vec::new();
        let _ = socket.read_to_end(&mut alert);
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 40], "{answer:?}");
        assert!(cell.received().iter().all(|came| !came.contains(ACME)));
    }
}
