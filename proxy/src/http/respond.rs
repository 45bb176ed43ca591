//! Writing the proxy's own answers through Pingora's session.

use bytes::Bytes;
use http::StatusCode;
use pingora::{Result, http::ResponseHeader, proxy::Session};

use super::turn::Arrival;
use crate::{
    answer::{Extras, HSTS, problem_body},
    exchange::Refused,
    gate::BodyFraming,
    request_id::REQUEST_ID,
};

/// A body up to this size is read to its end, so that its connection can go on; after a larger one it is closed.
const DRAINED_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Answers a request that goes to no cell. The connection goes on if the rest of the request is cheap to read.
pub(super) async fn refuse(
    session: &mut Session,
    arrival: &Arrival,
    refused: &Refused,
    extras: Extras<'_>,
) -> Result<()> {
    let is_cheap = match arrival.body {
        BodyFraming::None => true,
        BodyFraming::Length(length) => length <= DRAINED_BODY_BYTES_MAX,
        BodyFraming::Chunked => false,
    };
    // A client that waits for a 100 may never send the body: where the next request begins is not known.
    let goes_on = is_cheap && !arrival.expects_continue && !arrival.asks_for_switch();
    if goes_on {
        // The body is read after the answer, see `DRAINED_BODY_BYTES_MAX`; Pingora would close instead.
        session
            .as_downstream_mut()
            .set_close_on_response_before_downstream_finish(false);
    } else {
        session.set_keepalive(None);
    }
    write(session, refused, extras).await
}

/// The status that the client was given, if any. An interim answer does not count.
pub(super) fn status(session: &Session) -> Option<u16> {
    let status = session.response_written()?.status;
    let is_final = !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS;
    is_final.then_some(status.as_u16())
}

/// Whether an answer is on its way to the client already.
pub(super) fn has_begun(session: &Session) -> bool {
    status(session).is_some()
}

async fn write(session: &mut Session, refused: &Refused, extras: Extras<'_>) -> Result<()> {
    let Refused { reason, detail } = refused;
    let body = Bytes::from(problem_body(*reason, detail.as_deref(), extras.request_id));
    let mut response = ResponseHeader::build(reason.status(), Some(7))?;
    response.insert_header(http::header::CONTENT_TYPE, "application/problem+json")?;
    response.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    response.insert_header("x-cellgate-reason", reason.code())?;
    if let Some(id) = extras.request_id {
        response.insert_header(REQUEST_ID, id.as_bytes())?;
    }
    if let Some(value) = extras.hsts {
        response.insert_header(HSTS, value)?;
    }
    if let Some(seconds) = reason.retry_after() {
        response.insert_header(http::header::RETRY_AFTER, seconds)?;
    }
    let is_head = session.req_header().method == http::Method::HEAD;
    session
        .write_response_header(Box::new(response), is_head)
        .await?;
    if is_head {
        Ok(())
    } else {
        session.write_response_body(Some(body), true).await
    }
}

/// Answers a failed request if its answer has not begun; the status, or 0 when nobody was answered.
pub(super) async fn fail(session: &mut Session, refused: &Refused, extras: Extras<'_>) -> u16 {
    // After this the connection closes: how much of the request was read is not known.
    session.set_keepalive(None);
    if has_begun(session) {
        // What there is goes out; by the missing rest the client sees that it is not all.
        session.as_downstream_mut().shutdown().await;
        return 0;
    }
    match write(session, refused, extras).await {
        Ok(()) => refused.reason.status(),
        Err(error) => {
            tracing::debug!(%error, "the client went away before it could be answered");
            0
        }
    }
}
