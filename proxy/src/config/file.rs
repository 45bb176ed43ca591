//! The shape of `proxy.yaml`, for its JSON schema. [`read`](super::read) is what reads it; a test holds the two together.

use std::borrow::Cow;

use cellgate_table::yaml::settings::{self, LogSection};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The configuration of cellgate-proxy.
#[derive(JsonSchema)]
#[schemars(title = "cellgate proxy configuration", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
pub(crate) struct ProxyFile {
    /// Where clients connect.
    #[schemars(length(min = 1, max = 64))]
    listeners: Vec<ListenerFile>,
    /// How a request or a connection names its tenant. The first rule that matches decides. Required, unless each listener
    /// has a list of its own.
    #[schemars(length(min = 1, max = 32))]
    tenant_key: Option<Vec<KeyRuleFile>>,
    /// `hash`: every key has a slot, so every key has a cell. `refuse`: only tenants with an override or alias do.
    unknown_tenants: Option<UnknownTenantsFile>,
    cors: Option<CorsSection>,
    table: TableSection,
    /// Where the last good tables are kept. Default `/var/lib/cellgate`.
    state_dir: Option<String>,
    admin: Option<AdminSection>,
    /// Worker threads. Default: the number of cores.
    #[schemars(range(min = 1, max = 1024))]
    threads: Option<u32>,
    /// `off` sends every request through Pingora's general way, to find out whether a fault lies in the direct one; it
    /// costs about three times the CPU. Default `on`.
    direct: Option<SwitchChoice>,
    /// `on` gives each request an `x-request-id`: that of a trusted proxy, or a new one. `off` passes on whatever comes.
    /// Default `on`.
    request_id: Option<SwitchChoice>,
    /// Networks whose `x-forwarded-for` is believed, such as `10.0.0.0/8`. Default: none.
    trusted_proxies: Option<Vec<String>>,
    /// Forwarding headers that are kept when a trusted proxy sends them: `forwarded`, `x-forwarded-...`, `x-real-ip`,
    /// `x-client-ip`, `true-client-ip`, `x-original-url`, `x-rewrite-url`. Default: `x-forwarded-for`,
    /// `x-forwarded-proto`, `x-forwarded-port`.
    #[schemars(length(max = 32))]
    trusted_headers: Option<Vec<String>>,
    limits: Option<LimitsSection>,
    timeouts: Option<TimeoutsSection>,
    upstream: Option<UpstreamSection>,
    /// One line per request. Default: no access log.
    access_log: Option<AccessLogSection>,
    log: Option<LogSection>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct ListenerFile {
    /// Names the listener in logs.
    name: String,
    /// IP address and port, such as `0.0.0.0:8080`.
    address: String,
    /// `http` is HTTP/1; `tcp` carries whole connections of any protocol. Default `http`.
    protocol: Option<ProtocolFile>,
    /// Of TCP listeners: the protocol in which both sides agree on TLS. Default: TLS begins with the connection, if there is
    /// any.
    starttls: Option<StarttlsChoice>,
    /// An IPv6 address takes IPv6 connections only; otherwise `[::]` takes IPv4 ones too. Default false.
    ipv6_only: Option<bool>,
    proxy_protocol: Option<ProxyProtocolSection>,
    /// Networks whose connections are taken; others are closed. Default: all.
    #[schemars(length(min = 1))]
    allow: Option<Vec<String>>,
    tcp: Option<TcpSection>,
    /// Its clients speak TLS. Default: they do not.
    tls: Option<TlsSection>,
    /// GET and HEAD of exactly this path are answered 200 or 503, as `/readyz` is. Default: none.
    health_path: Option<String>,
    redirect_https: Option<RedirectHttpsSection>,
    acme: Option<AcmeSection>,
    hsts: Option<HstsSection>,
    /// Rules in the place of those of the whole file.
    #[schemars(length(min = 1, max = 32))]
    tenant_key: Option<Vec<KeyRuleFile>>,
}

/// Requests are answered 308, to the same host, path and query on HTTPS. Only without `tls`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct RedirectHttpsSection {
    /// The port that clients use for HTTPS. Default 443.
    #[schemars(range(min = 1, max = 65_535))]
    port: Option<u16>,
}

/// Challenges of ACME (`http-01`) are passed on. Only with `redirect_https`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct AcmeSection {
    /// Where the ACME client waits for them, such as `127.0.0.1:8402`. No listener's own address.
    address: String,
}

/// Answers get `strict-transport-security`, unless the cell has sent one. Only with `tls`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct HstsSection {
    /// How long browsers are to use HTTPS only, in seconds.
    #[schemars(range(min = 0, max = 315_360_000))]
    max_age_s: u32,
    /// For all names below the host's, too. Default false.
    include_subdomains: Option<bool>,
    /// The name may be on the lists that browsers come with. Needs `include_subdomains` and a year. Default false.
    preload: Option<bool>,
}

/// Load balancers in front that begin each connection with a PROXY header, version 1 or 2.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct ProxyProtocolSection {
    /// Their networks. A connection from there must begin with a header, one from elsewhere must not.
    #[schemars(length(min = 1))]
    from: Vec<String>,
    /// Connections from elsewhere are closed. Default false.
    required: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct TcpSection {
    /// Without a byte of the client until the system asks whether it is still there, from 1,000; 0 never asks. Default
    /// 60,000.
    #[schemars(range(min = 0, max = 32_767_000))]
    keepalive_ms: Option<u32>,
    /// How long a client may leave what was sent unacknowledged, or take nothing, from 1,000; 0 is the system's own
    /// limit. Default 0.
    #[schemars(range(min = 0, max = 86_400_000))]
    user_timeout_ms: Option<u32>,
    /// Of TCP listeners: how long a connection may stay without a byte in either direction. Default 3,600,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    idle_ms: Option<u32>,
    /// Of TCP listeners: how long the cell may take for its first byte; 0 is any time. Default 0.
    #[schemars(range(min = 0, max = 86_400_000))]
    first_byte_ms: Option<u32>,
    /// Of TCP listeners: cells get a header of the PROXY protocol, in this version. Default: none.
    send_proxy: Option<SendProxyChoice>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum ProtocolFile {
    Http,
    Tcp,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum SendProxyChoice {
    V1,
    V2,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum StarttlsChoice {
    PostgreSql,
}

/// `certificates`, `directory`, or both.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct TlsSection {
    /// Certificates by their files. Default: none.
    #[schemars(length(max = 1_024))]
    certificates: Option<Vec<CertificateFile>>,
    /// A folder with certificates: `NAME.crt` with `NAME.key`, or `NAME.pem` with both inside or with `NAME.key`.
    directory: Option<String>,
    /// The name whose certificate is for clients that ask for no name, or for one that no certificate has. Default: the
    /// first certificate.
    default: Option<String>,
    /// The oldest version of TLS. Default `1.2`.
    min_version: Option<MinVersionFile>,
    client_auth: Option<ClientAuthSection>,
    /// A file with keys of session tickets that several proxies share, each on a line in 64 hexadecimal digits. Default: the
    /// listener has its own.
    ticket_keys: Option<String>,
    /// For a whole handshake. Default 10,000.
    #[schemars(range(min = 10, max = 86_400_000))]
    handshake_ms: Option<u32>,
    /// Handshakes that are worked on at once, by as many threads; more wait. Default 1,024.
    #[schemars(range(min = 1, max = 1_000_000))]
    handshakes_at_once_max: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct CertificateFile {
    /// PEM: the server's certificate, then its chain.
    certificate: String,
    /// PEM: the private key, without a passphrase. Default: it is in the same file.
    key: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum MinVersionFile {
    #[schemars(rename = "1.2")]
    Tls12,
    #[schemars(rename = "1.3")]
    Tls13,
}

/// Which clients have to show a certificate.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct ClientAuthSection {
    /// `optional`: a client without a certificate is served, one with a bad certificate is not. `required`: every client
    /// needs a good one.
    mode: ClientAuthModeFile,
    /// PEM: the CAs that clients' certificates come from.
    ca: String,
    /// PEM: the revocation lists of those CAs, and of the CAs between them and the clients. With it, a client is refused if
    /// its certificate or that of a CA between is revoked, or if its issuer has no list there.
    crl: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum ClientAuthModeFile {
    Optional,
    Required,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum SwitchChoice {
    On,
    Off,
}

/// CORS preflights in which no rule finds a tenant.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct CorsSection {
    /// The tenant whose cell answers them.
    preflight_tenant: String,
}

/// One place to look for the tenant key.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct KeyRuleFile {
    /// The name of a header.
    header: Option<String>,
    /// A pattern for the host name, such as `{tenant}.example.com`.
    host: Option<String>,
    /// A pattern for the path, such as `/t/{tenant}/`.
    path: Option<String>,
    /// The name of a query parameter.
    query: Option<String>,
    /// The name of a cookie.
    cookie: Option<String>,
    /// A pattern for the server's name in a `ClientHello`, such as `{tenant}.example.com`. For TCP listeners.
    sni: Option<String>,
    /// A kind of name in the client's verified certificate.
    client_cert: Option<NameKindFile>,
    /// What the PROXY header says: `authority`, `unique_id`, or a type from 0xe0 (224) to 0xf7 (247).
    proxy_tlv: Option<TlvType>,
    /// The client's address; always `true`.
    source_ip: Option<bool>,
    /// The network of the client's address.
    source_network: Option<SourceNetworkSection>,
    /// Always this tenant. For the list of a listener.
    tenant: Option<String>,
    /// Cuts the tenant out of a value, such as `tenant-{tenant}`. With `header`, `query`, `cookie`, `client_cert`, and
    /// `proxy_tlv` if that is text.
    pattern: Option<String>,
    /// With `client_cert` and `proxy_tlv`: where it finds nothing, the request or connection is refused, and no later rule
    /// is asked. Default true.
    required: Option<bool>,
    /// With `proxy_tlv`: the first byte of the value, which is no part of the key. Default: the whole value counts.
    #[schemars(range(min = 0, max = 255))]
    subtype: Option<u8>,
    /// With `proxy_tlv`: how the value is read. Default `text`; `host` for `authority`, `number_be` for 0xe0, `number_le`
    /// for 0xee with subtype 1.
    format: Option<TlvFormatFile>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum NameKindFile {
    Uri,
    Dns,
    Email,
    Cn,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum TlvFormatFile {
    Text,
    Host,
    Hex,
    NumberLe,
    NumberBe,
}

/// A name, or a number.
struct TlvType;

impl JsonSchema for TlvType {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TlvType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": ["authority", "unique_id"] },
                { "type": "integer", "minimum": 0xe0, "maximum": 0xf7 },
            ],
        })
    }
}

/// How many bits of an address name its network.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct SourceNetworkSection {
    #[schemars(range(min = 1, max = 32))]
    ipv4: u8,
    #[schemars(range(min = 1, max = 128))]
    ipv6: u8,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum UnknownTenantsFile {
    Hash,
    Refuse,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct TableSection {
    /// The table file.
    path: String,
    /// Share of the slots that one table may move without `allow_move: true`, in percent. Default 25.
    #[schemars(range(min = 0, max = 100))]
    max_moved_percent: Option<f64>,
    /// Overrides that one table may move without `allow_move: true`. Default 1,000.
    max_moved_overrides: Option<u32>,
    /// What several tables may move together, in percent, where the history of the newest one shows that each of them
    /// was within the two limits above: of the slots, and of the tenants named so far. Default 50.
    #[schemars(range(min = 0, max = 100))]
    max_moved_total_percent: Option<f64>,
    /// `/readyz` answers 503 while the table file is refused or missing. Otherwise it does so only where the file proves
    /// that others have moved on. Default false.
    unready_when_behind: Option<bool>,
    /// How often the file is polled when no event came, 50 to 60,000. Default 1,000.
    #[schemars(range(min = 50, max = 60_000))]
    poll_interval_ms: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct AdminSection {
    /// Where health, metrics and status are served. Default `127.0.0.1:9600`.
    address: Option<String>,
    /// Host names that it answers to, besides IP addresses and `localhost`. Default none.
    hosts: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct LimitsSection {
    /// Client connections at the same time; more are closed immediately. Default 20,000.
    #[schemars(range(min = 1, max = 10_000_000))]
    connections_max: Option<u32>,
    /// Client connections at once from one IPv4 address or one /64 of IPv6; more are closed. `trusted_proxies` are
    /// exempt. 0 is any number. Default 0.
    #[schemars(range(min = 0, max = 10_000_000))]
    connections_per_source_max: Option<u32>,
    /// Size of a request head. Default 32,768.
    #[schemars(range(min = 1_024, max = 1_048_576))]
    head_bytes_max: Option<u32>,
    /// Header fields of a request, 1 to 256. Default 100.
    #[schemars(range(min = 1, max = 256))]
    headers_max: Option<u32>,
    /// Size of a request body. Default 1,073,741,824 (1 GiB).
    body_bytes_max: Option<u64>,
    /// A body whose length is known and at most this is read before the cell is asked, 0 to 1,048,576. Default 65,536.
    #[schemars(range(min = 0, max = 1_048_576))]
    body_buffered_bytes_max: Option<u32>,
    /// Memory for such bodies, all together; beyond it they stream. Default 67,108,864 (64 MiB).
    #[schemars(range(min = 0, max = 1_099_511_627_776_u64))]
    body_buffers_total_bytes_max: Option<u64>,
    /// How slowly a client may send or take a body; 0 allows any pace. Measured over 10 seconds of waiting for a body
    /// that it sends, over `client_idle_ms` for an answer that it takes. Default 100.
    #[schemars(range(min = 0, max = 1_000_000))]
    body_bytes_per_second_min: Option<u32>,
    /// Protocols that a client may ask for with `Upgrade`, such as `websocket` or `name/version`. Default `[websocket]`.
    #[schemars(length(max = 16))]
    upgrades: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(
    dead_code,
    clippy::struct_field_names,
    reason = "only the shape of the file is wanted here, with the names that it has there"
)]
struct TimeoutsSection {
    /// For a whole request head. Default 10,000.
    #[schemars(range(min = 10, max = 86_400_000))]
    head_ms: Option<u32>,
    /// Between two requests of a connection. Default 75,000: longer than the 60 s of common load balancers.
    #[schemars(range(min = 10, max = 86_400_000))]
    keepalive_ms: Option<u32>,
    /// Between two reads or writes of a body on the client's side. Default 60,000.
    #[schemars(range(min = 10, max = 86_400_000))]
    client_idle_ms: Option<u32>,
    /// To connect to an endpoint. Default 1,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    connect_ms: Option<u32>,
    /// Until the cell's answer begins, and between two reads of it. Default 30,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    upstream_read_ms: Option<u32>,
    /// Between two writes to the cell. Default 30,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    upstream_write_ms: Option<u32>,
    /// Without a byte on an upgraded connection (WebSocket). Default 3,600,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    upgrade_idle_ms: Option<u32>,
    /// How long readiness fails before the listeners close, on SIGTERM. Default 0.
    #[schemars(range(min = 0, max = 86_400_000))]
    shutdown_delay_ms: Option<u32>,
    /// How long requests may go on after that. Default 30,000.
    #[schemars(range(min = 0, max = 86_400_000))]
    shutdown_ms: Option<u32>,
    /// How long a client's idle connection may wait for its next request once the listeners close. That one is answered
    /// with `connection: close`. Not beyond `shutdown_ms`. Default: `keepalive_ms`.
    #[schemars(range(min = 0, max = 86_400_000))]
    drain_idle_ms: Option<u32>,
    /// How long a successor may take until it serves. Default 60,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    upgrade_ms: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct UpstreamSection {
    /// Further attempts inside the cell, where trying again is safe, 0 to 3. Default 1.
    #[schemars(range(min = 0, max = 3))]
    retries: Option<u32>,
    /// Idle connections kept to all cells together. Default 4,096.
    #[schemars(range(min = 1, max = 1_000_000))]
    idle_connections_max: Option<u32>,
    /// Idle connections kept to one cell. Default 256.
    #[schemars(range(min = 1, max = 1_000_000))]
    idle_per_cell_max: Option<u32>,
    /// How long a connection is kept idle; must be shorter than the cells' own keep-alive. Default 30,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    idle_ms: Option<u32>,
    /// Requests that one connection to a cell carries; 0 is any number. Default 0.
    requests_per_connection_max: Option<u32>,
    /// Whose requests may follow each other on a kept connection: those of the whole `cell` (default), or of one
    /// `tenant` only. A cell's own `share` in the table comes first.
    share: Option<ShareChoice>,
    /// Interim answers (1xx) that the client did not ask for: `guarded` (default) drops a `100` and closes the connection
    /// of a client that sends its next request after another one; `forwarded` passes all on.
    interim_answers: Option<InterimAnswersChoice>,
    ejection: Option<EjectionSection>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum ShareChoice {
    Cell,
    Tenant,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum InterimAnswersChoice {
    Guarded,
    Forwarded,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct EjectionSection {
    /// Failures in a row until an endpoint is left out; 0 switches ejection off. Default 5.
    #[schemars(range(min = 0, max = 1_000))]
    after_failures: Option<u32>,
    /// The first time out; each further one in a row is longer by this. Default 10,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    base_ms: Option<u32>,
    /// The longest time out. Default 300,000.
    #[schemars(range(min = 1, max = 86_400_000))]
    max_ms: Option<u32>,
    /// Share of a cell's endpoints that may be out at the same time, in percent; at least one stays. Default 50.
    #[schemars(range(min = 0, max = 100))]
    percent_max: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
struct AccessLogSection {
    /// The file that lines are added to, and that SIGUSR1 opens anew; or `stdout`, or `stderr`.
    path: String,
    /// `json` says most; `combined` is the format of NCSA's and Apache's servers. Default `json`.
    format: Option<AccessLogFormatChoice>,
    /// Lines that may wait to be written; more are dropped and counted. Default 65,536.
    #[schemars(range(min = 1, max = 10_000_000))]
    queue_lines_max: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape of the file is wanted here")]
enum AccessLogFormatChoice {
    Json,
    Combined,
}

/// The JSON schema of `proxy.yaml`.
pub fn schema() -> Schema {
    settings::schema_of::<ProxyFile>()
}
