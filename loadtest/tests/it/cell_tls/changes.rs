use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::*;
use crate::support::{
    PATIENCE,
    proxy::TENANT,
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    a_table_that_changes_tls_never_meets_older_connections,
    renewed_files_are_used_for_new_connections,
    no_request_fails_while_tls_changes_under_load,
);

/// Which name the connection was called, without its number.
#[track_caller]
fn met(proxy: &Proxy) -> String {
    let line = asked(proxy);
    let words: Vec<&str> = line.split(' ').collect();
    [words[0], words.get(2).copied().unwrap_or_default()].join(" ")
}

/// A cell with certificates of two authorities, by name.
fn of_two_authorities(world: &World) -> TlsCell {
    let other = Authority::new();
    world.folder.write("other.pem", &other.pem());
    let (first, second) = (&world.server, &other.server(&["b.example"]));
    TlsCell::start(&world.terms(&[(NAME, first), ("b.example", second)]))
}

/// The table of this generation, with a cell that is met so: in the clear where `tls` is empty.
fn table_of(cell: &TlsCell, tls: &str, generation: u64) -> TableText {
    let table = TableText::new([(ONLY, vec![cell.address()])]).generation(generation);
    match tls {
        "" => table,
        tls => table.cell_line(ONLY, tls),
    }
}

fn a_table_that_changes_tls_never_meets_older_connections() {
    let world = World::new();
    let cell = of_two_authorities(&world);
    let of = |tls: &str, generation| table_of(&cell, tls, generation);
    let (first, second) = (world.tls(""), world.tls_by("b.example", "other.pem", ""));
    let proxy = Proxy::plan().table(of("", 1)).start();
    let steps = [
        ("", "plain "),
        (&*first, "tls a.example"),
        (&*second, "tls b.example"),
        ("", "plain "),
        (&*first, "tls a.example"),
    ];
    for (number, (tls, expected)) in steps.into_iter().enumerate() {
        let generation = number as u64 + 1;
        proxy.write_table(of(tls, generation));
        proxy.wait_for_generation(generation);
        for _ in 0..5 {
            assert_eq!(met(&proxy), expected, "{generation}");
        }
    }
    // The same name, and an authority that did not sign: a kept connection would still work.
    proxy.write_table(of(&world.tls_by(NAME, "other.pem", ""), 6));
    proxy.wait_for_generation(6);
    let answer = proxy.get("acme", "/");
    assert_eq!(answer.verdict(), (502, Some("connect_failed")));
}

fn renewed_files_are_used_for_new_connections() {
    let world = World::new();
    let clients = Authority::new();
    world
        .folder
        .write_pair("proxy", &clients.client("proxy", 7));
    let cell = TlsCell::start(&Terms {
        clients: Some(clients.pem()),
        ..world.terms(&[(NAME, &world.server)])
    });
    let tls = world.tls(&world.shown("proxy"));
    let proxy = Proxy::plan().table(table(cell.address(), &tls)).start();
    assert_eq!(asked(&proxy), "tls 1 a.example");
    // Another certificate is another identity, so the connection that waits is not for it.
    world
        .folder
        .write_pair("proxy", &clients.client("proxy", 8));
    wait_until("new connections are made", PATIENCE, || {
        asked(&proxy) != "tls 1 a.example"
    });
    // A bad one is refused, and the one before is used on.
    world.folder.write("proxy.key", "nonsense");
    wait_until("it is refused", PATIENCE, || {
        proxy.metric("upstream_certificate_last_reload_success", &[]) == Some(0.0)
    });
    // One more if the two files of the good pair were met between their writes.
    let failures = proxy.metric("upstream_certificate_reload_failures_total", &[]);
    assert!(failures >= Some(1.0), "{failures:?}");
    let degraded = proxy.status()["degraded"].to_string();
    assert!(degraded.contains("tls.client_cert.key"), "{degraded}");
    asked(&proxy);
    // And so is an authority that is replaced: the cell is met anew, and is not whom it has to be.
    world
        .folder
        .write_pair("proxy", &clients.client("proxy", 9));
    wait_until("it is good again", PATIENCE, || {
        proxy.metric("upstream_certificate_last_reload_success", &[]) == Some(1.0)
    });
    world.folder.write("ca.pem", &Authority::new().pem());
    wait_until("the cell is a stranger", PATIENCE, || {
        proxy.get("acme", "/").verdict() == (502, Some("connect_failed"))
    });
    world.folder.write("ca.pem", &world.authority.pem());
    wait_until("the cell is known again", PATIENCE, || {
        proxy.get("acme", "/").status == 200
    });
    assert_eq!(proxy.generation(), 1);
}

fn no_request_fails_while_tls_changes_under_load() {
    let world = World::new();
    let cell = of_two_authorities(&world);
    let of = |tls: &str, generation| table_of(&cell, tls, generation);
    let proxy = Proxy::plan().table(of("", 1)).start();
    let stopping = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = ["GET", "POST", "GET", "POST"]
        .into_iter()
        .map(|method| {
            let (stopping, address) = (Arc::clone(&stopping), proxy.address());
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                let request = Request::new(method, "/").header(TENANT, "acme");
                let request = if method == "POST" {
                    request.body("body")
                } else {
                    request
                };
                let mut count = 0;
                while !stopping.load(Ordering::Relaxed) {
                    let answer = connection.exchange(&request);
                    assert_eq!(answer.status, 200, "{answer:?}");
                    count += 1;
                    thread::sleep(Duration::from_millis(2));
                }
                count
            })
        })
        .collect();
    let words = [
        String::new(),
        world.tls(""),
        world.tls_by("b.example", "other.pem", ""),
    ];
    for generation in 2..=20_u64 {
        proxy.write_table(of(&words[(generation % 3) as usize], generation));
        proxy.wait_for_generation(generation);
        asked(&proxy);
    }
    stopping.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().expect("no request fails") > 0);
    }
}
