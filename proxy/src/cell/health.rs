//! The health of one endpoint, from two sources that are kept apart: active checks say whether it is healthy, and the
//! requests themselves can get it *ejected* for a while. The clock is an argument.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::config::Ejection;

/// Times are milliseconds since the process started.
#[derive(Debug, Default)]
pub struct Health {
    /// Set by active checks; an endpoint counts as healthy until they say otherwise.
    is_unhealthy: AtomicBool,
    check_streak: AtomicU32,
    failures_in_a_row: AtomicU32,
    ejections_in_a_row: AtomicU32,
    ejected_until_ms: AtomicU64,
    /// Until then it need not be said again that the floor of the cell keeps the endpoint in.
    suppressed_until_ms: AtomicU64,
}

/// A change that somebody should read in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Healthy,
    Unhealthy,
    Ejected {
        for_ms: u64,
    },
    /// It failed often enough to be ejected, but too many of its cell's endpoints are out already.
    EjectionSuppressed,
}

impl Health {
    /// May be chosen for a request.
    pub fn is_usable(&self, now_ms: u64) -> bool {
        !self.is_unhealthy() && !self.is_ejected(now_ms)
    }

    pub fn is_unhealthy(&self) -> bool {
        self.is_unhealthy.load(Ordering::Relaxed)
    }

    pub fn is_ejected(&self, now_ms: u64) -> bool {
        self.ejected_until_ms.load(Ordering::Relaxed) > now_ms
    }

    /// Forgets what active checks said: the endpoint has no check any more.
    pub fn forget_checks(&self) {
        self.is_unhealthy.store(false, Ordering::Relaxed);
        self.check_streak.store(0, Ordering::Relaxed);
    }

    /// Takes in the outcome of an active check. One task calls this per endpoint.
    pub fn checked(
        &self,
        passed: bool,
        unhealthy_after: u32,
        healthy_after: u32,
    ) -> Option<Change> {
        let was_unhealthy = self.is_unhealthy();
        if passed != was_unhealthy {
            self.check_streak.store(0, Ordering::Relaxed);
            return None;
        }
        let streak = self.check_streak.fetch_add(1, Ordering::Relaxed) + 1;
        let needed = if passed {
            healthy_after
        } else {
            unhealthy_after
        };
        if streak < needed {
            return None;
        }
        self.check_streak.store(0, Ordering::Relaxed);
        self.is_unhealthy.store(!passed, Ordering::Relaxed);
        Some(if passed {
            Change::Healthy
        } else {
            Change::Unhealthy
        })
    }

    /// A request got an answer.
    pub fn succeeded(&self) {
        // Read first: on a healthy endpoint nothing is written, so no cache line is fought over.
        for counter in [&self.failures_in_a_row, &self.ejections_in_a_row] {
            if counter.load(Ordering::Relaxed) != 0 {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A request failed on this endpoint: no connection, no answer, a broken answer.
    ///
    /// True when it has failed often enough to be ejected. Of threads that count at the same time, one gets true. An
    /// endpoint that is out already does not count further: those are requests that began before.
    pub fn failed(&self, now_ms: u64, rules: &Ejection) -> bool {
        if rules.after_failures == 0 || !self.is_usable(now_ms) {
            return false;
        }
        let is_enough = |failures: u32| failures.saturating_add(1) >= rules.after_failures;
        let before = self
            .failures_in_a_row
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
                let failures = if is_enough(failures) { 0 } else { failures + 1 };
                Some(failures)
            })
            .unwrap_or_else(|failures| failures);
        is_enough(before)
    }

    /// Leaves the endpoint out for a while, longer with each time in a row.
    pub fn eject(&self, now_ms: u64, rules: &Ejection) -> Change {
        let times = self
            .ejections_in_a_row
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let for_ms = as_ms(rules.base.saturating_mul(times).min(rules.max));
        self.ejected_until_ms
            .store(now_ms.saturating_add(for_ms), Ordering::Relaxed);
        Change::Ejected { for_ms }
    }

    /// The endpoint stays in although it fails. Worth a log line now and then, not with every few requests.
    pub fn suppress_ejection(&self, now_ms: u64, rules: &Ejection) -> Option<Change> {
        let until_ms = now_ms.saturating_add(as_ms(rules.base));
        let is_due = self.suppressed_until_ms.fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            |reported_until_ms| (reported_until_ms <= now_ms).then_some(until_ms),
        );
        is_due.ok().map(|_| Change::EjectionSuppressed)
    }
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether one more endpoint of a cell may be ejected: `out` of `count` are out already.
pub fn may_eject_one_more(out: usize, count: usize, percent_max: u32) -> bool {
    let out = out + 1;
    out < count && out * 100 <= count * percent_max as usize
}
