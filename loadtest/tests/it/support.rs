//! What the tests stand on: programs that end with their test, HTTP byte by byte, and waiting that
//! has a limit.
//!
//! Everything panics where it fails, with what was waited for, so that tests need no `unwrap`.

pub(crate) mod cell;
pub(crate) mod clients;
pub(crate) mod control;
pub(crate) mod dead;
pub(crate) mod fleet;
pub(crate) mod gauges;
pub(crate) mod heavy;
pub(crate) mod k6;
pub(crate) mod latency;
pub(crate) mod mount;
pub(crate) mod origin;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod strace;
pub(crate) mod table;
pub(crate) mod tls;
pub(crate) mod tls_cell;
pub(crate) mod traffic;
pub(crate) mod ways;
pub(crate) mod wire;
pub(crate) mod wrk;

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for what should happen immediately. Long, for slow machines; only a failing
/// test uses it up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy that runs longer than this after it took a table does not blame the table for its end.
pub(crate) const FIRST_SECONDS: Duration = Duration::from_secs(3);

/// Between two checks of a condition.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; panics after `limit`, naming `what`.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()));
}

/// Waits until `check` finds something; panics after `limit`, naming `what`.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        thread::sleep(POLL);
    }
}

/// Where the programs under test are: where cargo puts those of this build, unless
/// `CELLGATE_BIN_DIR` names another place.
pub(crate) fn bin_dir() -> PathBuf {
    if let Some(directory) = env::var_os("CELLGATE_BIN_DIR") {
        return directory.into();
    }
    let ours = Path::new(env!("CARGO_BIN_EXE_demo-cell"));
    ours.parent().expect("a file is in a directory").to_owned()
}

/// A program of the workspace, where cargo puts them all. Cargo builds those of other packages only when asked to, so
/// this one may be missing or older than its sources.
pub(crate) fn built_program(name: &str) -> PathBuf {
    let program = bin_dir().join(name);
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let Some(built) = modified(&program) else {
        panic!(
            "{} is not there: build it with `make build`",
            program.display()
        );
    };
    // Beside each program cargo leaves the list of its sources: `program: source source …`.
    let sources = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let newer = sources
        .split_whitespace()
        .skip(1)
        .find(|source| modified(Path::new(source)) > Some(built));
    if let Some(source) = newer {
        panic!("{name} is older than {source}: build it with `make build`");
    }
    program
}
