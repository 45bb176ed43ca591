//! Static stability: whatever happens to the daemon, tenants notice nothing.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    faults::{STATE_BYTES, fill},
    world::{World, tenants},
};
use crate::support::{
    PATIENCE,
    heavy::{alone, amount, figure, skip},
    process::Signal,
    wait_until, wrk,
};

/// One way of losing the control plane, and how it comes back.
struct Fault {
    name: &'static str,
    strike: fn(&mut World),
    mend: fn(&mut World),
}

const FAULTS: [Fault; 6] = [
    Fault {
        name: "kill -9 of the daemon",
        strike: |world| world.control.kill(),
        mend: World::restart_control,
    },
    Fault {
        name: "daemon stopped in its tracks (SIGSTOP)",
        strike: |world| world.control.signal(Signal::STOP),
        mend: |world| world.control.signal(Signal::CONT),
    },
    Fault {
        name: "database deleted, daemon killed",
        strike: delete_database,
        mend: import_and_restart,
    },
    Fault {
        name: "table directory read-only",
        strike: |world| {
            if !set_read_only(world, "+i") {
                return skip("this file system knows no immutable folder (chattr +i)");
            }
            let body = json!({ "key": "meanwhile", "cell": "cell-1", "pin": true });
            world.control.change("POST", "/v1/tenants", &body);
            wait_until("the daemon says that it cannot write", PATIENCE, || {
                world.control.get("/v1/table")["blocked"]["code"] == "write"
            });
        },
        mend: |world| {
            set_read_only(world, "-i");
        },
    },
    Fault {
        name: "table file deleted, daemon killed",
        strike: |world| {
            world.control.kill();
            fs::remove_file(world.proxy.table_path()).expect("the scratch directory is ours");
        },
        mend: World::restart_control,
    },
    Fault {
        name: "proxy restarted while the daemon is dead",
        strike: |world| {
            world.control.kill();
            // The load of this fault begins afterwards: a proxy that is killed answers nobody.
            world.proxy.restart();
        },
        mend: World::restart_control,
    },
];

#[test]
fn tenants_notice_nothing_of_a_lost_control_plane() {
    if !wrk::is_here() {
        return skip("wrk is missing");
    }
    let _alone = alone();
    let time = Duration::from_secs(amount("CELLGATE_FAULT_SECONDS", 2));
    let mut world = World::start(3);
    let mut cells = world.register(&tenants("tenant", 100));
    world.wait_until_routed(&cells);
    for (at, fault) in FAULTS.iter().enumerate() {
        let restarts_proxy = fault.name.starts_with("proxy");
        if restarts_proxy {
            (fault.strike)(&mut world);
        }
        let load = world.load(&cells, time);
        let begun = Instant::now();
        if !restarts_proxy {
            thread::sleep(time / 10);
            (fault.strike)(&mut world);
        }
        let found = load.join().expect("wrk runs");
        figure(format!(
            "{:<42} {:>3} s under way, {:>7} answers right, {} failed, {} misrouted",
            fault.name,
            begun.elapsed().as_secs(),
            found.right,
            found.failed,
            found.wrong
        ));
        assert!(found.right > 0, "{}: {found:?}", fault.name);
        assert_eq!((found.failed, found.wrong), (0, 0), "{}", fault.name);
        (fault.mend)(&mut world);
        still_works(&world, at, &mut cells);
    }
}

/// The daemon's disk is full: nothing can be changed, and nobody notices.
#[test]
fn tenants_notice_nothing_of_a_full_disk() {
    if !wrk::is_here() {
        return skip("wrk is missing");
    }
    let _alone = alone();
    let time = Duration::from_secs(amount("CELLGATE_FAULT_SECONDS", 2));
    let world = match World::start_on_small_disk(3, STATE_BYTES) {
        Ok(world) => world,
        Err(why) => return skip(why),
    };
    let mut cells = world.register(&tenants("tenant", 100));
    world.wait_until_routed(&cells);
    let load = world.load(&cells, time);
    thread::sleep(time / 10);
    let ballast = fill(world.disk());
    let mut number = 0;
    wait_until("a change is refused", PATIENCE, || {
        number += 1;
        let body = json!({ "key": format!("late-{number}"), "cell": "cell-1", "pin": true });
        let answer = world.control.try_change("POST", "/v1/tenants", &body);
        answer.status == 503 && answer.json()["code"] == "storage_failed"
    });
    let found = load.join().expect("wrk runs");
    figure(format!(
        "{:<42} {:>3} s under way, {:>7} answers right, {} failed, {} misrouted",
        "disk of the daemon full",
        time.as_secs(),
        found.right,
        found.failed,
        found.wrong
    ));
    assert!(found.right > 0, "{found:?}");
    assert_eq!((found.failed, found.wrong), (0, 0));
    fs::remove_file(ballast).expect("it is there");
    still_works(&world, 0, &mut cells);
}

/// After a fault everything can be changed again, and everybody is where they were.
#[track_caller]
fn still_works(world: &World, at: usize, cells: &mut BTreeMap<String, String>) {
    let new = format!("after-fault-{at}");
    let body = json!({ "key": new, "aliases": [format!("{new}.example")] });
    let registered = world.control.change("POST", "/v1/tenants", &body);
    let cell = registered["cell"].as_str().expect("it has a cell");
    cells.insert(new, cell.to_owned());
    world.wait_until_routed(cells);
}

fn delete_database(world: &mut World) {
    world.control.kill();
    for entry in fs::read_dir(world.control.state_dir())
        .expect("the scratch directory is ours")
        .flatten()
    {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("control.sqlite") {
            fs::remove_file(entry.path()).expect("the scratch directory is ours");
        }
    }
}

/// The recovery that needs nothing of what was lost: the published table itself.
fn import_and_restart(world: &mut World) {
    world.plan().write_config();
    let config = world.control.state_dir().with_file_name("control.yaml");
    let (status, said) = crate::support::control::run(&[
        "import-table",
        "--config",
        &config.to_string_lossy(),
        &world.proxy.table_path().to_string_lossy(),
    ]);
    assert!(status.success(), "{said}");
    world.restart_control();
}

/// Permissions do not stop root; an immutable folder stops everybody. False where that is not possible.
fn set_read_only(world: &World, flag: &str) -> bool {
    let path = world.proxy.table_path();
    let folder = path.parent().expect("a file is in a directory");
    if rustix::process::geteuid().is_root() {
        let set = Command::new("chattr").arg(flag).arg(folder).status();
        return set.is_ok_and(|status| status.success());
    }
    let mode = if flag == "+i" { 0o555 } else { 0o755 };
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
        .expect("the scratch directory is ours");
    true
}
