//! All ways to edit a file take effect immediately. The timer is too slow to help here.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{EFFECT_LIMIT, check_effect};
use crate::support::{
    PATIENCE,
    fleet::Fleet,
    proxy::{Plan, Proxy, rename_over},
    traffic::Traffic,
    wait_until,
};

/// `cell-2` has to be left to its override: the slot of this tenant is the first cell's.
const STEADY: &str = "acme";

fn events_only() -> Plan {
    Proxy::plan().set(
        "table",
        "{ path: tables/table.yaml, poll_interval_ms: 60000 }",
    )
}

/// Edits of this kind take effect in time, and tenants whose cell stays notice nothing.
#[track_caller]
fn check(edit: impl Fn(&Proxy, &str)) {
    let fleet = Fleet::start(2);
    let table = fleet.table().pin(STEADY, "cell-2");
    let proxy = events_only().table(&table).start();
    let traffic = Traffic::start(&proxy, &[(STEADY, "cell-2")]);

    check_effect(&proxy, &table, EFFECT_LIMIT, edit);
    traffic.stop();
}

#[test]
fn rename() {
    check(|proxy, table| proxy.write_table(table));
}

#[test]
fn in_place() {
    check(|proxy, table| proxy.write_table_in_place(table));
}

#[test]
fn delete_and_create() {
    check(|proxy, table| {
        fs::remove_file(proxy.table_path()).unwrap();
        fs::write(proxy.table_path(), table).unwrap();
    });
}

#[test]
fn move_away_and_create() {
    check(|proxy, table| {
        let backup = proxy.table_path().with_extension("yaml~");
        rename_over(&proxy.table_path(), &backup);
        fs::write(proxy.table_path(), table).unwrap();
        fs::remove_file(backup).unwrap();
    });
}

#[test]
fn copy_over() {
    check(|proxy, table| {
        let copy = proxy.directory().join("copy.yaml");
        fs::write(&copy, table).unwrap();
        fs::copy(copy, proxy.table_path()).unwrap();
    });
}

/// As a mounted `ConfigMap` changes: `table.yaml -> ..data/table.yaml`, and `..data` is swapped.
#[test]
fn symlink_swap() {
    let fleet = Fleet::start(2);
    let table = fleet.table().pin(STEADY, "cell-2");
    let plan = events_only();
    let folder = plan.directory().join("tables");
    publish_as_kubernetes(&folder, &table.to_string());
    symlink("..data/table.yaml", plan.table_path()).unwrap();
    let proxy = plan.start();
    let traffic = Traffic::start(&proxy, &[(STEADY, "cell-2")]);

    check_effect(&proxy, &table, EFFECT_LIMIT, |_, text| {
        publish_as_kubernetes(&folder, text);
    });

    traffic.stop();
}

/// A new folder with the file, a new link to it, renamed over `..data`; then the old folder goes.
fn publish_as_kubernetes(folder: &Path, table: &str) {
    let data = folder.join("..data");
    let old = fs::read_link(&data).ok();
    let new = match &old {
        Some(old) if old == Path::new("..one") => "..two",
        _ => "..one",
    };
    fs::create_dir(folder.join(new)).unwrap();
    fs::write(folder.join(new).join("table.yaml"), table).unwrap();
    let link = folder.join("..data_tmp");
    symlink(new, &link).unwrap();
    rename_over(&link, &data);
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).unwrap();
    }
}

/// Any half of this table lacks slots, so it is refused if it is read at all.
#[test]
fn half_of_a_table_is_not_taken_however_slowly_it_is_written() {
    let fleet = Fleet::start(2);
    let table = fleet.table().pin(STEADY, "cell-2");
    let proxy = Proxy::start(&table);
    let traffic = Traffic::start(&proxy, &[(STEADY, "cell-2")]);

    let table = table.pin("movable", "cell-2");
    let text = table.to_string();
    let (head, rest) = text.split_once("slots:\n  ").unwrap();
    let (slots, overrides) = rest.split_once("overrides:").unwrap();
    let text = format!("{head}overrides:{overrides}slots:\n  {slots}");
    // Longer pauses than the proxy waits for.
    write_slowly(&proxy, &text, Duration::from_millis(100));
    proxy.wait_for_generation(2);
    assert_eq!(proxy.cell_of("movable"), "cell-2");

    proxy.write_table(table.pin("next", "cell-2"));
    wait_until("the next table is in force", PATIENCE, || {
        proxy.cell_of("next") == "cell-2"
    });
    assert_eq!(proxy.generation(), 3, "{}", proxy.log());
    traffic.stop();
}

/// Each line end ends a good table here, one with fewer overrides.
#[test]
fn a_writer_who_pauses_shortly_is_waited_for() {
    let fleet = Fleet::start(2);
    let mut table = fleet.table().pin("the-last-line", "cell-1");
    for number in 10..20 {
        table = table.pin(&format!("tenant-{number}"), "cell-2");
    }
    let proxy = events_only().table(&table).start();
    let mut generation = 1;

    for number in 0..10 {
        let cell = ["cell-2", "cell-1"][number % 2];
        let table = table.clone().pin("the-last-line", cell).to_string();
        let longest_pause = write_slowly(&proxy, &table, Duration::from_millis(5));
        wait_until("the whole table is in force", PATIENCE, || {
            proxy.cell_of("the-last-line") == cell
        });
        let taken = proxy.generation() - generation;
        generation += taken;
        // On a busy machine a pause may be longer than the proxy can wait for.
        if longest_pause < Duration::from_millis(30) {
            assert_eq!(taken, 1, "{}", proxy.log());
            assert_eq!(proxy.metric("table_reload_failures_total", &[]), Some(0.0));
            return;
        }
    }
    eprintln!("SKIPPED: this machine is too busy to write a file line by line");
}

/// Writes into the file that is there, line by line; returns the longest time between two writes.
fn write_slowly(proxy: &Proxy, text: &str, pause: Duration) -> Duration {
    let mut file = File::create(proxy.table_path()).unwrap();
    let mut longest = Duration::ZERO;
    let mut written = Instant::now();
    for line in text.split_inclusive('\n') {
        thread::sleep(pause);
        file.write_all(line.as_bytes()).unwrap();
        longest = longest.max(written.elapsed());
        written = Instant::now();
    }
    longest
}
