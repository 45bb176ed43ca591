//! Callers of the daemon's API that are slow, many or gone, and the operator who is there all the same.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::home::{Cells, Home, stop, tenant};
use crate::support::{
    PATIENCE,
    control::{Control, Plan},
    heavy::{allows_clients, amount, figure, is_acceptance},
    process::Signal,
    wait_until,
    wire::{Connection, Request},
};

/// What an operator's request may take while the daemon is beset.
const OPERATOR_MAX: Duration = Duration::from_secs(1);
/// Tenants of one import.
const PIECE: usize = 40_000;
/// Bytes of a tenant's key: an export of all does not fit into the buffers of a connection.
const KEY_BYTES: usize = 200;

struct Beset {
    control: Control,
    home: Home,
    tenants: usize,
    _cells: Cells,
    _scratch: TempDir,
}

impl Beset {
    /// A daemon with two cells and many tenants.
    fn start(tenants: usize, plan: impl FnOnce(Plan) -> Plan) -> Self {
        let scratch = TempDir::new().expect("the temporary directory can be written to");
        let cells = Cells::start();
        let home = Home::at(scratch.path());
        let control = plan(home.plan()).start();
        cells.add_to(&control).expect("the daemon runs");
        control.wait_for_state("cell-1", "active");
        for first in (0..tenants).step_by(PIECE) {
            let mut lines = String::new();
            for number in first..tenants.min(first + PIECE) {
                let key = format!("{number:0KEY_BYTES$}");
                writeln!(lines, "{}", tenant(&key)).expect("a String takes it all");
            }
            let answer = control
                .import("application/x-ndjson", &lines)
                .send(control.address());
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        Self {
            control,
            home,
            tenants,
            _cells: cells,
            _scratch: scratch,
        }
    }

    fn address(&self) -> SocketAddr {
        self.control.address()
    }

    /// The operator is answered immediately: one who has the token, by TCP.
    #[track_caller]
    fn check_operator(&self, path: &str) {
        let begun = Instant::now();
        let answer = self.control.request("GET", path).send(self.address());
        let took = begun.elapsed();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(took < OPERATOR_MAX, "{path} took {took:?}");
    }

    /// The same by the Unix socket.
    #[track_caller]
    fn check_socket(&self, socket: &Path) {
        let begun = Instant::now();
        let text = ask_socket(socket, "/v1/table");
        let took = begun.elapsed();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(took < OPERATOR_MAX, "the socket took {took:?}");
    }
}

fn ask_socket(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .expect("it is open");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

/// One or the other: every tenant, and a proper end, or an answer of 503.
#[track_caller]
fn export(request: &Request, address: SocketAddr, tenants: usize) -> bool {
    let mut connection = Connection::open(address);
    connection
        .send(request.bytes())
        .expect("the daemon is there");
    let answer = connection
        .answer("GET")
        .expect("an answer that has begun ends properly");
    if answer.status == 503 {
        assert_eq!(answer.json()["code"], "overloaded", "{}", answer.text());
        return false;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text().lines().count(), tenants);
    true
}

/// Six at the same time gave an answer of 200 with an empty body that ended properly.
#[test]
fn sixty_concurrent_exports_are_each_whole_or_refused() {
    let tenants = if is_acceptance() { 120_000 } else { 20_000 };
    let beset = Beset::start(amount("CELLGATE_EXPORT_TENANTS", tenants), |plan| plan);
    let (address, tenants) = (beset.address(), beset.tenants);
    for (who, request, least) in [
        (
            "with",
            beset.control.request("GET", "/v1/export/tenants"),
            4,
        ),
        ("without", Request::get("/v1/export/tenants"), 2),
    ] {
        let asking: Vec<_> = (0..60)
            .map(|_| {
                let request = request.clone();
                thread::spawn(move || export(&request, address, tenants))
            })
            .collect();
        let whole = asking
            .into_iter()
            .filter_map(|one| one.join().expect("it is whole or refused").then_some(()))
            .count();
        assert!(whole >= least, "{whole} {who} the token");
        figure(format!(
            "60 exports of {tenants} tenants at the same time, {who} the token: {whole} whole, {} refused",
            60 - whole
        ));
    }
}

#[test]
fn half_heads_do_not_shut_the_operator_out() {
    const CLIENTS: usize = 1_100;
    if !allows_clients(CLIENTS) {
        return;
    }
    let socket = tempfile::tempdir().expect("the temporary directory can be written to");
    let socket = socket.path().join("api.sock");
    let beset = Beset::start(10, |plan| {
        plan.api(&format!("socket: \"{}\"", socket.display()))
    });
    let half = |_| {
        let mut stream = TcpStream::connect(beset.address()).expect("the daemon listens");
        // It may have been closed already.
        let _ = stream.write_all(b"GET /v1/cells HTTP/1.1\r\nhost: loc");
        stream
    };
    let clients: Vec<_> = (0..CLIENTS).map(half).collect();
    for _ in 0..20 {
        beset.check_operator("/v1/cells");
        beset.check_socket(&socket);
    }
    let descriptors = format!("/proc/{}/fd", beset.control.id());
    let open = std::fs::read_dir(descriptors).map_or(0, Iterator::count);
    assert!(open < 300, "{open} descriptors");
    figure(format!(
        "{} half heads: the operator is answered, by TCP and by the socket; {open} descriptors are open",
        clients.len()
    ));
}

/// Four stalled exports, or 64 followers, left nothing for an operator.
#[test]
fn who_has_no_token_does_not_use_up_what_the_operator_needs() {
    let mut beset = Beset::start(PIECE, |plan| plan.api("stall_ms: 60000"));
    let ask = |target: &str, fields: &str| {
        let mut stream = TcpStream::connect(beset.address()).expect("the daemon listens");
        let head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).expect("it is open");
        stream
    };
    let exports: Vec<_> = (0..8).map(|_| ask("/v1/export/tenants", "")).collect();
    let followers: Vec<_> = (0..100)
        .map(|_| ask("/v1/events", "accept: text/event-stream\r\n"))
        .collect();
    let refused = |stream: &TcpStream| {
        let mut start = [0; 12];
        stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
        (&*stream).read_exact(&mut start).expect("it is answered");
        &start == b"HTTP/1.1 503"
    };
    assert_eq!(exports.iter().filter(|it| refused(it)).count(), 6);
    assert_eq!(followers.iter().filter(|it| refused(it)).count(), 84);
    beset.check_operator("/v1/cells");
    let request = beset.control.request("GET", "/v1/export/tenants");
    assert!(export(&request, beset.address(), beset.tenants));
    let follow = beset
        .control
        .request("GET", "/v1/events")
        .header("accept", "text/event-stream");
    let mut connection = Connection::open(beset.address());
    connection.send(follow.bytes()).expect("it is open");
    assert_eq!(connection.interim().expect("it is answered"), 200);

    // All of them are still there when the daemon is to end.
    let begun = Instant::now();
    beset.control.signal(Signal::TERM);
    let status = beset.control.wait(PATIENCE);
    let took = begun.elapsed();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    figure(format!(
        "with 2 stalled exports and 17 followers SIGTERM ended the daemon in {} ms",
        took.as_millis()
    ));
}

/// Callers of TCP without the token have all their places taken, and somebody at the socket still has some.
#[test]
fn callers_by_tcp_do_not_shut_out_the_operator_at_the_socket() {
    let socket = tempfile::tempdir().expect("the temporary directory can be written to");
    let socket = socket.path().join("api.sock");
    let beset = Beset::start(PIECE, |plan| {
        plan.api("stall_ms: 60000")
            .api(&format!("socket: \"{}\"", socket.display()))
    });
    let ask = |target: &str, fields: &str| {
        let mut stream = TcpStream::connect(beset.address()).expect("the daemon listens");
        let head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).expect("it is open");
        let mut start = [0; 12];
        stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
        stream.read_exact(&mut start).expect("it is answered");
        (stream, String::from_utf8_lossy(&start).into_owned())
    };
    let exports: Vec<_> = (0..3).map(|_| ask("/v1/export/tenants", "")).collect();
    let statuses: Vec<&str> = exports.iter().map(|(_, status)| &**status).collect();
    assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 503"]);
    let whole = ask_socket(&socket, "/v1/export/tenants");
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole:.200}");
    assert!(whole.contains("\r\n0\r\n\r\n"), "it is whole");
    beset.check_socket(&socket);
}

/// Without chunks a body ends where its connection does, and half an export looked whole.
#[test]
fn an_export_over_http_1_0_is_refused() {
    let beset = Beset::start(10, |plan| plan);
    let ask = |version: &str| {
        let mut stream = TcpStream::connect(beset.address()).expect("the daemon listens");
        write!(
            stream,
            "GET /v1/export/tenants HTTP/{version}\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .expect("it is open");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text
    };
    let refused = ask("1.0");
    assert!(refused.starts_with("HTTP/1.0 505"), "{refused}");
    assert!(refused.contains("http_version_not_supported"), "{refused}");
    assert!(ask("1.1").starts_with("HTTP/1.1 200"));
}

#[test]
fn who_is_too_slow_is_cut_and_notices() {
    let mut beset = Beset::start(PIECE, |plan| {
        plan.api("head_ms: 300")
            .api("idle_ms: 600")
            .api("stall_ms: 900")
    });
    let check = |what: &str, bytes: &str, least_ms: u64| {
        let mut connection = Connection::open(beset.address());
        let begun = Instant::now();
        connection.send(bytes).expect("it is open");
        let said = connection.until_broken();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(least_ms), "{what}: {took:?}");
        assert!(took < PATIENCE, "{what}: {took:?}");
        String::from_utf8_lossy(&said).into_owned()
    };
    assert_eq!(check("no head", "", 300), "");
    assert_eq!(check("half a head", "GET /livez HTTP/1.1\r\nho", 300), "");
    let idle = check(
        "no second request",
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
        600,
    );
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");

    // Each byte of a head comes in time, and the head does not.
    let mut connection = Connection::open(beset.address());
    let begun = Instant::now();
    while connection.send("x").is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it may go on for ever");
        thread::sleep(Duration::from_millis(50));
    }

    // A reader that takes nothing: what it finds when it reads on does not look whole.
    let mut stalled = Connection::open(beset.address());
    let export = beset.control.request("GET", "/v1/export/tenants");
    stalled.send(export.bytes()).expect("it is open");
    let connections = || {
        let folder = format!("/proc/{}/fd", beset.control.id());
        let links = std::fs::read_dir(folder).into_iter().flatten().flatten();
        links
            .filter_map(|link| std::fs::read_link(link.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    };
    wait_until("the export has begun", PATIENCE, || {
        stalled.stream().peek(&mut [0]).is_ok_and(|count| count > 0)
    });
    let before = connections();
    wait_until("the stalled reader is cut", PATIENCE, || {
        connections() < before
    });
    assert!(stalled.answer("GET").is_err(), "half an export looks whole");
    stop(&mut beset.control);
    assert!(beset.home.bytes().is_some());
}

/// 15 MiB of them took 573 MB.
#[test]
fn an_import_of_nonsense_takes_little_memory() {
    let beset = Beset::start(10, |plan| plan);
    let before = beset.control.resident_bytes();
    let lines = "{}\n".repeat(5 << 20);
    let answer = beset
        .control
        .import("application/x-ndjson", &lines)
        .send(beset.address());
    assert_eq!(answer.status, 413, "{}", answer.text());
    let grown = beset.control.resident_bytes().saturating_sub(before) >> 20;
    assert!(grown < 100, "{grown} MiB");
    figure(format!(
        "15 MiB of `{{}}` lines: {grown} MiB more in the end"
    ));
}
