//! What Pingora is told of an endpoint.

use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;

use super::turn::Arrival;
use crate::{
    config::{Timeouts, Upstream},
    snapshot::EndpointRuntime,
};

/// How much sooner a client that stops in the middle of its body is given up than the cell that waits for the rest.
const CLIENT_FIRST: Duration = Duration::from_secs(1);

pub(super) fn peer(
    endpoint: &EndpointRuntime,
    timeouts: &Timeouts,
    upstream: &Upstream,
    arrival: &Arrival,
) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(endpoint.state.address, false, String::new());
    peer.group_key = endpoint.pool_key;
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.write_timeout = Some(timeouts.upstream_write);
    options.idle_timeout = Some(upstream.idle);
    options.read_timeout = Some(read_timeout(timeouts, arrival));
    Box::new(peer)
}

/// How long the cell may say nothing. Pingora begins this time anew with each piece of the request's body, so while a
/// client uploads it has to be longer than the client's own time: a slow client is not the cell's failure.
fn read_timeout(timeouts: &Timeouts, arrival: &Arrival) -> Duration {
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
