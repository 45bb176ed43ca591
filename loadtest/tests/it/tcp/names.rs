//! TLS that ends at the cell: the name in its first message says whose it is.

use std::{io, thread};

use rustls::{ClientConnection, StreamOwned, version::TLS12, version::TLS13};

use super::*;
use crate::support::{
    heavy::skip,
    tls::{Authority, client},
    tls_cell::{Terms, TlsCell},
};

const ACME: &str = "acme.example";
const OTHER: &str = "other.example";

struct World {
    authority: Authority,
    acmes: TlsCell,
    others: TlsCell,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new();
        let cell = |name: &str| {
            TlsCell::start(&Terms {
                certificates: &[(name, &authority.server(&[name]))],
                versions: rustls::DEFAULT_VERSIONS,
                clients: None,
            })
        };
        let (acmes, others) = (cell(ACME), cell(OTHER));
        Self {
            authority,
            acmes,
            others,
        }
    }

    fn proxy(&self) -> Proxy {
        let table = table_of_two(self.acmes.address(), self.others.address());
        plan(table, "")
            .set("tenant_key", "[{ sni: \"{tenant}.example\" }]")
            .set("timeouts", "{ head_ms: 1000 }")
            .start()
    }

    fn hello(&self, name: &'static str) -> (ClientConnection, Vec<u8>) {
        let config = self.authority.client_config(rustls::DEFAULT_VERSIONS, None);
        let mut tls = client(&config, name);
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        (tls, hello)
    }
}

fn answer(tls: ClientConnection, socket: TcpStream) -> io::Result<String> {
    let mut stream = StreamOwned::new(tls, socket);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    while !answer.ends_with("\n0\n") {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece)?;
        answer.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    Ok(answer)
}

#[test]
fn each_name_has_its_cell() {
    let world = World::new();
    let proxy = world.proxy();
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let config = world.authority.client_config(versions, None);
        for name in [ACME, OTHER] {
            let answer = answer(client(&Arc::clone(&config), name), open(&proxy)).unwrap();
            assert!(answer.contains(name), "{answer}");
        }
    }
    assert_eq!(
        (world.acmes.connections(), world.others.connections()),
        (2, 2)
    );
    // How each ended depends on what the client had not read when it left, and so does their order.
    let cells = wait_for("the line of each connection", PATIENCE, || {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut cells: Vec<_> = (entries(&proxy).iter())
            .map(|entry| (text(&entry["cell"]), text(&entry["sni"])))
            .collect();
        cells.sort();
        (cells.len() == 4).then_some(cells)
    });
    let expected = [("mine", ACME), ("mine", ACME), (ONLY, OTHER), (ONLY, OTHER)];
    assert_eq!(
        cells,
        expected.map(|(cell, name)| (cell.to_owned(), name.to_owned()))
    );
}

#[test]
fn a_hello_may_come_in_pieces() {
    let world = World::new();
    let proxy = world.proxy();
    // Cut anywhere.
    let (tls, hello) = world.hello(ACME);
    let mut socket = open(&proxy);
    for piece in hello.chunks(40) {
        socket.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(answer(tls, socket).unwrap().contains(ACME));
    // In several records.
    let (tls, hello) = world.hello(ACME);
    let records: Vec<u8> = (hello[5..].chunks(40))
        .flat_map(|piece| {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&hello[..3], &length, piece].concat()
        })
        .collect();
    let mut socket = open(&proxy);
    socket.write_all(&records).unwrap();
    assert!(answer(tls, socket).unwrap().contains(ACME));
}

#[test]
fn without_a_name_there_is_no_cell() {
    let world = World::new();
    let proxy = world.proxy();
    let (_, nameless) = world.hello("192.0.2.1");
    let (_, acmes) = world.hello(ACME);
    let large = [
        &b"\x16\x03\x01\x40\x00\x01\x00\xff\xff"[..],
        &vec![0; 20_000],
    ]
    .concat();
    for (bytes, reason) in [
        (&nameless[..], "no_tenant_key"),
        (b"GET / HTTP/1.1\r\n\r\n", "not_tls"),
        (&acmes[..100], "hello_late"),
        (b"", "hello_late"),
        (&large, "hello_too_large"),
    ] {
        let mut client = open(&proxy);
        // It may be closed before all of it is sent.
        let _ = client.write_all(bytes);
        assert!(is_closed(client), "{reason}");
        wait_for_entry(&proxy, reason);
    }
    proxy.wait_for_log(&["connection closed", "no_tenant_key", "(SNI)"]);
    assert_eq!(
        (world.acmes.connections(), world.others.connections()),
        (0, 0)
    );
}

/// Load balancers look whether anybody is here, every few seconds.
#[test]
fn a_connection_without_a_byte_is_no_event() {
    let world = World::new();
    let proxy = world.proxy();
    drop(open(&proxy));
    let (_, hello) = world.hello(ACME);
    let mut client = open(&proxy);
    client.write_all(&hello[..100]).unwrap();
    drop(client);
    wait_for_entry(&proxy, "no_hello");
    wait_until("both are gone", PATIENCE, || {
        proxy.status()["client_connections"] == 0
    });
    let labels = [("reason", "no_hello")];
    let closed = proxy.metric("tcp_connections_closed_total", &labels);
    assert_eq!(closed, Some(1.0));
}

/// A hello with one more extension, that of ECH (RFC 9849).
fn with_ech(hello: &[u8]) -> Vec<u8> {
    let extension = [&[0xfe, 0x0d, 0, 50][..], &[7; 50]].concat();
    let mut hello = [hello, &extension].concat();
    let two = |hello: &[u8], at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    // Behind the record, the message, version and random: session, suites, compressions, each with its length.
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(hello[session]);
    let compressions = suites + 2 + two(&hello, suites);
    let extensions = compressions + 1 + usize::from(hello[compressions]);
    // The message's own length has a third byte before these, which is 0.
    for at in [3, 7, extensions] {
        let length = u16::try_from(two(&hello, at) + extension.len()).unwrap();
        hello[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    hello
}

/// What such a client asks for is known only to whoever has the key, which is the cell of the name in the open, if any.
#[test]
fn a_name_that_is_only_there_encrypted_is_nobodys() {
    let world = World::new();
    let proxy = world.proxy();
    for (name, asked) in [
        ("192.0.2.1", "only in encrypted form (ECH)"),
        ("front.example.net", "`front.example.net` in the open"),
    ] {
        let mut client = open(&proxy);
        client.write_all(&with_ech(&world.hello(name).1)).unwrap();
        assert!(is_closed(client), "{name}");
        proxy.wait_for_log(&["connection closed", "no_tenant_key", asked, "(ECH)"]);
    }
    wait_until("both are logged", PATIENCE, || {
        let entries = entries(&proxy);
        entries.len() == 2
            && entries
                .iter()
                .all(|entry| entry["reason"] == "no_tenant_key")
    });
    assert_eq!(
        (world.acmes.connections(), world.others.connections()),
        (0, 0)
    );
    // The same with the name of a tenant: many clients send random bytes there.
    let mut client = open(&proxy);
    client.write_all(&with_ech(&world.hello(ACME).1)).unwrap();
    wait_until("it gets to its cell", PATIENCE, || {
        world.acmes.connections() == 1
    });
    drop(client);
    wait_until("it is logged", PATIENCE, || {
        entries(&proxy).iter().any(|entry| entry["sni"] == ACME)
    });
}

#[test]
fn openssl_chooses_its_cell() {
    if std::process::Command::new("openssl")
        .arg("version")
        .output()
        .is_err()
    {
        return skip("it needs openssl");
    }
    let world = World::new();
    let proxy = world.proxy();
    for name in [ACME, OTHER] {
        let output = std::process::Command::new("openssl")
            .args(["s_client", "-connect", &proxy.address().to_string()])
            .args(["-servername", name])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("BEGIN CERTIFICATE"), "{name}: {text}");
    }
    assert_eq!(
        (world.acmes.connections(), world.others.connections()),
        (1, 1)
    );
}
