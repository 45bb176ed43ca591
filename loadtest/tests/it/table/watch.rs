//! What happens to the watcher: lost events, directories that come and go, and files that say
//! nothing new.

use std::{
    fs,
    os::unix::fs::symlink,
    thread,
    time::{Duration, Instant},
};

use super::{EFFECT_LIMIT, check_effect};
use crate::support::{
    FIRST_SECONDS, PATIENCE,
    fleet::Fleet,
    process::Signal,
    proxy::{Plan, Proxy, rename_over},
    traffic::Traffic,
    wait_until,
};

/// A plan whose table is a link to `elsewhere/table.yaml`, where nobody watches.
fn without_events(poll_interval_ms: u32) -> Plan {
    let plan = Proxy::plan().set(
        "table",
        &format!("{{ path: tables/table.yaml, poll_interval_ms: {poll_interval_ms} }}"),
    );
    fs::create_dir(plan.directory().join("elsewhere")).unwrap();
    symlink("../elsewhere/table.yaml", plan.table_path()).unwrap();
    plan
}

/// The timer sees what happens to the directory, but is too slow to stand in for events.
fn slow_timer() -> Plan {
    Proxy::plan().set(
        "table",
        "{ path: tables/table.yaml, poll_interval_ms: 3000 }",
    )
}

fn write_elsewhere(proxy: &Proxy, table: impl ToString) {
    let path = proxy.directory().join("elsewhere/table.yaml");
    fs::write(path.with_extension("new"), table.to_string()).unwrap();
    rename_over(&path.with_extension("new"), &path);
}

#[test]
fn an_edit_without_events_takes_effect_within_the_poll_interval() {
    const POLL_MS: u32 = 500;
    let fleet = Fleet::start(2);
    let table = fleet.table();
    let proxy = without_events(POLL_MS).table(&table).start();

    let limit = Duration::from_millis(POLL_MS.into()) + EFFECT_LIMIT;
    check_effect(&proxy, &table, limit, |proxy, table| {
        write_elsewhere(proxy, table);
    });
}

#[test]
fn sighup_reads_the_file_now() {
    let fleet = Fleet::start(2);
    let mut proxy = without_events(60_000).table(fleet.table()).start();

    // Once the table has proved itself the watcher wakes once more, whatever else happens.
    thread::sleep(FIRST_SECONDS + EFFECT_LIMIT);
    write_elsewhere(&proxy, fleet.table().pin("movable", "cell-2"));
    thread::sleep(2 * EFFECT_LIMIT);
    assert_eq!(proxy.generation(), 1, "this edit gives no event");

    let asked = Instant::now();
    proxy.signal(Signal::HUP);
    proxy.wait_for_generation(2);
    eprintln!("from SIGHUP to effect: {:?}", asked.elapsed());
    assert_eq!(proxy.cell_of("movable"), "cell-2");
}

#[test]
fn a_directory_that_appears_later_is_watched() {
    let fleet = Fleet::start(2);
    let plan = slow_timer();
    let tables = plan.directory().join("tables");
    fs::remove_dir(&tables).unwrap();
    let proxy = plan.start_unready();

    let ready = proxy.admin_get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.text().contains("the file is not there"),
        "{}",
        ready.text()
    );
    assert_eq!(
        proxy.get("acme", "/").header("x-cellgate-reason"),
        Some("no_table")
    );

    fs::create_dir(&tables).unwrap();
    proxy.write_table(fleet.table());
    proxy.wait_ready();
    proxy.wait_for_log(&["watching the table's directory"]);
    check_effect(&proxy, &fleet.table(), EFFECT_LIMIT, |proxy, table| {
        proxy.write_table(table);
    });
}

#[test]
fn a_directory_that_is_replaced_is_watched() {
    let fleet = Fleet::start(2);
    let proxy = slow_timer().table(fleet.table()).start();
    let traffic = Traffic::start(&proxy, &[("acme", "cell-1")]);
    let tables = proxy.directory().join("tables");

    rename_over(&tables, &proxy.directory().join("old"));
    fs::create_dir(&tables).unwrap();
    proxy.write_table(fleet.table().pin("other", "cell-2"));
    proxy.wait_for_generation(2);

    check_effect(&proxy, &fleet.table(), EFFECT_LIMIT, |proxy, table| {
        proxy.write_table(table);
    });
    traffic.stop();
}

#[test]
fn a_deleted_table_stays_in_force() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());
    let traffic = Traffic::start(&proxy, &[("acme", "cell-1")]);

    fs::remove_file(proxy.table_path()).unwrap();
    proxy.wait_for_refusal("the file is not there");
    assert_eq!(proxy.metric("table_last_reload_success", &[]), Some(0.0));
    assert_eq!(proxy.admin_get("/readyz").status, 200);

    proxy.write_table(fleet.table());
    wait_until("the table is good again", PATIENCE, || {
        proxy.metric("table_last_reload_success", &[]) == Some(1.0)
    });
    assert_eq!(proxy.generation(), 1);
    assert_eq!(proxy.metric("table_reload_failures_total", &[]), Some(1.0));
    traffic.stop();
}

#[test]
fn other_words_for_the_same_table_are_no_new_generation() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());
    let digest = proxy.status()["digest"].clone();

    let text = fleet.table().to_string();
    proxy.write_table(format!("# only a comment\n{text}"));
    wait_until("the new words were read", PATIENCE, || {
        proxy.status()["digest"] != digest
    });
    proxy.write_table(&text);
    wait_until("the old words were read", PATIENCE, || {
        let status = proxy.status();
        status["digest"] == digest && status["last_reload"]["digest"] == digest
    });
    let status = proxy.status();
    assert_eq!(status["generation"], 1, "{status}");
    assert_eq!(status["last_reload"]["ok"], true, "{status}");

    // The same bytes again are not even logged.
    proxy.write_table(&text);
    thread::sleep(EFFECT_LIMIT);
    assert_eq!(proxy.status()["last_reload"], status["last_reload"]);
    assert_eq!(proxy.metric("table_reload_failures_total", &[]), Some(0.0));
}
