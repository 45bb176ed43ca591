//! Processes, each in the place of the one before it.

use super::upgrade;
use crate::support::{
    PATIENCE,
    process::{Process, Signal},
    proxy::Proxy,
    wait_until,
};

/// See the module's documentation.
pub(super) struct Chain {
    first: Proxy,
    /// In the order in which they came.
    others: Vec<Process>,
}

impl Chain {
    pub(super) fn new(first: Proxy) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }

    /// What the process that serves has logged.
    fn log(&self) -> String {
        match self.others.last() {
            None => self.first.log(),
            Some(last) => last.output(),
        }
    }

    /// One more takes over.
    #[track_caller]
    pub(super) fn hand_over(&mut self) {
        let successor = upgrade(&self.first);
        let expected = format!("this process drains process={}", successor.id());
        wait_until("the successor serves", PATIENCE, || {
            self.log().contains(&expected)
        });
        self.others.push(successor);
    }

    /// Ends the last one. All others have ended by themselves, or do soon, and have cut nobody off.
    #[track_caller]
    pub(super) fn end(mut self) {
        if let Some(last) = self.others.last_mut() {
            last.signal(Signal::TERM);
        } else {
            self.first.signal(Signal::TERM);
        }
        let first = self.first.process();
        for process in std::iter::once(first).chain(&mut self.others) {
            let status = process.wait(PATIENCE);
            let log = process.output();
            assert!(status.success(), "{status}: {log}");
            for cut in ["requests in flight are cut", "connection cut"] {
                assert!(!log.contains(cut), "{log}");
            }
        }
    }
}
