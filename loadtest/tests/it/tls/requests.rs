//! Requests over TLS, both ways.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustls::version::{TLS12, TLS13};

use super::{NAME, World};
use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    origin::{OK, Origin},
    proxy::{Proxy, TENANT},
    tls::client,
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    curl_is_served_and_the_cell_knows_of_tls,
    pipelined_requests_are_answered_in_order,
    large_bodies_come_through_both_ways,
    a_slow_reader_gets_every_byte,
    a_websocket_talks_and_half_of_it_may_close,
    the_end_is_said,
    an_answer_that_is_cut_does_not_end_like_a_whole_one,
    who_waits_in_a_handshake_keeps_nobody_out,
    a_handshake_that_stalls_is_cut_in_time,
    a_proxy_header_comes_before_the_handshake,
    http_without_tls_gets_a_clear_answer,
    half_a_hello_is_cut_in_time_and_keeps_nobody_out,
);

fn curl_is_served_and_the_cell_knows_of_tls() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let port = proxy.address().port();
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--include"])
            .args(version)
            .arg("--cacert")
            .arg(world.certificates.path("authority.ca"))
            .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
            .args(["--header", "x-tenant-id: a"])
            // The second goes over the same connection.
            .args([
                format!("https://{NAME}:{port}{OK}7"),
                format!("https://{NAME}:{port}{OK}8"),
            ])
            .output()
            .expect("curl is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
        assert!(text.contains('7') && text.contains('8'), "{text}");
    }
    let received = cell.received().concat();
    assert_eq!(
        received.matches("x-forwarded-proto: https").count(),
        4,
        "{received}"
    );
    let full = [("listener", "edge"), ("kind", "full")];
    assert_eq!(proxy.metric("tls_handshakes_total", &full), Some(2.0));
    wait_until_idle(&proxy);
}

fn pipelined_requests_are_answered_in_order() {
    const REQUESTS: usize = 50;
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let mut connection = world.connect(&proxy);
    let requests = (0..REQUESTS).map(|id| {
        let request = Request::new("POST", &format!("{OK}{id}")).header(TENANT, "a");
        request.body(vec![b'x'; id * 20]).bytes()
    });
    connection
        .send(requests.collect::<Vec<_>>().concat())
        .unwrap();
    for id in 0..REQUESTS {
        let answer = connection.answer("POST").unwrap();
        assert_eq!(answer.status, 200);
        assert!(
            answer.text().contains(&id.to_string()),
            "{id}: {}",
            answer.text()
        );
    }
}

/// Larger than all buffers between the two sides, with and without a length.
fn large_bodies_come_through_both_ways() {
    const BYTES: usize = 24 * 1024 * 1024;
    let world = World::new();
    let expected: Vec<u8> = (0..BYTES).map(|at| at.to_le_bytes()[1]).collect();
    let body = expected.clone();
    let cell = Origin::start_without_record(move |visit| {
        while let Some(head) = visit.head() {
            let length = head
                .header("content-length")
                .map(|length| length.parse().unwrap());
            if let Some(length) = length {
                let came = visit.take(length).unwrap();
                assert!(came == body);
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            visit.send([answer.as_bytes(), &body].concat());
        }
    });
    let proxy = world.plan(cell.address(), "").start();
    for version in [&TLS12, &TLS13] {
        let config = world.authority.client_config(&[version], None);
        let tls = client(&config, NAME);
        let mut connection = Connection::try_open_tls(proxy.address(), tls).unwrap();
        let request = Request::new("POST", "/")
            .header(TENANT, "a")
            .body(expected.clone());
        let answer = connection.exchange(&request);
        assert_eq!(answer.status, 200);
        assert!(answer.body == expected);
        let answer = connection.exchange(&Request::get("/").header(TENANT, "a"));
        assert!(answer.body == expected);
    }
    wait_until_idle(&proxy);
}

fn a_slow_reader_gets_every_byte() {
    const BYTES: usize = 24 * 1024 * 1024;
    let world = World::new();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
    let body: Vec<u8> = (0..BYTES).map(|at| at.to_le_bytes()[0]).collect();
    let cell = Origin::answering([head.as_bytes(), &body].concat());
    let proxy = world.plan(cell.address(), "").start();
    let mut connection = world.connect(&proxy);
    connection
        .send(Request::get("/").header(TENANT, "a").bytes())
        .unwrap();
    // Until nothing moves any more: everything between the two is full.
    wait_until("the proxy waits for its client", PATIENCE, || {
        let before = proxy.process_metric("process_cpu_seconds_total");
        thread::sleep(Duration::from_millis(100));
        before == proxy.process_metric("process_cpu_seconds_total")
    });
    let answer = connection.answer("GET").unwrap();
    assert!(answer.body == body);
}

fn a_websocket_talks_and_half_of_it_may_close() {
    const UPGRADE: &str = "GET /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nconnection: Upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let world = World::new();
    let cell = Origin::start(|visit| {
        visit.head().unwrap();
        visit.send([SWITCHING.as_bytes(), b"hello"].concat());
        while let Ok(bytes) = visit.take(4) {
            visit.send(bytes);
        }
        // The client has said all, and still listens.
        visit.send("goodbye");
    });
    let proxy = world.plan(cell.address(), "").start();
    let mut connection = world.connect(&proxy);
    assert_eq!(connection.exchange_bytes("GET", UPGRADE).status, 101);
    assert_eq!(connection.take(5).unwrap(), b"hello");
    for word in ["ping", "pong"] {
        connection.send(word).unwrap();
        assert_eq!(connection.take(4).unwrap(), word.as_bytes());
    }
    connection.tls().send_close_notify();
    connection.send("").unwrap();
    assert_eq!(connection.rest().unwrap(), b"goodbye");
    wait_until_idle(&proxy);
}

/// However a connection ends, TLS says so: `rest` fails where it does not.
fn the_end_is_said() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let plan = world.plan(cell.address(), "");
    let proxy = plan.set("timeouts", "{ keepalive_ms: 100 }").start();
    let mut asked = world.connect(&proxy);
    let last = Request::get("/ok/1").header(TENANT, "a");
    let answer = asked.exchange(&last.clone().header("connection", "close"));
    assert_eq!(answer.status, 200);
    assert_eq!(asked.rest().unwrap(), b"");
    let mut idle = world.connect(&proxy);
    assert_eq!(idle.exchange(&last).status, 200);
    assert_eq!(idle.rest().unwrap(), b"");
    let mut refused = world.connect(&proxy);
    refused
        .send("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        .unwrap();
    assert_eq!(
        refused.answer("GET").unwrap().verdict(),
        (400, Some("bad_request"))
    );
    assert_eq!(refused.rest().unwrap(), b"");
}

/// An answer without a length ends with the connection: only the missing close of TLS shows that it is not all.
fn an_answer_that_is_cut_does_not_end_like_a_whole_one() {
    let world = World::new();
    let cell = Origin::start(|visit| {
        let head = visit.head().unwrap();
        let is_cut = head.path().contains("/cut");
        visit.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf");
        if is_cut {
            visit.end_by_reset();
        }
    });
    let proxy = world.plan(cell.address(), "").start();
    for (path, is_whole) in [("/whole", true), ("/cut", false)] {
        let mut connection = world.connect(&proxy);
        let request = Request::get(path).header(TENANT, "a");
        // It asks in HTTP/1.0, so that no chunk says where the answer ends.
        let bytes = String::from_utf8(request.bytes()).unwrap();
        connection
            .send(bytes.replace("HTTP/1.1", "HTTP/1.0"))
            .unwrap();
        let outcome = connection.rest();
        assert_eq!(outcome.is_ok(), is_whole, "{path}: {outcome:?}");
    }
}

/// A client that waits in the middle of its handshake, after its hello was answered.
fn who_waits_in_a_handshake_keeps_nobody_out() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let plan = world.plan(cell.address(), "handshakes_at_once_max: 1");
    let proxy = plan.start();
    let config = world.client();
    let waiting: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            client(&config, NAME).write_tls(&mut stream).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            stream
        })
        .collect();
    let began = Instant::now();
    let mut connection = world.connect(&proxy);
    let answer = connection.exchange(&Request::get("/ok/1").header(TENANT, "a"));
    assert_eq!(answer.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waited");
    drop(waiting);
    let aborted = [("listener", "edge"), ("reason", "aborted")];
    wait_until("those who left are counted", PATIENCE, || {
        proxy.metric("tls_handshake_failures_total", &aborted) == Some(20.0)
    });
}

/// After its hello, which was answered, and in the middle of what comes next, a byte at a time.
fn a_handshake_that_stalls_is_cut_in_time() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "handshake_ms: 1000").start();
    let config = world.client();
    let begun = || {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = client(&config, NAME);
        tls.write_tls(&mut stream).unwrap();
        tls.read_tls(&mut stream).unwrap();
        (stream, tls)
    };
    let began = Instant::now();
    let (mut silent, _) = begun();
    let (mut dripping, mut tls) = begun();
    while tls.process_new_packets().is_ok() && !tls.wants_write() {
        tls.read_tls(&mut dripping).unwrap();
    }
    let mut rest = Vec::new();
    tls.write_tls(&mut rest).unwrap();
    for byte in &rest[..rest.len() - 1] {
        // It is cut in the middle.
        if dripping.write_all(&[*byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    for stream in [&mut silent, &mut dripping] {
        // Perhaps by a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let took = began.elapsed();
    let limits = Duration::from_secs(1)..Duration::from_secs(10);
    assert!(limits.contains(&took), "{took:?}");
    let labels = [("listener", "edge"), ("reason", "timeout")];
    wait_until("both are counted", PATIENCE, || {
        proxy.metric("tls_handshake_failures_total", &labels) == Some(2.0)
    });
    wait_until_idle(&proxy);
}

/// Versions 1 and 2, in one piece with nothing of TLS, as a balancer sends them.
fn a_proxy_header_comes_before_the_handshake() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let folder = world.certificates.folder().display();
    let listener = format!(
        r#"[{{ name: edge, address: "127.0.0.1:0", tls: {{ directory: {folder} }}, proxy_protocol: {{ from: ["127.0.0.1"], required: true }} }}]"#
    );
    let plan = Proxy::in_front_of(cell.address()).set("listeners", &listener);
    let proxy = plan.start();
    let first = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n".to_vec();
    let second = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[192, 0, 2, 7, 192, 0, 2, 1, 195, 80, 1, 187],
    ]
    .concat();
    for header in [first, second] {
        let mut connection = Connection::open(proxy.address());
        connection.send(header).unwrap();
        let mut connection = connection.start_tls(client(&world.client(), NAME)).unwrap();
        let answer = connection.exchange(&Request::get("/ok/1").header(TENANT, "a"));
        assert_eq!(answer.status, 200);
    }
    let received = cell.received().concat();
    assert_eq!(received.matches("192.0.2.7").count(), 2, "{received}");
}

fn http_without_tls_gets_a_clear_answer() {
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let answer = Request::get("/").header(TENANT, "a").send(proxy.address());
    assert_eq!(answer.verdict(), (400, Some("bad_request")));
    assert!(answer.text().contains("https://"), "{}", answer.text());
    let mut nonsense = TcpStream::connect(proxy.address()).unwrap();
    nonsense.write_all(b"\0\0\0\0").unwrap();
    let mut rest = Vec::new();
    nonsense.set_read_timeout(Some(PATIENCE)).unwrap();
    // Closed, perhaps by a reset; nothing is said.
    let _ = nonsense.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    for (reason, expected) in [("plain_http", 1.0), ("not_tls", 1.0), ("failed", 0.0)] {
        let labels = [("listener", "edge"), ("reason", reason)];
        assert_eq!(
            proxy.metric("tls_handshake_failures_total", &labels),
            Some(expected)
        );
    }
    assert_eq!(cell.connections(), 0);
}

fn half_a_hello_is_cut_in_time_and_keeps_nobody_out() {
    const HALVES: usize = 50;
    let world = World::new();
    let cell = Origin::well_behaved();
    let plan = world.plan(
        cell.address(),
        "handshake_ms: 3000, handshakes_at_once_max: 1",
    );
    let proxy = plan.start();
    let began = Instant::now();
    let halves: Vec<TcpStream> = (0..HALVES)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // The header of a record of 512 bytes, and one of them.
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
            stream
        })
        .collect();
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = world.connect(&proxy);
                let answer = connection.exchange(&Request::get("/ok/1").header(TENANT, "a"));
                served.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(served.into_inner(), 8);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "nobody waited for them"
    );
    for mut half in halves {
        assert_eq!(half.read(&mut [0]).unwrap_or(0), 0);
    }
    assert!(began.elapsed() >= Duration::from_secs(3));
    let labels = [("listener", "edge"), ("reason", "timeout")];
    assert_eq!(
        proxy.metric("tls_handshake_failures_total", &labels),
        Some(50.0)
    );
}
