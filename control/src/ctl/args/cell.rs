//! `cellctl cell …`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{amount, pair};

/// The states by which cells can be listed.
const STATES: [&str; 7] = [
    "provisioning",
    "warming",
    "active",
    "draining",
    "drained",
    "removed",
    "failed",
];

#[derive(Debug, Subcommand)]
pub enum CellCommand {
    /// List the cells.
    List {
        /// Only those in this state. Removed ones are listed only if asked for.
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
    },
    /// Show a cell: its settings, its health as the daemon and each proxy see it, what speaks against it, and what its
    /// provider did.
    Show { id: String },
    /// Add a cell.
    ///
    /// A cell of the provider `static` runs already and is known by its endpoints. Other providers, which the daemon's
    /// configuration names, make the cell and name its endpoints themselves. The cell becomes active once every endpoint
    /// has passed its health check; without one that is a TCP connection.
    ///
    /// It gets no slot by itself: `cellctl plan` shows what may be moved to it, and new tenants are placed in it.
    #[command(after_help = "Examples:\n  \
            cellctl cell add eu-1 --endpoint 10.0.0.7:8080 --endpoint 10.0.0.8:8080=2 --health-path /healthz --wait\n  \
            cellctl cell add eu-2 --provider nomad --param size=large --capacity tenants=500 --label zone=eu-b")]
    Add(Box<AddArgs>),
    /// Change settings of a cell; what is not named stays.
    #[command(after_help = "Examples:\n  \
            cellctl cell update eu-1 --max-in-flight 4000 --wait\n  \
            cellctl cell update eu-1 --capacity tenants=800 --capacity gb=2000 --reason 'new disks'")]
    Update(Box<UpdateArgs>),
    /// Let a cell have no more tenants, and move away what has no data in it.
    ///
    /// Slots and tenants of a cell that keeps data stay: nothing here can bring the data along. The answer names what
    /// stays and why. Say it again once something has changed, and it goes on.
    Drain {
        id: String,
        /// More may move in one table than the limits allow.
        #[arg(long)]
        allow_move: bool,
    },
    /// Let a draining or drained cell have tenants again.
    Activate { id: String },
    /// Ask the provider once more for a cell that failed.
    Retry { id: String },
    /// Remove a cell that owns nothing.
    ///
    /// By force it is removed whatever it owns: its slots and tenants go to the other cells, and their data is lost.
    Remove {
        id: String,
        /// Remove it whatever it owns. Needs --reason.
        #[arg(long)]
        force: bool,
        /// More may move in one table than the limits allow.
        #[arg(long, requires = "force")]
        allow_move: bool,
        /// Do not ask its provider, which is gone from the configuration or has failed to remove the cell: what it made
        /// stays behind, for you to clear away. Needs --reason.
        #[arg(long)]
        forget: bool,
    },
    /// Report how much a cell holds of what the daemon cannot count, in the place of what was reported before.
    #[command(after_help = "Example:\n  cellctl cell usage eu-1 gb=812.5 seats=40000")]
    Usage {
        id: String,
        #[arg(required = true, value_name = "DIM=N", value_parser = amount)]
        usage: Vec<(String, f64)>,
    },
}

#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// 1 to 63 letters, digits, `-`, `_` or `.`, the first one a letter or digit.
    pub id: String,
    /// Who makes the cell.
    #[arg(long, value_name = "P", default_value = "static")]
    pub provider: String,
    /// What the provider is given besides; may be given again. `K=V` is text, `K:=JSON` anything.
    #[arg(long = "param", value_name = "K=V", value_parser = param)]
    pub params: Vec<ParamSpec>,
    #[command(flatten)]
    pub settings: SettingArgs,
}

#[derive(Clone, Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own of the command line"
)]
pub struct UpdateArgs {
    pub id: String,
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Take the health check away.
    #[arg(long, conflicts_with = "probe")]
    pub no_health_check: bool,
    /// Let proxies reach the cell without TLS.
    #[arg(long, conflicts_with = "tls_server_name")]
    pub no_tls: bool,
    /// Take all labels away.
    #[arg(long, conflicts_with = "labels")]
    pub no_labels: bool,
    /// Take all limits away.
    #[arg(long, conflicts_with = "capacity")]
    pub no_capacity: bool,
}

/// What an operator may set, at the beginning and later.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingArgs {
    /// IP address and port, and its weight if it is not 1; may be given again. All of them together are what the cell has.
    #[arg(long = "endpoint", value_name = "ADDR[=WEIGHT]", value_parser = endpoint)]
    pub endpoints: Vec<Endpoint>,
    /// Requests in flight to the cell from one proxy; more are refused immediately. Default 1,024.
    #[arg(long, value_name = "N")]
    pub max_in_flight: Option<u32>,
    /// Upgraded connections, such as WebSockets, to the cell from one proxy; more are refused immediately. Default 10,000.
    #[arg(long, value_name = "N")]
    pub tunnels_max: Option<u32>,
    /// Connections of TCP listeners to the cell from one proxy; more are closed immediately. Default 10,000.
    #[arg(long, value_name = "N")]
    pub connections_max: Option<u32>,
    /// Whose requests may follow each other on a kept connection: those of the whole cell, or of one tenant only. By
    /// default each proxy's own configuration decides.
    #[arg(long, value_name = "WHOSE", value_parser = ["cell", "tenant"])]
    pub share: Option<String>,
    /// Such as zone=eu-b; may be given again. All of them together are what the cell has.
    #[arg(long = "label", value_name = "K=V", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// The most it may hold, such as tenants=500, or of a dimension of your own; may be given again. All of them together
    /// are its limits.
    #[arg(long, value_name = "DIM=N", value_parser = amount)]
    pub capacity: Vec<(String, f64)>,
    /// Its tenants keep no data in it, so the table alone can move them.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub stateless: Option<bool>,
    #[command(flatten)]
    pub health: HealthArgs,
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// A health check, which is set as a whole.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Health check")]
pub struct HealthArgs {
    /// An endpoint is healthy if `GET PATH` is answered with 200 to 299.
    #[arg(long, value_name = "PATH", group = "probe")]
    pub health_path: Option<String>,
    /// What the request says in `Host`, such as shop.example.com. By default the endpoint's address.
    #[arg(long, value_name = "HOST", requires = "health_path")]
    pub health_host: Option<String>,
    /// An endpoint is healthy if it takes a TCP connection.
    #[arg(long, group = "probe")]
    pub health_tcp: bool,
    /// From one check to the next. Default 2,000.
    #[arg(long, value_name = "MS", requires = "probe")]
    pub health_interval_ms: Option<u32>,
    /// How long one check may take. Default 1,000.
    #[arg(long, value_name = "MS", requires = "probe")]
    pub health_timeout_ms: Option<u32>,
    /// Failed checks in a row after which an endpoint is left out. Default 3.
    #[arg(long, value_name = "N", requires = "probe")]
    pub health_unhealthy_after: Option<u32>,
    /// Passed checks in a row after which it is used again. Default 2.
    #[arg(long, value_name = "N", requires = "probe")]
    pub health_healthy_after: Option<u32>,
}

/// TLS to the cell, which is set as a whole.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS to the cell")]
pub struct TlsArgs {
    /// Proxies speak TLS to the cell, whose certificate has to be for this name or IP address. TLS is set as a whole: a
    /// client certificate that is not named again is shown no more.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub tls_server_name: Option<String>,
    /// The authorities that are trusted, in PEM: a file of the proxies, relative to the folder of their table file.
    #[arg(long, value_name = "FILE", requires = "tls_server_name")]
    pub tls_ca: Option<String>,
    /// The certificate that proxies show to the cell, with its chain, in PEM: a file of the proxies.
    #[arg(long, value_name = "FILE", requires = "tls_ca")]
    pub tls_client_certificate: Option<String>,
    /// Its private key, in PEM. By default the file of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_client_certificate")]
    pub tls_client_key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: String,
    pub weight: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    pub name: String,
    pub value: Value,
}

/// Whether the address is one is for the daemon to say, which says what is wrong with it.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    let Some((address, weight)) = text.split_once('=') else {
        return Ok(Endpoint {
            address: text.to_owned(),
            weight: None,
        });
    };
    let weight = weight
        .parse()
        .map_err(|_| format!("the weight `{weight}` is not a whole number"))?;
    Ok(Endpoint {
        address: address.to_owned(),
        weight: Some(weight),
    })
}

fn param(text: &str) -> Result<ParamSpec, String> {
    let (name, value) = pair(text)?;
    let Some(name_of_json) = name.strip_suffix(':') else {
        return Ok(ParamSpec {
            name,
            value: Value::String(value),
        });
    };
    if name_of_json.is_empty() {
        return Err("is not NAME:=JSON".to_owned());
    }
    let value = serde_json::from_str(&value).map_err(|error| format!("is not JSON: {error}"))?;
    Ok(ParamSpec {
        name: name_of_json.to_owned(),
        value,
    })
}
