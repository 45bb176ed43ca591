//! What the access log says of a request that had a head.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Version, header};
use pingora::proxy::Session;

use crate::{
    access_log::{Entry, HeadParts, Served},
    exchange::{Connection, Exchange},
};

/// The entry of a request that Pingora has carried. Of its body, `body_bytes` were read before.
pub(super) fn entry<'a>(
    session: &'a Session,
    (connection, exchange): (&'a Connection, &'a Exchange),
    body_bytes: u64,
    status: Option<u16>,
    took: Duration,
) -> Entry<'a> {
    let head = session.req_header();
    let downstream = session.as_downstream();
    let first = |name: HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
    let served = Served {
        head: HeadParts {
            method: head.method.as_str().as_bytes(),
            target: head.raw_path(),
            protocol: match head.version {
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            host: first(header::HOST),
            user_agent: first(header::USER_AGENT),
            referer: first(header::REFERER),
            traceparent: only(head.headers.get_all("traceparent").iter()),
        },
        status,
        took,
        request_body_bytes: body_bytes.max(downstream.body_bytes_read() as u64),
        response_body_bytes: downstream.body_bytes_sent() as u64,
    };
    Entry::served(served, connection, exchange)
}

/// The value of a field that came once.
fn only<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<&'a [u8]> {
    let value = values.next()?.as_bytes();
    values.next().is_none().then_some(value)
}
