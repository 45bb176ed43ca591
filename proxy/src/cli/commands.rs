//! The commands that look at files and end.

use std::{
    ffi::OsStr, fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path, process::ExitCode,
};

use cellgate_table::{Problems, Table, diff::diff, parse};
use clap::{CommandFactory as _, error::ErrorKind};

use super::{
    Cli, Command, Format, SchemaOf, StateCommand,
    check::{Files, check},
    output::{describe_diff, print, print_json, refuse},
};
use crate::{
    config, explain::explain, state_dir::StateDir, tenant_key::RequestKey, watch::read_table_file,
};

/// Runs a command. Its output goes to standard output; problems as JSON too, problems as text to standard error.
pub fn run(command: Command, config: Option<&Path>) -> ExitCode {
    match command {
        Command::Check {
            table,
            against,
            output,
        } => match config {
            Some(config) => check(
                &Files {
                    config,
                    table,
                    against,
                },
                output,
            ),
            None => wrong_usage("`check` needs --config FILE"),
        },
        Command::Explain { table, output, key } => {
            explain_key(config, table.as_deref(), &key, output)
        }
        Command::Diff { old, new, output } => diff_tables(&old, &new, output),
        Command::State {
            command: StateCommand::Adopt,
        } => adopt(config),
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
    // With standard error closed there is nobody to report to.
    let _ = error.print();
    ExitCode::from(2)
}

fn read_table(path: &Path) -> Result<Table, Problems> {
    let bytes = read_table_file(path).map_err(|error| error.into_problems(path))?;
    parse(&bytes).map_err(|problems| problems.in_file(path.display()))
}

fn explain_key(
    config: Option<&Path>,
    table: Option<&Path>,
    key: &OsStr,
    output: Format,
) -> ExitCode {
    if let Err(error) = RequestKey::new(key.as_bytes()) {
        let problems = Problems::whole_file(error.to_string(), "give a key of 1 to 256 bytes");
        return refuse(&[&problems], output);
    }
    let path = match (table, config) {
        (Some(table), _) => table.to_owned(),
        (None, Some(config)) => match config::load(config) {
            Ok(config) => config.table.path,
            Err(problems) => return refuse(&[&problems], output),
        },
        (None, None) => return wrong_usage("`explain` needs --table FILE or --config FILE"),
    };
    let table = match read_table(&path) {
        Ok(table) => table,
        Err(problems) => return refuse(&[&problems], output),
    };
    let explanation = explain(&table, table.generation(), key.as_bytes());
    match output {
        Format::Text => print(&format!("{explanation}\n")),
        Format::Json => print_json(&explanation),
    }
}

fn diff_tables(old: &Path, new: &Path, output: Format) -> ExitCode {
    let (old, new) = match (read_table(old), read_table(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let problems: Vec<Problems> = [old.err(), new.err()].into_iter().flatten().collect();
            return refuse(&problems.iter().collect::<Vec<_>>(), output);
        }
    };
    let diff = diff(&old, &new);
    if output == Format::Json {
        return print_json(&diff);
    }
    let mut text = String::new();
    describe_diff(&mut text, &diff);
    print(&text)
}

/// Gives the state directory to the table that the configuration names.
fn adopt(config: Option<&Path>) -> ExitCode {
    let Some(path) = config else {
        return wrong_usage("`state adopt` needs --config FILE");
    };
    let config = match config::load(path) {
        Ok(config) => config,
        Err(problems) => return refuse(&[&problems], Format::Text),
    };
    let state_dir = StateDir::new(config.state_dir);
    let adopted = match state_dir.adopt(&config.table.path) {
        Ok(adopted) => adopted,
        Err(error) => {
            let hint = "stop the proxy that uses the state directory, and run this as the user of the proxy";
            let problems = Problems::whole_file(error.to_string(), hint);
            return refuse(&[&problems], Format::Text);
        }
    };
    let mut text = format!(
        "{} belongs to {} now",
        state_dir.path().display(),
        adopted.now.configured.display()
    );
    if let Some(before) = adopted.before {
        let _ = write!(text, "; before, to {}", before.configured.display());
    }
    let newest = state_dir.newest(|kept| Some(kept.generation));
    let _ = match newest {
        Ok(Some(generation)) => write!(text, ". Its newest table is generation {generation}"),
        _ => write!(text, ". No table is kept there"),
    };
    print(&(text + "\n"))
}
