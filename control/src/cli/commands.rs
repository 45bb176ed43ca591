//! The commands that do one thing and end.

use std::{
    fmt::Display,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory as _, error::ErrorKind};

use super::args::{Cli, Command};
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

/// Runs a command. What it has to say goes to standard output, what is wrong to standard error.
pub fn run(command: Command, config: Option<&Path>) -> ExitCode {
    let outcome = match command {
        Command::Schema => Ok(json(&config::schema())),
        Command::Openapi => Ok(api::openapi()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "cellgate-control", &mut script);
            Ok(String::from_utf8_lossy(&script).into_owned())
        }
        command => {
            let Some(path) = config else {
                let error = Cli::command().error(
                    ErrorKind::MissingRequiredArgument,
                    "this command needs --config FILE",
                );
                // With standard error closed there is nobody to tell.
                let _ = error.print();
                return ExitCode::from(2);
            };
            config::load(path)
                .map_err(|problems| problems.to_string())
                .and_then(|config| with_config(command, path, &config))
        }
    };
    match outcome {
        Ok(text) => print(&text),
        Err(error) => {
            // With standard error closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn with_config(command: Command, path: &Path, config: &Config) -> Result<String, String> {
    match command {
        Command::ImportTable { file } => import_table(config, &file),
        Command::Backup { file } => back_up(config, &file),
        Command::Restore { file } => restore_backup(config, &file),
        _ => Ok(format!(
            "{}: good: table {}, state in {}, API on {}, {} proxies, {} providers\n",
            path.display(),
            config.table.path.display(),
            config.state_dir.display(),
            config.api.address,
            config.proxies.len(),
            config.providers.len() + 1,
        )),
    }
}

fn import_table(config: &Config, file: &Path) -> Result<String, String> {
    let bytes = match find(file) {
        FoundTable::Bytes(bytes) => bytes,
        FoundTable::Missing => return Err(format!("{}: there is no such file", file.display())),
        FoundTable::Unreadable(error) => return Err(format!("{}: {error}", file.display())),
    };
    let table = cellgate_table::parse(&bytes)
        .map_err(|problems| problems.in_file(file.display()).to_string())?;
    let _lock = lock_state_dir(&config.state_dir).map_err(text)?;
    let store = Store::open(&database_path(&config.state_dir)).map_err(text)?;
    let request = Request::of_daemon("import-table");
    let done = store
        .change(&request, clock::now_ms(), |write| {
            restore::import(write, &table)
        })
        .map_err(text)?;
    // What was imported stands in the file already, as far as it is the published one: it may be written over.
    if find(&config.table.path) == FoundTable::Bytes(bytes.clone()) {
        adopt(&store, &table, &bytes)?;
    }
    Ok(format!(
        "imported {} cells, {} overrides, {} aliases and {} rejects; the next table is generation {} or newer\n",
        table.cells().len(),
        table.overrides().len(),
        table.aliases().len(),
        table.rejects().len(),
        done.revision,
    ))
}

/// Records the imported table as one that the daemon knows, so that it does not take it for somebody else's.
fn adopt(store: &Store, table: &cellgate_table::Table, bytes: &[u8]) -> Result<(), String> {
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
        .map_err(text)
}

fn back_up(config: &Config, file: &Path) -> Result<String, String> {
    let path = database_path(&config.state_dir);
    if !path.exists() {
        return Err(format!("{}: there is no database", path.display()));
    }
    // Made first, so that nobody else can read it, and so that what is there is not written over.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let copied = Store::back_up(&path, file);
    if copied.is_err() {
        // It would be in the way of the next try.
        let _ = fs::remove_file(file);
    }
    copied.map_err(text)?;
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    Ok(format!("{}: {bytes} bytes\n", file.display()))
}

fn restore_backup(config: &Config, file: &Path) -> Result<String, String> {
    let _lock = lock_state_dir(&config.state_dir).map_err(text)?;
    let path = database_path(&config.state_dir);
    // SQLite would play a log that is left of the old database onto the new one.
    for ending in ["", "-wal", "-shm"] {
        let mut found = path.clone().into_os_string();
        found.push(ending);
        if Path::new(&found).exists() {
            return Err(format!(
                "{}: there is a database; move it away first, with its -wal and -shm files if it has some",
                Path::new(&found).display()
            ));
        }
    }
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if !bytes.starts_with(b"SQLite format 3\0") {
        return Err(format!("{}: is not a backup", file.display()));
    }
    replace_private(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let store = Store::open(&path).map_err(text)?;
    store.distrust_the_past().map_err(text)?;
    let meta = store.read(|read| read.meta()).map_err(text)?;
    Ok(format!(
        "restored as of revision {}; if the table file is newer, the daemon says so and waits for permission to replace it\n",
        meta.revision
    ))
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("plain data always serializes");
    format!("{text}\n")
}

/// A reader that closes the pipe early has read what it wanted.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
