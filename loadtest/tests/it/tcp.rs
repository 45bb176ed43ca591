//! TCP listeners: whole connections, each to the cell of its tenant.

mod balancers;
mod cells;
mod crowd;
mod effort;
mod names;
mod postgres;
mod redis;
mod senders;
mod silence;
mod tenants;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

use crate::support::{
    PATIENCE,
    dead::DeadPort,
    origin::Origin,
    process::Signal,
    proxy::{ONLY, Plan, Proxy},
    table::TableText,
    wait_for, wait_until,
};

/// A proxy whose one listener carries connections, by the address that they come from.
fn plan(table: impl ToString, tcp: &str) -> Plan {
    let listener =
        format!("[{{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, tcp: {{ {tcp} }} }}]");
    Proxy::plan()
        .table(table)
        .set("listeners", &listener)
        .set("tenant_key", "[{ source_ip: true }]")
        .set("access_log", "{ path: access.log }")
}

/// A cell that sends back what it gets, and ends when its client has.
fn echo() -> Origin {
    Origin::start_without_record(|visit| {
        while let Ok(mut came) = visit.take(1) {
            came.extend(visit.take_received(usize::MAX));
            if !visit.send(came) {
                return;
            }
        }
    })
}

fn table(cell: &Origin) -> TableText {
    TableText::new([(ONLY, vec![cell.address()])])
}

/// The cell `mine` is acme's alone, and [`ONLY`] everybody else's.
fn table_of_two(mine: SocketAddr, others: SocketAddr) -> TableText {
    TableText::new([("mine", vec![mine]), (ONLY, vec![others])])
        .slots(ONLY, &["0-999"])
        .slots("mine", &[])
        .pin("acme", "mine")
}

fn open(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// From this address of the machine.
fn open_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(source, 0)).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes);
}

/// Whether it is closed without a byte.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest.is_empty()
}

#[track_caller]
fn wait_for_entry(proxy: &Proxy, reason: &str) -> Value {
    wait_for(&format!("a line with {reason}"), PATIENCE, || {
        (entries(proxy).into_iter()).find(|entry| entry["reason"] == reason)
    })
}

/// What stands in the access log so far, in the order in which the connections ended.
fn entries(proxy: &Proxy) -> Vec<Value> {
    let text = fs::read_to_string(proxy.directory().join("access.log")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn a_connection_goes_to_its_cell_and_is_logged_at_its_end() {
    let cell = echo();
    let proxy = plan(table(&cell), "").start();
    let mut client = open(&proxy);
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    for piece in bytes.chunks(50_000) {
        exchange(&mut client, piece);
    }
    assert_eq!(
        proxy.metric("tcp_connections", &[("cell", ONLY)]),
        Some(1.0)
    );
    assert_eq!(proxy.status()["cells"][ONLY]["connections"], 1);
    assert_eq!(proxy.explain("127.0.0.1")["connections"], 1);
    // The end passes, and comes back.
    client.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(client));
    let entry = wait_for_entry(&proxy, "finished");
    for (field, expected) in [
        ("listener", "edge"),
        ("protocol", "tcp"),
        ("client", "127.0.0.1"),
        ("tenant", "127.0.0.1"),
        ("cell", ONLY),
    ] {
        assert_eq!(entry[field], expected, "{entry}");
    }
    assert_eq!(entry["endpoint"], cell.address().to_string());
    assert_eq!(entry["bytes_from_client"], 1_000_000);
    assert_eq!(entry["bytes_from_cell"], 1_000_000);
    wait_until("its place is free", PATIENCE, || {
        proxy.metric("tcp_connections", &[("cell", ONLY)]) == Some(0.0)
    });
    let bytes = [("cell", ONLY), ("from", "cell")];
    assert_eq!(proxy.metric("tcp_bytes_total", &bytes), Some(1_000_000.0));
}

/// A cell that vanished with its machine kept its connections, and their places, until `idle_ms`.
#[test]
fn cells_are_asked_whether_they_are_still_there() {
    let cell = echo();
    let proxy = plan(table(&cell), "").start();
    let mut client = open(&proxy);
    exchange(&mut client, b"x");
    // The ports are in hexadecimal; an established connection is 01, and a timer of this kind 02.
    let port = format!(":{:04X}", cell.address().port());
    wait_until("the system has a timer for it", PATIENCE, || {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_to_cell = fields.len() > 5 && fields[2].ends_with(&port) && fields[3] == "01";
            is_to_cell && fields[5].starts_with("02:")
        })
    });
}

#[test]
fn a_server_may_speak_first_and_end_first() {
    let cell = Origin::start_without_record(|visit| {
        visit.send(b"220 ready\r\n");
    });
    let proxy = plan(table(&cell), "").start();
    let mut greeting = String::new();
    open(&proxy).read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "220 ready\r\n");
}

#[test]
fn a_cell_has_a_limit_of_connections() {
    let cell = echo();
    let limited = table(&cell).cell_line(ONLY, "connections_max: 1");
    let proxy = plan(limited, "").start();
    let mut first = open(&proxy);
    exchange(&mut first, b"x");
    assert!(is_closed(open(&proxy)));
    wait_for_entry(&proxy, "cell_overloaded");
    let labels = [("cell", ONLY), ("reason", "cell_overloaded")];
    assert_eq!(proxy.metric("rejected_total", &labels), Some(1.0));
    exchange(&mut first, b"y");
    drop(first);
    wait_until("the place is free again", PATIENCE, || {
        let mut next = open(&proxy);
        let sent = next
            .write_all(b"z")
            .and_then(|()| next.read_exact(&mut [0]));
        sent.is_ok()
    });
}

#[test]
fn who_has_no_cell_is_closed_with_a_reason() {
    let cell = echo();
    let proxy = plan(table(&cell).reject("127.0.0.1"), "").start();
    assert!(is_closed(open(&proxy)));
    wait_for_entry(&proxy, "rejected");
    proxy.wait_for_log(&["connection closed", "127.0.0.1", "rejected"]);

    let proxy = plan(table(&cell), "")
        .set("unknown_tenants", "refuse")
        .start();
    assert!(is_closed(open(&proxy)));
    wait_for_entry(&proxy, "unknown_tenant");
    let labels = [("reason", "unknown_tenant")];
    let closed = proxy.metric("tcp_connections_closed_total", &labels);
    assert_eq!(closed, Some(1.0));
}

#[test]
fn another_endpoint_is_tried_and_a_dead_one_ejected() {
    let (cell, dead) = (echo(), DeadPort::new());
    let both = TableText::new([(ONLY, vec![dead.address(), cell.address()])]);
    let proxy = plan(both, "")
        .set(
            "upstream",
            "{ ejection: { after_failures: 2, base_ms: 60000, percent_max: 50 } }",
        )
        .start();
    let labels = [("cell", ONLY)];
    wait_until("the dead endpoint is ejected", PATIENCE, || {
        exchange(&mut open(&proxy), b"x");
        proxy.metric("endpoint_ejections_total", &labels) == Some(1.0)
    });
    let proxy = plan(TableText::new([(ONLY, vec![dead.address()])]), "").start();
    assert!(is_closed(open(&proxy)));
    wait_for_entry(&proxy, "connect_failed");
    // With the reason.
    let address = dead.address().to_string();
    proxy.wait_for_log(&["connection closed", "connect_failed", &address, "refused"]);
}

#[test]
fn a_new_table_leaves_connections_alone() {
    let (old, new) = (echo(), echo());
    let proxy = plan(table(&old).generation(1), "").start();
    let mut before = open(&proxy);
    exchange(&mut before, b"x");
    proxy.write_table(table(&new).generation(2));
    proxy.wait_for_generation(2);
    exchange(&mut before, b"y");
    exchange(&mut open(&proxy), b"z");
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

#[test]
fn silence_has_limits() {
    let cell = echo();
    let proxy = plan(table(&cell), "idle_ms: 200").start();
    let mut client = open(&proxy);
    for _ in 0..5 {
        exchange(&mut client, b"x");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(is_closed(client));
    wait_for_entry(&proxy, "idle_timeout");

    let proxy = plan(table(&cell), "first_byte_ms: 200").start();
    let mut answered = open(&proxy);
    exchange(&mut answered, b"x");
    assert!(is_closed(open(&proxy)));
    wait_for_entry(&proxy, "first_byte_timeout");
    exchange(&mut answered, b"y");
}

/// A client that was slow with its header took the cell's time away, and the endpoint had the blame.
#[test]
fn the_time_of_the_first_byte_is_the_cells() {
    let cell = Origin::start_without_record(|visit| {
        std::thread::sleep(Duration::from_millis(100));
        visit.send(b"220 ready\r\n");
    });
    let listener = "[{ name: edge, address: \"127.0.0.1:0\", protocol: tcp, tcp: { first_byte_ms: 1000 }, \
                    proxy_protocol: { from: [127.0.0.0/8], required: true } }]";
    let proxy = plan(table(&cell), "").set("listeners", listener).start();
    let mut client = open(&proxy);
    std::thread::sleep(Duration::from_millis(1_200));
    client
        .write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        .unwrap();
    let mut greeting = String::new();
    client.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "220 ready\r\n");
    let errors = [("cell", ONLY), ("reason", "upstream_timeout")];
    assert_eq!(proxy.metric("upstream_errors_total", &errors), Some(0.0));
}

#[test]
fn connections_go_on_until_the_drain_is_over() {
    let cell = echo();
    let mut proxy = plan(table(&cell), "")
        .set("timeouts", "{ drain_idle_ms: 0, shutdown_ms: 2000 }")
        .start();
    let mut client = open(&proxy);
    exchange(&mut client, b"x");
    proxy.signal(Signal::TERM);
    wait_until("nobody is let in any more", PATIENCE, || {
        TcpStream::connect(proxy.address()).is_err()
    });
    exchange(&mut client, b"y");
    assert!(proxy.wait(PATIENCE).success());
    assert!(is_closed(client));
    wait_for_entry(&proxy, "shutdown");
    assert!(proxy.log().contains("connection cut"));
}
