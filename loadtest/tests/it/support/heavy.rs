//! Tests that need a machine to themselves, or programs that may not be there, or that have a
//! figure to report.

use std::{
    env,
    fmt::Display,
    fs::File,
    io::{self, Write},
    path::Path,
    str::FromStr,
};

use rustix::process::{Resource, getrlimit};

/// Lets one of these tests run at a time, until the result is dropped. It is a lock on a file, for
/// some test runners run each test as a process of its own.
#[must_use]
pub(crate) fn alone() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alone");
    let file = File::create(path).expect("cargo's temporary directory can be written to");
    file.lock().expect("files can be locked there");
    file
}

/// How much a test does: an environment variable, or what is enough for every day.
pub(crate) fn amount<T: FromStr>(variable: &str, usual: T) -> T {
    let Ok(text) = env::var(variable) else {
        return usual;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{variable} is not a number: {text}"))
}

/// Whether this run is to show what the whole product promises: nothing may be skipped, and limits
/// are those of the promise instead of generous ones.
pub(crate) fn is_acceptance() -> bool {
    env::var_os("CELLGATE_ACCEPTANCE").is_some()
}

/// Prints a figure that a test has measured.
pub(crate) fn figure(text: impl Display) {
    report("FIGURE", &text);
}

/// Says that a test cannot run here.
#[track_caller]
pub(crate) fn skip(why: impl Display) {
    assert!(!is_acceptance(), "cannot run: {why}");
    report("SKIPPED", &why);
}

/// Whether so many clients of one proxy can be connected at the same time; if not, says that the test cannot
/// run.
#[track_caller]
pub(crate) fn allows_clients(count: usize) -> bool {
    let enough = clients_max() >= count;
    if !enough {
        skip(format!(
            "the limit of open files is too low for {count} clients"
        ));
    }
    enough
}

/// So many clients, or as many as can be connected at the same time.
pub(crate) fn clients_at_most(count: usize) -> usize {
    let count_max = clients_max();
    if count_max < count {
        figure(format!(
            "{count_max} clients instead of {count}, as open files allow"
        ));
    }
    count.min(count_max)
}

/// Clients, proxy and cell run as one user, and each has a descriptor for each client.
fn clients_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 3).unwrap_or(usize::MAX)
}

/// Past the test runner, which keeps what tests print to itself.
fn report(what: &str, text: &dyn Display) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // Nobody reads it, or somebody does.
    let _ = writeln!(io::stderr(), "{what}: {name}: {text}");
}
