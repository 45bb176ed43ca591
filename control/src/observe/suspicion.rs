//! When a cell looks sick. One signal alone is none: each of them has its own way of being wrong.

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

/// The signals against a cell, if there are at least two; `siblings` are the shares of errors of the other cells.
pub fn suspicion(evidence: &Evidence, siblings: &[ErrorShare]) -> Option<Vec<Signal>> {
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
    let usual = median(siblings);
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

fn median(siblings: &[ErrorShare]) -> f64 {
    let mut shares: Vec<f64> = siblings
        .iter()
        .filter(|sibling| sibling.requests >= REQUESTS_MIN)
        .map(ErrorShare::share)
        .collect();
    shares.sort_by(f64::total_cmp);
    shares.get(shares.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(requests: f64, failed: f64) -> ErrorShare {
        ErrorShare { requests, failed }
    }

    #[test]
    fn one_signal_alone_is_none() {
        let check = |evidence: &Evidence, expected: usize| {
            let siblings = [errors(1000.0, 1.0), errors(1000.0, 2.0), errors(3.0, 3.0)];
            let found = suspicion(evidence, &siblings).map_or(0, |signals| signals.len());
            assert_eq!(found, expected, "{evidence:?}");
        };
        let well = Evidence {
            endpoints: 2,
            proxies: 2,
            errors: errors(100.0, 0.0),
            ..Evidence::default()
        };
        check(&well, 0);
        let probe = Evidence {
            failing: 1,
            ..well.clone()
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
            ..well
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
        assert!(suspicion(&evidence, &[errors(100.0, 20.0)]).is_none());
        assert!(suspicion(&evidence, &[errors(100.0, 1.0)]).is_some());
    }
}
