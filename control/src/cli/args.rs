//! What can be said on the daemon's command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// The control plane of cellgate: owns cells and tenants, and publishes the table that the proxies route by.
///
/// Without a command it serves in the foreground until SIGTERM or SIGINT, and logs to standard error. No request of a
/// tenant needs it: while it is dead the proxies go on with the table they have.
///
/// Exit codes: 0 all is fine, 1 the input is bad or the daemon cannot start, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(
    name = "cellgate-control",
    version,
    after_help = "Examples:\n  \
        cellgate-control --config control.yaml                          serve\n  \
        cellgate-control check --config control.yaml                    check the configuration\n  \
        cellgate-control backup --config control.yaml backup.sqlite     copy the database while the daemon runs\n  \
        cellgate-control import-table --config control.yaml table.yaml  begin with a table that there is already\n\n\
        `cellctl` speaks to a running daemon. The configuration is described in conf/README.md."
)]
pub struct Cli {
    /// The configuration file (control.yaml).
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Take the table over from another daemon that still holds its lock. That one finds out before it publishes.
    #[arg(long)]
    pub take_over: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether the configuration is good, or everything that is wrong with it.
    Check {
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Print the JSON schema of control.yaml.
    Schema,
    /// Print the description of the API (OpenAPI 3.1, JSON).
    Openapi,
    /// Fill an empty database from a published table: cells, slots, overrides, aliases, rejects.
    ///
    /// For a daemon whose database is lost, or a fleet whose table was written by hand so far. The daemon must not run.
    /// Tenants that the table does not name are not known afterwards; they stay in the cell of their slot.
    ImportTable {
        /// The table.
        file: PathBuf,
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Copy the database into a new file. The daemon may run meanwhile.
    Backup {
        /// The file to make; it must not exist.
        file: PathBuf,
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Put a backup into the place of a database that is gone. The daemon must not run.
    Restore {
        /// The backup.
        file: PathBuf,
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Print a completion script for a shell.
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// How a command prints its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}
