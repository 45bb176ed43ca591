//! Pingora's hooks: each asks [`exchange`](crate::exchange) and passes on what it says.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};
use tracing::debug;

use super::{
    direct::{HandedOver, PlanRules},
    failures::{connect_failure_of, failure_of, is_answer_over},
    headers, ledger, respond,
    services::Services,
    tunnel::Ticket,
    turn::Arrived,
    upgrade,
};
use crate::{
    answer::{Extras, Reason},
    cell::OpenTunnel,
    clock,
    exchange::{Exchange, Failure, Refused, Verdict},
    field_lines::FieldLines,
    gate::Protocol,
    lifecycle::Phase,
    tenant_key::RequestKey,
    upstream::Report,
};

/// What the hooks need of the process.
#[derive(Debug)]
pub struct Gateway {
    pub services: Arc<Services>,
    pub rules: Arc<PlanRules>,
    /// The protocols that a client may ask for with Upgrade.
    pub upgrades: Arc<[Protocol]>,
}

/// One request, as Pingora carries it from hook to hook.
#[derive(Debug)]
pub struct Flow {
    pub(super) arrived: Arrived,
    pub(super) exchange: Exchange,
    /// The request went the direct way as far as that goes, and this is to be its answer.
    refused: Option<Refused>,
    /// Of the body, what the direct way has read.
    body_bytes: u64,
    /// What the last failure means.
    verdict: Option<Verdict>,
    /// How the current attempt goes.
    report: Option<Arc<Report>>,
    /// A kept connection turned out to be closed: the next attempt makes a new one.
    met_stale: bool,
    /// The cell agreed to another protocol.
    tunnel: Option<OpenTunnel>,
}

impl Gateway {
    /// An answer during the drain makes its client come back on another connection, to another process.
    fn close_when_draining(&self, session: &mut Session) {
        if self.services.lifecycle.has_reached(Phase::Draining) {
            session.set_keepalive(None);
        }
    }

    fn begin_tunnel(flow: &mut Flow) -> Result<()> {
        match flow.exchange.open_tunnel() {
            Ok(tunnel) => {
                flow.tunnel = Some(tunnel);
                Ok(())
            }
            Err(refused) => Err(flow.answer(refused)),
        }
    }

    /// Finds the request's cell.
    fn admit(&self, session: &Session, flow: &mut Flow) -> Result<(), Refused> {
        let Services {
            current, policy, ..
        } = &*self.services;
        let request = session.req_header();
        let lines = headers::field_lines(&request.headers);
        let lines = FieldLines(&lines);
        let connection = &flow.arrived.connection;
        let client = connection.client(&self.rules.trust, lines);
        let view = headers::view(request, lines, client, connection);
        let asked = (
            request.method.as_str().as_bytes(),
            flow.arrived.arrival.body.has_body(),
        );
        let mut key = Box::<RequestKey>::default();
        let key_rules = &connection.listener.key_rules;
        let key = self
            .rules
            .read_key(key_rules, &view, asked, &mut key)
            .map(|()| key);
        let snapshot = current.peek();
        flow.exchange
            .admit(policy, client, key, snapshot.as_deref())
    }

    /// Answers a request that goes to no cell.
    async fn refuse(&self, session: &mut Session, flow: &Flow, refused: &Refused) -> Result<()> {
        self.close_when_draining(session);
        respond::refuse(session, &flow.arrived.arrival, refused, flow.extras())
            .await
            .map_err(Error::into_down)
    }

    /// Asks what a failure means; true when the request is to be tried again.
    fn judge(&self, flow: &mut Flow, failure: Failure, is_repeatable: bool) -> bool {
        let now = clock::now_ms();
        let verdict = self
            .services
            .judge(&mut flow.exchange, failure, is_repeatable, now);
        let again = verdict == Verdict::Retry;
        flow.verdict = Some(verdict);
        again
    }
}

impl Flow {
    /// What each answer says besides.
    fn extras(&self) -> Extras<'_> {
        Extras {
            request_id: self.exchange.request_id(),
            hsts: self.arrived.hsts(),
        }
    }

    /// Ends the attempt with an answer of the proxy's own.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "Pingora's hooks return boxed errors"
    )]
    fn answer(&mut self, refused: Refused) -> Box<Error> {
        let status = refused.reason.status();
        self.verdict = Some(Verdict::Answer(refused));
        Error::new(ErrorType::HTTPStatus(status))
    }

    fn is_switched(&self) -> bool {
        self.tunnel.is_some()
    }
}

/// Whether a request may be sent a second time after this failure: its body is still at hand, nothing of an answer has gone
/// out, and, if the cell may have read it, it changes nothing more by being repeated (RFC 9110, section 9.2.2).
fn is_repeatable(session: &Session, failure: Failure) -> bool {
    (failure == Failure::Unreachable || session.req_header().method.is_idempotent())
        && !session.as_downstream().retry_buffer_truncated()
        && !respond::has_begun(session)
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Flow;

    fn new_ctx(&self) -> Flow {
        let mut arrived = Arrived::take();
        let (exchange, refused, body_bytes) = match arrived.handed_over.take() {
            Some(handed_over) => {
                let HandedOver {
                    exchange,
                    refused,
                    body_bytes,
                } = *handed_over;
                (exchange, Some(refused), body_bytes)
            }
            None => {
                let peer = arrived.connection.peer;
                let exchange = Exchange::new(arrived.arrival.at, peer);
                (exchange.called(arrived.request_id.take()), None, 0)
            }
        };
        Flow {
            exchange,
            refused,
            body_bytes,
            arrived,
            verdict: None,
            report: None,
            met_stale: false,
            tunnel: None,
        }
    }

    /// No modules: the default one would sit in every request's way without doing anything.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, flow: &mut Flow) -> Result<bool> {
        let upgrade = flow.arrived.arrival.upgrade;
        upgrade::limit(session.req_header_mut(), upgrade, &self.upgrades);
        if session.req_header().version == Version::HTTP_10 {
            // Interim answers came with HTTP/1.1.
            session.as_downstream_mut().set_ignore_info_resp(true);
        }
        if let Some(refused) = flow.refused.take() {
            if flow.exchange.destination().is_some() {
                respond::fail(session, &refused, flow.extras()).await;
            } else {
                self.refuse(session, flow, &refused).await?;
            }
            return Ok(true);
        }
        let Err(refused) = self.admit(session, flow) else {
            return Ok(false);
        };
        self.refuse(session, flow, &refused).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, flow: &mut Flow) -> Result<Box<HttpPeer>> {
        let random = [fastrand::u32(..), fastrand::u32(..)];
        flow.exchange.next_endpoint(clock::now_ms(), random);
        let report = Arc::new(self.services.report());
        let peer = self.services.peer(
            &flow.exchange,
            &flow.arrived.arrival,
            session.req_header(),
            !flow.met_stale,
            &report,
        );
        flow.report = Some(report);
        match peer {
            Some(peer) => Ok(peer),
            None => Err(flow.answer(Reason::NoHealthyEndpoint.into())),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        flow: &mut Flow,
    ) -> Result<()> {
        let Some(destination) = flow.exchange.destination() else {
            return Error::e_explain(ErrorType::InternalError, "no destination for the request");
        };
        headers::to_origin_form(upstream_request)?;
        if session.req_header().version == Version::HTTP_10 {
            // It would not understand the 100 that the cell may send.
            upstream_request.remove_header(&header::EXPECT);
        }
        let host = session.req_header().headers.get(header::HOST);
        let host = host.map(HeaderValue::as_bytes);
        let request_id = flow.exchange.request_id();
        let hop = flow.arrived.connection.hop(host, request_id);
        headers::clean(upstream_request, &self.rules.trust, &hop)?;
        if flow.arrived.arrival.extra_codings {
            headers::restore_codings(upstream_request, session.req_header())?;
        }
        if flow.arrived.arrival.asks_for_switch() {
            upgrade::pass_on(upstream_request, session.req_header())?;
        }
        if flow.arrived.arrival.spoils_upstream {
            // The cell closes, and so nothing can follow on this connection.
            upstream_request.insert_header(header::CONNECTION, "close")?;
        }
        let tenant = flow.exchange.tenant().unwrap_or_default();
        headers::identify(upstream_request, tenant, destination)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        flow: &mut Flow,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let failure = connect_failure_of(&error);
        error.set_retry(self.judge(flow, failure, true));
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        flow: &mut Flow,
        _: bool,
    ) -> Box<Error> {
        let again = if is_answer_over(&error) || flow.is_switched() {
            flow.verdict = Some(Verdict::LetGo);
            false
        } else if matches!(error.etype(), ErrorType::HTTPStatus(_)) {
            // A hook has given its verdict already.
            false
        } else {
            let failure = failure_of(&error, flow.report.as_deref());
            flow.met_stale |= failure == Failure::StaleConnection;
            self.judge(flow, failure, is_repeatable(session, failure))
        };
        error.set_retry(again);
        error
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        flow: &mut Flow,
    ) -> Result<()> {
        headers::clean_response(response, flow.extras())?;
        self.close_when_draining(session);
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Self::begin_tunnel(flow);
        }
        // Only a final answer before the request's end costs the client its connection. For Pingora an interim one would
        // do, but the body of a client that waits for a 100 cannot come before it.
        session
            .as_downstream_mut()
            .set_close_on_response_before_downstream_finish(!response.status.is_informational());
        if session.req_header().version == Version::HTTP_10
            && flow
                .report
                .as_ref()
                .is_some_and(|report| report.has_extra_codings())
        {
            // It would get the body as it is, and take it for the decoded one (RFC 9112, section 6.1).
            let refused = flow.exchange.refuse_answer();
            return Err(flow.answer(refused));
        }
        if !response.status.is_informational() {
            flow.exchange.answered();
            if headers::has_no_body(response, session.req_header()) {
                flow.arrived.turn.note_answer_over();
            }
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        flow: &mut Flow,
    ) -> Result<()> {
        if !response.status.is_informational() {
            let dates = response.headers.get_all(header::DATE);
            flow.arrived
                .turn
                .keep_dates(dates.iter().cloned().collect());
        }
        if session.req_header().version == Version::HTTP_10 {
            // It does not know chunks (RFC 9112, section 6.1): the end of the connection is the end of the answer.
            if response.remove_header(&header::TRANSFER_ENCODING).is_some() {
                session.set_keepalive(None);
            }
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        is_end: bool,
        flow: &mut Flow,
    ) -> Result<Option<std::time::Duration>> {
        if is_end {
            flow.arrived.turn.note_answer_over();
        }
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        flow: &mut Flow,
    ) -> FailToProxy {
        // If an answer goes out now, it is not the cell's.
        flow.arrived.turn.take_dates();
        if respond::has_begun(session) && !flow.arrived.turn.answer_is_over() {
            flow.arrived.turn.note_answer_cut();
        }
        if flow.verdict.is_none() {
            // It failed outside of an attempt.
            self.judge(flow, failure_of(error, None), false);
        }
        let error_code = match flow.verdict.take() {
            Some(Verdict::Answer(refused)) => respond::fail(session, &refused, flow.extras()).await,
            Some(Verdict::LetGo | Verdict::Retry) | None => 0,
        };
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, flow: &mut Flow) {
        let status = respond::status(session);
        let report = flow.report.as_ref();
        if let Some(at) = report.and_then(|report| report.answer_begun_at()) {
            flow.exchange.answer_began(at);
        }
        let took = flow.exchange.finish(status, Instant::now());
        let entry = || {
            ledger::entry(
                session,
                (&flow.arrived.connection, &flow.exchange),
                flow.body_bytes,
                status,
                took,
            )
        };
        match (flow.tunnel.take(), flow.report.take()) {
            (Some(open), Some(report)) => {
                let entry = Box::new(entry().into_owned());
                let ticket = Ticket { entry, open };
                flow.arrived.turn.begin_tunnel(ticket, report);
            }
            _ => self.services.access_log.write(entry),
        }
    }

    /// Pingora would log each failed request at `error`; metrics and the access log count them, by reason and cell.
    fn suppress_error_log(&self, session: &Session, flow: &Flow, error: &Error) -> bool {
        debug!(
            request = self.request_summary(session, flow), %error, "request failed"
        );
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Flow,
        error: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        debug!(%error, "trying again");
        true
    }
}
