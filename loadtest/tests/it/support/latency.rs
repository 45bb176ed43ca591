//! How long something took, many times.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use super::wire::{Connection, Request};

#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

/// What any test machine may add to a time, busy as it may be with other tests.
const SLACK: Duration = Duration::from_millis(100);

impl Latencies {
    /// Of a client that asks every millisecond on its connection, for this long, and has to get 200.
    #[track_caller]
    pub(crate) fn of_a_client(
        connection: &mut Connection,
        request: &Request,
        time: Duration,
    ) -> Self {
        let (started, mut latencies) = (Instant::now(), Self::default());
        while started.elapsed() < time {
            let asked = Instant::now();
            let answer = connection.exchange(request);
            assert_eq!(answer.status, 200, "{}", answer.text());
            latencies.add(asked.elapsed());
            thread::sleep(Duration::from_millis(1));
        }
        latencies
    }

    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that this many percent of the answers did not exceed.
    #[track_caller]
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1).expect("something was measured");
        sorted[(sorted.len() * percent / 100).min(last)]
    }

    /// Panics if the median or the 99th percentile is out of proportion to what it was.
    #[track_caller]
    pub(crate) fn are_about_as_good_as(&self, before: &Self) {
        for percent in [50, 99] {
            let (now, then) = (self.percentile(percent), before.percentile(percent));
            assert!(
                now < then * 3 + SLACK,
                "the {percent}th percentile went from {then:?} to {now:?}"
            );
        }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.2?} p99 {:.2?} max {:.2?} of {}",
            self.percentile(50),
            self.percentile(99),
            self.percentile(100),
            self.0.len()
        )
    }
}
