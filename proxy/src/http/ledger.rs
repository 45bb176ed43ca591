//! What the access log says of a request that had a head.

use std::time::Duration;

use http::{HeaderValue, header};
use pingora::proxy::Session;

use crate::{
    access_log::{Entry, Served},
    exchange::{Connection, Exchange},
};

/// The parts of a request that the log tells.
pub(super) struct RequestParts<'r> {
    pub(super) method: &'r [u8],
    pub(super) target: &'r [u8],
    pub(super) host: Option<&'r [u8]>,
    pub(super) body_bytes: u64,
}

impl<'r> RequestParts<'r> {
    /// The parts of a head that the gate let through.
    pub(super) fn of_head(head: &'r [u8], body_bytes: u64) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut request_line = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let host = lines.find_map(|line| {
            let (name, value) = line.split_first_chunk::<5>()?;
            name.eq_ignore_ascii_case(b"host:")
                .then(|| value.trim_ascii())
        });
        Self {
            method: request_line.next().unwrap_or_default(),
            target: request_line.next().unwrap_or_default(),
            host,
            body_bytes,
        }
    }
}

/// What the client was given.
pub(super) struct AnswerParts {
    pub(super) status: Option<u16>,
    pub(super) body_bytes: u64,
    pub(super) took: Duration,
}

pub(super) fn entry_of<'a>(
    connection: &'a Connection,
    exchange: &'a Exchange,
    request: &RequestParts<'a>,
    answer: &AnswerParts,
) -> Entry<'a> {
    let served = Served {
        method: request.method,
        target: request.target,
        host: request.host,
        status: answer.status,
        took: answer.took,
        request_body_bytes: request.body_bytes,
        response_body_bytes: answer.body_bytes,
    };
    Entry::served(served, connection, exchange)
}

pub(super) fn entry<'a>(
    session: &'a Session,
    connection: &'a Connection,
    exchange: &'a Exchange,
    status: Option<u16>,
    took: Duration,
) -> Entry<'a> {
    let head = session.req_header();
    let request = RequestParts {
        method: head.method.as_str().as_bytes(),
        target: head.raw_path(),
        host: head.headers.get(header::HOST).map(HeaderValue::as_bytes),
        body_bytes: session.as_downstream().body_bytes_read() as u64,
    };
    let answer = AnswerParts {
        status,
        body_bytes: session.as_downstream().body_bytes_sent() as u64,
        took,
    };
    entry_of(connection, exchange, &request, &answer)
}
