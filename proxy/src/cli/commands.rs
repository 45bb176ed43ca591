//! The commands that look at files and end.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::ExitCode,
};

use cellgate_table::{
    Problems, Table,
    accept::{self, Current, MoveLimits, Taken},
    diff::{Diff, diff},
    parse,
};
use clap::{CommandFactory as _, error::ErrorKind};
use serde_json::json;

use super::{Cli, Command, Format, SchemaOf};
use crate::{
    config::{self, Config},
    explain::explain,
    state_dir::StateDir,
    tenant_key::RequestKey,
    watch::read_table_file,
};

/// Longest list of moved tenants or slots that text output shows; JSON has them all.
const MOVES_SHOWN_MAX: usize = 20;

/// Runs a command. Its output goes to standard output; problems as JSON too, problems as text to standard error.
pub fn run(command: Command, config: Option<&Path>) -> ExitCode {
    match command {
        Command::Check { table, format } => check(config, table.as_deref(), format),
        Command::Explain { table, format, key } => {
            explain_key(config, table.as_deref(), &key, format)
        }
        Command::Diff { old, new, format } => diff_tables(&old, &new, format),
        Command::Schema { file } => {
            let schema = match file {
                SchemaOf::Proxy => config::schema(),
                SchemaOf::Table => cellgate_table::file::schema(),
            };
            print_json(&schema)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "cellgate-proxy", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Ends with the usage of the command line, as clap does by itself for what it can see.
fn wrong_usage(message: &str) -> ExitCode {
    let error = Cli::command().error(ErrorKind::MissingRequiredArgument, message);
    // With standard error closed there is nobody to tell.
    let _ = error.print();
    ExitCode::from(2)
}

fn check(config: Option<&Path>, table: Option<&Path>, format: Format) -> ExitCode {
    let Some(config) = config else {
        return wrong_usage("`check` needs --config FILE");
    };
    let loaded = config::load(config);
    let table_path = table.or_else(|| loaded.as_ref().ok().map(|config| &*config.table.path));
    let checked = table_path.map(|path| check_table(path, loaded.as_ref().ok()));
    let problems: Vec<&Problems> = [
        loaded.as_ref().err(),
        checked.as_ref().and_then(|c| c.as_ref().err()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !problems.is_empty() {
        return refuse(&problems, format);
    }
    let summary = checked.and_then(Result::ok).unwrap_or_default();
    match format {
        Format::Text => print(&summary),
        Format::Json => {
            print_json(&json!({ "ok": true, "problems": [], "summary": summary.trim_end() }))
        }
    }
}

/// What the proxy would do with this table, judged as it judges at start: against the newest last good table.
fn check_table(path: &Path, config: Option<&Config>) -> Result<String, Problems> {
    let bytes = read_table_file(path).map_err(|error| error.into_problems(path))?;
    let last_good = config.and_then(|config| {
        let state_dir = StateDir::new(config.state_dir.clone());
        state_dir
            .kept()
            .find_map(|kept| Some((kept.generation, kept.digest, parse(&kept.bytes).ok()?)))
    });
    let current = last_good
        .as_ref()
        .map(|(generation, digest, table)| Current {
            generation: *generation,
            digest: *digest,
            table,
        });
    let limits = config.map_or_else(MoveLimits::default, |config| config.table.move_limits);
    let taken = accept::take(&bytes, current, &limits)
        .map_err(|rejection| rejection.problems.in_file(path.display()))?;
    let mut text = String::new();
    let table = match &taken {
        Taken::Changed { table, .. } => table,
        Taken::Unchanged { .. } => {
            &last_good
                .as_ref()
                .expect("without a last good table every table is a change")
                .2
        }
    };
    describe(&mut text, path, table);
    match (&taken, &last_good) {
        (Taken::Unchanged { .. }, Some((generation, ..))) => {
            let _ = writeln!(
                text,
                "it says what the last good table says (generation {generation})"
            );
        }
        (Taken::Changed { verdict, .. }, Some((last, _, table_before))) => {
            let _ = writeln!(
                text,
                "it would follow the last good table (generation {last}) as generation {}:",
                verdict.generation
            );
            describe_diff(&mut text, &diff(table_before, table));
        }
        (Taken::Changed { verdict, .. }, None) => {
            let _ = writeln!(
                text,
                "it would be taken as generation {}",
                verdict.generation
            );
        }
        (Taken::Unchanged { .. }, None) => {}
    }
    Ok(text)
}

fn describe(text: &mut String, path: &Path, table: &Table) {
    let _ = writeln!(
        text,
        "{}: good: {} cells, {} slots, {} overrides, {} aliases, {} rejects",
        path.display(),
        table.cells().len(),
        table.hash().slots(),
        table.overrides().len(),
        table.aliases().len(),
        table.rejects().len(),
    );
}

fn read_table(path: &Path) -> Result<Table, Problems> {
    let bytes = read_table_file(path).map_err(|error| error.into_problems(path))?;
    parse(&bytes).map_err(|problems| problems.in_file(path.display()))
}

fn explain_key(
    config: Option<&Path>,
    table: Option<&Path>,
    key: &OsStr,
    format: Format,
) -> ExitCode {
    if let Err(error) = RequestKey::new(key.as_bytes()) {
        let problems = Problems::whole_file(error.to_string(), "give a key of 1 to 256 bytes");
        return refuse(&[&problems], format);
    }
    let path = match (table, config) {
        (Some(table), _) => table.to_owned(),
        (None, Some(config)) => match config::load(config) {
            Ok(config) => config.table.path,
            Err(problems) => return refuse(&[&problems], format),
        },
        (None, None) => return wrong_usage("`explain` needs --table FILE or --config FILE"),
    };
    let table = match read_table(&path) {
        Ok(table) => table,
        Err(problems) => return refuse(&[&problems], format),
    };
    let explanation = explain(&table, table.generation(), key.as_bytes());
    match format {
        Format::Text => print(&format!("{explanation}\n")),
        Format::Json => print_json(&explanation),
    }
}

fn diff_tables(old: &Path, new: &Path, format: Format) -> ExitCode {
    let (old, new) = match (read_table(old), read_table(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let problems: Vec<Problems> = [old.err(), new.err()].into_iter().flatten().collect();
            return refuse(&problems.iter().collect::<Vec<_>>(), format);
        }
    };
    let diff = diff(&old, &new);
    if format == Format::Json {
        return print_json(&diff);
    }
    let mut text = String::new();
    describe_diff(&mut text, &diff);
    print(&text)
}

fn describe_diff(text: &mut String, diff: &Diff) {
    let percent = diff.moved_share * 100.0;
    let _ = match (diff.rehashed, diff.moved_slots()) {
        (true, _) => writeln!(text, "the hash changes: {percent:.2} % of all keys move"),
        (false, 0) => writeln!(text, "no slot moves"),
        (false, slots) => writeln!(text, "{slots} slots move ({percent:.2} %):"),
    };
    for slot_move in diff.slot_moves.iter().take(MOVES_SHOWN_MAX) {
        let _ = writeln!(
            text,
            "  slots {}: {} -> {}",
            slot_move.slots, slot_move.from, slot_move.to
        );
    }
    rest_of(text, diff.slot_moves.len());
    let _ = match diff.tenant_moves.len() {
        0 => writeln!(text, "no tenant named in the table moves"),
        count => writeln!(text, "{count} tenants named in the table move:"),
    };
    for tenant_move in diff.tenant_moves.iter().take(MOVES_SHOWN_MAX) {
        let _ = writeln!(
            text,
            "  {}: {} -> {}",
            tenant_move.tenant, tenant_move.from, tenant_move.to
        );
    }
    rest_of(text, diff.tenant_moves.len());
    list(text, "cells added", &diff.cells_added);
    list(text, "cells removed", &diff.cells_removed);
    list(text, "cells changed", &diff.cells_changed);
    list(text, "rejects added", &diff.rejects_added);
    list(text, "rejects removed", &diff.rejects_removed);
}

fn rest_of(text: &mut String, count: usize) {
    if count > MOVES_SHOWN_MAX {
        let _ = writeln!(
            text,
            "  … and {} more (all of them with --format json)",
            count - MOVES_SHOWN_MAX
        );
    }
}

fn list(text: &mut String, title: &str, items: &[impl ToString]) {
    if items.is_empty() {
        return;
    }
    let mut names: Vec<String> = items
        .iter()
        .take(MOVES_SHOWN_MAX)
        .map(ToString::to_string)
        .collect();
    if items.len() > MOVES_SHOWN_MAX {
        names.push(format!("… and {} more", items.len() - MOVES_SHOWN_MAX));
    }
    let _ = writeln!(text, "{title}: {}", names.join(", "));
}

/// Tells problems and gives the exit code for bad input.
fn refuse(problems: &[&Problems], format: Format) -> ExitCode {
    match format {
        Format::Text => {
            let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
            // With standard error closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{}", text.join("\n"));
        }
        Format::Json => {
            let all: Vec<serde_json::Value> =
                problems.iter().flat_map(|file| as_json(file)).collect();
            let more: usize = problems.iter().map(|file| file.more).sum();
            let _ = print_json(&json!({ "ok": false, "problems": all, "more": more }));
        }
    }
    ExitCode::FAILURE
}

fn as_json(problems: &Problems) -> Vec<serde_json::Value> {
    let with_file = |problem| {
        let mut value = json!(problem);
        value["file"] = json!(problems.file);
        value
    };
    problems.problems.iter().map(with_file).collect()
}

fn print_json(value: &impl serde::Serialize) -> ExitCode {
    let text = serde_json::to_string_pretty(value).expect("plain data always serializes");
    print(&format!("{text}\n"))
}

/// A reader that closes the pipe early has read what it wanted.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
