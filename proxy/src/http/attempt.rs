//! One attempt to get an answer from an endpoint: the peer that Pingora gets, and the terms of its stream.

use std::{sync::Arc, time::Duration};

use cellgate_table::Share;
use http::{Method, Version, header};
use pingora::{http::RequestHeader, upstreams::peer::HttpPeer};

use super::{services::Services, turn::Arrival};
use crate::{
    config::InterimAnswers,
    exchange::Exchange,
    upstream::{Connector, IdleCheck, Interim, Report, Return, Terms},
};

/// How much sooner a client that stops in the middle of its body is given up than the cell that waits for the rest.
const CLIENT_FIRST: Duration = Duration::from_secs(1);

impl Services {
    /// The peer for an exchange whose endpoint was chosen. `may_reuse`: a kept connection will do.
    pub(super) fn peer(
        &self,
        exchange: &Exchange,
        arrival: &Arrival,
        request: &RequestHeader,
        may_reuse: bool,
        report: &Arc<Report>,
    ) -> Option<Box<HttpPeer>> {
        let address = exchange.endpoint_address()?;
        let endpoint = exchange.destination()?.endpoint()?;
        let connector = Connector {
            address,
            tls: endpoint.tls.clone(),
            connect_timeout: self.timeouts.connect,
            may_reuse,
            check: IdleCheck::before(request.method.is_idempotent()),
            terms: Terms {
                is_head_request: request.method == Method::HEAD,
                request_body: arrival.body,
                coalesce: arrival.is_body_in_hand,
                offers: offers(arrival, request),
                interim: self.interim(arrival, request),
                stall_limit: self.timeouts.upstream_write,
                back: self.way_back(exchange, arrival),
                report: Arc::clone(report),
            },
        };
        let mut peer = HttpPeer::new(address, false, String::new());
        let options = &mut peer.options;
        options.custom_l4 = Some(Arc::new(connector));
        options.write_timeout = Some(self.timeouts.upstream_write);
        options.read_timeout = Some(self.read_timeout(arrival));
        Some(Box::new(peer))
    }

    /// How long the cell may say nothing. Pingora begins this time anew with each piece of the request's body, so while a
    /// client uploads it has to be longer than the client's own time: a slow client is not the cell's failure.
    fn read_timeout(&self, arrival: &Arrival) -> Duration {
        let timeouts = &self.timeouts;
        if arrival.body.has_body() && !arrival.is_body_in_hand {
            timeouts
                .upstream_read
                .max(timeouts.client_idle + CLIENT_FIRST)
        } else {
            timeouts.upstream_read
        }
    }

    fn interim(&self, arrival: &Arrival, request: &RequestHeader) -> Interim {
        if request.version == Version::HTTP_10 {
            return Interim::DropAll;
        }
        match self.upstream.interim_answers {
            InterimAnswers::Guarded if !arrival.expects_continue => Interim::DropUnaskedContinue,
            InterimAnswers::Guarded | InterimAnswers::Forwarded => Interim::Forward,
        }
    }

    /// Where the connection goes afterwards, if anything may follow on it.
    fn way_back(&self, exchange: &Exchange, arrival: &Arrival) -> Option<Return> {
        if arrival.spoils_upstream {
            return None;
        }
        let destination = exchange.destination()?;
        Some(Return {
            pool: Arc::clone(&self.pool),
            transport: Arc::clone(&destination.endpoint()?.transport),
            tenant: self.only_of(exchange).map(Into::into),
        })
    }

    /// The tenant whose requests alone may follow on the exchange's connection, where a cell keeps them apart.
    pub(super) fn only_of<'e>(&self, exchange: &'e Exchange) -> Option<&'e [u8]> {
        let cell = exchange.destination()?.cell();
        match cell.share.unwrap_or(self.upstream.share) {
            Share::Cell => None,
            Share::Tenant => exchange.tenant(),
        }
    }
}

/// The protocols that the cell may change to.
fn offers(arrival: &Arrival, request: &RequestHeader) -> Option<Box<[u8]>> {
    if !arrival.asks_for_switch() {
        return None;
    }
    let lines = request.headers.get_all(header::UPGRADE).iter();
    let lines: Vec<&[u8]> = lines.map(http::HeaderValue::as_bytes).collect();
    Some(lines.join(&b", "[..]).into())
}
