//! What operators are shown: who, what and why; what keeps ending; what went where nobody meant it to go.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::World;
use crate::support::{PATIENCE, control::Control, origin::Origin, wait_until, wire::Request};

/// Its process is killed as often as it is started: somebody has to see that.
#[test]
fn a_process_that_keeps_ending_is_degraded() {
    let world = World::start(1);
    let control = &world.control;
    let body = json!({ "id": "made", "provider": "local", "health_check": { "type": "http", "interval_ms": 200 } });
    control.change("POST", "/v1/cells", &body);
    control.wait_for_state("made", "active");
    let record = control.state_dir().join("cells/made/process.json");
    let process = || -> i32 {
        let record = fs::read_to_string(&record).unwrap_or_default();
        let record: Value = serde_json::from_str(&record).unwrap_or_default();
        let pid = record["process"]["pid"].as_i64();
        pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0)
    };
    for _ in 0..3 {
        let pid = process();
        let killed = Pid::from_raw(pid).expect("it runs");
        kill_process(killed, Signal::KILL).expect("it runs");
        wait_until("it is started again", PATIENCE, || {
            ![0, pid].contains(&process())
        });
    }
    wait_until("it is degraded", PATIENCE, || {
        let cell = control.get("/v1/cells/made");
        let reason = cell["degraded"]["reason"].as_str().unwrap_or_default();
        reason.starts_with("its process ended 3 times within 5 minutes")
    });
    let listed = control.cellctl("cell list");
    assert!(
        listed.out.contains("made    active, degraded  local "),
        "{listed:?}"
    );
    let status = control.cellctl("status --check");
    assert_eq!(status.code, Some(1), "{status:?}");
    assert!(
        status.out.contains("cell made is degraded since "),
        "{status:?}"
    );
    let metrics = Request::get("/metrics").send(control.address());
    let metrics = metrics.text();
    for line in [
        "cellgate_control_cell_process_restarts_total{cell=\"made\"} 3\n",
        "cellgate_control_cell_degraded{cell=\"made\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    let events = control.get("/v1/events?limit=1000");
    let count = |kind: &str| {
        let events = events["events"].as_array().expect("a list");
        events.iter().filter(|event| event["kind"] == kind).count()
    };
    assert_eq!(
        (count("cell.process_restarted"), count("cell.degraded")),
        (3, 1)
    );
}

/// `status` shows what was observed, immediately, whatever is on its way; and fits every screen.
#[test]
fn status_never_waits_and_fits_the_screen() {
    let mut world = World::start(3);
    world.proxy.kill();
    let body = json!({ "key": "acme", "cell": "cell-1", "pin": true });
    world.control.change("POST", "/v1/tenants", &body);
    for columns in [80, 120, 200] {
        let begun = Instant::now();
        let status = world.control.cellctl_on(columns, "status");
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(status.code, Some(0), "{status:?}");
        for line in status.out.lines() {
            assert!(
                line.chars().count() <= usize::from(columns),
                "{columns}: {line}"
            );
        }
        for part in ["CELL ", "REQ/S", "SINCE"] {
            assert!(
                status.out.contains(part),
                "{part} is not in:\n{}",
                status.out
            );
        }
    }
}

/// Tables, pins and updates say who made them, what they were, and why.
#[test]
fn answers_say_who_what_and_why() {
    let world = World::start(2);
    let control = &world.control;
    let pinned = control
        .cellctl("tenant add acme --cell cell-1 --pin --reason a-contract --actor ops@host --wait");
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    for command in ["explain acme", "tenant show acme"] {
        let shown = control.cellctl(command);
        assert!(
            shown.out.contains("\nreason      a-contract\n"),
            "{shown:?}"
        );
    }
    let tables = control.cellctl("table list");
    let is_of_pin = |line: &str| {
        line.contains("  ops@host  ") && line.ends_with("  tenant.register acme  a-contract")
    };
    assert!(tables.out.lines().any(is_of_pin), "{tables:?}");
    let updated = control.cellctl("cell update cell-1 --max-in-flight 77 --label zone=b");
    let expected = "  labels: none -> zone=b\n  max_in_flight: 1024 -> 77\n";
    assert!(updated.out.ends_with(expected), "{updated:?}");
    let audit = control.get("/v1/audit?subject=cell-1&limit=1");
    let was = &audit["entries"][0]["detail"]["max_in_flight"]["from"];
    assert_eq!(was, 1_024, "{audit}");
    let again = control.cellctl("cell update cell-1 --max-in-flight 77");
    assert!(
        again.out.ends_with("nothing changed: it was so already\n"),
        "{again:?}"
    );
}

/// Limits on some cells only send everything to the others; and so may the file itself.
#[test]
fn imports_that_go_to_one_cell_are_warned_of() {
    let scratch = TempDir::new().expect("the temporary directory can be written to");
    let cells = [Origin::start(|_| {}), Origin::start(|_| {})];
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml")).start();
    for (number, cell) in (1..).zip(&cells) {
        let endpoint = json!({ "address": cell.address().to_string() });
        let body = json!({ "id": format!("cell-{number}"), "endpoints": [endpoint] });
        control.change("POST", "/v1/cells", &body);
    }
    let capacity = json!({ "capacity": { "tenants": 1000 } });
    control.change("PATCH", "/v1/cells/cell-1", &capacity);
    control.wait_until_published();
    let lines = (0..40).fold(String::new(), |mut text, number| {
        writeln!(text, "{{\"key\":\"tenant-{number}\"}}")
            .expect("a String takes whatever is written");
        text
    });
    let file = scratch.path().join("tenants.ndjson");
    fs::write(&file, lines).expect("the scratch directory is ours");
    let import = format!("tenant import {}", file.display());
    let imported = control.cellctl(&import);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    for part in [
        "warning: only some cells have limits (cell-1), others have none (cell-2); ",
        "warning: cell cell-2 now has 39 of 40 tenants (97 %), more than 60 % (`cells.tenants_percent_max`)",
    ] {
        assert!(
            imported.out.contains(part),
            "{part} is not in: {imported:?}"
        );
    }
    let again = control.cellctl(&format!("{import} -o json"));
    let again: Value = serde_json::from_str(&again.out).expect("it is JSON");
    let codes: Vec<&Value> = again["warnings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|warning| &warning["code"])
        .collect();
    assert_eq!(codes, ["one_cell"], "{again}");
}

#[test]
fn the_first_answer_after_a_restart_knows_the_published_table() {
    let mut world = World::start(2);
    let generation = world.control.wait_until_published();
    for _ in 0..3 {
        world.restart_control();
        let table = world.control.get("/v1/table");
        assert_eq!(table["generation"], generation, "{table}");
        assert_eq!(table["current"], true, "{table}");
    }
}
