//! What the access log says of a request that had a head.

use std::time::{Duration, SystemTime};

use http::header;
use pingora::proxy::Session;

use crate::{
    access_log::Entry,
    exchange::{Connection, Destination, Exchange},
};

pub(super) fn entry(
    session: &Session,
    connection: &Connection,
    exchange: &Exchange,
    status: Option<u16>,
    took: Duration,
) -> Entry {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = session.req_header();
    let destination = exchange.destination();
    Entry {
        time: SystemTime::now(),
        listener: connection.listener.to_string(),
        client: exchange.client(),
        method: Some(request.method.to_string()),
        host: request
            .headers
            .get(header::HOST)
            .map(|host| text(host.as_bytes())),
        target: Some(text(request.raw_path())),
        status: status.unwrap_or(0),
        reason: exchange.reason(),
        refusal: exchange.refusal(),
        answer_refusal: exchange.answer_refusal().map(|refusal| refusal.to_string()),
        took,
        request_body_bytes: session.as_downstream().body_bytes_read() as u64,
        response_body_bytes: session.as_downstream().body_bytes_sent() as u64,
        tenant: exchange.tenant().map(text),
        cell: destination.map(|to| to.cell().state.id.to_string()),
        endpoint: exchange
            .endpoint_address()
            .map(|address| address.to_string()),
        generation: destination.map(|to| to.generation().get()),
        tries: destination.map(Destination::attempts),
    }
}
