//! What Pingora's errors mean: from its vocabulary to the policy's.

use pingora::{Error, ErrorSource, ErrorType, RetryType};

use super::lent::AnswerOver;
use crate::{
    exchange::{ClientFault, Failure, UpstreamFault},
    gate::Refusal,
};

/// What an error of a request means. `was_kept`: the connection to the cell had been used before.
pub(super) fn failure_of(error: &Error, was_kept: bool) -> Failure {
    match error.esource() {
        ErrorSource::Upstream if was_kept && tells_of_a_closed_connection(error) => {
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

fn tells_of_a_closed_connection(error: &Error) -> bool {
    // Pingora marks what it finds out by reading; a write that fails tells the same.
    matches!(error.retry, RetryType::ReusedOnly) || *error.etype() == ErrorType::WriteError
}

fn upstream_failure(error: &Error) -> Failure {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::BindError
        | ErrorType::SocketError
        | ErrorType::ConnectProxyFailure => Failure::Unreachable,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
            Failure::Upstream(UpstreamFault::TimedOut)
        }
        _ => Failure::Upstream(UpstreamFault::BadAnswer),
    }
}

fn client_fault(error: &Error) -> ClientFault {
    if let Some(refusal) = io_cause::<Refusal>(error) {
        return ClientFault::Refused(*refusal);
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
