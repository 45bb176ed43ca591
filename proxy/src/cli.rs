//! The command line.

mod check;
mod commands;
mod output;

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use commands::run;

/// The data plane of cellgate: takes each request to the cell of its tenant, out of a table file.
///
/// Without a command it serves in the foreground until SIGTERM or SIGINT, and logs to standard error. It watches the
/// table file and takes each good change; a bad one is refused with its reasons while the last good table stays in force.
///
/// Signals: SIGTERM and SIGINT drain and end, a second one ends immediately; SIGHUP reads the table file now; SIGUSR1
/// opens the access log anew; SIGUSR2 starts the program anew with --upgrade.
///
/// Exit codes: 0 all is fine, 1 the input is bad or the proxy cannot start, 2 wrong usage, 3 `check` could not judge
/// everything.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        cellgate-proxy check --config proxy.yaml             check both files before a change goes out\n  \
        cellgate-proxy --config proxy.yaml                   serve\n  \
        cellgate-proxy explain --table table.yaml acme       why tenant acme goes where it goes\n  \
        cellgate-proxy diff table.yaml new-table.yaml        whom a new table would move\n\n\
        The configuration is described in conf/README.md."
)]
pub struct Cli {
    /// The configuration file (proxy.yaml).
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Take over from the proxy that uses the same state directory: its sockets, and what it is. It drains once this
    /// one serves; if this one cannot, it goes on.
    #[arg(long, requires = "config")]
    pub upgrade: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what the proxy would load, or everything that is wrong.
    ///
    /// Reads the configuration and the table the way the proxy does at start, the last good table in the state directory
    /// included: a table that would move too much, or that is older, is refused here too. Prints every problem with file,
    /// line, column, key, what is wrong and what to do, and exits 1. Warns about what works but is hardly meant, such
    /// as keys in the table that no rule under `tenant_key` can produce. Says what it could not judge, and then exits 3: the state directory may be readable for
    /// the proxy's user only.
    Check {
        /// The table to check in the place of the configured one.
        #[arg(long, value_name = "FILE")]
        table: Option<PathBuf>,
        /// The table in force, to judge by it instead of the last good table in the state directory.
        #[arg(long, value_name = "TABLE")]
        against: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Show which cell a tenant key leads to, and why.
    Explain {
        /// The table; without it, the one that --config names.
        #[arg(long, value_name = "FILE")]
        table: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        output: Format,
        /// The canonical tenant key, as logs and cells have it: without escapes.
        key: OsString,
    },
    /// Show what moves from one table to another.
    Diff {
        /// The table in force.
        old: PathBuf,
        /// The table to come.
        new: PathBuf,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Manage the state directory.
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
    /// Print the JSON schema of a file.
    Schema {
        #[arg(value_enum)]
        file: SchemaOf,
    },
    /// Print a completion script for a shell.
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum StateCommand {
    /// Give the state directory to the table that the configuration names, after that table was renamed or moved.
    ///
    /// The last good tables stay. The proxy has to be stopped.
    Adopt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// proxy.yaml
    Proxy,
    /// table.yaml
    Table,
}
