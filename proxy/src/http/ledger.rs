//! What the access log says of a request that went through Pingora.

use std::time::Duration;

use http::{HeaderValue, header};
use pingora::proxy::Session;

use crate::{
    access_log::{Entry, Served},
    exchange::{Connection, Exchange},
};

pub(super) fn entry<'a>(
    session: &'a Session,
    connection: &'a Connection,
    exchange: &'a Exchange,
    status: Option<u16>,
    took: Duration,
) -> Entry<'a> {
    let request = session.req_header();
    let downstream = session.as_downstream();
    let host = request.headers.get(header::HOST);
    let served = Served {
        method: request.method.as_str().as_bytes(),
        target: request.raw_path(),
        host: host.map(HeaderValue::as_bytes),
        status,
        took,
        request_body_bytes: downstream.body_bytes_read() as u64,
        response_body_bytes: downstream.body_bytes_sent() as u64,
    };
    Entry::served(served, connection, exchange)
}
