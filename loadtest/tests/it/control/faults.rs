//! A disk that fails or is full: nothing is acknowledged that is not on it, the table stays whole, and all goes on once
//! the disk does.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    thread,
};

use serde_json::Value;

use super::home::{Cells, Home, tenant, wait_until_current};
use crate::support::{
    PATIENCE,
    control::Control,
    heavy::{figure, skip},
    mount::Mount,
    strace::{self, Strace},
    wait_for, wait_until,
    wire::Request,
};

/// Changes until the disk has failed and works again; far more than are needed.
const CHANGES_MAX: usize = 200;
/// Changes in a row that show that it works again.
const CHANGES_AFTER: usize = 10;
/// Room for a database with a large table.
pub(super) const STATE_BYTES: u64 = 16 << 20;
/// Room for a few large tables.
const TABLE_BYTES: u64 = 1 << 20;

/// The third sync of each thread: the start has two, for a new log and for its first change.
const AFTER_START: &str = "when=3";

/// A step of a publish that fails.
struct Failure {
    call: &'static str,
    error: &'static str,
    about: fn(&Home) -> PathBuf,
    /// What the daemon says of it.
    reported: &'static str,
    /// The table is the old one meanwhile.
    is_old: bool,
}

const FAILURES: [Failure; 5] = [
    Failure {
        call: "openat",
        error: "EACCES",
        about: Home::temporary,
        reported: "could not be created: Permission denied",
        is_old: true,
    },
    Failure {
        call: "write",
        error: "ENOSPC",
        about: Home::temporary,
        reported: "could not be written: No space left",
        is_old: true,
    },
    Failure {
        call: "fsync",
        error: "EIO",
        about: Home::temporary,
        reported: "could not be made to last: Input/output error",
        is_old: true,
    },
    Failure {
        call: "/^rename",
        error: "EROFS",
        about: Home::temporary,
        reported: "could not be renamed: Read-only file system",
        is_old: true,
    },
    Failure {
        call: "fsync",
        error: "EIO",
        about: Home::table_folder,
        reported: "could not be made to last (its folder): Input/output error",
        is_old: false,
    },
];

/// A sync of the table's file that does not come back: whoever asks for readiness learns of it, and of its end.
#[test]
fn a_disk_that_hangs_shows_in_readiness() {
    let Some(start) = Start::traced() else {
        return;
    };
    let home = start.home("hanging");
    let strace = Strace::new(&home.strace_log(), "fsync")
        .about(&home.temporary())
        .inject("fsync", "delay_enter=12000000:when=1");
    let control = home.plan().under(&strace.words()).start();
    let ready = || Request::get("/readyz").send(control.address());
    wait_until("the daemon is ready", PATIENCE, || ready().status == 200);
    control.change("POST", "/v1/tenants", &tenant("newest"));
    let refused = wait_for("readiness says so", PATIENCE, || {
        let answer = ready();
        (answer.status == 503).then(|| answer.text().to_owned())
    });
    assert!(refused.contains("publishing hangs"), "{refused}");
    let metrics = Request::get("/metrics").send(control.address());
    let metrics = metrics.text();
    let blocked = "cellgate_control_publish_blocked 1";
    assert!(metrics.contains(blocked), "{metrics}");
    wait_until("the disk is back", PATIENCE, || ready().status == 200);
    wait_until_current(&control).expect("the daemon runs");
    figure(format!(
        "a sync that hangs for 12 s: {}",
        refused.trim_end()
    ));
}

/// Each thread of the daemon fails twice, so that it takes some attempts until one succeeds. Daemons of all failures run at
/// the same time, for each waits most of the time for its next attempt.
#[test]
fn a_table_that_cannot_be_written_is_reported_and_tried_again() {
    let Some(start) = Start::traced() else {
        return;
    };
    thread::scope(|scope| {
        let start = &start;
        let failures: Vec<_> = FAILURES
            .iter()
            .enumerate()
            .map(|(number, failure)| {
                scope.spawn(move || failure.strike(&start.home(&number.to_string()), &start.cells))
            })
            .collect();
        for failure in failures {
            figure(failure.join().expect("the daemon goes on"));
        }
    });
}

impl Failure {
    /// Lets the daemon of this home meet the failure. Returns what came of it.
    #[track_caller]
    fn strike(&self, home: &Home, cells: &Cells) -> String {
        let before = home.bytes().expect("a table was published");
        let calls = "openat,write,fsync,/^rename,/^unlink";
        let strace = Strace::new(&home.strace_log(), calls)
            .about(&(self.about)(home))
            .inject(self.call, &format!("error={}:when=1..2", self.error));
        let mut control = home.plan().under(&strace.words()).start();
        control.change("POST", "/v1/tenants", &tenant("newest"));
        let blocked = wait_for("publishing is blocked", PATIENCE, || {
            let table = control.get("/v1/table");
            (table["blocked"]["code"] == "write").then_some(table)
        });
        let standing = home.bytes().expect("it was never away");
        assert_eq!(standing == before, self.is_old, "{}", self.reported);
        let because = blocked["blocked_because"].as_str().expect("it says why");
        assert!(because.contains(self.reported), "{because}");
        assert_eq!(blocked["current"], false, "{blocked}");
        let ready = Request::get("/readyz").send(control.address());
        assert_eq!(ready.status, 503, "{}", ready.text());

        wait_until_current(&control).expect("the daemon runs");
        control.kill();
        let attempts = check_attempts(&strace, self);
        let standing = home.bytes();
        home.recover(standing.as_deref(), cells, &["newest".to_owned()]);
        format!(
            "{} of {}: reported as `write`, the {} table stood; {attempts} failed attempts, then published",
            self.error,
            self.call.trim_start_matches("/^"),
            if self.is_old { "old" } else { "new" },
        )
    }
}

/// No file of a failed attempt is used again. Returns how many attempts failed.
#[track_caller]
fn check_attempts(strace: &Strace, failure: &Failure) -> usize {
    let calls = strace.calls();
    let failed = calls
        .iter()
        .filter(|call| call.rest.contains("(INJECTED)"))
        .count();
    assert!(failed > 1, "{}: {calls:?}", failure.reported);
    let count = |name: &str, words: &str| {
        calls
            .iter()
            .filter(|call| call.name.starts_with(name) && call.rest.contains(words))
            .count()
    };
    if failure.is_old {
        // A failed call also removes its file, but for the one that made none.
        assert_eq!(count("openat", "O_EXCL"), failed + 1, "{calls:?}");
        assert_eq!(count("rename", " = 0"), 1, "{calls:?}");
        let unlinked = if failure.call == "openat" { 0 } else { failed };
        assert_eq!(count("unlink", " = 0"), unlinked, "{calls:?}");
    }
    failed
}

/// The third commit of each thread fails, and whoever asked for it gets an error. Nothing of it is left.
#[test]
fn a_change_that_cannot_be_synced_is_not_acknowledged() {
    let Some(start) = Start::traced() else {
        return;
    };
    let home = start.home("home");
    let strace = failing_syncs(&home, AFTER_START);
    let mut control = home.plan().under(&strace.words()).start();
    let mut attempts = Attempts::default();
    for _ in 0..CHANGES_MAX {
        attempts.try_change(&control);
        if !attempts.refused.is_empty() && attempts.in_a_row >= CHANGES_AFTER {
            break;
        }
    }
    assert!(
        !attempts.refused.is_empty(),
        "no sync failed: {:?}",
        strace.calls()
    );
    assert_eq!(attempts.in_a_row, CHANGES_AFTER, "it did not recover");
    for tenant in &attempts.refused {
        let answer = control.try_change("GET", &format!("/v1/tenants/{tenant}"), &Value::Null);
        assert_eq!(answer.status, 404, "{}", answer.text());
    }
    wait_until_current(&control).expect("the daemon runs");
    control.kill();
    let found = home.bytes();
    let after = home.recover(found.as_deref(), &start.cells, &attempts.acknowledged);
    for tenant in &attempts.refused {
        assert!(!names(&after, tenant), "{tenant}");
    }
    figure(format!(
        "EIO of the database's sync: {} changes refused and gone, {} acknowledged and there",
        attempts.refused.len(),
        attempts.acknowledged.len()
    ));
}

/// The process ends right after a failed commit, before another one has written over what is left of it: nobody was
/// answered that it stands, and it may, but then all of it.
#[test]
fn a_kill_after_a_failed_sync_leaves_all_or_nothing() {
    let Some(start) = Start::traced() else {
        return;
    };
    let home = start.home("home");
    let strace = failing_syncs(&home, AFTER_START);
    let mut control = home.plan().under(&strace.words()).start();
    let mut attempts = Attempts::default();
    for _ in 0..CHANGES_MAX {
        attempts.try_change(&control);
        if !attempts.refused.is_empty() {
            break;
        }
    }
    control.kill();
    assert_eq!(
        attempts.refused.len(),
        1,
        "no sync failed: {:?}",
        strace.calls()
    );
    let found = home.bytes();
    let after = home.recover(found.as_deref(), &start.cells, &attempts.acknowledged);
    let stands = names(&after, &attempts.refused[0]);
    figure(format!(
        "EIO of the database's sync, then kill -9: the refused change {}, {} acknowledged ones there",
        if stands { "stands whole" } else { "is gone" },
        attempts.acknowledged.len()
    ));
}

/// A database that cannot be brought up to date is said at the start, and costs nothing.
#[test]
fn a_start_without_a_working_sync_is_refused() {
    let Some(start) = Start::traced() else {
        return;
    };
    let home = start.home("home");
    let before = home.bytes();
    let strace = failing_syncs(&home, "when=1+");
    let (status, said) = home.plan().under(&strace.words()).run_to_end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("control.sqlite: ") && said.contains("disk I/O error"),
        "{said}"
    );
    assert_eq!(home.bytes(), before);
    home.recover(before.as_deref(), &start.cells, &[]);
}

#[test]
fn a_full_state_disk_refuses_changes() {
    let start = Start::new();
    let folder = start.scratch.path().join("home");
    let mount = match Mount::in_memory(&folder.join("state"), STATE_BYTES) {
        Ok(mount) => mount,
        Err(why) => return skip(why),
    };
    let home = start.home("home");
    let mut control = home.plan().start();
    let mut attempts = Attempts::default();
    attempts.try_change(&control);
    wait_until_current(&control).expect("the daemon runs");
    let before = home.bytes();

    let ballast = fill(mount.folder());
    for _ in 0..CHANGES_MAX {
        attempts.try_change(&control);
        if !attempts.refused.is_empty() {
            break;
        }
    }
    assert!(
        attempts.last_refusal.contains("full"),
        "{}",
        attempts.last_refusal
    );
    assert_eq!(
        home.bytes(),
        before,
        "what cannot be recorded is not published"
    );
    for tenant in &attempts.acknowledged {
        control.get(&format!("/v1/tenants/{tenant}"));
    }
    fs::remove_file(&ballast).expect("it is there");
    attempts.try_change(&control);
    assert_eq!(attempts.in_a_row, 1, "{}", attempts.last_refusal);
    wait_until_current(&control).expect("the daemon runs");

    // Neither does a start in a full disk harm anything, whether it succeeds or not.
    control.kill();
    let found = home.bytes();
    let ballast = fill(mount.folder());
    let started = match home.plan().start_or_end() {
        Ok(_) => "succeeds",
        Err((status, said)) => {
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(
                said.contains("full") || said.contains("No space left"),
                "{said}"
            );
            "is refused"
        }
    };
    assert_eq!(home.bytes(), found);
    fs::remove_file(&ballast).expect("it is there");
    home.recover(found.as_deref(), &start.cells, &attempts.acknowledged);
    figure(format!(
        "full state disk: {} changes refused (\"{}\"), {} acknowledged and there; a start there {started}",
        attempts.refused.len(),
        attempts.last_refusal,
        attempts.acknowledged.len()
    ));
}

#[test]
fn a_full_table_disk_leaves_the_table_whole() {
    let start = Start::new();
    let folder = start.scratch.path().join("home");
    let mount = match Mount::in_memory(&folder.join("table"), TABLE_BYTES) {
        Ok(mount) => mount,
        Err(why) => return skip(why),
    };
    let home = start.home("home");
    let mut control = home.plan().start();
    let before = home.bytes();
    let ballast = fill(mount.folder());
    let mut attempts = Attempts::default();
    for _ in 0..3 {
        attempts.try_change(&control);
        wait_until("publishing is blocked", PATIENCE, || {
            let table = control.get("/v1/table");
            let because = table["blocked_because"].as_str().unwrap_or_default();
            table["blocked"]["code"] == "write" && because.contains("No space left")
        });
        assert_eq!(home.bytes(), before);
    }
    assert_eq!(
        attempts.acknowledged.len(),
        3,
        "changes are for the database: {}",
        attempts.last_refusal
    );
    fs::remove_file(&ballast).expect("it is there");
    wait_until_current(&control).expect("the daemon runs");
    control.kill();
    let found = home.bytes();
    home.recover(found.as_deref(), &start.cells, &attempts.acknowledged);
    figure(
        "full table disk: reported as `write`, the old table stood whole; published once there was room",
    );
}

/// What each of these tests begins with.
struct Start {
    scratch: tempfile::TempDir,
    cells: Cells,
    furnished: Home,
}

impl Start {
    #[track_caller]
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
        let cells = Cells::start();
        let furnished = Home::furnished(&scratch.path().join("furnished"), &cells);
        Self {
            scratch,
            cells,
            furnished,
        }
    }

    /// `None` where there is no strace; that has been said then.
    #[track_caller]
    fn traced() -> Option<Self> {
        if let Some(why) = strace::is_missing() {
            skip(why);
            return None;
        }
        Some(Self::new())
    }

    fn home(&self, name: &str) -> Home {
        self.furnished.copy_to(&self.scratch.path().join(name))
    }
}

/// What the daemon said to a series of changes.
#[derive(Default)]
struct Attempts {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    /// Acknowledged since the last refusal.
    in_a_row: usize,
    last_refusal: String,
}

impl Attempts {
    /// Registers one more tenant. Either that is done, or it is said that the storage failed.
    #[track_caller]
    fn try_change(&mut self, control: &Control) {
        let key = format!("late-{:04}", self.acknowledged.len() + self.refused.len());
        let answer = control.try_change("POST", "/v1/tenants", &tenant(&key));
        if answer.status == 200 {
            self.acknowledged.push(key);
            self.in_a_row += 1;
            return;
        }
        let problem = answer.json();
        assert_eq!(answer.status, 503, "{problem}");
        assert_eq!(problem["code"], "storage_failed", "{problem}");
        let detail = problem["detail"].as_str();
        detail
            .expect("it says what")
            .clone_into(&mut self.last_refusal);
        self.refused.push(key);
        self.in_a_row = 0;
    }
}

/// The database's log fails to be synced, at these calls of each thread.
fn failing_syncs(home: &Home, when: &str) -> Strace {
    let calls = "/^f(data)?sync$";
    Strace::new(&home.strace_log(), calls)
        .about(&home.wal())
        .inject(calls, &format!("error=EIO:{when}"))
}

fn names(table: &[u8], tenant: &str) -> bool {
    String::from_utf8_lossy(table).contains(&format!("\n  {tenant}: "))
}

/// Fills a disk to the last byte; returns the file that does.
pub(super) fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = File::create(&path).expect("there is room for a name");
    for block in [64 << 10, 4 << 10, 1] {
        let block = vec![0; block];
        loop {
            match file.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
    path
}
