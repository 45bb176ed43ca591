//! The operator's window: health, metrics, status, explanations. It changes nothing.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use async_trait::async_trait;
use cellgate_process::host::{HostRefusal, Hosts};
use http::{HeaderValue, Method, Response, header, uri::Authority};
use pingora::{
    apps::{HttpServerApp as _, http_app::ServeHttp},
    http::RequestHeader,
    protocols::{http::ServerSession, l4::stream::Stream},
    server::ShutdownWatch,
};
use serde::Serialize;
use serde_json::json;

use crate::{
    cell::EndpointState,
    clock,
    descriptors::Budget,
    explain::{Explanation, explain},
    handover::{CellReport, Predecessor, PredecessorStatus, Report},
    lifecycle::{Lifecycle, Phase},
    listen::{Accepted, ServeConnection},
    metrics::Metrics,
    readiness::Readiness,
    snapshot::{CellRuntime, Current, Snapshot, Source},
    tenant_key::RequestKey,
    tls::{CellIdentity, Terminator, TlsStatus},
    watch::{LastReload, Loader},
};

/// Whoever only asks for health may call the proxy anything, and gets no more than the status.
const FOR_ANY_HOST: [&str; 2] = ["/livez", "/readyz"];

/// How long a connection may be silent, as Pingora has it for those after the first request.
const IDLE_SECONDS: u64 = 60;

/// Answers on the admin address.
#[derive(Debug)]
pub struct Admin {
    /// The names that it answers to.
    pub hosts: Hosts,
    pub current: Arc<Current>,
    pub loader: Arc<Loader>,
    pub readiness: Arc<Readiness>,
    pub lifecycle: Arc<Lifecycle>,
    pub metrics: Arc<Metrics>,
    pub budget: Budget,
    /// Of the listeners with TLS.
    pub terminators: Arc<[Arc<Terminator>]>,
    pub predecessor: Arc<Predecessor>,
}

#[derive(Debug, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the answer of its own"
)]
struct Status {
    version: &'static str,
    uptime_seconds: u64,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready_because: Option<String>,
    /// What is wrong, though requests are served; each a line of `/readyz`.
    degraded: Vec<String>,
    /// The table in force is not the one in the file, because that is refused or missing.
    table_behind: bool,
    draining: bool,
    generation: Option<u64>,
    digest: Option<String>,
    source: Option<Source>,
    loaded_at: Option<String>,
    /// The table in force says `allow_move: true`, so no limit of moves protects anybody.
    allow_move: bool,
    last_reload: Option<LastReload>,
    state_dir_error: Option<String>,
    client_connections: usize,
    /// As configured, or what the limit of open files leaves of it.
    client_connections_max: usize,
    requests_in_flight: usize,
    /// By listener.
    tls: BTreeMap<String, TlsStatus>,
    cells: BTreeMap<String, CellStatus>,
    /// Tenants whose requests wait. This version holds none.
    held: BTreeMap<String, u64>,
    /// The process before this one, as long as it drains. What is in flight there is counted above, too.
    predecessor: Option<PredecessorStatus>,
}

#[derive(Debug, Serialize)]
struct CellStatus {
    in_flight: u32,
    max_in_flight: u32,
    /// Upgraded connections that are open.
    tunnels: u32,
    tunnels_max: u32,
    /// Connections of TCP listeners that are open.
    connections: u32,
    connections_max: u32,
    /// Endpoints that may be chosen.
    healthy: usize,
    endpoints: usize,
    endpoint_states: Vec<EndpointStatus>,
    /// How its connections are made, if over TLS.
    tls: Option<CellTlsStatus>,
}

#[derive(Debug, Serialize)]
struct CellTlsStatus {
    server_name: String,
    /// Its files were good once, so there is something to make connections by.
    usable: bool,
    /// When what is shown to the cell expires.
    client_certificate_expiry: Option<String>,
}

#[derive(Debug, Serialize)]
struct EndpointStatus {
    address: String,
    weight: u16,
    in_flight: u32,
    state: &'static str,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        if request.method != Method::GET && request.method != Method::HEAD {
            let mut response = text(405, "only GET is served here\n");
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let head_only = request.method == Method::HEAD;
        let uri = &request.uri;
        let path = uri.path();
        let host = self.check_host(request);
        if let Err(refusal) = &host
            && !FOR_ANY_HOST.contains(&path)
        {
            return host_refused(refusal);
        }
        let mut response = match path {
            "/livez" => text(200, "ok\n"),
            "/readyz" if host.is_err() => self.ready_without_reason(),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            "/status" => json_answer(200, &self.status(self.ask_predecessor().await)),
            "/explain" => self.explain(uri.query().unwrap_or_default()),
            _ => text(
                404,
                "known here: /livez /readyz /metrics /status /explain?tenant=KEY\n",
            ),
        };
        if head_only {
            response.body_mut().clear();
        }
        response
    }
}

impl ServeConnection for Arc<Admin> {
    async fn serve(&self, accepted: Box<Accepted>, shutdown: &ShutdownWatch) {
        // As Pingora does it for a connection, but that here its first answer is waited for when the process ends.
        let unanswered = self.lifecycle.unanswered();
        let stream = Box::new(Stream::from(accepted.socket));
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(Some(IDLE_SECONDS));
        let mut next = self.process_new_http(session, shutdown).await;
        drop(unanswered);
        while let Some(kept) = next {
            let (stream, settings) = kept.consume();
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            next = self.process_new_http(session, shutdown).await;
        }
    }
}

impl Admin {
    fn check_host(&self, request: &RequestHeader) -> Result<(), HostRefusal> {
        let headers = request.headers.get_all(header::HOST);
        let headers = headers.iter().map(HeaderValue::as_bytes);
        let target = request.uri.authority().map(Authority::as_str);
        self.hosts.check(headers, target)
    }

    /// What is wrong, though requests are served: nothing that another proxy would do better.
    fn degraded(&self) -> Vec<String> {
        let behind = self.loader.behind().map(|behind| {
            format!(
                "the table file is refused, and generation {} is served: {}",
                behind.generation, behind.why
            )
        });
        let state =
            self.loader.status().state_dir_error.map(|error| {
                format!("the table in force could not be kept for a restart: {error}")
            });
        let certificates = self.terminators.iter().filter_map(|tls| {
            let error = tls.error()?;
            let listener = tls.listener();
            Some(format!(
                "the certificate files of listener {listener} are refused, and those before are used: {error}"
            ))
        });
        let untimely = self.terminators.iter().filter_map(|tls| {
            let (listener, what) = (tls.listener(), tls.untimely()?);
            Some(format!(
                "clients of listener {listener} meet what is not valid: {what}"
            ))
        });
        let cell_files = self
            .loader
            .cell_files_error()
            .map(|error| format!("files for TLS to cells are refused: {error}"));
        behind
            .into_iter()
            .chain(state)
            .chain(certificates)
            .chain(untimely)
            .chain(cell_files)
            .collect()
    }

    fn ready(&self) -> Response<Vec<u8>> {
        let (status, mut lines) = match self.readiness.not_ready_because() {
            None => (200, "ok\n".to_owned()),
            Some(why) => (503, format!("not ready: {why}\n")),
        };
        for degraded in self.degraded() {
            let _ = writeln!(lines, "degraded: {degraded}");
        }
        text(status, &lines)
    }

    /// For whoever calls the proxy by a name that is not its own: a web page must not read paths and generations.
    fn ready_without_reason(&self) -> Response<Vec<u8>> {
        if self.readiness.is_ready() {
            text(200, "ok\n")
        } else {
            text(503, "not ready\n")
        }
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        answer(
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            self.metrics.render(),
        )
    }

    /// It may hang, which must not keep others from being answered.
    async fn ask_predecessor(&self) -> Option<PredecessorStatus> {
        let predecessor = Arc::clone(&self.predecessor);
        let asked = tokio::task::spawn_blocking(move || predecessor.ask());
        asked.await.ok().flatten()
    }

    fn status(&self, predecessor: Option<PredecessorStatus>) -> Status {
        let snapshot = self.current.load();
        let table = self.loader.status();
        let not_ready_because = self.readiness.not_ready_because();
        let snapshot = snapshot.as_deref();
        let now = clock::now_ms();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now / 1000,
            ready: not_ready_because.is_none(),
            not_ready_because,
            degraded: self.degraded(),
            table_behind: self.loader.behind().is_some(),
            draining: self.lifecycle.has_reached(Phase::Leaving),
            generation: snapshot.map(|s| s.generation.get()),
            digest: snapshot.map(|s| s.digest.to_string()),
            source: snapshot.map(|s| s.source),
            loaded_at: snapshot.map(|s| clock::rfc3339(s.loaded_at)),
            allow_move: snapshot.is_some_and(|s| s.table.allow_move()),
            last_reload: table.last_reload,
            state_dir_error: table.state_dir_error,
            client_connections: self.lifecycle.connections(),
            client_connections_max: self.budget.connections_max,
            requests_in_flight: self.lifecycle.requests()
                + predecessor.as_ref().map_or(0, Report::requests),
            tls: self
                .terminators
                .iter()
                .map(|tls| (tls.listener().to_owned(), tls.status()))
                .collect(),
            cells: snapshot
                .map(|it| cell_statuses(it, predecessor.as_ref(), now))
                .unwrap_or_default(),
            held: BTreeMap::new(),
            predecessor,
        }
    }

    /// The key asked for is the canonical one, as logs and cells have it: escapes are this URL's own, `+` is a plus.
    fn explain(&self, query: &str) -> Response<Vec<u8>> {
        let Some(value) = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("tenant="))
        else {
            return json_answer(
                400,
                &json!({ "error": "name the key: /explain?tenant=KEY" }),
            );
        };
        let key = match RequestKey::percent_decoded(value.as_bytes()) {
            Ok(key) => key,
            Err(error) => return json_answer(400, &json!({ "error": error.to_string() })),
        };
        match self.current.load() {
            None => json_answer(503, &json!({ "error": "there is no table yet" })),
            Some(s) => json_answer(200, &explain_now(&s, key.as_bytes())),
        }
    }
}

/// What the table says of a key, and what is open of its tenant at the moment.
#[derive(Debug, Serialize)]
struct ExplanationNow {
    #[serde(flatten)]
    explanation: Explanation,
    /// Upgraded connections that the tenant holds open to its cell.
    tunnels: u32,
    /// Connections of TCP listeners that it holds open to its cell.
    connections: u32,
}

fn explain_now(snapshot: &Snapshot, key: &[u8]) -> ExplanationNow {
    let home = snapshot.table.home_of(key);
    let cell = snapshot.cell(home.cell);
    ExplanationNow {
        tunnels: cell.state.tunnels_of(home.tenant),
        connections: cell.state.connections_of(home.tenant),
        explanation: explain(&snapshot.table, Some(snapshot.generation), key),
    }
}

fn cell_statuses(
    snapshot: &Snapshot,
    predecessor: Option<&PredecessorStatus>,
    now_ms: u64,
) -> BTreeMap<String, CellStatus> {
    let cells = snapshot.cells().iter().map(|cell| {
        let id = &cell.state.id;
        let before = predecessor.map(|report| report.of_cell(id.as_str()));
        let identity = snapshot.cell_tls.of(id);
        let status = cell_status(cell, identity, before.unwrap_or_default(), now_ms);
        (id.to_string(), status)
    });
    cells.collect()
}

fn cell_tls_status(identity: &Arc<CellIdentity>) -> CellTlsStatus {
    let expiry = identity.expiry().map(|(_, not_after)| not_after);
    CellTlsStatus {
        server_name: identity.server_name().to_owned(),
        usable: identity.is_usable(),
        client_certificate_expiry: expiry.map(|at| clock::rfc3339(clock::of_unix(at))),
    }
}

fn cell_status(
    cell: &CellRuntime,
    identity: Option<&Arc<CellIdentity>>,
    before: CellReport,
    now_ms: u64,
) -> CellStatus {
    let state = |endpoint: &EndpointState| {
        if endpoint.health.is_unhealthy() {
            "unhealthy"
        } else if endpoint.health.is_ejected(now_ms) {
            "ejected"
        } else {
            "healthy"
        }
    };
    CellStatus {
        tls: identity.map(cell_tls_status),
        in_flight: cell.state.in_flight().saturating_add(before.in_flight),
        max_in_flight: cell.in_flight_max,
        tunnels: cell.state.tunnels().saturating_add(before.tunnels),
        tunnels_max: cell.tunnels_max,
        connections: cell.state.connections().saturating_add(before.connections),
        connections_max: cell.connections_max,
        healthy: cell.usable_endpoints(now_ms),
        endpoints: cell.endpoints.len(),
        endpoint_states: cell
            .endpoints
            .iter()
            .map(|endpoint| EndpointStatus {
                address: endpoint.state.address.to_string(),
                weight: endpoint.weight,
                in_flight: endpoint.state.in_flight(),
                state: state(&endpoint.state),
            })
            .collect(),
    }
}

fn host_refused(refusal: &HostRefusal) -> Response<Vec<u8>> {
    match refusal {
        HostRefusal::Several | HostRefusal::Malformed(_) => text(400, &format!("{refusal}\n")),
        HostRefusal::Unknown(_) => text(
            421,
            &format!(
                "{refusal}; use an IP address or localhost, or list the name in `admin.hosts` of proxy.yaml\n"
            ),
        ),
    }
}

fn text(status: u16, body: &str) -> Response<Vec<u8>> {
    answer(status, "text/plain; charset=utf-8", body.into())
}

fn json_answer(status: u16, body: &impl Serialize) -> Response<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(body).expect("plain data always serializes");
    body.push(b'\n');
    answer(status, "application/json", body)
}

fn answer(status: u16, content_type: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, body.len())
        .body(body)
        .expect("status and headers are constants of this file")
}
