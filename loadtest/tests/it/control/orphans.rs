//! The daemon as process 1 of a container.

use std::{fs, process::Command};

use serde_json::json;

use crate::support::{
    PATIENCE,
    control::Control,
    heavy::{figure, skip},
    wait_until,
};

/// Each call of the provider leaves ten processes behind, which come to process 1 and end there.
const SCRIPT: &str = r#"
cat > /dev/null
for number in 0 1 2 3 4 5 6 7 8 9; do (sleep 0.05 &); done
echo call >> "$0"
echo '{"endpoints": [{"address": "127.0.0.1:1"}]}'
"#;
/// Calls that leave something behind.
const CALLS: usize = 5;
/// Processes that have ended in the last moment.
const ENDED_MAX: usize = 10;

#[test]
fn as_process_1_the_daemon_cleans_up_what_providers_leave_behind() {
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let works = Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .status();
    if !works.is_ok_and(|status| status.success()) {
        return skip("no namespace of processes can be made here");
    }
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let calls = scratch.path().join("calls");
    fs::write(&calls, "").expect("the scratch directory is ours");
    let command = json!(["/bin/sh", "-c", SCRIPT, calls]);
    let control = Control::plan(scratch.path(), &scratch.path().join("table.yaml"))
        .under(&unshare)
        .line(&format!(
            "providers: {{ mine: {{ type: exec, command: {command}, describe_interval_ms: 100 }} }}"
        ))
        .start();
    control.change(
        "POST",
        "/v1/cells",
        &json!({ "id": "web-1", "provider": "mine" }),
    );
    let daemon = children_of(control.id());
    assert_eq!(daemon.len(), 1, "unshare has one child");
    let daemon = daemon[0].0;
    let called = || fs::read_to_string(&calls).map_or(0, |text| text.lines().count());
    wait_until(
        "the provider is called again and again",
        2 * PATIENCE,
        || called() >= CALLS,
    );
    let ended = || {
        let children = children_of(daemon);
        children.iter().filter(|(_, state)| *state == 'Z').count()
    };
    wait_until("nothing is left behind", PATIENCE, || ended() <= ENDED_MAX);
    // Nor was anything of the daemon's own taken away from it.
    let operation = control.get("/v1/cells/web-1")["operations"][0].clone();
    assert_eq!(operation["state"], "done", "{operation}");
    let log = control.log();
    assert!(!log.contains("ERROR") && !log.contains("No child"), "{log}");
    figure(format!(
        "{} calls left ten processes each: {} unnoted ends",
        called(),
        ended()
    ));
}

/// The children of a process, with their states.
fn children_of(parent: u32) -> Vec<(u32, char)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let state = fields.next()?.chars().next()?;
            let of = fields.next()?.parse::<u32>().ok()?;
            (of == parent).then_some((id, state))
        })
        .collect()
}
