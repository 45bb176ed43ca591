//! How slowly a client may send or take a body. Pure: the clock is an argument.
//!
//! Only time counts in which the proxy waited for the client. A cell that is slow, or a client that waits for the cell,
//! is nobody's slow body.

use std::time::{Duration, Instant};

/// The time over which the pace of a body that a client sends is measured, in time spent waiting. For one that it takes
/// the time is longer: the system's buffers let their room be seen in large pieces only.
pub(super) const READING_WINDOW: Duration = Duration::from_secs(10);

/// The pace of one body in one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    bytes_per_window_min: u64,
    window: Duration,
    waited: Duration,
    bytes: u64,
    waiting_since: Option<Instant>,
}

impl Pace {
    /// `bytes_per_second_min`, measured over `window` of waiting: 0 allows any pace.
    pub(super) fn new(bytes_per_second_min: u32, window: Duration) -> Self {
        let bytes_per_window_min = u64::from(bytes_per_second_min) * window.as_secs();
        Self {
            bytes_per_window_min,
            window,
            waited: Duration::ZERO,
            bytes: 0,
            waiting_since: None,
        }
    }

    /// Nothing came, or nothing was taken: from now on the client is waited for. The answer is how long it may take from
    /// now until the body is too slow, or `None` if it never is.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        if self.bytes_per_window_min == 0 {
            return None;
        }
        let since = *self.waiting_since.get_or_insert(now);
        let waited = self.waited + now.saturating_duration_since(since);
        if waited >= self.window && self.bytes >= self.bytes_per_window_min {
            // That window was fast enough; the next one begins.
            self.begin_window(Some(now));
            return Some(self.window);
        }
        Some(self.window.saturating_sub(waited))
    }

    /// The client is not waited for at the moment: it has to take something first.
    pub(super) fn pause(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    fn begin_window(&mut self, waiting_since: Option<Instant>) {
        self.waited = Duration::ZERO;
        self.bytes = 0;
        self.waiting_since = waiting_since;
    }

    /// So many bytes came or were taken. False when that was too slow.
    pub(super) fn advance(&mut self, now: Instant, bytes: usize) -> bool {
        self.pause(now);
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return true;
        }
        let is_enough = self.bytes >= self.bytes_per_window_min;
        self.begin_window(None);
        is_enough
    }

    /// Whether the client has been waited for too long by now.
    pub(super) fn is_too_slow(&self, now: Instant) -> bool {
        let Some(since) = self.waiting_since else {
            return false;
        };
        let waited = self.waited + now.saturating_duration_since(since);
        waited >= self.window && self.bytes < self.bytes_per_window_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that come after so many seconds of waiting each; how many seconds a body lasts before it is too slow.
    fn check(rate: u32, pieces: &[(u64, usize)], expected: Option<u64>) {
        let start = Instant::now();
        let mut pace = Pace::new(rate, READING_WINDOW);
        let mut now = start;
        let mut end = None;
        'pieces: for (seconds, bytes) in pieces {
            let comes = now + Duration::from_secs(*seconds);
            // As often as a timer asks before the piece comes.
            while let Some(left) = pace.wait(now)
                && now + left < comes
            {
                assert!(!left.is_zero(), "the timer would spin: {pieces:?}");
                now += left;
                if pace.is_too_slow(now) {
                    end = Some((now - start).as_secs());
                    break 'pieces;
                }
            }
            now = comes;
            if !pace.advance(now, *bytes) {
                end = Some((now - start).as_secs());
                break;
            }
        }
        assert_eq!(end, expected, "{rate} bytes/s: {pieces:?}");
    }

    #[test]
    fn a_body_is_too_slow_by_the_time_that_it_was_waited_for() {
        check(100, &[(1, 100); 30], None);
        check(100, &[(1, 99); 30], Some(10));
        check(100, &[(10, 1); 3], Some(10));
        check(100, &[(60, 1_000)], Some(10));
        check(0, &[(1_000, 1); 30], None);
        // What came in time counts for the pause after it, once.
        check(100, &[(0, 5_000), (12, 1), (12, 1)], Some(20));
        check(100, &[(0, 1_000), (60, 1)], Some(20));
        // Time in which nobody waited is not the client's.
        check(100, &[(0, 1); 1_000], None);
    }
}
