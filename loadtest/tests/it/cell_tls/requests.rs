use super::*;
use crate::support::{
    PATIENCE,
    origin::{Origin, Visit},
    proxy::TENANT,
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    requests_of_all_kinds_reach_the_cell,
    connections_are_kept_though_tickets_come,
    sessions_are_resumed,
    a_websocket_goes_through,
    a_cell_that_is_somebody_else_gets_nothing,
    a_cell_that_wants_a_certificate_gets_it_or_refuses,
);

fn requests_of_all_kinds_reach_the_cell() {
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let world = World::new();
        let cell = TlsCell::start(&Terms {
            versions,
            ..world.terms(&[(NAME, &world.server)])
        });
        let proxy = world.plan(cell.address()).start();
        assert_eq!(asked(&proxy), format!("tls 1 {NAME}"));
        for size in [3, 5_000, 200_000, 3_000_000] {
            let body: Vec<u8> = (0..size).map(|at: usize| at.to_le_bytes()[1]).collect();
            let request = Request::new("POST", "/")
                .header(TENANT, "acme")
                .body(body.clone());
            let answer = request.send(proxy.address());
            assert_eq!(answer.status, 200, "{size}");
            assert!(answer.body.ends_with(&body), "{size}");
        }
        let chunked = "POST / HTTP/1.1\r\nhost: a\r\nx-tenant-id: acme\r\ntransfer-encoding: chunked\r\n\r\n\
                       3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let mut connection = Connection::open(proxy.address());
        let answer = connection.exchange_bytes("POST", chunked);
        assert!(answer.text().ends_with("\n5\nabcde"), "{answer:?}");
        let answer = proxy.get("acme", "/stream/2000");
        assert_eq!((answer.status, answer.body.len()), (200, 2_000_000));
        let handshakes = proxy.metric(
            "upstream_tls_handshakes_total",
            &[("cell", ONLY), ("kind", "full")],
        );
        assert!(handshakes.is_some_and(|count| count >= 1.0));
    }
}

/// Over TLS 1.3 a server sends tickets after the handshake: an idle connection on which one comes is as good as before.
fn connections_are_kept_though_tickets_come() {
    let world = World::new();
    let cell = world.cell();
    let proxy = world.plan(cell.address()).start();
    // One after the other: each finds the connection of the one before.
    let mut connection = Connection::open(proxy.address());
    let get = Request::get("/").header(TENANT, "acme");
    let post = Request::new("POST", "/").header(TENANT, "acme").body("x");
    for number in 0..30 {
        let request = if number % 3 == 2 { &post } else { &get };
        let answer = connection.exchange(request);
        let first = answer.text().lines().next();
        assert_eq!(first, Some("tls 1 a.example"), "{number}");
    }
    assert_eq!(cell.connections(), 1);
}

fn sessions_are_resumed() {
    let world = World::new();
    let cell = world.cell();
    let upstream = "{ requests_per_connection_max: 1 }";
    let proxy = world.plan(cell.address()).set("upstream", upstream).start();
    for _ in 0..10 {
        asked(&proxy);
    }
    assert_eq!(cell.connections(), 10);
    assert!(cell.resumed() >= 8, "{}", cell.resumed());
}

fn a_websocket_goes_through() {
    let world = World::new();
    let cell = world.cell();
    let proxy = world.plan(cell.address()).start();
    let mut connection = Connection::open(proxy.address());
    let upgrade = "GET /x HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = connection.exchange_bytes("GET", upgrade);
    assert_eq!(answer.status, 101);
    assert_eq!(connection.take(5).unwrap(), b"hello");
    for size in [1, 1_000, 100_000] {
        let frame = vec![b'x'; size];
        connection.send(&frame).unwrap();
        assert_eq!(connection.take(size).unwrap(), frame);
    }
}

fn a_cell_that_is_somebody_else_gets_nothing() {
    let world = World::new();
    let other = Authority::new();
    world.folder.write("other.pem", &other.pem());
    let expired = world.authority.server_until(&[NAME], 2020);
    let cell = world.cell();
    let check = |tls: &str, reason: &str, logged: &str| {
        let proxy = Proxy::plan().table(table(cell.address(), tls)).start();
        let answer = proxy.get("acme", "/");
        assert_eq!(answer.verdict(), (502, Some("connect_failed")), "{tls}");
        let labels = [("cell", ONLY), ("reason", reason)];
        let failures = proxy.metric("upstream_tls_failures_total", &labels);
        assert!(failures.is_some_and(|count| count >= 1.0), "{tls}");
        proxy.wait_for_log(&["no TLS connection to an endpoint", logged]);
    };
    check(
        &world.tls_by(NAME, "other.pem", ""),
        "certificate",
        "invalid peer certificate",
    );
    cell.set(&world.terms(&[("b.example", &world.authority.server(&["b.example"]))]));
    // It has nothing for that name, and says so.
    check(&world.tls(""), "alert", "alert");
    cell.set(&world.terms(&[(NAME, &expired)]));
    check(&world.tls(""), "certificate", "expired");
    // A plain server's answer is no TLS.
    let plain = Origin::answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let silent = Origin::start(Visit::wait_for_end);
    let tls = world.tls("");
    let proxy = Proxy::plan().table(table(plain.address(), &tls)).start();
    assert_eq!(
        proxy.get("acme", "/").verdict(),
        (502, Some("connect_failed"))
    );
    let timeouts = "{ connect_ms: 300 }";
    let proxy = Proxy::plan()
        .set("timeouts", timeouts)
        .table(table(silent.address(), &tls));
    let proxy = proxy.start();
    assert_eq!(
        proxy.get("acme", "/").verdict(),
        (502, Some("connect_failed"))
    );
    let labels = [("cell", ONLY), ("reason", "timeout")];
    assert!(proxy.metric("upstream_tls_failures_total", &labels) >= Some(1.0));
    assert!(!silent.has_received("GET"), "a request is sent to nobody");
}

fn a_cell_that_wants_a_certificate_gets_it_or_refuses() {
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let world = World::new();
        let clients = Authority::new();
        world.folder.write_pair("good", &clients.client("proxy", 7));
        world
            .folder
            .write_pair("bad", &Authority::new().client("proxy", 7));
        let cell = TlsCell::start(&Terms {
            versions,
            clients: Some(clients.pem()),
            ..world.terms(&[(NAME, &world.server)])
        });
        let start = |further: &str| {
            let tls = world.tls(further);
            Proxy::plan().table(table(cell.address(), &tls)).start()
        };
        let proxy = start(&world.shown("good"));
        assert_eq!(asked(&proxy), format!("tls 1 {NAME}"));
        for further in [String::new(), world.shown("bad")] {
            let proxy = start(&further);
            for method in ["GET", "POST"] {
                let request = Request::new(method, "/").header(TENANT, "acme").body("x");
                let answer = request.send(proxy.address());
                assert_eq!(
                    answer.verdict(),
                    (502, Some("connect_failed")),
                    "{further}\n{}",
                    proxy.log()
                );
            }
            let labels = [("cell", ONLY), ("reason", "alert")];
            let failures = proxy.metric("upstream_tls_failures_total", &labels);
            assert!(failures >= Some(2.0), "{failures:?}");
        }
    }
}

#[test]
fn health_checks_go_over_tls() {
    let world = World::new();
    let cell = world.cell();
    let check = "health_check: { type: http, path: /healthz, interval_ms: 100, unhealthy_after: 1, healthy_after: 1 }";
    let table = table(cell.address(), &world.tls("")).cell_line(ONLY, check);
    let proxy = Proxy::plan().table(table).start();
    wait_until("checks are made", PATIENCE, || cell.connections() >= 3);
    asked(&proxy);
    cell.set(&world.terms(&[(NAME, &Authority::new().server(&[NAME]))]));
    let healthy = || proxy.status()["cells"][ONLY]["healthy"].clone();
    wait_until("the stranger is unhealthy", PATIENCE, || healthy() == 0);
    proxy.wait_for_log(&["endpoint unhealthy", "invalid peer certificate"]);
    cell.set(&world.terms(&[(NAME, &world.server)]));
    wait_until("it is itself again", PATIENCE, || healthy() == 1);
    asked(&proxy);
}
