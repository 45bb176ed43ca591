//! What Pingora's errors mean: from its vocabulary to the policy's.

use cellgate_process::descriptors::is_caused_by_exhaustion;
use pingora::{Error, ErrorSource, ErrorType};

use super::lent::{AnswerOver, TooSlow};
use crate::{
    exchange::{ClientFault, Failure, UpstreamFault},
    gate::Refusal,
    upstream::{AnswerRefusal, Report},
};

/// What an error of a request means. `report` is that of the attempt during which it came.
pub(super) fn failure_of(error: &Error, report: Option<&Report>) -> Failure {
    match error.esource() {
        // Before all else: it says nothing about the cell's end of the connection.
        ErrorSource::Upstream if is_caused_by_exhaustion(error.root_cause()) => {
            Failure::OutOfResources
        }
        ErrorSource::Upstream if report.is_some_and(Report::is_unmet) => Failure::Unreachable,
        ErrorSource::Upstream if report.is_some_and(may_be_stale) && tells_of_an_end(error) => {
            Failure::StaleConnection
        }
        ErrorSource::Upstream => upstream_failure(error),
        ErrorSource::Downstream => Failure::Client(client_fault(error)),
        ErrorSource::Internal | ErrorSource::Unset => Failure::Internal,
    }
}

/// True for an error that only says that the answer was complete before the request.
pub(super) fn is_answer_over(error: &Error) -> bool {
    io_cause::<AnswerOver>(error).is_some()
}

/// What an attempt to connect means that failed.
pub(super) fn connect_failure_of(error: &Error) -> Failure {
    match error.etype() {
        ErrorType::InternalError => Failure::OutOfResources,
        _ => Failure::Unreachable,
    }
}

/// The cell may have closed the connection before it saw anything of the request.
fn may_be_stale(report: &Report) -> bool {
    report.was_kept() && !report.is_answer_begun()
}

fn tells_of_an_end(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
    )
}

fn upstream_failure(error: &Error) -> Failure {
    if let Some(refusal) = io_cause::<AnswerRefusal>(error) {
        return Failure::Upstream(UpstreamFault::Refused(*refusal));
    }
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
            Failure::Upstream(UpstreamFault::TimedOut)
        }
        _ => Failure::Upstream(UpstreamFault::Broken),
    }
}

fn client_fault(error: &Error) -> ClientFault {
    if let Some(refusal) = io_cause::<Refusal>(error) {
        return ClientFault::Refused(*refusal);
    }
    if io_cause::<TooSlow>(error).is_some() {
        return ClientFault::TimedOut;
    }
    match error.etype() {
        ErrorType::ReadTimedout => ClientFault::TimedOut,
        ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ReadError
        | ErrorType::ConnectionClosed => ClientFault::Gone,
        _ => ClientFault::Malformed,
    }
}

/// What one of our own streams said, if that is what ended the request.
fn io_cause<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let io = error.root_cause().downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref()
}
