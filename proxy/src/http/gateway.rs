//! Pingora's hooks, answered out of the snapshot.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use http::Version;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};
use tracing::warn;

use super::{
    exchange::{Arrival, Destination, Exchange},
    headers::{self, Forwarded},
    respond, upgrade,
};
use crate::{
    access_log::{AccessLog, Entry},
    answer::Reason,
    cell::{Change, EndpointUse},
    clock,
    config::{Timeouts, Upstream},
    gate::Protocol,
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    net::Networks,
    snapshot::{CellRuntime, Current},
    tenant_key::{KeyRules, RequestView, UnknownTenants},
};

/// How much sooner a client that stops in the middle of its body is given up than the cell that waits for the rest.
const CLIENT_FIRST: Duration = Duration::from_secs(1);

/// What the hooks need of the process.
#[derive(Debug)]
pub struct Gateway {
    pub current: Arc<Current>,
    pub key_rules: KeyRules,
    pub unknown_tenants: UnknownTenants,
    pub trusted_proxies: Networks,
    pub upgrades: Arc<[Protocol]>,
    pub timeouts: Timeouts,
    pub upstream: Upstream,
    pub lifecycle: Arc<Lifecycle>,
    pub metrics: Arc<Metrics>,
    pub access_log: AccessLog,
}

/// A request that the proxy answers by itself.
struct Refused {
    reason: Reason,
    detail: Option<String>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
        }
    }
}

impl Gateway {
    /// From request to cell: key, alias, override or slot, admission.
    fn admit(
        &self,
        request: &RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<Destination, Refused> {
        let arrival = exchange.arrival.ok_or(Reason::InternalError)?;
        let snapshot = self.current.load().ok_or(Reason::NoTable)?;
        let client = headers::client_behind(request, arrival.client, &self.trusted_proxies);
        exchange.client = Some(client);
        let key = self
            .key_rules
            .key_of(&view(request, client))
            .map_err(|error| match error {
                crate::tenant_key::KeyError::Missing => Reason::NoTenantKey.into(),
                error => Refused {
                    reason: Reason::BadTenantKey,
                    detail: Some(error.to_string()),
                },
            })?;
        exchange.key = Some(key);
        let route = snapshot.routes.route(key.as_bytes());
        let cell = snapshot.cell(route.cell);
        if route.is_rejected {
            cell.state.metrics.rejected(Reason::Rejected);
            return Err(Reason::Rejected.into());
        }
        if self.unknown_tenants == UnknownTenants::Refuse && !route.is_known() {
            return Err(Reason::UnknownTenant.into());
        }
        let Some(in_flight) = cell.admit() else {
            cell.state.metrics.rejected(Reason::CellOverloaded);
            return Err(Reason::CellOverloaded.into());
        };
        cell.state.metrics.requests.inc();
        let alias_target = route.is_alias.then(|| route.tenant.into());
        let cell = route.cell;
        Ok(Destination::new(
            Arc::clone(&snapshot),
            cell,
            alias_target,
            in_flight,
        ))
    }

    fn peer(&self, destination: &Destination, arrival: &Arrival) -> Option<Box<HttpPeer>> {
        let endpoint = destination.endpoint.as_ref()?.endpoint();
        let mut peer = HttpPeer::new(endpoint.address, false, String::new());
        peer.group_key = endpoint.pool_key;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.write_timeout = Some(self.timeouts.upstream_write);
        options.idle_timeout = Some(self.upstream.idle);
        options.read_timeout = Some(self.read_timeout(arrival));
        Some(Box::new(peer))
    }

    /// An answer during the drain tells its client to come back on another connection, to another process.
    fn close_when_draining(&self, session: &mut Session) {
        if self.lifecycle.has_reached(Phase::Draining) {
            session.set_keepalive(None);
        }
    }

    /// How long the cell may say nothing. Pingora begins this time anew with each piece of the request's body, so while a
    /// client uploads it has to be longer than the client's own time: a slow client is not the cell's failure.
    fn read_timeout(&self, arrival: &Arrival) -> Duration {
        let timeouts = &self.timeouts;
        if arrival.asks_for_switch() {
            timeouts.upgrade_idle
        } else if arrival.body.has_body() {
            timeouts
                .upstream_read
                .max(timeouts.client_idle + CLIENT_FIRST)
        } else {
            timeouts.upstream_read
        }
    }

    /// Takes in that a try failed; the endpoint may be left out for a while because of it.
    fn count_failure(&self, destination: &Destination, reason: Reason) {
        let cell = destination.cell();
        cell.state.metrics.upstream_error(reason);
        let Some(endpoint) = destination.endpoint.as_ref().map(EndpointUse::endpoint) else {
            return;
        };
        let change = cell.endpoint_failed(endpoint, clock::now_ms(), &self.upstream.ejection);
        report_ejection(cell, endpoint.address, change);
    }
}

fn report_ejection(cell: &CellRuntime, endpoint: std::net::SocketAddr, change: Option<Change>) {
    let cell_id = cell.state.id.as_str();
    match change {
        Some(Change::Ejected { for_ms }) => {
            cell.state.metrics.ejections.inc();
            warn!(cell = cell_id, %endpoint, for_ms, "endpoint ejected: requests keep failing on it");
        }
        Some(Change::EjectionHeldBack) => warn!(
            cell = cell_id, %endpoint,
            "requests keep failing on an endpoint, but too few others of its cell are left to do without it"
        ),
        Some(Change::Healthy | Change::Unhealthy) | None => {}
    }
}

/// The parts of a parsed request that can name a tenant.
fn view(request: &RequestHeader, client: IpAddr) -> RequestView<'_> {
    let target = headers::origin_form(request.raw_path());
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    RequestView {
        headers: &request.headers,
        path: parts.next().unwrap_or_default(),
        query: parts.next(),
        host: headers::host_name(request),
        client,
    }
}

fn log_entry(session: &Session, exchange: &Exchange, status: Option<u16>, took: Duration) -> Entry {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = session.req_header();
    let to = exchange.destination.as_ref();
    let used = to.and_then(|to| to.endpoint.as_ref());
    let peer = exchange
        .arrival
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |arrival| arrival.client);
    Entry {
        time: SystemTime::now(),
        client: exchange.client.unwrap_or(peer),
        method: Some(request.method.to_string()),
        host: request
            .headers
            .get(http::header::HOST)
            .map(|host| text(host.as_bytes())),
        target: Some(text(request.raw_path())),
        status: status.unwrap_or(0),
        reason: exchange.reason,
        refusal: exchange.refusal,
        took,
        request_body_bytes: session.as_downstream().body_bytes_read() as u64,
        response_body_bytes: session.as_downstream().body_bytes_sent() as u64,
        tenant: exchange.tenant().map(text),
        cell: to.map(|to| to.cell().state.id.to_string()),
        endpoint: used.map(|used| used.endpoint().address.to_string()),
        generation: to.map(|to| to.snapshot.generation.get()),
        tries: to.map(|to| to.tried.len()),
    }
}

/// Whether a request may be sent a second time after the first one may have reached a cell: it changes nothing more by
/// being repeated (RFC 9110, section 9.2.2), its body is still at hand, and nothing of an answer has gone out.
fn is_repeatable(session: &Session) -> bool {
    session.req_header().method.is_idempotent()
        && !session.as_downstream().retry_buffer_truncated()
        && !respond::has_begun(session)
}

/// What a failure on the way to or from a cell is called.
fn reason_for(error: &Error) -> Reason {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::BindError
        | ErrorType::SocketError
        | ErrorType::ConnectProxyFailure => Reason::ConnectFailed,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Reason::UpstreamTimeout,
        _ => Reason::UpstreamError,
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::default()
    }

    /// No modules: the default one would sit in every request's way without doing anything.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        handed_on: Box<dyn std::any::Any + Send + Sync>,
    ) {
        exchange.arrival = handed_on.downcast::<Arrival>().ok().map(|arrival| *arrival);
        if let Some(arrival) = &exchange.arrival {
            upgrade::limit(session.req_header_mut(), arrival.upgrade, &self.upgrades);
        }
        if session.req_header().version == Version::HTTP_10 {
            // Interim answers came with HTTP/1.1.
            session.as_downstream_mut().set_ignore_info_resp(true);
        }
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        match self.admit(session.req_header(), exchange) {
            Ok(destination) => {
                exchange.destination = Some(destination);
                Ok(false)
            }
            Err(Refused { reason, detail }) => {
                if !matches!(reason, Reason::Rejected | Reason::CellOverloaded) {
                    self.metrics.rejected_without_cell(reason);
                }
                exchange.reason = Some(reason);
                self.close_when_draining(session);
                let arrival = exchange.arrival.as_ref();
                respond::refuse(session, arrival, reason, detail.as_deref())
                    .await
                    .map_err(Error::into_down)?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let (Some(destination), Some(arrival)) = (&mut exchange.destination, &exchange.arrival)
        else {
            return Error::e_explain(ErrorType::InternalError, "no destination for the request");
        };
        if !destination.tried.is_empty() {
            destination.cell().state.metrics.retries.inc();
        }
        if !destination.draw_endpoint() {
            exchange.reason = Some(Reason::NoHealthyEndpoint);
            return Error::e_explain(ErrorType::HTTPStatus(503), "no healthy endpoint");
        }
        self.peer(destination, arrival)
            .ok_or_else(|| Error::new(ErrorType::InternalError))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let (Some(destination), Some(arrival)) = (&exchange.destination, &exchange.arrival) else {
            return Ok(());
        };
        headers::to_origin_form(upstream_request)?;
        if session.req_header().version == Version::HTTP_10 {
            // It would not understand the 100 that the cell may send.
            upstream_request.remove_header(&http::header::EXPECT);
        }
        let forwarded = Forwarded {
            peer: arrival.client,
            peer_is_trusted: self.trusted_proxies.contain(arrival.client),
            host: session.req_header().headers.get(http::header::HOST),
        };
        headers::clean(upstream_request, &forwarded)?;
        if arrival.extra_codings {
            headers::restore_codings(upstream_request, session.req_header())?;
        }
        if arrival.asks_for_switch() {
            upgrade::pass_on(upstream_request, session.req_header())?;
        }
        if arrival.spoils_upstream {
            // The cell closes, and so nothing can follow on this connection.
            upstream_request.insert_header(http::header::CONNECTION, "close")?;
        }
        let tenant = exchange.tenant().unwrap_or_default();
        headers::identify(upstream_request, tenant, destination)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(destination) = &exchange.destination {
            self.count_failure(destination, Reason::ConnectFailed);
            // Nothing was sent, so trying again is safe whatever the method.
            error.set_retry(destination.tried.len() <= self.upstream.retries);
        }
        exchange.reason = Some(Reason::ConnectFailed);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        client_reused: bool,
    ) -> Box<Error> {
        let by_upstream = *error.esource() == ErrorSource::Upstream;
        if is_repeatable(session) {
            let was_stale = client_reused && *error.etype() == ErrorType::WriteError;
            if by_upstream && was_stale {
                // Nobody read from this connection any more. Pingora itself tries again only where the read tells.
                error.set_retry(true);
            }
            // Decides to try again only where a kept connection turned out to be closed.
            error.retry.decide_reuse(client_reused);
        } else {
            error.set_retry(false);
        }
        if let Some(destination) = &exchange.destination
            && by_upstream
        {
            // A kept connection that the cell closed meanwhile says nothing about its health.
            if !error.retry() {
                self.count_failure(destination, reason_for(&error));
            }
            // One more for the stale connection itself, which is no try that failed.
            if destination.tried.len() > self.upstream.retries + 1 {
                error.set_retry(false);
            }
        }
        error
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let asked_for_switch = exchange
            .arrival
            .is_some_and(|arrival| arrival.asks_for_switch());
        if let Some(objection) = headers::objection_to(response, asked_for_switch) {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, objection).into_up());
        }
        headers::clean_response(response);
        self.close_when_draining(session);
        if let Some(destination) = &exchange.destination
            && let Some(used) = &destination.endpoint
            && !response.status.is_informational()
        {
            used.endpoint().health.succeeded();
        }
        // A failed try before this one is history.
        exchange.reason = None;
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Exchange,
    ) -> Result<()> {
        if session.req_header().version == Version::HTTP_10 {
            // It does not know chunks (RFC 9112, section 6.1): the end of the connection is the end of the answer.
            response.remove_header(&http::header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let failure = respond::Failure::of(error, exchange.reason, reason_for);
        exchange.reason = failure.reason();
        exchange.refusal = failure.refusal();
        if let Some(refusal) = exchange.refusal {
            self.metrics.gate_refused(refusal);
        }
        let status = respond::fail(session, &failure).await;
        if failure.is_client_gone() {
            self.metrics.client_aborts.inc();
        }
        if let (Some(Reason::NoHealthyEndpoint), Some(to)) =
            (exchange.reason, &exchange.destination)
        {
            to.cell().state.metrics.rejected(Reason::NoHealthyEndpoint);
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, exchange: &mut Exchange) {
        let took = exchange.arrived_at().elapsed();
        let status = respond::status(session);
        if let Some(destination) = &exchange.destination {
            let metrics = &destination.cell().state.metrics;
            metrics.duration.observe(took.as_secs_f64());
            if let Some(status) = status {
                metrics.response(status);
            }
        }
        self.access_log
            .write(|| log_entry(session, exchange, status, took));
    }

    /// Pingora would log each failed request at `error`; metrics and the access log tell them, by reason and cell.
    fn suppress_error_log(&self, session: &Session, exchange: &Exchange, error: &Error) -> bool {
        tracing::debug!(
            request = self.request_summary(session, exchange), %error, "request failed"
        );
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        error: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        tracing::debug!(%error, "trying again");
        true
    }
}
