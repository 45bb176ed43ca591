//! One daemon at a time, and what becomes of one that slept through a change of hands.

use std::{fs, time::Duration};

use serde_json::json;

use super::world::{World, tenants};
use crate::support::{PATIENCE, process::Signal, wait_until};

#[test]
fn a_second_daemon_learns_who_was_first() {
    let world = World::start(1);
    let (status, said) = world.plan().run_to_end();
    assert!(!status.success());
    assert!(
        said.contains("is held by cellgate-control, process "),
        "{said}"
    );
    // With a state directory of its own it still must not write the same table.
    let elsewhere = tempfile::tempdir().expect("the temporary directory can be written to");
    let plan = crate::support::control::Control::plan(elsewhere.path(), &world.proxy.table_path());
    let (status, said) = plan.run_to_end();
    assert!(!status.success());
    assert!(said.contains("table.yaml.lock is held by"), "{said}");
    assert!(said.contains("--take-over"), "{said}");
}

/// Paused before a publish, overtaken, and woken: its table must not come through.
#[test]
fn a_daemon_that_slept_does_not_publish() {
    let mut world = World::start(2);
    let cells = world.register(&tenants("tenant", 10));
    world.wait_until_routed(&cells);
    world.control.signal(Signal::STOP);

    // The other one begins with the published table.
    let elsewhere = tempfile::tempdir().expect("the temporary directory can be written to");
    let table = world.proxy.table_path();
    let plan = || {
        crate::support::control::Control::plan(elsewhere.path(), &table)
            .proxy(world.proxy.admin())
            .argument("--take-over")
    };
    plan().write_config();
    let config = elsewhere.path().join("control.yaml");
    let (status, said) = crate::support::control::run(&[
        "import-table",
        "--config",
        &config.to_string_lossy(),
        &table.to_string_lossy(),
    ]);
    assert!(status.success(), "{said}");
    let other = plan().start();
    other.change("POST", "/v1/tenants", &json!({ "key": "newest" }));
    let generation = other.wait_until_published();
    let published = fs::read(&table).expect("the table is there");

    world.control.signal(Signal::CONT);
    let changed = world.control.try_change(
        "POST",
        "/v1/tenants",
        &json!({ "key": "too-late", "cell": "cell-1", "pin": true }),
    );
    assert_eq!(
        changed.status,
        200,
        "its database is its own: {}",
        changed.text()
    );
    wait_until(
        "the first daemon knows that it was overtaken",
        PATIENCE,
        || world.control.get("/v1/table")["blocked"]["code"] == "overtaken",
    );
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fs::read(&table).expect("the table is there"), published);
    assert_eq!(world.proxy.generation(), generation);
    assert_eq!(world.proxy.explain("too-late")["owner"], "slot");
}

/// Even a table that is renamed into place by a hand that slept is refused by the proxy, and put right by the daemon.
#[test]
fn an_old_table_put_back_is_refused_and_replaced() {
    let world = World::start(2);
    let old = fs::read(world.proxy.table_path()).expect("the table is there");
    let body = json!({ "key": "acme", "cell": "cell-1", "pin": true });
    world.control.change("POST", "/v1/tenants", &body);
    let generation = world.control.wait_until_published();
    let new = fs::read(world.proxy.table_path()).expect("the table is there");
    assert_ne!(old, new);
    world
        .proxy
        .write_table(String::from_utf8(old).expect("a table is text"));
    wait_until("the daemon puts its table back", PATIENCE, || {
        fs::read(world.proxy.table_path()).is_ok_and(|bytes| bytes == new)
    });
    wait_until("the proxy is content", PATIENCE, || {
        world.proxy.status()["last_reload"]["ok"] == true
    });
    assert_eq!(world.proxy.generation(), generation);
}
