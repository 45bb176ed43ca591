//! What removals wait for, and the ways out where that never comes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::World;
use crate::support::{
    PATIENCE,
    cell::DemoCell,
    control::{Control, run},
    dead::DeadPort,
    proxy::Proxy,
    table::TableText,
    wait_until,
};

const FORCE: &str = "/v1/cells/{}?force=true&reason=test";

/// The daemon knows after a restart what a proxy was last seen with. It may have accepted a later table before it died, so
/// a cell that only such a one named waits, too; once the proxy is forgotten, nothing does.
#[test]
fn a_removal_waits_for_what_a_dead_proxy_may_still_name() {
    let mut world = World::start(2);
    add_made(&world.control, "named");
    let plan = world.control.wait_until_published();
    world.proxy.wait_for_generation(plan);
    world.proxy.kill();
    // The table names this one, but the proxy was never seen with such a table.
    add_made(&world.control, "later");
    wait_until("the table names it", PATIENCE, || {
        let table = fs::read_to_string(world.proxy.table_path()).unwrap_or_default();
        table.contains("\n  later:")
    });
    world.restart_control();

    remove(&world.control, "named");
    remove(&world.control, "later");
    for cell in ["named", "later"] {
        wait_until("it says what it waits for", PATIENCE, || {
            let cell = world.control.get(&format!("/v1/cells/{cell}"));
            let waiting_for = cell["waiting_for"].as_str().unwrap_or_default();
            waiting_for.contains("proxy-0") && waiting_for.contains("cellctl proxy forget proxy-0")
        });
    }
    let listed = world.control.cellctl("cell list");
    assert!(
        listed
            .out
            .contains("waits to be taken down until proxy proxy-0"),
        "{listed:?}"
    );

    let forgotten = world
        .control
        .cellctl("proxy forget proxy-0 --reason scrapped");
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    world.control.wait_for_state("named", "removed");
    world.control.wait_for_state("later", "removed");
    let checked = world.control.cellctl("status --check");
    assert_eq!(checked.code, Some(0), "{checked:?}");

    // It answers again, elsewhere: it is part of the fleet again, and still forgotten until then.
    world.restart_control();
    let proxies = world.control.get("/v1/proxies");
    assert_eq!(proxies["proxies"][0]["forgotten"], true, "{proxies}");
    world.proxy.restart();
    world.restart_control();
    wait_until("it is part of the fleet again", PATIENCE, || {
        let proxy = &world.control.get("/v1/proxies")["proxies"][0];
        proxy["state"] == "reachable" && proxy["forgotten"] == false
    });
    let refused = world.control.cellctl("proxy forget proxy-0");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("(proxy_answers)"), "{refused:?}");
    let audit = world.control.get("/v1/audit?subject=proxy-0");
    assert_eq!(audit["entries"][0]["reason"], "scrapped", "{audit}");
}

/// A provider that fails where its folder holds a file of that verb's name.
fn provider(folder: &Path) -> PathBuf {
    let program = folder.join("provider.sh");
    let text = "#!/bin/sh\ncat >/dev/null\nif [ -e \"$(dirname \"$0\")/$1-fails\" ]; then echo 'it cannot' >&2; exit 3; fi\necho '{}'\n";
    fs::write(&program, text).expect("the scratch directory is ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .expect("the scratch directory is ours");
    program
}

/// No table has ever named it, so no proxy has to be seen; and a cell whose provider cannot remove it can be forgotten.
#[test]
fn a_cell_that_no_table_named_is_removed_immediately_and_one_whose_removal_fails_is_forgotten() {
    let scratch = TempDir::new().expect("the temporary directory can be written to");
    let dead = DeadPort::new();
    let program = provider(scratch.path());
    let fails = |verb: &str| scratch.path().join(format!("{verb}-fails"));
    fs::write(fails("provision"), "").expect("the scratch directory is ours");
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml"))
        .proxy(dead.address())
        .line(&format!(
            "providers: {{ own: {{ type: exec, command: {} }} }}",
            json!([program])
        ))
        .start();
    let add = |id: &str| {
        control.change("POST", "/v1/cells", &json!({ "id": id, "provider": "own" }));
        control.wait_for_state(id, "failed");
    };
    add("first");
    control.change("DELETE", "/v1/cells/first", &Value::Null);
    control.wait_for_state("first", "removed");

    add("second");
    let early = control.cellctl("cell remove second --forget --reason test");
    assert!(early.err.contains("(provider_not_asked)"), "{early:?}");
    fs::write(fails("remove"), "").expect("the scratch directory is ours");
    control.change("DELETE", "/v1/cells/second", &Value::Null);
    wait_until("its removal has failed", PATIENCE, || {
        let cell = control.get("/v1/cells/second");
        cell["state_reason"]
            .as_str()
            .is_some_and(|reason| reason.starts_with("removal failed"))
    });
    let silent = control.cellctl("cell remove second --forget");
    assert!(silent.err.contains("(no_reason)"), "{silent:?}");
    let forgotten = control.cellctl("cell remove second --forget --reason gone --wait --timeout 5");
    assert!(
        forgotten.out.starts_with("cell second is removed"),
        "{forgotten:?}"
    );
    control.wait_for_state("second", "removed");
}

/// A fleet whose table was written by hand is taken over, and nothing of it looks as if it needed somebody.
#[test]
fn after_import_table_nothing_healthy_is_red() {
    let scratch = TempDir::new().expect("the temporary directory can be written to");
    let cells = [DemoCell::start("cell-1"), DemoCell::start("cell-2")];
    let table = TableText::new(cells.iter().map(|cell| (cell.name(), vec![cell.address()])));
    let proxy = Proxy::plan().table(table).start();
    let plan = || Control::plan(scratch.path(), &proxy.table_path()).proxy(proxy.admin());
    plan().write_config();
    let config = scratch.path().join("control.yaml");
    let (config, table) = (config.to_string_lossy(), proxy.table_path());
    let (status, said) = run(&[
        "import-table",
        "--config",
        &config,
        &table.to_string_lossy(),
    ]);
    assert!(status.success(), "{said}");
    let control = plan().start();
    let mut last = None;
    wait_until("nothing needs somebody", PATIENCE, || {
        let checked = control.cellctl("status --check");
        let is_well = checked.code == Some(0);
        if last.replace(checked.out.clone()) != Some(checked.out) {
            eprintln!("{}", last.as_deref().unwrap_or_default());
        }
        is_well
    });
    control.wait_until_published();
    for cell in control.get("/v1/cells")["cells"]
        .as_array()
        .expect("a list")
    {
        assert_eq!(
            (&cell["state"], &cell["state_reason"]),
            (&json!("active"), &Value::Null)
        );
    }
    let checked = control.cellctl("status --check");
    assert!(checked.out.starts_with("OK\n"), "{checked:?}");
}

fn add_made(control: &Control, id: &str) {
    let body = json!({ "id": id, "provider": "local", "health_check": { "type": "http", "interval_ms": 200 } });
    control.change("POST", "/v1/cells", &body);
    control.wait_for_state(id, "active");
}

fn remove(control: &Control, id: &str) {
    control.change("DELETE", &FORCE.replace("{}", id), &Value::Null);
}
