//! A database that is deleted or replaced under the running daemon, and a disk that is full before anybody changes
//! anything: both are noticed.

use std::{fs, path::PathBuf, process::Command};

use super::{
    faults::{STATE_BYTES, fill},
    home::{Cells, Home, tenant, wait_until_current},
};
use crate::support::{
    PATIENCE, built_program, control::Control, heavy::skip, mount::Mount, wait_until, wire::Request,
};

/// What is done to which file, and what is said of it.
type Displace = (
    &'static str,
    fn(&Home) -> PathBuf,
    fn(&PathBuf),
    &'static str,
);

const CASES: [Displace; 4] = [
    ("deleted", Home::database, remove, "was deleted"),
    ("replaced", Home::database, replace, "was replaced"),
    ("log deleted", Home::wal, remove, "was deleted"),
    ("moved away", Home::database, move_away, "was deleted"),
];

fn remove(path: &PathBuf) {
    fs::remove_file(path).expect("it is there");
}

#[expect(
    clippy::disallowed_methods,
    reason = "it stands for what somebody does by mistake"
)]
fn move_away(path: &PathBuf) {
    fs::rename(path, path.with_extension("old")).expect("it is there");
}

#[expect(
    clippy::disallowed_methods,
    reason = "it stands for what somebody does by mistake"
)]
fn replace(path: &PathBuf) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).expect("it is there");
    fs::rename(&copy, path).expect("the folder is ours");
}

#[test]
fn a_database_that_is_displaced_refuses_changes() {
    let cells = Cells::start();
    for (what, file, displace, said) in CASES {
        let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
        let home = Home::at(scratch.path());
        let control = home.plan().start();
        cells.add_to(&control).expect("the daemon runs");
        control.wait_for_state("cell-1", "active");
        let known = control.try_change("POST", "/v1/tenants", &tenant("before"));
        assert_eq!(known.status, 200, "{}", known.text());
        wait_until_current(&control).expect("the daemon runs");
        assert_eq!(Request::get("/readyz").send(control.address()).status, 200);
        displace(&file(&home));
        // The very next one: nothing is acknowledged that would be lost.
        let answer = control.try_change("POST", "/v1/tenants", &tenant("after"));
        assert_eq!(answer.status, 503, "{what}: {}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["code"], "database_displaced", "{what}: {problem}");
        assert!(answer.text().contains(said), "{what}: {problem}");
        let ready = Request::get("/readyz").send(control.address());
        assert_eq!(ready.status, 503, "{what}");
        assert!(ready.text().contains(said), "{what}: {}", ready.text());
        // There is a way out: what was stored before can still be read.
        let export = control
            .request("GET", "/v1/export/tenants")
            .send(control.address());
        assert!(
            export.text().contains("\"before\""),
            "{what}: {}",
            export.text()
        );
        check_status(&control, said);
    }
}

/// `cellctl status --check` says so too.
#[track_caller]
fn check_status(control: &Control, said: &str) {
    let output = Command::new(built_program("cellctl"))
        .args([
            "--server",
            &format!("http://{}", control.address()),
            "status",
            "--check",
        ])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("changes cannot be stored") && text.contains(said),
        "{text}"
    );
}

#[test]
fn a_full_disk_shows_before_anybody_changes_anything() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let mount = match Mount::in_memory(&scratch.path().join("state"), STATE_BYTES) {
        Ok(mount) => mount,
        Err(why) => return skip(why),
    };
    let home = Home::at(scratch.path());
    let control = home.plan().start();
    let ready = || Request::get("/readyz").send(control.address());
    assert_eq!(ready().status, 200);
    let ballast = fill(mount.folder());
    assert_eq!(ready().status, 503, "{}", ready().text());
    assert!(ready().text().contains("is full"), "{}", ready().text());
    check_status(&control, "is full");
    let metric = |line: &str| {
        let metrics = Request::get("/metrics").send(control.address());
        metrics.text().lines().any(|found| found == line)
    };
    wait_until("the metric shows it", PATIENCE, || {
        metric("cellgate_control_storage_failing 1")
    });
    fs::remove_file(ballast).expect("it is there");
    assert_eq!(ready().status, 200, "{}", ready().text());
    wait_until("the metric is back", PATIENCE, || {
        metric("cellgate_control_storage_failing 0")
    });
}
