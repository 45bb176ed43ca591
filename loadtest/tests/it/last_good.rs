//! The last good tables: what a restart serves by when the table file is bad, old or gone.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
    time::Duration,
};

use crate::support::{
    FIRST_SECONDS, PATIENCE,
    fleet::Fleet,
    process::Signal,
    proxy::{Proxy, command},
    traffic::Traffic,
    wait_until,
};

#[track_caller]
fn assert_source(proxy: &Proxy, generation: u64, source: &str) {
    let status = proxy.status();
    assert_eq!(status["generation"], generation, "{status}");
    assert_eq!(status["source"], source, "{status}");
    let is_last_good = f64::from(u8::from(source == "last_good"));
    assert_eq!(
        proxy.metric("table_from_last_good", &[]),
        Some(is_last_good)
    );
}

/// Names of the kept tables, oldest first.
fn kept(proxy: &Proxy) -> Vec<PathBuf> {
    let entries = fs::read_dir(proxy.state_dir()).unwrap();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    paths.sort_unstable();
    paths
}

#[test]
fn a_killed_proxy_serves_on_though_its_table_is_corrupt() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::start(fleet.table().pin("acme", "cell-1"));
    proxy.write_table(fleet.table().pin("acme", "cell-2"));
    proxy.wait_for_generation(2);

    proxy.kill();
    proxy.write_table("format: 1\nhash: {");
    proxy.restart();

    assert_source(&proxy, 2, "last_good");
    assert_eq!(proxy.cell_of("acme"), "cell-2");
    let status = proxy.status();
    assert_eq!(status["last_reload"]["ok"], false, "{status}");
    assert_eq!(proxy.metric("table_last_reload_success", &[]), Some(0.0));
    assert_eq!(proxy.metric("table_reload_failures_total", &[]), Some(1.0));

    let traffic = Traffic::start(&proxy, &[("acme", "cell-2")]);
    proxy.write_table(fleet.table().pin("acme", "cell-2"));
    wait_until("the table comes from the file again", PATIENCE, || {
        proxy.status()["source"] == "file"
    });
    assert_source(&proxy, 2, "file");
    wait_until("the metrics show it", PATIENCE, || {
        proxy.metric("table_last_reload_success", &[]) == Some(1.0)
    });
    traffic.stop();
}

#[test]
fn without_state_and_table_it_waits_and_says_why() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::start(fleet.table());

    proxy.kill();
    fs::remove_dir_all(proxy.state_dir()).unwrap();
    fs::remove_file(proxy.table_path()).unwrap();
    proxy.restart_unready();
    check_waits(&proxy, "the file is not there");

    proxy.write_table("format: 1\n");
    proxy.wait_for_refusal("the key `hash` is missing");
    check_waits(&proxy, "the key `hash` is missing");

    proxy.write_table(fleet.table());
    proxy.wait_ready();
    assert_source(&proxy, 1, "file");
    assert_eq!(proxy.get("acme", "/").status, 200);
}

/// It runs, but is not ready, and says `why` in all places.
#[track_caller]
fn check_waits(proxy: &Proxy, why: &str) {
    assert_eq!(proxy.admin_get("/livez").status, 200);
    let ready = proxy.admin_get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains(why), "{}", ready.text());

    let status = proxy.status();
    assert_eq!(status["ready"], false, "{status}");
    let because = status["not_ready_because"].as_str().unwrap_or_default();
    assert!(because.contains(why), "{status}");
    assert!(status["generation"].is_null(), "{status}");
    assert_eq!(proxy.metric("table_generation", &[]), Some(0.0));

    let answer = proxy.get("acme", "/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("x-cellgate-reason"), Some("no_table"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("x-cell"), None);
}

#[test]
fn an_older_table_file_does_not_undo_a_move() {
    let fleet = Fleet::start(2);
    let old = fleet.table().pin("acme", "cell-1").generation(42);
    let mut proxy = Proxy::start(&old);
    proxy.write_table(fleet.table().pin("acme", "cell-2").generation(43));
    proxy.wait_for_generation(43);

    proxy.kill();
    proxy.write_table(old);
    proxy.restart();

    assert_source(&proxy, 43, "last_good");
    assert_eq!(proxy.cell_of("acme"), "cell-2");
    proxy.wait_for_refusal("generation 42 is older");
}

#[test]
fn a_file_that_moves_too_much_is_refused_at_start_too() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::start(fleet.table());

    proxy.kill();
    proxy.write_table(
        fleet
            .table()
            .slots("cell-1", &["0-999"])
            .slots("cell-2", &[]),
    );
    proxy.restart();

    assert_source(&proxy, 1, "last_good");
    proxy.wait_for_refusal("50.00 % of the slots");
}

#[test]
fn a_kept_table_that_rotted_is_left_out() {
    let fleet = Fleet::start(2);
    let mut proxy = Proxy::start(fleet.table().pin("acme", "cell-1"));
    for (generation, tenant) in [(2, "two"), (3, "three"), (4, "four")] {
        let table = fleet.table().pin("acme", "cell-2").pin(tenant, "cell-2");
        proxy.write_table(table);
        proxy.wait_for_generation(generation);
    }
    let tables = kept(&proxy);
    assert_eq!(tables.len(), 4, "{tables:?}");

    proxy.kill();
    fs::remove_file(proxy.table_path()).unwrap();
    let flipped = fs::read_to_string(&tables[3])
        .unwrap()
        .replace("four", "fuor");
    fs::write(&tables[3], flipped).unwrap();
    fs::write(&tables[2], "").unwrap();
    proxy.restart();

    assert_source(&proxy, 2, "last_good");
    assert_eq!(proxy.cell_of("acme"), "cell-2");
    assert_eq!(
        proxy.count_in_log("does not match its digest"),
        2,
        "{}",
        proxy.log()
    );
}

#[test]
fn the_newest_five_tables_are_kept() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table().generation(1));
    for generation in 2..=7 {
        proxy.write_table(fleet.table().generation(generation));
        proxy.wait_for_generation(generation);
    }
    wait_until("the oldest tables are gone", PATIENCE, || {
        kept(&proxy).len() == 5
    });
    let names: Vec<_> = kept(&proxy);
    assert!(
        names[0].display().to_string().contains("0003-"),
        "{names:?}"
    );
}

#[test]
fn a_state_directory_that_cannot_be_had_stops_nothing() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan().table(fleet.table());
    fs::write(plan.directory().join("state"), "in the way").unwrap();
    let proxy = plan.start();

    assert_source(&proxy, 1, "file");
    let said = proxy.status()["state_dir_error"].to_string();
    assert!(
        said.contains("state is a file, and a folder is wanted; let `state_dir` name a folder"),
        "{said}"
    );
    // It may have been tried again already.
    let failures = proxy.metric("state_write_failures_total", &[]);
    assert!(failures >= Some(1.0), "{failures:?}");
    proxy.wait_for_log(&["ERROR", "cannot be kept for a restart"]);
    assert_eq!(proxy.get("acme", "/").status, 200);

    fs::remove_file(proxy.state_dir()).unwrap();
    proxy.write_table(fleet.table().pin("acme", "cell-2"));
    proxy.wait_for_generation(2);
    assert!(
        proxy.status()["state_dir_error"].is_null(),
        "{}",
        proxy.status()
    );
    assert_eq!(kept(&proxy).len(), 1);
}

#[test]
fn a_state_directory_that_may_not_be_written_stops_nothing() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan().table(fleet.table()).without_privileges();
    let state = plan.directory().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o500)).unwrap();
    let proxy = plan.start();

    let status = proxy.status();
    let error = status["state_dir_error"].as_str().unwrap_or_default();
    assert!(error.contains("ermission denied"), "{status}");
    proxy.write_table(fleet.table().pin("acme", "cell-2"));
    proxy.wait_for_generation(2);
    assert_eq!(proxy.metric("state_write_failures_total", &[]), Some(2.0));
    assert_eq!(proxy.cell_of("acme"), "cell-2");
}

/// A proxy that serves by a first table, and has just taken a second one.
fn just_after_a_change(fleet: &Fleet) -> Proxy {
    let proxy = Proxy::start(fleet.table().pin("acme", "cell-1"));
    proxy.write_table(fleet.table().pin("acme", "cell-2"));
    proxy.wait_for_generation(2);
    proxy
}

/// Starts it again, and waits until it serves by the second table.
#[track_caller]
fn restart_on_the_second_table(proxy: &mut Proxy) {
    proxy.restart_unready();
    proxy.wait_for_log(&["table in force", "generation=2"]);
}

#[test]
fn a_table_on_which_it_crashed_twice_is_quarantined() {
    let fleet = Fleet::start(2);
    let mut proxy = just_after_a_change(&fleet);
    proxy.kill();
    restart_on_the_second_table(&mut proxy);
    proxy.restart();

    assert_source(&proxy, 1, "last_good");
    assert_eq!(proxy.cell_of("acme"), "cell-1");
    proxy.wait_for_refusal("this table is quarantined");
    proxy.wait_for_log(&["ERROR", "a kept table is quarantined", "generation=2"]);
    // `check` says so too, and changes nothing of it.
    for _ in 0..2 {
        let config = proxy.directory().join("proxy.yaml");
        let arguments = ["check", "--config"];
        let checked = command().args(arguments).arg(config).output().unwrap();
        let said = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains("this table is quarantined"), "{said}");
    }

    // It stays skipped, however this run ends.
    proxy.kill();
    proxy.restart();
    assert_source(&proxy, 1, "last_good");
    thread::sleep(FIRST_SECONDS + Duration::from_millis(500));
    proxy.stop();
    proxy.restart();
    assert_source(&proxy, 1, "last_good");

    // Another table is another chance.
    let traffic = Traffic::start(&proxy, &[("acme", "cell-1")]);
    proxy.write_table(fleet.table().pin("acme", "cell-1").pin("other", "cell-2"));
    proxy.wait_for_generation(2);
    assert_eq!(proxy.status()["source"], "file");
    traffic.stop();
}

#[test]
fn ends_in_good_order_blame_no_table() {
    let fleet = Fleet::start(2);
    let mut proxy = just_after_a_change(&fleet);
    proxy.stop();
    restart_on_the_second_table(&mut proxy);
    proxy.wait_ready();
    proxy.signal(Signal::INT);
    assert!(proxy.wait(PATIENCE).success());
    restart_on_the_second_table(&mut proxy);
    // The first crash under this table.
    proxy.kill();
    proxy.restart();

    assert_source(&proxy, 2, "file");
    assert_eq!(proxy.cell_of("acme"), "cell-2");
}

#[test]
fn a_table_that_has_proved_itself_is_not_blamed() {
    let fleet = Fleet::start(2);
    let mut proxy = just_after_a_change(&fleet);
    proxy.kill();
    proxy.restart();
    thread::sleep(FIRST_SECONDS + Duration::from_millis(500));
    // Whatever happens to later runs, and however soon: it was new in none of them.
    for _ in 0..3 {
        proxy.kill();
        restart_on_the_second_table(&mut proxy);
    }
    proxy.restart();

    assert_source(&proxy, 2, "file");
    assert_eq!(proxy.cell_of("acme"), "cell-2");

    // One that comes now is on trial, and what it is judged by is the proven one.
    proxy.write_table(fleet.table().pin("acme", "cell-1"));
    proxy.wait_for_generation(3);
    proxy.kill();
    proxy.restart_unready();
    proxy.wait_for_log(&["table in force", "generation=3"]);
    proxy.restart();
    assert_source(&proxy, 2, "last_good");
}

/// An edit that is refused must not become an outage: every proxy refuses it, so each of them serves on, also after a
/// restart, and says what it serves by.
#[test]
fn a_refused_edit_leaves_restarted_proxies_ready_and_degraded() {
    let fleet = Fleet::start(2);
    let table = fleet.table().pin("acme", "cell-1");
    let mut proxies = [Proxy::start(&table), Proxy::start(&table)];
    let too_much = fleet
        .table()
        .slots("cell-1", &["0-999"])
        .slots("cell-2", &[]);
    for proxy in &proxies {
        proxy.write_table(&too_much);
        proxy.wait_for_refusal("50.00 % of the slots");
    }
    for proxy in &mut proxies {
        proxy.stop();
        proxy.restart();
        check_degraded(proxy, "50.00 % of the slots");
        assert_source(proxy, 1, "last_good");
        assert_eq!(proxy.cell_of("acme"), "cell-1");
    }
    for proxy in &proxies {
        fs::remove_file(proxy.table_path()).unwrap();
        proxy.wait_for_refusal("not there");
        check_degraded(proxy, "not there");
        proxy.write_table(&table);
        wait_until("it is not degraded any more", PATIENCE, || {
            proxy.admin_get("/readyz").text() == "ok\n"
        });
        assert_eq!(proxy.metric("table_behind", &[]), Some(0.0));
        assert_eq!(proxy.status()["table_behind"], false);
    }
}

/// It is ready, and says in all places that the table file is refused.
#[track_caller]
fn check_degraded(proxy: &Proxy, why: &str) {
    let ready = proxy.admin_get("/readyz");
    assert_eq!(ready.status, 200);
    let text = ready.text();
    let degraded = "ok\ndegraded: the table file is refused, and generation 1 is served: ";
    assert!(text.starts_with(degraded) && text.contains(why), "{text}");
    let status = proxy.status();
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["table_behind"], true, "{status}");
    assert_eq!(status["degraded"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(proxy.metric("table_behind", &[]), Some(1.0));
    proxy.wait_for_log(&["WARN", "the table file is refused", why]);
}

#[test]
fn a_proxy_may_be_configured_to_be_unready_when_behind() {
    let fleet = Fleet::start(2);
    let plan = Proxy::plan().table(fleet.table());
    let table = r#"{ path: "tables/table.yaml", unready_when_behind: true }"#;
    let proxy = plan.set("table", table).start();
    proxy.write_table("format: 2");
    proxy.wait_for_refusal("the key `hash` is missing");
    let ready = proxy.admin_get("/readyz");
    assert_eq!(ready.status, 503);
    let expected = "not ready: the table file is refused, and generation 1 is served: ";
    assert!(ready.text().starts_with(expected), "{}", ready.text());
    assert_eq!(proxy.get("acme", "/").status, 200);
    proxy.write_table(fleet.table());
    proxy.wait_ready();
}
