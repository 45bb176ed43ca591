//! The proxy's configuration: what `proxy.yaml` says, valid by construction.
//!
//! The file is read once at start. The table is the part that changes while the proxy runs; see [`watch`](crate::watch).

mod file;
mod read;

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use cellgate_process::{host::Hosts, lines::Sink};
use cellgate_table::{Problems, Share, accept::MoveLimits, yaml::settings::LogFormat};

use crate::{
    forwarding::Trust,
    gate::Protocol,
    net::Networks,
    tenant_key::{KeyRules, Preflights, UnknownTenants},
    tls::TlsSettings,
};

pub use file::schema;
pub use read::{load, parse};

/// Everything that `proxy.yaml` says, with every default filled in. `conf/README.md` lists them.
#[derive(Debug)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub unknown_tenants: UnknownTenants,
    pub table: TableConfig,
    pub state_dir: PathBuf,
    pub admin: SocketAddr,
    /// The names that the admin address answers to, besides IP addresses and `localhost`.
    pub admin_hosts: Hosts,
    pub threads: NonZeroUsize,
    /// Whose preflights of CORS go where; `None` treats them like any other request.
    pub preflights: Option<Preflights>,
    /// Requests that are whole in hand go to their cell without Pingora.
    pub direct: bool,
    /// Each request has an id, which its cell, its client and the access log get.
    pub names_requests: bool,
    /// `trusted_proxies` and `trusted_headers`.
    pub trust: Trust,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub upstream: Upstream,
    pub access_log: Option<AccessLogConfig>,
    pub log_format: LogFormat,
    /// What works, but hardly as it was meant.
    pub warnings: Problems,
}

/// An address that takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    /// An IPv6 address takes no IPv4 connections.
    pub ipv6_only: bool,
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who may connect; anybody, if it is not said.
    pub allow: Option<Networks>,
    pub tcp: Tcp,
    /// Its clients speak TLS.
    pub tls: Option<TlsSettings>,
    pub http: HttpOptions,
    /// How what comes there names its tenant.
    pub key_rules: Arc<KeyRules>,
    pub protocol: ListenerProtocol,
}

/// What a listener answers by itself, and what it adds to answers. Nothing, unless it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// GET and HEAD of this path say whether the proxy is ready.
    pub health_path: Option<Box<str>>,
    /// All requests are sent to HTTPS; only without TLS.
    pub redirect_https: Option<RedirectHttps>,
    /// Only with TLS.
    pub hsts: Option<Hsts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectHttps {
    pub port: u16,
    /// Who waits for challenges of ACME.
    pub acme: Option<SocketAddr>,
}

/// That browsers are to use HTTPS only (RFC 6797).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    value: Box<str>,
}

impl Hsts {
    pub fn new(max_age_s: u32, include_subdomains: bool, preload: bool) -> Self {
        let mut value = format!("max-age={max_age_s}");
        if include_subdomains {
            value.push_str("; includeSubDomains");
        }
        if preload {
            value.push_str("; preload");
        }
        Self {
            value: value.into(),
        }
    }

    /// The value of `Strict-Transport-Security`.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// What is done with a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP/1: each request goes to its cell.
    Http,
    /// Each connection goes to its cell as a whole.
    Tcp(Relaying),
}

/// How the connections of a TCP listener are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relaying {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// Until the cell's first byte. `None` is any time.
    pub first_byte: Option<Duration>,
    /// What a connection to a cell begins with.
    pub send_proxy: Option<SendProxy>,
    /// How TLS begins, where it does not begin with the connection.
    pub starttls: Option<Starttls>,
}

/// The version of the PROXY header that cells get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendProxy {
    V1,
    V2,
}

/// The protocol in which both sides agree on TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starttls {
    PostgreSql,
}

impl Default for Relaying {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(3_600),
            first_byte: None,
            send_proxy: None,
            starttls: None,
        }
    }
}

/// Whose connections begin with a header of the PROXY protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Theirs do, and nobody else's.
    pub from: Networks,
    /// Nobody else may connect.
    pub required: bool,
}

/// How the system finds out that a client has vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Without a byte of the client until it is asked whether it is still there. `None` never asks.
    pub keepalive: Option<Duration>,
    /// How long it may leave what was sent unacknowledged. `None` is the system's own limit.
    pub user_timeout: Option<Duration>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: None,
        }
    }
}

impl Listener {
    /// How TLS begins, where it does not begin with the connection.
    pub fn starttls(&self) -> Option<Starttls> {
        match self.protocol {
            ListenerProtocol::Http => None,
            ListenerProtocol::Tcp(relaying) => relaying.starttls,
        }
    }

    /// A listener without any option.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            ipv6_only: false,
            proxy_protocol: None,
            allow: None,
            tcp: Tcp::default(),
            tls: None,
            http: HttpOptions::default(),
            key_rules: Arc::default(),
            protocol: ListenerProtocol::Http,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableConfig {
    pub path: PathBuf,
    pub move_limits: MoveLimits,
    /// Not ready while the table file is refused, whatever the file proves.
    pub unready_when_behind: bool,
    /// How often the file's stat is checked, whether or not an event came.
    pub poll_interval: Duration,
}

/// What one client may cost and ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections_max: usize,
    /// Of one source: an IPv4 address, or a /64 of IPv6. `None` is any number.
    pub connections_per_source_max: Option<NonZeroU32>,
    pub head_bytes_max: usize,
    pub headers_max: usize,
    pub body_bytes_max: u64,
    /// A body of a known length up to this is read before the cell is asked.
    pub body_buffered_bytes_max: usize,
    /// Memory for such bodies, all together; beyond it they stream.
    pub body_buffers_total_bytes_max: usize,
    /// How slowly a client may send or take a body; 0 allows any pace.
    pub body_bytes_per_second_min: u32,
    /// The protocols that an Upgrade may ask for.
    pub upgrades: Arc<[Protocol]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the whole request head, from its first byte (on a new connection: from the accept).
    pub head: Duration,
    /// Between two requests of a connection.
    pub keepalive: Duration,
    /// Between two reads or two writes of a body, on the client's side.
    pub client_idle: Duration,
    pub connect: Duration,
    /// Until the cell's answer begins, and between two reads of it.
    pub upstream_read: Duration,
    pub upstream_write: Duration,
    /// Without a byte in either direction on an upgraded connection.
    pub upgrade_idle: Duration,
    /// How long readiness fails before the listeners close.
    pub shutdown_delay: Duration,
    /// How long requests may go on after that.
    pub shutdown: Duration,
    /// How long an idle connection may wait for its next request from the drain's beginning on.
    pub drain_idle: Duration,
    /// How long a successor may take until it serves.
    pub upgrade: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Further attempts inside the cell, where trying again is safe.
    pub retries: usize,
    /// Idle connections kept to all cells together.
    pub idle_connections_max: usize,
    /// Idle connections kept to one cell, in all threads together.
    pub idle_per_cell_max: usize,
    /// Requests that one connection carries; 0 is any number.
    pub requests_per_connection_max: u64,
    /// Whose requests may follow each other on a kept connection, where the table does not say.
    pub share: Share,
    pub interim_answers: InterimAnswers,
    /// How long a connection is kept idle; shorter than the cells' own keep-alive.
    pub idle: Duration,
    pub ejection: Ejection,
}

/// What becomes of a cell's interim answers (1xx) that the client did not ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterimAnswers {
    /// A `100` is dropped. After any other, a client that sends its next request before the final answer loses its
    /// connection: one that takes an interim answer for a final one would take the final one for the next.
    Guarded,
    /// All are passed on, as RFC 9110 section 15.2 has it.
    Forwarded,
}

/// Passive health: when an endpoint is left out because of the requests that failed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row; 0 switches ejection off.
    pub after_failures: u32,
    /// The first time out; it grows with each time in a row.
    pub base: Duration,
    /// The longest time out.
    pub max: Duration,
    /// Share of a cell's endpoints that may be out at the same time, in percent. At least one always stays.
    pub percent_max: u32,
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    #[default]
    Json,
    /// That of NCSA's and Apache's servers.
    Combined,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    pub sink: Sink,
    pub format: AccessLogFormat,
    /// Lines that may wait to be written; more are dropped and counted.
    pub queue_lines_max: usize,
}
