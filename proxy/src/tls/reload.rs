//! When the files of a listener are read anew, and when a reading that failed counts. Pure: the time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Files that are replaced one after the other do not fit together for a moment. Only what is wrong for longer counts …
pub const SETTLING: Duration = Duration::from_secs(1);
/// … and meanwhile they are read again this often.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// What is wrong is read again this often even if nothing changes: a certificate may be valid by then.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How the readings of a listener's files go.
#[derive(Debug, Default)]
pub struct Readings {
    /// By what is wrong.
    faults: BTreeMap<String, Fault>,
    tried: Option<Instant>,
}

#[derive(Debug)]
struct Fault {
    since: Instant,
    /// It was counted and logged.
    is_reported: bool,
}

impl Readings {
    /// Whether to read now.
    pub fn are_due(&self, files_changed: bool, now: Instant) -> bool {
        let (false, Some(tried)) = (self.faults.is_empty(), self.tried) else {
            return files_changed;
        };
        let interval = if self.are_settling() {
            RETRY_INTERVAL
        } else {
            RECHECK_INTERVAL
        };
        files_changed || now.saturating_duration_since(tried) >= interval
    }

    /// Whether a fault is looked into: then the files are looked at more often.
    pub fn are_settling(&self) -> bool {
        self.faults.values().any(|fault| !fault.is_reported)
    }

    /// Takes what a reading found wrong. The answer is what is to be reported of it: what is that old, and nobody knows yet.
    pub fn note(&mut self, faults: Vec<String>, now: Instant) -> Vec<String> {
        self.tried = Some(now);
        let before = std::mem::take(&mut self.faults);
        for what in faults {
            let known = before.get(&what);
            let fault = Fault {
                since: known.map_or(now, |fault| fault.since),
                is_reported: known.is_some_and(|fault| fault.is_reported),
            };
            self.faults.insert(what, fault);
        }
        let mut reported = Vec::new();
        for (what, fault) in &mut self.faults {
            if !fault.is_reported && now.saturating_duration_since(fault.since) >= SETTLING {
                fault.is_reported = true;
                reported.push(what.clone());
            }
        }
        reported
    }

    /// Reports all of it, however new it is.
    pub fn report_all(&mut self) -> Vec<String> {
        let unreported = self
            .faults
            .iter_mut()
            .filter(|(_, fault)| !fault.is_reported);
        unreported
            .map(|(what, fault)| {
                fault.is_reported = true;
                what.clone()
            })
            .collect()
    }

    pub fn are_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// What was reported and is still so.
    pub fn reported(&self) -> Vec<&str> {
        let reported = self.faults.iter().filter(|(_, fault)| fault.is_reported);
        reported.map(|(what, _)| &**what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(faults: &[&str]) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_fault_counts_once_it_is_a_second_old_and_only_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut readings = Readings::default();
        assert!(!readings.are_due(false, at(0)));
        assert!(readings.are_due(true, at(0)));
        assert!(readings.note(texts(&["key"]), at(0)).is_empty());
        assert!(readings.are_settling());
        assert!(!readings.are_due(false, at(249)));
        assert!(readings.are_due(false, at(250)));
        assert!(readings.note(texts(&["key"]), at(999)).is_empty());
        assert_eq!(readings.note(texts(&["key"]), at(1_000)), ["key"]);
        assert!(!readings.are_settling());
        assert!(readings.note(texts(&["key"]), at(2_000)).is_empty());
        assert!(!readings.are_due(false, at(31_999)));
        assert!(readings.are_due(false, at(32_000)));
    }

    /// One that is long known does not make another one count sooner.
    #[test]
    fn each_fault_has_its_own_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut readings = Readings::default();
        readings.note(texts(&["old"]), at(0));
        readings.note(texts(&["old"]), at(1_000));
        let both = texts(&["old", "new"]);
        assert!(readings.note(both.clone(), at(5_000)).is_empty());
        assert!(readings.are_settling());
        assert_eq!(readings.note(both, at(6_000)), ["new"]);
        assert_eq!(readings.reported(), ["new", "old"]);
        assert!(readings.note(texts(&["new"]), at(7_000)).is_empty());
        assert_eq!(readings.reported(), ["new"]);
    }

    #[test]
    fn a_fault_that_passes_in_time_is_none() {
        let start = Instant::now();
        let mut readings = Readings::default();
        assert!(readings.note(texts(&["key"]), start).is_empty());
        assert!(readings.note(Vec::new(), start).is_empty());
        assert!(readings.are_good());
        assert!(!readings.are_due(false, start + Duration::from_hours(1)));
        let later = start + Duration::from_secs(5);
        assert!(readings.note(texts(&["key"]), later).is_empty());
        assert_eq!(readings.report_all(), ["key"]);
        assert!(!readings.are_settling());
    }
}
