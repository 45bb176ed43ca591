//! How the descriptors that the process may have are shared out, so that clients cannot use up those that everything else
//! needs: the admin listener, the table, health checks, logs.

/// Connections of the admin listener at the same time.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Clients that are being answered, at the same time, that there are too many. Further ones wait in the kernel's queue.
pub const REFUSED_CLIENTS_MAX: usize = 64;
/// Health checks at the same time, at least and at most, and as a share of all descriptors.
const CHECKS_MIN: usize = 16;
const CHECKS_MAX: usize = 1_024;
const CHECKS_SHARE: usize = 16;
/// Connections to ACME clients at the same time; they are among the files of the process itself.
pub const ACME_CONNECTIONS_MAX: usize = 8;
/// Pipes, as a share of all descriptors.
const PIPES_SHARE: usize = 16;
/// Standard streams, logs, the table and its folder, the state directory, signals, metrics.
const FILES: usize = 64;
/// Each runtime of a service has an event loop, and each of its threads may hold a few more.
const PER_THREAD: usize = 4;
/// Fewer client connections than these are not worth a proxy.
const CONNECTIONS_MIN: usize = 1;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub connections_max: usize,
    pub idle_connections_max: usize,
    pub listeners: usize,
    pub threads: usize,
    /// Pipes for the bytes of TCP listeners; 0 without one.
    pub pipes_max: usize,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Client connections at the same time. Each may need one to its cell.
    pub connections_max: usize,
    /// Client connections and idle connections to cells together; `None` where there is enough for both.
    pub connections_and_idle_max: Option<usize>,
    pub checks_at_once_max: usize,
    pub pipes_max: usize,
}

impl Budget {
    /// Shares out `limit` descriptors; `None` is no limit.
    pub fn of(limit: Option<u64>, wanted: &Wanted) -> Self {
        let Some(limit) = limit else {
            return Self {
                connections_max: wanted.connections_max,
                connections_and_idle_max: None,
                checks_at_once_max: CHECKS_MAX,
                pipes_max: wanted.pipes_max,
            };
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let checks = (limit / CHECKS_SHARE).clamp(CHECKS_MIN, CHECKS_MAX);
        let pipes_max = wanted.pipes_max.min(limit / PIPES_SHARE);
        let reserved = 2 * pipes_max
            + ADMIN_CONNECTIONS_MAX
            + REFUSED_CLIENTS_MAX
            + checks
            + FILES
            + wanted.listeners
            + PER_THREAD * wanted.threads;
        let left = limit.saturating_sub(reserved);
        let needed = wanted.connections_max.saturating_mul(2);
        let connections_max = wanted.connections_max.min(left / 2).max(CONNECTIONS_MIN);
        let is_roomy = needed.saturating_add(wanted.idle_connections_max) <= left;
        Self {
            connections_max,
            connections_and_idle_max: (!is_roomy).then(|| left - left.min(connections_max)),
            checks_at_once_max: checks,
            pipes_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(connections_max: usize) -> Wanted {
        Wanted {
            connections_max,
            idle_connections_max: 4_096,
            listeners: 2,
            threads: 4,
            pipes_max: 0,
        }
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        for limit in [None, Some(65_536), Some(u64::MAX)] {
            let budget = Budget::of(limit, &wanted(20_000));
            assert_eq!(budget.connections_max, 20_000);
            assert_eq!(budget.connections_and_idle_max, None);
        }
    }

    #[test]
    fn clients_never_get_what_the_rest_needs() {
        for limit in [1_024_usize, 4_096, 20_000, 40_500] {
            let budget = Budget::of(Some(limit as u64), &wanted(20_000));
            // Each client has a connection to its cell, and those that are idle fill what is left.
            let together = budget.connections_and_idle_max.unwrap();
            let most = (0..=budget.connections_max)
                .map(|open| open * 2 + (together - open))
                .max()
                .unwrap();
            let others = ADMIN_CONNECTIONS_MAX + REFUSED_CLIENTS_MAX + budget.checks_at_once_max;
            assert!(most + others + FILES <= limit, "{limit}: {budget:?}");
            assert!(budget.connections_max * 5 >= limit, "{limit}: {budget:?}");
        }
    }

    #[test]
    fn a_limit_that_is_far_too_low_is_no_panic() {
        for limit in [0, 1, 64, 200] {
            let budget = Budget::of(Some(limit), &wanted(20_000));
            assert_eq!(budget.connections_max, 1);
        }
    }
}
