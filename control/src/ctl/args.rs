//! What can be said to `cellctl`: the definition of flags, help texts and manual pages. Nothing is done here.

mod cell;
mod table;
mod tenant;

use std::path::PathBuf;

use clap::{ArgMatches, parser::ValueSource};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::{
    cell::{
        AddArgs, CellCommand, Endpoint, HealthArgs, ParamSpec, SettingArgs, TlsArgs, UpdateArgs,
    },
    table::{PlanCommand, SlotsCommand, TableCommand},
    tenant::{AliasCommand, ListArgs, NewTenantArgs, TenantCommand, TenantFormat},
};

/// Length of what the daemon takes as the name of a caller, in bytes.
const ACTOR_BYTES_MAX: usize = 256;
const SERVER_DEFAULT: &str = "http://127.0.0.1:9700";
const TOKEN_FILE_DEFAULT: &str = "/var/lib/cellgate-control/token";

/// The command line of cellgate's control daemon: cells, tenants, and the table that the proxies route by.
///
/// It speaks to a running cellgate-control over its API. Reading needs nothing; changing needs the daemon's token, which
/// stands in the file that the daemon made at its first start (`api.token_file`, by default `token` in its state
/// directory).
///
/// Every change is one line of the audit log; --reason says there why it was made. Nothing moves a tenant whose data would
/// stay behind, and nothing moves more in one table than the limits allow, unless --allow-move says that it is meant.
///
/// Exit codes: 0 all is fine, 1 the daemon refused, could not be reached, or what was waited for did not come, 2 wrong
/// usage.
#[derive(Debug, Parser)]
#[command(
    name = "cellctl",
    version,
    subcommand_required = true,
    after_help = "Examples:\n  \
        cellctl status                                                 how the fleet is, on one screen\n  \
        cellctl cell add eu-1 --endpoint 10.0.0.7:8080 --wait          a cell that runs already\n  \
        cellctl tenant add acme                                        the planner finds it a cell\n  \
        cellctl explain acme                                           which cell it leads to, and why\n  \
        cellctl cell drain eu-1 --reason 'new machines' --wait         empty a cell\n  \
        cellctl table rollback 41 --reason 'eu-2 was not ready'        the map of an older table again\n\n\
        `cellctl COMMAND --help` has more of each."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What goes with every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Where the daemon's API is. Plain HTTP: over a network, put an SSH tunnel or a proxy that speaks TLS in between.
    #[arg(long, value_name = "URL", global = true, env = "CELLCTL_SERVER", hide_env_values = true, default_value = SERVER_DEFAULT,
        value_parser = server, help_heading = "Connection")]
    pub server: String,
    /// The Unix socket where the daemon's API is, in the place of --server.
    #[arg(
        long,
        value_name = "PATH",
        global = true,
        env = "CELLCTL_SOCKET",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    pub socket: Option<PathBuf>,
    /// The file with the token, which changes need. Where no file is named, `CELLCTL_TOKEN` may hold the token itself;
    /// otherwise it is looked for in /var/lib/cellgate-control/token.
    #[arg(
        long,
        value_name = "PATH",
        global = true,
        env = "CELLCTL_TOKEN_FILE",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    pub token_file: Option<PathBuf>,
    /// `table` is for people; `json` prints what the API answered.
    #[arg(long, short, value_enum, global = true, default_value_t = Format::Table, help_heading = "Output")]
    pub output: Format,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", global = true, help_heading = "Changes")]
    pub reason: Option<String>,
    /// Change nothing if anything was changed since this revision (the `etag` of an answer, `revision` of `table show -o json`).
    #[arg(long, value_name = "REVISION", global = true, help_heading = "Changes")]
    pub if_revision: Option<u64>,
    /// Wait until the change has taken effect: the cell is as far as it was asked to come, the table that says so is
    /// published, and every listed proxy has been seen with it. A proxy that does not answer counts: it may still have an
    /// older table. `cellctl proxy forget` removes one that is permanently gone. With `-o json` a cell is printed as it is
    /// then.
    #[arg(long, global = true, help_heading = "Changes")]
    pub wait: bool,
    /// With --wait: wait only for the proxies that can be reached, of which there has to be one.
    #[arg(long, global = true, requires = "wait", help_heading = "Changes")]
    pub reachable_only: bool,
    /// How long --wait waits before it gives up. The change stands then, whatever comes of it.
    #[arg(
        long,
        value_name = "SECONDS",
        global = true,
        default_value_t = 120,
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "Changes"
    )]
    pub timeout: u64,
    /// Who makes the change, for the audit log. Default: you, at this machine.
    #[arg(long, value_name = "NAME", global = true, value_parser = actor, help_heading = "Changes")]
    pub actor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show on one screen how the fleet is, and what needs somebody.
    ///
    /// The first line is the verdict: OK, or ATTENTION with the reasons. Below it the table, the proxies, the cells, and
    /// the last changes. It exits 0 whatever it finds, unless --check is given.
    #[command(after_help = "Examples:\n  \
            cellctl status\n  \
            cellctl status --watch\n  \
            cellctl status --check >/dev/null || page somebody")]
    Status {
        /// Exit 1 if something needs attention.
        #[arg(long)]
        check: bool,
        /// Show it again and again, until interrupted. With `-o json` one document on each line.
        #[arg(
            long,
            short,
            value_name = "SECONDS",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "2",
            value_parser = clap::value_parser!(u64).range(1..=3_600),
            conflicts_with = "check"
        )]
        watch: Option<u64>,
    },
    /// Show cells, add them, drain them, remove them.
    #[command(subcommand)]
    Cell(CellCommand),
    /// Show tenants, register them, pin them, turn them away.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Show who owns the slots, and how many an even fleet would give to each.
    Slots {
        #[command(subcommand)]
        command: Option<SlotsCommand>,
    },
    /// Show what a rebalance would move and why, and what it would leave alone and why.
    Plan {
        #[command(subcommand)]
        command: Option<PlanCommand>,
    },
    /// Show published tables, compare them, go back to one.
    #[command(subcommand)]
    Table(TableCommand),
    /// Show which proxy has which table.
    Proxies,
    /// Say what became of a proxy.
    #[command(subcommand)]
    Proxy(ProxyCommand),
    /// Show what happened lately, or follow it.
    ///
    /// The daemon keeps the newest events in memory; the audit log says permanently who changed what.
    #[command(after_help = "Examples:\n  \
            cellctl events --limit 20\n  \
            cellctl events --follow -o json | jq -r 'select(.kind == \"table.published\")'")]
    Events {
        /// Go on with what happens from now on, until interrupted.
        #[arg(long, short)]
        follow: bool,
        /// Only events behind this id.
        #[arg(long, value_name = "ID")]
        after: Option<u64>,
        /// How many at most. Without --follow 1 to 1,000, and 100 if nothing is said.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Show who changed what, when and why; the newest first.
    #[command(after_help = "Examples:\n  \
            cellctl audit --limit 10\n  \
            cellctl audit --subject eu-1")]
    Audit {
        /// Only what was done to this cell or tenant, or to `table`, `slots` or `tenants`.
        #[arg(long, value_name = "S")]
        subject: Option<String>,
        /// How many at most, 1 to 1,000.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Show which cell a key leads to, and why.
    ///
    /// The key need not be registered: any key has a slot, and the slot has a cell.
    Explain {
        /// The canonical key, as logs and cells have it: a tenant's own or an alias.
        key: String,
    },
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  \
            cellctl completions bash > /etc/bash_completion.d/cellctl")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page.
    Man {
        /// Write it and one for each command into this directory instead.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ProxyCommand {
    /// Say that a listed proxy is permanently gone: no removal and no --wait waits for it any more.
    ///
    /// That holds until it answers again or the daemon's configuration no longer lists it. A proxy that still runs, but
    /// does not reach the daemon, goes on with the table that it has: requests may still go to cells that were removed.
    /// It is not how a proxy is declared gone in a move of a tenant.
    #[command(after_help = "Example:\n  \
            cellctl proxy forget edge-3 --reason 'the machine was scrapped'")]
    Forget {
        /// Its name in the daemon's configuration.
        name: String,
    },
}

/// Where the token for changes comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    File(PathBuf),
    /// Out of the environment.
    Given(String),
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}

impl Cli {
    /// Reads the command line of this process; wrong usage ends it.
    pub fn from_process() -> Self {
        let matches = Self::command().get_matches();
        Self::from_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// What is typed wins over the environment, also where the one says `--server` and the other `CELLCTL_SOCKET`.
    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let is_typed = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        if is_typed("server") && !is_typed("socket") {
            cli.global.socket = None;
        }
        Ok(cli)
    }
}

impl Global {
    /// A file that is named wins over the token in the environment, and that over the file where the daemon puts it.
    pub fn token_source(&self, token_in_environment: Option<String>) -> TokenSource {
        let token = token_in_environment.filter(|token| !token.trim().is_empty());
        match (&self.token_file, token) {
            (Some(path), _) => TokenSource::File(path.clone()),
            (None, Some(token)) => TokenSource::Given(token.trim().to_owned()),
            (None, None) => TokenSource::File(TOKEN_FILE_DEFAULT.into()),
        }
    }
}

fn server(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(
            "is not an http:// address such as http://127.0.0.1:9700; over a network, use an SSH tunnel".to_owned(),
        );
    };
    let host = rest.split('/').next().unwrap_or_default();
    let is_odd = |c: char| c.is_whitespace() || matches!(c, '?' | '#' | '@');
    if host.is_empty() || rest.contains(is_odd) || reqwest::Url::parse(text).is_err() {
        return Err("is not an address such as http://127.0.0.1:9700".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn actor(text: &str) -> Result<String, String> {
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.trim().is_empty() || text.len() > ACTOR_BYTES_MAX || !is_printable {
        return Err(format!(
            "is not 1 to {ACTOR_BYTES_MAX} printable characters of ASCII"
        ));
    }
    Ok(text.to_owned())
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("is not NAME=VALUE".to_owned()),
    }
}

/// `DIM=N`.
fn amount(text: &str) -> Result<(String, f64), String> {
    let (dimension, number) = pair(text).map_err(|_| "is not DIM=N such as tenants=500")?;
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((dimension, number)),
        _ => Err(format!("`{number}` is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_typed_wins_over_what_is_set() {
        let parse = |words: &[&str]| {
            let words = std::iter::once("cellctl").chain(words.iter().copied());
            let matches = Cli::command().try_get_matches_from(words).unwrap();
            Cli::from_matches(&matches).unwrap().global
        };
        let global = parse(&["proxies", "--server", "http://h:1/"]);
        assert_eq!(
            (global.server.as_str(), global.socket),
            ("http://h:1", None)
        );
        let global = parse(&["--socket", "/s", "proxies", "--server", "http://h:1"]);
        assert_eq!(global.socket, Some("/s".into()));

        let global = parse(&["proxies"]);
        let default = TokenSource::File(TOKEN_FILE_DEFAULT.into());
        assert_eq!(global.token_source(None), default);
        assert_eq!(global.token_source(Some(" \n".to_owned())), default);
        let given = TokenSource::Given("t".to_owned());
        assert_eq!(global.token_source(Some("t\n".to_owned())), given);
        let global = parse(&["proxies", "--token-file", "/t"]);
        let file = TokenSource::File("/t".into());
        assert_eq!(global.token_source(Some("t".to_owned())), file);
    }

    #[test]
    fn servers_are_plain_http() {
        let check = |text: &str, is_good: bool| assert_eq!(server(text).is_ok(), is_good, "{text}");
        check("http://127.0.0.1:9700", true);
        check("http://[::1]:9700/", true);
        check("http://control.example/cellgate", true);
        check("https://control.example", false);
        check("127.0.0.1:9700", false);
        check("http://", false);
        check("http:///v1", false);
        check("http://a b", false);
        check("http://host:99999", false);
        check("http://host?x", false);
    }
}
