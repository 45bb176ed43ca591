//! How the program is started: as whom, and with what.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::support::built_program;

/// As whom and with what the program is started.
#[derive(Clone, Copy, Default)]
pub(super) struct Start {
    pub(super) user: Option<u32>,
    pub(super) environment: Option<Variable>,
    /// The soft and the hard limit of open files.
    pub(super) open_files: Option<(u32, u32)>,
}

/// Of the environment: a name and its value.
pub(super) type Variable = (&'static str, &'static str);

/// The program with any arguments, to be run by the test.
pub(crate) fn command() -> Command {
    Command::new(program())
}

pub(super) fn serve(directory: &Path, start: Start) -> Command {
    let Start {
        user,
        environment,
        open_files,
    } = start;
    let mut command = match open_files {
        None => command(),
        Some((soft, hard)) => {
            let mut limited = Command::new("prlimit");
            limited
                .arg(format!("--nofile={soft}:{hard}"))
                .arg(program());
            limited
        }
    };
    command
        .arg("--config")
        .arg(directory.join("proxy.yaml"))
        .env_remove("RUST_LOG")
        .envs(environment);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

/// Makes a scratch directory another user's.
pub(super) fn give_to(user: u32, directory: &Path) {
    for path in [directory, &directory.join("tables")] {
        chown(path, Some(user), Some(user)).expect("root may give files away");
    }
    fs::set_permissions(directory, PermissionsExt::from_mode(0o755))
        .expect("root may change permissions");
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built_program("cellgate-proxy"))
}
