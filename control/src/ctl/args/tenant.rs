//! `cellctl tenant …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// List the tenants, by key.
    #[command(after_help = "Examples:\n  \
            cellctl tenant list --cell eu-1 --placed-by pin\n  \
            cellctl tenant list --prefix acme- --all -o json | jq -r '.tenants[].key'")]
    List(ListArgs),
    /// Show a tenant.
    Show { key: String },
    /// Register a tenant. The planner places it, or --cell names its cell.
    ///
    /// One that is registered already stays as it is, if that is what is asked; so this may be said again.
    #[command(after_help = "Examples:\n  \
            cellctl tenant add acme --alias www.acme.example\n  \
            cellctl tenant add bank --cell eu-gov --pin --reason 'contract 4711'")]
    Add(NewTenantArgs),
    /// Forget a tenant and its aliases. Its data stays where it is, and its key leads where its slot does.
    Remove { key: String },
    /// Let a tenant live in this cell, whatever the planner thinks.
    ///
    /// Its data does not come along. A tenant of a cell that keeps data is pinned elsewhere only with --without-data.
    Pin {
        key: String,
        cell: String,
        /// The tenant has no data yet, or its data is there already.
        #[arg(long)]
        without_data: bool,
    },
    /// Leave a tenant where it is, and the rest to the planner.
    Unpin { key: String },
    /// Have a tenant answered 403 at the edge.
    Reject { key: String },
    /// Let a rejected tenant in again.
    Accept { key: String },
    /// Give a tenant another key, or take one away.
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Register many tenants out of a file.
    ///
    /// It is sent in pieces; each of them is taken whole or not at all. Tenants that are registered already stay as they
    /// are, so after a failure the same file may be sent again.
    ///
    /// ndjson: a line of JSON for each tenant, {"key": …, "cell": …, "pin": …, "rejected": …, "aliases": […]}.
    /// csv: with a header line; columns key, cell, pin, rejected, aliases (with `|` in between). Only `key` has to be
    /// there.
    #[command(
        verbatim_doc_comment,
        after_help = "Examples:\n  \
            cellctl tenant import tenants.csv --reason 'first import' --wait\n  \
            psql -Atc 'select json_build_object('\\''key'\\'', id) from customers' | cellctl tenant import - --format ndjson"
    )]
    Import {
        /// The file; `-` is standard input.
        file: PathBuf,
        /// Default: what the file's name ends with (.csv, .ndjson, .jsonl).
        #[arg(long, value_enum)]
        format: Option<TenantFormat>,
    },
    /// Print all tenants in a form that `import` takes.
    Export {
        #[arg(long, value_enum, default_value_t = TenantFormat::Ndjson)]
        format: TenantFormat,
    },
}

#[derive(Debug, Subcommand)]
pub enum AliasCommand {
    /// Give a tenant another key, such as a domain of its own.
    Add { key: String, alias: String },
    /// Take a key away from a tenant.
    Remove { key: String, alias: String },
}

#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    /// Only those that live in this cell.
    #[arg(long, value_name = "C")]
    pub cell: Option<String>,
    /// Only those whose key begins like this.
    #[arg(long)]
    pub prefix: Option<String>,
    /// Only those that were placed like this.
    #[arg(long, value_parser = ["slot", "override", "pin"])]
    pub placed_by: Option<String>,
    /// Only those that are answered 403.
    #[arg(long)]
    pub rejected: bool,
    /// How many at most, 1 to 1,000; with --all, how many are asked for in one request.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Only those behind this key.
    #[arg(long, value_name = "KEY")]
    pub after: Option<String>,
    /// All of them, however many there are.
    #[arg(long)]
    pub all: bool,
}

#[derive(Clone, Debug, Args)]
pub struct NewTenantArgs {
    /// 1 to 256 bytes without control characters.
    pub key: String,
    /// Where it is to live.
    #[arg(long, value_name = "C")]
    pub cell: Option<String>,
    /// No plan moves it.
    #[arg(long, requires = "cell")]
    pub pin: bool,
    /// Another key of it; may be given again.
    #[arg(long = "alias", value_name = "A")]
    pub aliases: Vec<String>,
    /// It is answered 403 at the edge.
    #[arg(long)]
    pub rejected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TenantFormat {
    Ndjson,
    Csv,
}

impl TenantFormat {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}
