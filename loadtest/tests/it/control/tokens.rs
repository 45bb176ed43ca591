//! The token file: read again on SIGHUP, with an old and a new token in it, and refused where others may write it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, kill_process};
use serde_json::json;

use crate::support::{
    PATIENCE, built_program,
    control::{self, Control},
    process::Signal,
    wait_until,
    wire::Request,
};

const OLD: &str = "the-old-token-of-24-char";
const NEW: &str = "the-new-token-of-24-char";

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("the scratch directory is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
}

#[test]
fn sighup_reads_the_token_file_again() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let state = scratch.path().join("state");
    fs::create_dir(&state).expect("the scratch directory is ours");
    let path = state.join("token");
    write(&path, OLD, 0o600);
    let mut control = Control::plan(scratch.path(), &scratch.path().join("table.yaml")).start();
    let address = control.address();
    // A change that is refused for what it asks for, if the token is good.
    let status = |token: &str| {
        Request::new("DELETE", "/v1/tenants/nobody")
            .header("authorization", format!("Bearer {token}"))
            .send(address)
            .status
    };
    assert_eq!((status(OLD), status(NEW)), (404, 401));
    for (text, mode, expected) in [
        (format!("{OLD}\n{NEW}\n"), 0o600, (404, 404)),
        // What cannot be used changes nothing.
        ("short\n".to_owned(), 0o600, (404, 404)),
        (format!("{OLD}\n"), 0o622, (404, 404)),
        (format!("{NEW}\n"), 0o640, (401, 404)),
    ] {
        let lines = |control: &Control| control.log().matches("SIGHUP").count();
        let before = lines(&control);
        write(&path, &text, mode);
        control.signal(Signal::HUP);
        wait_until("the signal is handled", PATIENCE, || {
            lines(&control) > before
        });
        assert_eq!((status(OLD), status(NEW)), expected, "{text:?}, {mode:o}");
    }
    let log = control.log();
    assert!(
        log.contains("others than its owner can read the token file"),
        "{log}"
    );
    assert!(
        log.contains("can be written by others than its owner"),
        "{log}"
    );
}

/// As mounted secrets are: links to a file that everybody may read.
#[test]
fn a_token_that_others_may_write_is_refused_at_the_start() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let state = scratch.path().join("state");
    fs::create_dir(&state).expect("the scratch directory is ours");
    let secret = scratch.path().join("secret");
    symlink(&secret, state.join("token")).expect("the scratch directory is ours");
    let plan = || Control::plan(scratch.path(), &scratch.path().join("table.yaml"));
    write(&secret, NEW, 0o646);
    let (status, said) = plan().run_to_end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("can be written by others") && said.contains("chmod 600"),
        "{said}"
    );
    write(&secret, NEW, 0o644);
    let control = plan().start();
    control.change(
        "POST",
        "/v1/cells",
        &json!({ "id": "a", "endpoints": [{ "address": "127.0.0.1:1" }] }),
    );
    assert!(
        control.log().contains("others than its owner can read"),
        "{}",
        control.log()
    );
}

/// From the moment at which the program has read its command line: a configuration that comes slowly, by a pipe, keeps it
/// there for as long as the test likes.
#[test]
fn sighup_kills_neither_program_before_it_serves() {
    for name in ["cellgate-proxy", "cellgate-control"] {
        let program = if name == "cellgate-control" {
            control::program().to_owned()
        } else {
            built_program(name)
        };
        let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
        let config = scratch.path().join("config.yaml");
        let made = Command::new("mkfifo").arg(&config).status();
        assert!(made.expect("mkfifo runs").success());
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let status = format!("/proc/{}/status", child.id());
        let handles_hangup = || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            caught.is_some_and(|mask| mask & 1 == 1)
        };
        wait_until("it handles SIGHUP", PATIENCE, handles_hangup);
        kill_process(Pid::from_child(&child), Signal::HUP).expect("it is there");
        // Killed, it would be gone when the pipe is written to.
        let mut pipe = fs::OpenOptions::new()
            .write(true)
            .open(&config)
            .expect("it reads");
        pipe.write_all(b"nonsense: true\n").expect("it reads");
        drop(pipe);
        let begun = Instant::now();
        let ended = loop {
            if let Some(ended) = child.try_wait().expect("it is ours") {
                break ended;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} does not end");
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(ended.code(), Some(1), "{name}: {ended}");
    }
}
