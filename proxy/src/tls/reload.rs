//! When the files of a listener are read anew, and when a reading that failed counts. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// Files that are replaced one after the other do not fit together for a moment. Only what is wrong for longer counts …
const SETTLING: Duration = Duration::from_secs(1);
/// … and meanwhile they are read again this often.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// What is wrong is read again this often even if nothing changes: a certificate may be valid by then.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How the readings of a listener's files go.
#[derive(Debug, Default)]
pub struct Readings {
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Fault {
    since: Instant,
    tried: Instant,
    /// What was counted and logged.
    reported: Option<String>,
}

/// What there is to do about a failed reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It may be in the middle of a change.
    Wait,
    /// Nobody knows of it yet.
    Report,
    Known,
}

impl Readings {
    /// Whether to read now.
    pub fn are_due(&self, files_changed: bool, now: Instant) -> bool {
        let Some(fault) = &self.fault else {
            return files_changed;
        };
        let interval = if fault.reported.is_none() {
            RETRY_INTERVAL
        } else {
            RECHECK_INTERVAL
        };
        files_changed || now.duration_since(fault.tried) >= interval
    }

    /// Whether a fault is looked into: then the files are looked at more often.
    pub fn are_settling(&self) -> bool {
        let fault = self.fault.as_ref();
        fault.is_some_and(|fault| fault.reported.is_none())
    }

    pub fn failed(&mut self, what: &str, now: Instant) -> Failed {
        let fault = self.fault.get_or_insert(Fault {
            since: now,
            tried: now,
            reported: None,
        });
        fault.tried = now;
        if fault.reported.as_deref() == Some(what) {
            return Failed::Known;
        }
        // Another fault after one that was reported had its time.
        if now.duration_since(fault.since) < SETTLING {
            return Failed::Wait;
        }
        fault.reported = Some(what.to_owned());
        Failed::Report
    }

    pub fn succeeded(&mut self) {
        self.fault = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_counts_once_it_is_a_second_old_and_only_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut readings = Readings::default();
        assert!(!readings.are_due(false, at(0)));
        assert!(readings.are_due(true, at(0)));
        assert_eq!(readings.failed("key", at(0)), Failed::Wait);
        assert!(readings.are_settling());
        assert!(!readings.are_due(false, at(249)));
        assert!(readings.are_due(false, at(250)));
        assert_eq!(readings.failed("key", at(999)), Failed::Wait);
        assert_eq!(readings.failed("key", at(1_000)), Failed::Report);
        assert!(!readings.are_settling());
        assert_eq!(readings.failed("key", at(2_000)), Failed::Known);
        assert!(!readings.are_due(false, at(31_999)));
        assert!(readings.are_due(false, at(32_000)));
        assert_eq!(readings.failed("another", at(32_000)), Failed::Report);
    }

    #[test]
    fn a_fault_that_passes_in_time_is_none() {
        let start = Instant::now();
        let mut readings = Readings::default();
        assert_eq!(readings.failed("key", start), Failed::Wait);
        readings.succeeded();
        assert!(!readings.are_due(false, start + Duration::from_hours(1)));
        let later = start + Duration::from_secs(5);
        assert_eq!(readings.failed("key", later), Failed::Wait);
    }
}
