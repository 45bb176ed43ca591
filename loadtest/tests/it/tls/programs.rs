//! Other people's programs as clients: openssl, Python's TLS, its websockets, and a scanner that looks for weaknesses.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Output, Stdio},
};

use super::{NAME, World};
use crate::support::{
    heavy::skip,
    origin::{Origin, Visit},
    proxy::Proxy,
    python,
    tls::{Authority, Pem},
};

const WEBSOCKETS: &str = "websockets==17.4";
const SSLYZE: &str = "sslyze==6.3.1";

/// What `openssl s_client` says of a connection, after a request over it.
pub(super) fn s_client(address: SocketAddr, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-ign_eof"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let request = "GET /ok/1 HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nconnection: close\r\n\r\n";
    // Where the handshake fails there is nobody to read it.
    let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

#[test]
fn openssl_is_served_with_and_without_a_name_and_resumes_its_session() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let session = world.certificates.path("session.pem");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        for name in [&["-servername", NAME][..], &["-noservername"]] {
            let out = [&[version, "-sess_out", session], name].concat();
            let said = s_client(proxy.address(), &out);
            assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
            assert!(said.contains("\nNew, TLSv1."), "{said}");
            let again = [&[version, "-sess_in", session], name].concat();
            let said = s_client(proxy.address(), &again);
            assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
            assert!(said.contains("\nReused, TLSv1."), "{said}");
        }
    }
    let resumed = [("listener", "edge"), ("kind", "resumed")];
    assert_eq!(proxy.metric("tls_handshakes_total", &resumed), Some(4.0));
}

/// A revoked certificate, one of another authority and none where one is needed end the handshake; a good one is served.
#[test]
fn openssl_shows_good_bad_revoked_and_missing_certificates() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let clients = Authority::new();
    let files = &world.certificates;
    let ca = files.write("clients.ca", &clients.pem());
    let list = files.write("clients.crl", &clients.revoked(&[8]));
    let auth = format!(
        "client_auth: {{ mode: required, ca: {}, crl: {} }}",
        ca.display(),
        list.display()
    );
    let proxy = world.plan(cell.address(), &auth).start();
    let shown = |name: &str, pem: &Pem| {
        let path = files.write(name, &[&*pem.certificate, &pem.key].concat());
        path.display().to_string()
    };
    let good = shown("good.client", &clients.client("good", 7));
    let revoked = shown("revoked.client", &clients.client("revoked", 8));
    let stranger = shown("stranger.client", &Authority::new().client("good", 7));
    for version in ["-tls1_2", "-tls1_3"] {
        for (file, alert) in [
            (Some(&good), None),
            (Some(&revoked), Some("alert certificate revoked")),
            // By an authority of the same name.
            (Some(&stranger), Some("alert decrypt error")),
            (None, Some("alert")),
        ] {
            let mut arguments = vec![version, "-servername", NAME];
            if let Some(file) = file {
                arguments.extend(["-cert", file, "-key", file]);
            }
            let said = s_client(proxy.address(), &arguments);
            let is_served = said.contains("HTTP/1.1 200 OK");
            assert_eq!(is_served, alert.is_none(), "{version} {file:?}: {said}");
            let expected = alert.unwrap_or_default();
            assert!(said.contains(expected), "{version} {file:?}: {said}");
        }
    }
    assert_eq!(cell.received().concat().matches("GET /ok/1").count(), 2);
}

/// Runs a script of Python's with the proxy's port, the authority's file and [`NAME`] as its arguments.
fn run_python(python: &str, script: &str, proxy: &Proxy, world: &World) -> Option<Output> {
    let command = Command::new(python)
        .args(["-c", script, &proxy.address().port().to_string()])
        .arg(world.certificates.path("authority.ca"))
        .arg(NAME)
        .output();
    command.ok()
}

#[test]
fn python_speaks_tls() {
    const SCRIPT: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
with context.wrap_socket(plain, server_hostname=sys.argv[3]) as tls:
    tls.sendall(b"GET /ok/7 HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nconnection: close\r\n\r\n")
    answer = b""
    while piece := tls.recv(4096):
        answer += piece
    print(tls.version(), answer.split(b"\r\n")[0].decode())
"#;
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let Some(output) = run_python("python3", SCRIPT, &proxy, &world) else {
        return skip("there is no python3");
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), "TLSv1.3 HTTP/1.1 200 OK", "{error}");
}

/// Agrees to WebSocket, and sends what comes back without its mask.
fn echoing_cell(visit: &mut Visit) {
    let head = visit.head().expect("it asks");
    let key = head.header("sec-websocket-key").expect("it says its key");
    let accepted = accepted(key);
    visit.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accepted}\r\n\r\n"
    ));
    // Frames as long as 16 bits can say, each in one piece.
    while let Ok(start) = visit.take(2) {
        let (mut head, short) = (vec![start[0], start[1] & 0x7f], start[1] & 0x7f);
        let mut length = usize::from(short);
        if short == 126 {
            let Ok(long) = visit.take(2) else { return };
            length = usize::from(u16::from_be_bytes([long[0], long[1]]));
            head.extend(long);
        }
        let Ok(mask) = visit.take(4) else { return };
        let Ok(masked) = visit.take(length) else {
            return;
        };
        let text = masked.iter().zip(mask.iter().cycle());
        head.extend(text.map(|(byte, mask)| byte ^ mask));
        let is_close = head[0] & 0x0f == 8;
        visit.send(head);
        if is_close {
            return;
        }
    }
}

/// Of RFC 6455, section 4.2.2, by way of openssl, for SHA-1 is nothing else's business here.
fn accepted(key: &str) -> String {
    let script = r#"printf %s "$0"258EAFA5-E914-47DA-95CA-C5AB0DC85B11 | openssl dgst -sha1 -binary | openssl base64"#;
    let output = Command::new("sh").args(["-c", script, key]).output();
    let output = output.expect("openssl is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn websockets_of_python_talk_over_tls() {
    const SCRIPT: &str = r#"
import socket, ssl, sys
from websockets.sync.client import connect
context = ssl.create_default_context(cafile=sys.argv[2])
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
with connect(
    f"wss://{sys.argv[3]}:{sys.argv[1]}/x", sock=plain, ssl=context, open_timeout=20,
    compression=None, additional_headers={"x-tenant-id": "a"},
) as connection:
    for message in ["short", "x" * 60000, b"bytes", "end"]:
        connection.send(message)
        assert connection.recv(timeout=20) == message, message[:10]
    assert connection.ping().wait(20)
print(connection.close_code)
"#;
    let Some(python) = python::installed("python", WEBSOCKETS, "-cimport websockets") else {
        return skip(
            "websockets cannot be installed (python3 with venv, pip, the Python package index)",
        );
    };
    let world = World::new();
    let cell = Origin::start(echoing_cell);
    let proxy = world.plan(cell.address(), "").start();
    let output = run_python(&python.to_string_lossy(), SCRIPT, &proxy, &world);
    let output = output.expect("it was installed");
    let error = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "1000", "{error}");
}

/// Versions, ciphers, curves and known holes, against what Mozilla recommends for servers of the day.
#[test]
fn a_scanner_finds_no_weakness() {
    let Some(sslyze) = python::installed("sslyze", SSLYZE, "--help") else {
        return skip(
            "sslyze cannot be installed (python3 with venv, pip, the Python package index)",
        );
    };
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let target = format!("{NAME}:{}{{127.0.0.1}}", proxy.address().port());
    let output = Command::new(sslyze)
        .args(["--mozilla_config=intermediate", &target])
        .output()
        .expect("it was installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let (scan, verdict) = said
        .split_once("COMPLIANCE AGAINST TLS CONFIGURATION")
        .unwrap_or_else(|| panic!("it did not come to its end: {said}"));
    for expected in [
        "OK - Not vulnerable to Heartbleed",
        "OK - Not vulnerable to OpenSSL CCS injection",
        "OK - Compression disabled",
        "TLS_FALLBACK_SCSV:                 OK - Supported",
        "Secure Renegotiation:              OK - Supported",
    ] {
        assert!(scan.contains(expected), "{expected}: {said}");
    }
    // Of the test's own certificate: no browser trusts its authority, and it is valid for too long.
    let of_the_certificate = [
        "certificate_path_validation:",
        "maximum_certificate_lifespan:",
    ];
    let findings: Vec<&str> = verdict
        .lines()
        .filter_map(|line| line.trim().strip_prefix("* "))
        .filter(|finding| !of_the_certificate.iter().any(|of| finding.starts_with(of)))
        .collect();
    assert!(findings.is_empty(), "{findings:?}");
    assert!(verdict.contains(of_the_certificate[0]), "{said}");
}
