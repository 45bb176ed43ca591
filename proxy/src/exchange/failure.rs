//! What a failure means: try again, answer, or let go; and whether it counts against the endpoint.

use super::{Destination, Exchange, Policy, Refused};
use crate::{answer::Reason, cell::Change, gate::Refusal, upstream::AnswerRefusal};

/// Kept connections that may turn out to be closed before a request is given up. After the first, a new one is made.
const STALE_ATTEMPTS_MAX: usize = 2;

/// What went wrong with an exchange, by who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection to the endpoint was made, or it was refused before anything was read: the cell knows nothing of it.
    Unreachable,
    /// The proxy lacks what a connection needs: descriptors, ports, memory. No endpoint is to blame.
    OutOfResources,
    /// A kept connection had been closed by the cell before anything of an answer came.
    StaleConnection,
    Upstream(UpstreamFault),
    Client(ClientFault),
    /// A mistake of the proxy's own.
    Internal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    /// It broke off, or did what HTTP does not know.
    Broken,
    /// Its answer is not passed on.
    Refused(AnswerRefusal),
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFault {
    /// Nobody is there to be answered.
    Gone,
    TimedOut,
    /// The gate refused a byte of its body.
    Refused(Refusal),
    /// What it sent cannot be used, for a reason that the gate does not know.
    Malformed,
}

/// What the adapter has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Retry,
    Answer(Refused),
    /// There is nobody to answer.
    LetGo,
}

/// What a failure means, and what it did to the endpoint, which somebody should read in the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub change: Option<Change>,
}

impl Exchange {
    /// Judges a failure and counts it. `is_repeatable`: the request may be sent a second time, after what may have reached a
    /// cell by this failure.
    pub fn failed(
        &mut self,
        policy: &Policy,
        failure: Failure,
        is_repeatable: bool,
        now_ms: u64,
    ) -> Judgement {
        if failure == Failure::StaleConnection {
            self.stale_attempts += 1;
        }
        let attempts = self.destination.as_ref().map_or(0, Destination::attempts);
        let failed = attempts.saturating_sub(self.stale_attempts);
        let (retries, reason, counted) = match failure {
            // The cell has read nothing, so trying again is safe whatever the method, as long as all of it is at hand.
            Failure::Unreachable => (
                is_repeatable && failed <= policy.retries,
                Reason::ConnectFailed,
                Counted::AgainstEndpoint,
            ),
            // That a cell closes an idle connection says nothing about its health.
            Failure::StaleConnection
                if is_repeatable && self.stale_attempts <= STALE_ATTEMPTS_MAX =>
            {
                (true, Reason::UpstreamError, Counted::No)
            }
            Failure::StaleConnection => (false, Reason::UpstreamError, Counted::AsError),
            // The application is the same on every endpoint.
            Failure::Upstream(fault) if fault.reason() == Reason::UpstreamHeadTooLarge => {
                (false, fault.reason(), Counted::AsError)
            }
            Failure::Upstream(fault) => (false, fault.reason(), Counted::AgainstEndpoint),
            Failure::Client(ClientFault::Gone) => {
                self.reason = None;
                policy.metrics.client_aborts.inc();
                return Judgement {
                    verdict: Verdict::LetGo,
                    change: None,
                };
            }
            Failure::Client(fault) => {
                if let ClientFault::Refused(refusal) = fault {
                    self.refusal = Some(refusal);
                    policy.metrics.gate_refused(refusal);
                }
                return self.answer(fault.into());
            }
            Failure::OutOfResources => return self.answer(Reason::Overloaded.into()),
            Failure::Internal => return self.answer(Reason::InternalError.into()),
        };
        if let Failure::Upstream(UpstreamFault::Refused(refusal)) = failure {
            self.answer_refusal = Some(refusal);
        }
        let change = self.count(policy, counted, reason, now_ms);
        if retries {
            self.count_retry();
            return Judgement {
                verdict: Verdict::Retry,
                change,
            };
        }
        Judgement {
            change,
            ..self.answer(reason.into())
        }
    }

    fn answer(&mut self, refused: Refused) -> Judgement {
        self.reason = Some(refused.reason);
        Judgement {
            verdict: Verdict::Answer(refused),
            change: None,
        }
    }

    fn count_retry(&self) {
        if let Some(destination) = &self.destination {
            destination.cell().state.metrics.retries.inc();
        }
    }

    fn count(
        &self,
        policy: &Policy,
        counted: Counted,
        reason: Reason,
        now_ms: u64,
    ) -> Option<Change> {
        let destination = self.destination.as_ref()?;
        let cell = destination.cell();
        let metrics = &cell.state.metrics;
        match counted {
            Counted::No => None,
            Counted::AsError => {
                metrics.upstream_error(reason);
                None
            }
            Counted::AgainstEndpoint => {
                metrics.upstream_error(reason);
                let endpoint = destination.endpoint()?;
                let change = cell.endpoint_failed(&endpoint.state, now_ms, &policy.ejection);
                if matches!(change, Some(Change::Ejected { .. })) {
                    metrics.ejections.inc();
                }
                change
            }
        }
    }
}

/// How a failure is counted.
#[derive(Clone, Copy, Debug)]
enum Counted {
    No,
    /// As an error of the cell, but not against the health of the endpoint.
    AsError,
    AgainstEndpoint,
}

impl UpstreamFault {
    fn reason(self) -> Reason {
        match self {
            Self::Refused(AnswerRefusal::HeadTooLarge | AnswerRefusal::TooManyFields { .. }) => {
                Reason::UpstreamHeadTooLarge
            }
            Self::Broken | Self::Refused(_) => Reason::UpstreamError,
            Self::TimedOut => Reason::UpstreamTimeout,
        }
    }
}

impl From<ClientFault> for Refused {
    fn from(fault: ClientFault) -> Self {
        match fault {
            ClientFault::Gone | ClientFault::Malformed => Reason::BadRequest.into(),
            ClientFault::TimedOut => Reason::RequestTimeout.into(),
            ClientFault::Refused(refusal) => Self {
                reason: refusal.into(),
                detail: Some(refusal.to_string()),
            },
        }
    }
}
