//! Which of the daemon's tasks panicked, and when: readiness and metrics show it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use prometheus::IntCounterVec;

use crate::clock;

/// A task that panicked is shown for so long.
const SHOWN_MS: i64 = 30_000;

/// See the module's documentation.
#[derive(Debug)]
pub struct Panics {
    last: Mutex<BTreeMap<&'static str, Panicked>>,
    total: IntCounterVec,
}

/// The last panic of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    pub task: &'static str,
    pub message: String,
    pub at_ms: i64,
}

impl Panics {
    pub fn new(total: IntCounterVec) -> Self {
        Self {
            last: Mutex::default(),
            total,
        }
    }

    /// Records a panic. The task is started again, or tried again at its next turn.
    pub fn record(&self, task: &'static str, message: &str) {
        self.total.with_label_values(&[task]).inc();
        let panicked = Panicked {
            task,
            message: message.to_owned(),
            at_ms: clock::now_ms(),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(task, panicked);
    }

    /// The newest panic, while it is recent.
    pub fn recent(&self) -> Option<Panicked> {
        let now = clock::now_ms();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = last.values().max_by_key(|panicked| panicked.at_ms)?;
        (now - newest.at_ms < SHOWN_MS).then(|| newest.clone())
    }
}
