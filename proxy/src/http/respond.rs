//! Writing the proxy's own answers through Pingora's session.

use bytes::Bytes;
use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType, Result, http::ResponseHeader, proxy::Session};

use super::exchange::Arrival;
use crate::{
    answer::{Reason, problem_body},
    gate::{BodyFraming, Refusal},
};

/// A body up to this size is read to its end, so that its connection can go on; after a larger one it is closed.
const DRAINED_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Answers a request that goes to no cell. The connection goes on if the rest of the request is cheap to read.
pub(super) async fn refuse(
    session: &mut Session,
    arrival: Option<&Arrival>,
    reason: Reason,
    detail: Option<&str>,
) -> Result<()> {
    let goes_on = arrival.is_some_and(|arrival| {
        let cheap = match arrival.body {
            BodyFraming::None => true,
            BodyFraming::Length(length) => length <= DRAINED_BODY_BYTES_MAX,
            BodyFraming::Chunked => false,
        };
        // Who waits for a 100 may send the body or not: where the next request begins is not known.
        cheap && !arrival.expects_continue && !arrival.asks_for_switch()
    });
    if goes_on {
        // The body is read after the answer, see `DRAINED_BODY_BYTES_MAX`; Pingora would close instead.
        session
            .as_downstream_mut()
            .set_close_on_response_before_downstream_finish(false);
    } else {
        session.set_keepalive(None);
    }
    write(session, reason, detail).await
}

/// The status that the client was given, if any. An interim one is none.
pub(super) fn status(session: &Session) -> Option<u16> {
    let status = session.response_written()?.status;
    let is_final = !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS;
    is_final.then_some(status.as_u16())
}

/// Whether an answer is on its way to the client already.
pub(super) fn has_begun(session: &Session) -> bool {
    status(session).is_some()
}

async fn write(session: &mut Session, reason: Reason, detail: Option<&str>) -> Result<()> {
    let body = Bytes::from(problem_body(reason, detail));
    let mut response = ResponseHeader::build(reason.status(), Some(6))?;
    response.insert_header(http::header::CONTENT_TYPE, "application/problem+json")?;
    response.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    response.insert_header("x-cellgate-reason", reason.code())?;
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

/// How a request ended that could not be proxied.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody is there to be answered.
    ClientGone,
    Answer {
        reason: Reason,
        /// What the gate said, if it was the one.
        refusal: Option<Refusal>,
    },
}

impl Failure {
    /// `known` is the reason that a hook has given already.
    pub(super) fn of(
        error: &Error,
        known: Option<Reason>,
        upstream_reason: impl FnOnce(&Error) -> Reason,
    ) -> Self {
        let answer = |reason| Self::Answer {
            reason,
            refusal: None,
        };
        if let (Some(reason), ErrorType::HTTPStatus(_)) = (known, error.etype()) {
            return answer(reason);
        }
        match error.esource() {
            ErrorSource::Upstream => answer(upstream_reason(error)),
            ErrorSource::Downstream => Self::by_client(error),
            ErrorSource::Internal | ErrorSource::Unset => answer(Reason::InternalError),
        }
    }

    fn by_client(error: &Error) -> Self {
        if let Some(refusal) = gate_refusal(error) {
            return Self::Answer {
                reason: refusal.into(),
                refusal: Some(refusal),
            };
        }
        match error.etype() {
            ErrorType::ReadTimedout => Self::Answer {
                reason: Reason::RequestTimeout,
                refusal: None,
            },
            ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ReadError
            | ErrorType::ConnectionClosed => Self::ClientGone,
            _ => Self::Answer {
                reason: Reason::BadRequest,
                refusal: None,
            },
        }
    }

    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::ClientGone => None,
            Self::Answer { reason, .. } => Some(*reason),
        }
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::ClientGone => None,
            Self::Answer { refusal, .. } => *refusal,
        }
    }

    pub(super) fn is_client_gone(&self) -> bool {
        matches!(self, Self::ClientGone)
    }
}

/// What the gate said of a body byte, if that is what ended the request.
fn gate_refusal(error: &Error) -> Option<Refusal> {
    let io = error.root_cause().downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref::<Refusal>().copied()
}

/// Answers a failed request if its answer has not begun; the status, or 0 when nobody was answered.
pub(super) async fn fail(session: &mut Session, failure: &Failure) -> u16 {
    let Failure::Answer { reason, refusal } = failure else {
        return 0;
    };
    // After this the connection closes: how much of the request was read is not known.
    session.set_keepalive(None);
    if has_begun(session) {
        // What there is goes out; the missing rest tells the client that it is not all.
        session.as_downstream_mut().shutdown().await;
        return 0;
    }
    let detail = refusal.map(|refusal| refusal.to_string());
    match write(session, *reason, detail.as_deref()).await {
        Ok(()) => reason.status(),
        Err(error) => {
            tracing::debug!(%error, "the client went away before it could be answered");
            0
        }
    }
}
