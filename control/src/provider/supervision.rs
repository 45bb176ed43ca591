//! When a cell's process that has ended may be started again, and when its ending is more than a mishap. The time is an
//! argument: nothing is started here.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The pause before a process that ended early for the second time in a row is started again; it doubles with each
/// further one.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A process that ran for so long has come up.
const CAME_UP_AFTER: Duration = Duration::from_secs(10);
/// From so many ends within the window on, a cell is degraded.
const ENDS_MAX: usize = 3;
const ENDS_WINDOW: Duration = Duration::from_secs(300);
/// Ends that are remembered.
const ENDS_KEPT_MAX: usize = 100;

/// What is known of the process of one cell.
#[derive(Debug, Default)]
pub(super) struct Supervision {
    started: Option<Instant>,
    /// It has ended since it was started last.
    is_down: bool,
    /// The ends within the window, oldest first.
    ends: VecDeque<Instant>,
    /// Ends in a row of processes that had not come up.
    early_ends: u32,
    /// Why it could not be started, if it could not.
    error: Option<String>,
}

impl Supervision {
    pub(super) fn start(&mut self, now: Instant) {
        self.started = Some(now);
        self.is_down = false;
        self.error = None;
    }

    pub(super) fn fail_to_start(&mut self, error: String, now: Instant) {
        self.is_down = false;
        self.started = Some(now);
        self.end(now);
        self.error = Some(error);
    }

    /// Notes that the process is not there. Of a process that was started before the daemon was, it is not known how long
    /// it ran: it counts as one that had come up.
    pub(super) fn end(&mut self, now: Instant) {
        if self.is_down {
            return;
        }
        self.is_down = true;
        let had_come_up = self
            .started
            .is_none_or(|started| now.duration_since(started) >= CAME_UP_AFTER);
        self.early_ends = if had_come_up { 0 } else { self.early_ends + 1 };
        self.ends.push_back(now);
        if self.ends.len() > ENDS_KEPT_MAX {
            self.ends.pop_front();
        }
    }

    /// Whether a process that has ended may be started again.
    pub(super) fn may_start(&self, now: Instant) -> bool {
        let ended = self.ends.back().copied();
        ended.is_none_or(|ended| now.duration_since(ended) >= self.pause())
    }

    fn pause(&self) -> Duration {
        match self.early_ends {
            0 | 1 => Duration::ZERO,
            many => RESTART_PAUSE
                .saturating_mul(1 << (many - 2).min(10))
                .min(RESTART_PAUSE_MAX),
        }
    }

    /// What is wrong with the process, if it is more than one mishap.
    pub(super) fn trouble(&mut self, now: Instant) -> Option<String> {
        while let Some(first) = self.ends.front()
            && now.duration_since(*first) >= ENDS_WINDOW
        {
            self.ends.pop_front();
        }
        if let Some(error) = &self.error {
            return Some(error.clone());
        }
        let count = self.ends.len();
        if count < ENDS_MAX {
            return None;
        }
        let minutes = ENDS_WINDOW.as_secs() / 60;
        let then = if self.is_down {
            format!(
                "; it is down, and is started again after a pause of {} s",
                self.pause().as_secs()
            )
        } else {
            String::new()
        };
        Some(format!(
            "its process ended {count} times within {minutes} minutes{then}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that runs for so long each time, started again as soon as it may be. Returns the seconds of its starts.
    fn starts(runs: Duration, until: Duration) -> (Vec<u64>, Supervision, Instant) {
        let begin = Instant::now();
        let mut supervision = Supervision::default();
        let mut now = begin;
        let mut starts = Vec::new();
        let mut ends_at = None;
        while now - begin <= until {
            if ends_at.is_some_and(|at| now >= at) {
                supervision.end(now);
            }
            if (ends_at.is_none() || supervision.is_down) && supervision.may_start(now) {
                supervision.start(now);
                starts.push((now - begin).as_secs());
                ends_at = Some(now + runs);
            }
            now += Duration::from_secs(1);
        }
        (starts, supervision, now)
    }

    #[test]
    fn the_pause_grows_while_the_process_ends_early() {
        let (starts, ..) = starts(Duration::from_secs(1), Duration::from_secs(140));
        assert_eq!(starts, [0, 1, 3, 6, 11, 20, 37, 68, 99, 130]);
    }

    #[test]
    fn a_process_that_ran_for_a_while_is_started_again_immediately() {
        let (starts, mut supervision, now) =
            starts(Duration::from_secs(20), Duration::from_secs(60));
        assert_eq!(starts, [0, 20, 40, 60]);
        // It comes up each time, and still something is wrong with it.
        let trouble = supervision.trouble(now).unwrap();
        assert_eq!(trouble, "its process ended 3 times within 5 minutes");
    }

    #[test]
    fn ends_are_trouble_only_if_there_are_several_lately() {
        let mut now = Instant::now();
        let mut supervision = Supervision::default();
        for _ in 0..2 {
            supervision.start(now);
            now += Duration::from_secs(1);
            supervision.end(now);
            supervision.end(now);
            assert_eq!(supervision.trouble(now), None);
        }
        supervision.start(now);
        supervision.end(now);
        let expected = "its process ended 3 times within 5 minutes; it is down, and is started again after a pause of 2 s";
        assert_eq!(supervision.trouble(now).unwrap(), expected);
        supervision.start(now);
        now += ENDS_WINDOW;
        assert_eq!(supervision.trouble(now), None);
        supervision.fail_to_start("no such program".to_owned(), now);
        assert_eq!(supervision.trouble(now).unwrap(), "no such program");
        supervision.start(now);
        assert_eq!(supervision.trouble(now), None);
    }
}
