//! What both ways of a request need of the process.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::warn;

use super::pace::Pace;
use crate::{
    access_log::AccessLog,
    cell::Change,
    config::{Timeouts, Upstream},
    descriptors::Budget,
    exchange::{Exchange, Failure, Judgement, Policy, Verdict},
    lifecycle::Lifecycle,
    readiness::Readiness,
    snapshot::Current,
    upstream::{Pool, Report},
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Services {
    pub current: Arc<Current>,
    pub policy: Policy,
    pub pool: Arc<Pool>,
    pub timeouts: Timeouts,
    pub upstream: Upstream,
    /// How slowly a client may take an answer; 0 is any pace.
    pub body_bytes_per_second_min: u32,
    pub lifecycle: Arc<Lifecycle>,
    pub readiness: Arc<Readiness>,
    pub access_log: AccessLog,
    /// A place for each challenge of ACME that is asked about at the same time.
    pub acme_places: Semaphore,
    pub budget: Budget,
}

impl Services {
    /// Idle connections to cells have the descriptors that clients do not need. To be called whenever a client has come or
    /// gone, whatever it speaks.
    pub(crate) fn share_descriptors(&self) {
        if let Some(together) = self.budget.connections_and_idle_max {
            let open = self.lifecycle.connections();
            self.pool.keep_at_most(together.saturating_sub(open));
        }
    }

    /// For an attempt. The access log says when its answer began.
    pub(super) fn report(&self) -> Report {
        if self.access_log.is_on() {
            Report::timed()
        } else {
            Report::default()
        }
    }

    /// The pace at which a client has to take its answer.
    pub(super) fn writing_pace(&self) -> Pace {
        Pace::new(self.body_bytes_per_second_min, self.timeouts.client_idle)
    }

    /// Asks what a failure means, and says in the log what it did to its endpoint.
    pub(crate) fn judge(
        &self,
        exchange: &mut Exchange,
        failure: Failure,
        is_repeatable: bool,
        now_ms: u64,
    ) -> Verdict {
        let judgement = exchange.failed(&self.policy, failure, is_repeatable, now_ms);
        let Judgement { verdict, change } = judgement;
        report_ejection(exchange, change);
        verdict
    }
}

fn report_ejection(exchange: &Exchange, change: Option<Change>) {
    let cell = exchange
        .destination()
        .map(|to| to.cell().state.id.as_str())
        .unwrap_or_default();
    let endpoint = exchange.endpoint_address().map(tracing::field::display);
    match change {
        Some(Change::Ejected { for_ms }) => {
            warn!(
                cell,
                endpoint, for_ms, "endpoint ejected: requests keep failing on it"
            );
        }
        Some(Change::EjectionSuppressed) => warn!(
            cell,
            endpoint,
            "requests keep failing on an endpoint, but too few others of its cell are left to do without it"
        ),
        Some(Change::Healthy | Change::Unhealthy) | None => {}
    }
}
