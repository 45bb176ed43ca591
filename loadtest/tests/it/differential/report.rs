//! What was found.

use std::collections::BTreeMap;

use super::{allowed::allowed, compare::Difference, pair::Outcome, scenario::Scenario};

/// What was found.
#[derive(Default)]
pub(super) struct Report {
    pub(super) requests: usize,
    pub(super) scenarios: usize,
    /// How often each allowed difference was seen.
    pub(super) allowed: BTreeMap<&'static str, usize>,
    /// Each other kind, with a scenario that shows it.
    pub(super) failures: BTreeMap<String, Failure>,
    /// How often each status came to a client; it shows whether the generator makes sense.
    pub(super) statuses: BTreeMap<u16, usize>,
}

pub(super) struct Failure {
    pub(super) count: usize,
    pub(super) text: String,
}

impl Report {
    pub(super) fn count(&mut self, scenario: &Scenario, outcome: &Outcome) {
        self.scenarios += 1;
        self.requests += scenario.exchanges.len();
        for reply in outcome.seen.iter().flat_map(|seen| &seen.replies) {
            *self.statuses.entry(reply.head.status()).or_default() += 1;
        }
    }

    /// Counts those that are allowed, returns the others.
    pub(super) fn sort_out(
        &mut self,
        found: Vec<Difference>,
        scenario: &Scenario,
    ) -> Vec<Difference> {
        let mut others = Vec::new();
        for difference in found {
            match allowed(&difference, scenario) {
                Some(name) => *self.allowed.entry(name).or_default() += 1,
                None => others.push(difference),
            }
        }
        others
    }

    pub(super) fn fail(&mut self, kind: String, text: String) {
        let failure = self
            .failures
            .entry(kind)
            .or_insert(Failure { count: 0, text });
        failure.count += 1;
    }
}
