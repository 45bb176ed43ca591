use super::*;
use crate::support::{PATIENCE, wait_until};

#[test]
fn a_table_whose_files_are_bad_is_refused_until_they_are_good() {
    let world = World::new();
    let cell = world.cell();
    let of = |tls: &str, generation| table(cell.address(), tls).generation(generation);
    let plain = TableText::new([(ONLY, vec![cell.address()])]).generation(1);
    let proxy = Proxy::plan().table(plain).start();
    proxy.write_table(of(&world.tls_by(NAME, "later.pem", ""), 2));
    let refused = proxy.wait_for_refusal("later.pem: the file is not there");
    assert!(refused.contains("cells.only.tls.ca"), "{refused}");
    assert_eq!(asked(&proxy), "plain 1");
    // The table need not be written again.
    world.folder.write("later.pem", &world.authority.pem());
    proxy.wait_for_generation(2);
    assert_eq!(asked(&proxy), format!("tls 2 {NAME}"));
    // A certificate without its key, and one that is expired.
    world
        .folder
        .write_pair("proxy", &world.authority.client("proxy", 1));
    let other = world.authority.client("proxy", 2);
    world.folder.write("proxy.key", &other.key);
    proxy.write_table(of(&world.tls(&world.shown("proxy")), 3));
    proxy.wait_for_refusal("the key does not fit the certificate");
    let expired = world.authority.server_until(&["proxy"], 2020);
    world.folder.write_pair("proxy", &expired);
    proxy.wait_for_refusal("the certificate expired on 2020-01-01T00:00:00");
    assert_eq!(proxy.generation(), 2);
    world
        .folder
        .write_pair("proxy", &world.authority.client("proxy", 3));
    proxy.wait_for_generation(3);
}

/// What a cell has in force is no reason to refuse what a table changes elsewhere.
#[test]
fn files_that_have_become_bad_stop_no_other_change() {
    let world = World::new();
    let cell = world.cell();
    let of = |generation, limit: &str| {
        let table = table(cell.address(), &world.tls("")).generation(generation);
        table.cell_line(ONLY, limit)
    };
    let proxy = Proxy::plan().table(of(1, "max_in_flight: 5")).start();
    asked(&proxy);
    world.folder.write("ca.pem", "nonsense");
    wait_until("it is shown", PATIENCE, || {
        let degraded = proxy.status()["degraded"].to_string();
        degraded.contains("ca.pem") && degraded.contains("it goes on with what was there before")
    });
    proxy.write_table(of(2, "max_in_flight: 6"));
    proxy.wait_for_generation(2);
    asked(&proxy);
}

#[test]
fn at_a_start_a_cell_without_its_files_does_not_stop_the_others() {
    let world = World::new();
    let (cell, other) = (world.cell(), world.cell());
    let cells = [("a", vec![cell.address()]), ("b", vec![other.address()])];
    let table = TableText::new(cells)
        .pin("acme", "a")
        .pin("globex", "b")
        .cell_line("a", &world.tls_by(NAME, "a.pem", ""))
        .cell_line("b", &world.tls(""));
    world.folder.write("a.pem", &world.authority.pem());
    let mut proxy = Proxy::plan().table(table).start();
    assert_eq!(proxy.get("acme", "/").status, 200);
    proxy.stop();
    std::fs::remove_file(world.folder.path("a.pem")).unwrap();
    proxy.restart();
    assert_eq!(proxy.get("globex", "/").status, 200);
    assert_eq!(
        proxy.get("acme", "/").verdict(),
        (502, Some("connect_failed"))
    );
    proxy.wait_for_log(&[
        "a cell's file cannot be used",
        "a.pem",
        "it cannot be reached until then",
    ]);
    wait_until("it is shown", PATIENCE, || {
        let degraded = proxy.status()["degraded"].to_string();
        degraded.contains("a.pem") && degraded.contains("it cannot be reached until then")
    });
    let status = proxy.status();
    assert_eq!(status["cells"]["a"]["tls"]["usable"], false);
    assert_eq!(status["cells"]["b"]["tls"]["usable"], true);
    world.folder.write("a.pem", &world.authority.pem());
    wait_until("the cell is reached again", PATIENCE, || {
        proxy.get("acme", "/").status == 200
    });
}

#[test]
fn check_reads_the_files_with_places_names_and_dates() {
    let world = World::new();
    let cell = world.cell();
    let check = |tls: &str, expected: Option<&[&str]>| {
        let (is_good, said) = Proxy::plan().table(table(cell.address(), tls)).check();
        assert_eq!(is_good, expected.is_none(), "{said}");
        for part in expected.unwrap_or_default() {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
    };
    world
        .folder
        .write_pair("proxy", &world.authority.client("proxy", 1));
    check(&world.tls(&world.shown("proxy")), None);
    check(
        &world.tls_by(NAME, "nowhere.pem", ""),
        Some(&[
            "table.yaml:",
            "cells.only.tls.ca: ",
            "nowhere.pem: the file is not there",
        ]),
    );
    world
        .folder
        .write("proxy.key", &world.authority.client("proxy", 2).key);
    check(
        &world.tls(&world.shown("proxy")),
        Some(&[
            "cells.only.tls.client_cert.key: ",
            "the key does not fit the certificate in ",
        ]),
    );
    world
        .folder
        .write_pair("proxy", &world.authority.server_until(&["proxy"], 2020));
    check(
        &world.tls(&world.shown("proxy")),
        Some(&[
            "cells.only.tls.client_cert.certificate: ",
            "expired on 2020-01-01T00:00:00",
            "(for proxy)",
        ]),
    );
}

/// An authority whose certificate is expired is trusted all the same, so `check` warns.
#[test]
fn check_warns_of_an_authority_that_is_expired() {
    let world = World {
        authority: Authority::until(2020),
        ..World::new()
    };
    world.folder.write("ca.pem", &world.authority.pem());
    let world = World {
        server: world.authority.server(&[NAME]),
        ..world
    };
    let cell = world.cell();
    let plan = world.plan(cell.address());
    let (is_good, said) = plan.check();
    assert!(is_good, "{said}");
    for part in [
        "warning: ",
        "table.yaml:",
        "cells.only.tls.ca: ",
        "ca.pem: the certificate of the CA `CN=authority of the test",
        "expired on 2020-01-01T00:00:00",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    asked(&plan.start());
}

/// Relative paths begin where the table is.
#[test]
fn paths_are_relative_to_the_table() {
    let world = World::new();
    let cell = world.cell();
    let tls = format!("tls: {{ server_name: {NAME}, ca: ../cells.pem }}");
    let plan = Proxy::plan().table(table(cell.address(), &tls));
    std::fs::write(plan.directory().join("cells.pem"), world.authority.pem()).unwrap();
    let mut proxy = plan.start();
    asked(&proxy);
    // Also those of a kept table, which is elsewhere.
    proxy.stop();
    std::fs::write(proxy.table_path(), "nonsense").unwrap();
    proxy.restart();
    asked(&proxy);
}
