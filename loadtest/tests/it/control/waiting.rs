//! `cellctl … --wait` says that a table is in force only if proxies have said so.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::world::World;
use crate::support::{
    PATIENCE, control::Control, dead::DeadPort, origin::Origin, proxy::Proxy, wait_until,
};

const PIN: &str = "tenant add --cell cell-1 --pin --wait --timeout 3";

/// All proxies dead: the wait ends with 1, within its time, and says who may still have which table.
#[test]
fn wait_fails_while_a_listed_proxy_was_not_seen_with_the_table() {
    let mut world = World::start(2);
    let waited = world.control.cellctl(&format!("{PIN} acme"));
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let in_force = " is in force: confirmed by 1 of 1 proxies\n";
    assert!(waited.out.contains(in_force), "{waited:?}");

    let generation = world.proxy.generation();
    world.proxy.kill();
    for more in ["", " --reachable-only"] {
        let begun = Instant::now();
        let waited = world
            .control
            .cellctl(&format!("{PIN} globex-{}{more}", more.len()));
        assert_eq!(waited.code, Some(1), "{waited:?}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{more}");
        let missing = format!(
            "not confirmed by proxy-0 (unreachable, may still have generation {generation})"
        );
        assert!(waited.err.contains(&missing), "{waited:?}");
        let said = format!("{}{}", waited.out, waited.err);
        assert!(!said.contains("in force"), "{waited:?}");
    }
    // The change of a JSON caller stands too, and the exit code is the same.
    let waited = world.control.cellctl(&format!("{PIN} initech -o json"));
    assert_eq!(waited.code, Some(1), "{waited:?}");
    let shown = world.control.cellctl("table show");
    let missing = "everywhere  no: not confirmed by proxy-0 (unreachable, ";
    assert!(shown.out.contains(missing), "{shown:?}");
}

/// The daemon hangs in the middle of the wait: it ends in its time all the same.
#[test]
fn the_timeout_ends_the_wait_for_a_daemon_that_hangs() {
    let mut world = World::start(2);
    world.proxy.kill();
    let control = &world.control;
    let (waited, took) = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let begun = Instant::now();
            (control.cellctl(&format!("{PIN} acme")), begun.elapsed())
        });
        wait_until("the change stands", PATIENCE, || {
            let found = control.try_change("GET", "/v1/tenants/acme", &Value::Null);
            found.status == 200
        });
        let id = i32::try_from(control.id()).expect("a process number");
        let id = Pid::from_raw(id).expect("the daemon runs");
        kill_process(id, Signal::STOP).expect("it is ours");
        let waited = waiting.join().expect("it ends");
        kill_process(id, Signal::CONT).expect("it is ours");
        waited
    });
    assert_eq!(waited.code, Some(1), "{waited:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(waited.err.contains("after 3 seconds"), "{waited:?}");
}

/// One of two proxies is dead: only the explicit option does without it.
#[test]
fn reachable_only_does_without_a_dead_proxy() {
    let scratch = TempDir::new().expect("the temporary directory can be written to");
    let (proxy, dead) = (Proxy::plan().start_unready(), DeadPort::new());
    let cell = Origin::start(|_| {});
    let control = Control::plan(scratch.path(), &proxy.table_path())
        .proxy(proxy.admin())
        .proxy(dead.address())
        .start();
    let add = format!("cell add cell-1 --endpoint {}", cell.address());
    assert_eq!(control.cellctl(&add).code, Some(0));
    proxy.wait_ready();
    let waited = control.cellctl(&format!("{PIN} acme"));
    assert_eq!(waited.code, Some(1), "{waited:?}");
    let missing = "not confirmed by proxy-1 (unreachable, never seen with a table)";
    assert!(waited.err.contains(missing), "{waited:?}");
    let waited = control.cellctl(&format!("{PIN} globex --reachable-only"));
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let words = " is in force: confirmed by 1 of 2 proxies, all that can be reached\n";
    assert!(waited.out.contains(words), "{waited:?}");
}

/// Nobody is listed who could confirm anything: that is said, and is not a failure.
#[test]
fn without_proxies_wait_says_that_nobody_confirmed() {
    let scratch = TempDir::new().expect("the temporary directory can be written to");
    let cell = Origin::start(|_| {});
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml")).start();
    let add = format!("cell add cell-1 --endpoint {}", cell.address());
    assert_eq!(control.cellctl(&add).code, Some(0));
    control.wait_for_state("cell-1", "active");
    control.wait_until_published();
    let waited = control.cellctl(&format!("{PIN} acme"));
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let nobody = "no proxies are listed in the daemon's configuration, so nobody confirmed it";
    assert!(waited.out.contains(nobody), "{waited:?}");
    assert!(!waited.out.contains("in force"), "{waited:?}");
    let waited = control.cellctl(&format!("{PIN} globex -o json"));
    assert!(waited.err.contains(nobody), "{waited:?}");
    let shown = control.cellctl("table show");
    assert!(shown.out.contains(nobody), "{shown:?}");
    assert_eq!(control.get("/v1/table")["everywhere"], false);
}
