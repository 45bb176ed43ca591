//! The commands that do one thing and end.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory as _, error::ErrorKind};
use serde_json::json;

use super::{
    args::{Cli, Command},
    output::{Done, Failed, pretty, print, report},
};
use crate::{
    api,
    change::restore,
    clock,
    config::{self, Config},
    daemon::database_path,
    publish::file::{FoundTable, find, replace_private},
    run::lock_state_dir,
    store::{Request, Store},
};

/// One table is there; how many are kept later is for the configuration to say.
const KEPT_LEAST: usize = 2;

/// Runs a command. Its result goes to standard output; errors go to standard error, or as JSON to standard output.
pub fn run(command: Command, config: Option<&Path>) -> ExitCode {
    let (output, done) = match command {
        Command::Schema => return print(&pretty(&config::schema())),
        Command::Openapi => return print(&api::openapi()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "cellgate-control", &mut script);
            return print(&String::from_utf8_lossy(&script));
        }
        Command::Check { output } => (
            output,
            with_config(config, |path, config| Ok(check(path, config))),
        ),
        Command::ImportTable { file, output } => (
            output,
            with_config(config, |_, config| import_table(config, &file)),
        ),
        Command::Backup { file, output } => (
            output,
            with_config(config, |_, config| back_up(config, &file)),
        ),
        Command::Restore { file, output } => (
            output,
            with_config(config, |_, config| restore_backup(config, &file)),
        ),
    };
    match done {
        Some(done) => report(done, output),
        None => ExitCode::from(2),
    }
}

/// Reads the configuration for a command; `None` after the usage was printed, because none was named.
fn with_config(
    path: Option<&Path>,
    command: impl FnOnce(&Path, &Config) -> Result<Done, Failed>,
) -> Option<Result<Done, Failed>> {
    let Some(path) = path else {
        let message = "this command needs --config FILE";
        let error = Cli::command().error(ErrorKind::MissingRequiredArgument, message);
        // With standard error closed there is nobody to report to.
        let _ = error.print();
        return None;
    };
    let config = config::load(path).map_err(Failed::Input);
    Some(config.and_then(|config| command(path, &config)))
}

fn check(path: &Path, config: &Config) -> Done {
    let providers = config.providers.len() + 1;
    Done {
        summary: format!(
            "{}: good: table {}, state in {}, API on {}, {} proxies, {providers} providers",
            path.display(),
            config.table.path.display(),
            config.state_dir.display(),
            config.api.address,
            config.proxies.len(),
        ),
        fields: json!({
            "problems": [],
            "table": config.table.path,
            "state_dir": config.state_dir,
            "api": config.api.address,
            "proxies": config.proxies.len(),
            "providers": providers,
        }),
    }
}

fn import_table(config: &Config, file: &Path) -> Result<Done, Failed> {
    let bytes = match find(file) {
        FoundTable::Bytes(bytes) => bytes,
        FoundTable::Missing => {
            let error = format!("{}: there is no such file", file.display());
            return Err(Failed::Other(error));
        }
        FoundTable::Unreadable(error) => {
            return Err(Failed::Other(format!("{}: {error}", file.display())));
        }
    };
    let table = cellgate_table::parse(&bytes)
        .map_err(|problems| Failed::Input(problems.in_file(file.display())))?;
    let _lock = lock_state_dir(&config.state_dir).map_err(Failed::of)?;
    let store = Store::open(&database_path(&config.state_dir)).map_err(Failed::of)?;
    let request = Request::of_daemon("import-table");
    let done = store
        .change(&request, clock::now_ms(), |write| {
            restore::import(write, &table)
        })
        .map_err(Failed::of)?;
    // What was imported stands in the file already, as far as it is the published one: it may be written over.
    if find(&config.table.path) == FoundTable::Bytes(bytes.clone()) {
        adopt(&store, &table, &bytes)?;
    }
    let (cells, overrides) = (table.cells().len(), table.overrides().len());
    let (aliases, rejects) = (table.aliases().len(), table.rejects().len());
    let revision = done.revision;
    Ok(Done {
        summary: format!(
            "imported {cells} cells, {overrides} overrides, {aliases} aliases and {rejects} rejects; the next table is \
             generation {revision} or newer"
        ),
        fields: json!({
            "cells": cells, "overrides": overrides, "aliases": aliases, "rejects": rejects, "revision": revision,
        }),
    })
}

/// Records the imported table as one that the daemon knows, so that it does not take it for somebody else's.
fn adopt(store: &Store, table: &cellgate_table::Table, bytes: &[u8]) -> Result<(), Failed> {
    let generation = table
        .generation()
        .map_or(0, cellgate_table::Generation::get);
    let digest = cellgate_table::Digest::of(bytes);
    store
        .begin_table(
            generation,
            &digest.to_string(),
            bytes,
            None,
            clock::now_ms(),
        )
        .and_then(|()| store.end_table(generation, KEPT_LEAST))
        .and_then(|()| store.adopt_steps(table.history(), digest))
        .map_err(Failed::of)
}

fn back_up(config: &Config, file: &Path) -> Result<Done, Failed> {
    let path = database_path(&config.state_dir);
    if !path.exists() {
        return Err(Failed::Other(format!(
            "{}: there is no database",
            path.display()
        )));
    }
    // Made first, so that nobody else can read it, and so that what is there is not written over.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| in_file(file, &error))?;
    let copied = Store::back_up(&path, file);
    if copied.is_err() {
        // It would be in the way of the next try.
        let _ = fs::remove_file(file);
    }
    copied.map_err(Failed::of)?;
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    Ok(Done {
        summary: format!("{}: {bytes} bytes", file.display()),
        fields: json!({ "file": file, "bytes": bytes }),
    })
}

fn restore_backup(config: &Config, file: &Path) -> Result<Done, Failed> {
    let _lock = lock_state_dir(&config.state_dir).map_err(Failed::of)?;
    let path = database_path(&config.state_dir);
    // SQLite would play a log that is left of the old database onto the new one.
    for ending in ["", "-wal", "-shm"] {
        let mut found = path.clone().into_os_string();
        found.push(ending);
        if Path::new(&found).exists() {
            return Err(Failed::Other(format!(
                "{}: there is a database; move it away first, with its -wal and -shm files if it has some",
                Path::new(&found).display()
            )));
        }
    }
    let bytes = fs::read(file).map_err(|error| in_file(file, &error))?;
    if !bytes.starts_with(b"SQLite format 3\0") {
        return Err(Failed::Other(format!(
            "{}: is not a backup",
            file.display()
        )));
    }
    replace_private(&path, &bytes).map_err(|error| in_file(&path, &error))?;
    let store = Store::open(&path).map_err(Failed::of)?;
    store.distrust_the_past().map_err(Failed::of)?;
    let meta = store.read(|read| read.meta()).map_err(Failed::of)?;
    Ok(Done {
        summary: format!(
            "restored as of revision {}; if the table file is newer, the daemon says so and waits for permission to \
             replace it",
            meta.revision
        ),
        fields: json!({ "revision": meta.revision }),
    })
}

fn in_file(path: &Path, error: &impl std::fmt::Display) -> Failed {
    Failed::Other(format!("{}: {error}", path.display()))
}
