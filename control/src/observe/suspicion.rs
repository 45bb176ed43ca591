//! When a cell is suspected to be unhealthy. One signal alone is not enough: each of them has its own way of being wrong.

use serde::Serialize;
use utoipa::ToSchema;

use super::samples::ErrorShare;

/// Requests in the window below which a share of errors says nothing.
const REQUESTS_MIN: f64 = 20.0;
/// The share of failed requests from which a cell stands out …
const ERROR_SHARE_MIN: f64 = 0.05;
/// … if it is also so many times that of its siblings.
const TIMES_SIBLINGS: f64 = 3.0;

/// Something about a cell that is not as it should be.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// The daemon's own checks fail.
    Probe { failing: usize, endpoints: usize },
    /// Proxies leave endpoints out.
    ProxiesSeeUnhealthy { proxies: usize, of: usize },
    /// More requests fail than of its siblings.
    ErrorShare { share: f64, siblings: f64 },
}

/// What speaks against a cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    pub endpoints: usize,
    /// Of these, how many fail the daemon's own checks.
    pub failing: usize,
    /// How many proxies speak of the cell at all.
    pub proxies: usize,
    /// Of these, how many leave out at least half of its endpoints.
    pub proxies_unhealthy: usize,
    pub errors: ErrorShare,
}

/// The signals against a cell, if there are at least two.
pub fn suspicion(evidence: &Evidence, usual: &Usual) -> Option<Vec<Signal>> {
    let mut signals = Vec::new();
    if evidence.endpoints > 0 && evidence.failing * 2 >= evidence.endpoints {
        signals.push(Signal::Probe {
            failing: evidence.failing,
            endpoints: evidence.endpoints,
        });
    }
    if evidence.proxies > 0 && evidence.proxies_unhealthy * 2 >= evidence.proxies {
        signals.push(Signal::ProxiesSeeUnhealthy {
            proxies: evidence.proxies_unhealthy,
            of: evidence.proxies,
        });
    }
    let usual = usual.without(evidence.errors);
    if evidence.errors.requests >= REQUESTS_MIN {
        let share = evidence.errors.share();
        if share >= ERROR_SHARE_MIN && share >= usual * TIMES_SIBLINGS {
            signals.push(Signal::ErrorShare {
                share,
                siblings: usual,
            });
        }
    }
    (signals.len() >= 2).then_some(signals)
}

/// The shares of errors of a fleet, in order, for the median of a cell's siblings.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    shares: Vec<f64>,
}

impl Usual {
    /// Cells with too few requests say nothing.
    pub fn of(errors: impl IntoIterator<Item = ErrorShare>) -> Self {
        let mut shares: Vec<f64> = errors
            .into_iter()
            .filter(|errors| errors.requests >= REQUESTS_MIN)
            .map(|errors| errors.share())
            .collect();
        shares.sort_by(f64::total_cmp);
        Self { shares }
    }

    /// The median of all but one cell, which is in here itself if it had enough requests.
    fn without(&self, errors: ErrorShare) -> f64 {
        let is_in = errors.requests >= REQUESTS_MIN;
        let own = self.shares.partition_point(|share| *share < errors.share());
        let count = self.shares.len() - usize::from(is_in && !self.shares.is_empty());
        let middle = count / 2;
        let at = middle + usize::from(is_in && middle >= own);
        self.shares.get(at).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "small whole numbers, which floats hold exactly"
)]
mod tests {
    use super::*;

    fn errors(requests: f64, failed: f64) -> ErrorShare {
        ErrorShare { requests, failed }
    }

    #[test]
    fn one_signal_alone_is_none() {
        let check = |evidence: &Evidence, expected: usize| {
            let siblings = [errors(1000.0, 1.0), errors(1000.0, 2.0), errors(3.0, 3.0)];
            let usual = Usual::of(siblings.into_iter().chain([evidence.errors]));
            let found = suspicion(evidence, &usual).map_or(0, |signals| signals.len());
            assert_eq!(found, expected, "{evidence:?}");
        };
        let healthy = Evidence {
            endpoints: 2,
            proxies: 2,
            errors: errors(100.0, 0.0),
            ..Evidence::default()
        };
        check(&healthy, 0);
        let probe = Evidence {
            failing: 1,
            ..healthy.clone()
        };
        check(&probe, 0);
        let seen = Evidence {
            proxies_unhealthy: 1,
            ..probe.clone()
        };
        check(&seen, 2);
        let failing = Evidence {
            errors: errors(100.0, 10.0),
            ..seen
        };
        check(&failing, 3);
        let few = Evidence {
            errors: errors(10.0, 10.0),
            ..probe
        };
        check(&few, 0);
        let only_errors = Evidence {
            errors: errors(100.0, 100.0),
            ..healthy
        };
        check(&only_errors, 0);
    }

    #[test]
    fn where_all_fail_alike_it_is_not_the_cell() {
        let evidence = Evidence {
            endpoints: 1,
            failing: 1,
            proxies: 1,
            proxies_unhealthy: 0,
            errors: errors(100.0, 20.0),
        };
        let among = |sibling| suspicion(&evidence, &Usual::of([sibling, evidence.errors]));
        assert!(among(errors(100.0, 20.0)).is_none());
        assert!(among(errors(100.0, 1.0)).is_some());
    }

    #[test]
    fn the_median_is_that_of_the_others() {
        let fleet = [0.0, 10.0, 20.0, 30.0, 90.0].map(|failed| errors(100.0, failed));
        let usual = Usual::of(fleet);
        let medians = fleet.map(|own| (usual.without(own) * 100.0).round());
        assert_eq!(medians, [30.0, 30.0, 30.0, 20.0, 20.0]);
        assert_eq!((usual.without(errors(1.0, 1.0)) * 100.0).round(), 20.0);
        assert_eq!(Usual::of([]).without(errors(100.0, 1.0)), 0.0);
    }
}
