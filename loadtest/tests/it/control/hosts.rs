//! Under which names the daemon's API and the proxy's admin address answer. A web page whose name was made to point to
//! this machine (DNS rebinding) reads nothing.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
};

use crate::support::{
    PATIENCE, control::Control, proxy::Proxy, table::TableText, wire::Connection,
};

/// What is asked, under which `Host` lines, and the answer.
const CASES: [(&str, &str, u16); 15] = [
    ("", "host: 127.0.0.1:9700\r\n", 200),
    ("", "Host: [::1]\r\n", 200),
    ("", "host: LocalHost:1\r\n", 200),
    ("", "host: Fleet.Internal:9700\r\n", 200),
    ("", "", 200),
    ("", "host: evil.example\r\n", 421),
    ("", "host: evil.example:9700\r\n", 421),
    ("", "host: 127.0.0.1.evil.example\r\n", 421),
    ("", "host: localhost.evil.example\r\n", 421),
    ("", "host: a.fleet.internal\r\n", 421),
    ("http://evil.example", "host: localhost\r\n", 421),
    ("", "host: localhost\r\nhost: localhost\r\n", 400),
    ("", "host: localhost\r\nHOST: evil.example\r\n", 400),
    ("", "host: localhost, evil.example\r\n", 400),
    ("", "host: a b\r\n", 400),
];

/// What the proxy's answer names.
const ADMIN: &str = "`admin.hosts`";

#[track_caller]
fn check(address: SocketAddr, path: &str, setting: &str) {
    for (target, host, status) in CASES {
        let version = if host.is_empty() {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        };
        let head = format!("GET {target}{path} {version}\r\n{host}\r\n");
        let mut connection = Connection::open(address);
        connection.send(&head).expect("it is open");
        let answer = match connection.answer("GET") {
            Ok(answer) => answer,
            // Pingora itself ends the connection if there are two hosts.
            Err(_) if setting == ADMIN && (status == 400 || !target.is_empty()) => continue,
            Err(error) => panic!("{head}\n{error}"),
        };
        assert_eq!(answer.status, status, "{head}\n{}", answer.text());
        if status == 421 {
            assert!(answer.text().contains(setting), "{}", answer.text());
        }
    }
    for path in ["/livez", "/readyz"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\n\r\n");
        let answer = Connection::open(address).exchange_bytes("GET", &head);
        assert_eq!(answer.status, 200, "{head}");
    }
}

/// Everybody gets the status; generations and paths are for those who may read them.
#[test]
fn why_the_proxy_is_not_ready_is_for_its_own_names_only() {
    let proxy = Proxy::plan()
        .set("admin", "{ address: \"127.0.0.1:0\" }")
        .start_unready();
    for (host, reason) in [
        ("127.0.0.1:9600", Some("table.yaml")),
        ("evil.example", None),
        ("a b", None),
    ] {
        let head = format!("GET /readyz HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = Connection::open(proxy.admin()).exchange_bytes("GET", &head);
        assert_eq!(answer.status, 503, "{head}");
        let text = answer.text();
        match reason {
            Some(reason) => assert!(text.contains(reason), "{text}"),
            None => assert_eq!(text, "not ready\n"),
        }
    }
}

#[test]
fn the_api_answers_to_its_own_names_only() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let socket = scratch.path().join("api.sock");
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml"))
        .api("hosts: [fleet.internal]")
        .api(&format!("socket: \"{}\"", socket.display()))
        .start();
    for path in ["/v1/cells", "/metrics", "/openapi.json"] {
        check(control.address(), path, "`api.hosts`");
    }
    for (host, status) in [("whatever.example", 200), ("a\r\nhost: b", 400)] {
        let mut stream = UnixStream::connect(&socket).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
        write!(
            stream,
            "GET /v1/cells HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .expect("it is open");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")),
            "{host:?}: {text}"
        );
    }
}

#[test]
fn the_admin_address_answers_to_its_own_names_only() {
    let cell = SocketAddr::from(([127, 0, 0, 1], 1));
    let proxy = Proxy::plan()
        .set(
            "admin",
            "{ address: \"127.0.0.1:0\", hosts: [fleet.internal] }",
        )
        .table(TableText::new([("only", vec![cell])]))
        .start();
    for path in ["/status", "/metrics", "/explain?tenant=a"] {
        check(proxy.admin(), path, ADMIN);
    }
}
