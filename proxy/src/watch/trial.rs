//! The first seconds under a new table: a crash within them counts against it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cellgate_table::Digest;
use tracing::{debug, warn};

use crate::state_dir::StateDir;

/// A process that crashes sooner than this after it took a new table counts a crash against that table.
pub const FIRST_SECONDS: Duration = Duration::from_secs(3);

/// Which table is marked in the state directory, and since when.
pub(super) type Marked = (Instant, Digest);

/// Marks the table in force in the state directory for as long as it has yet to prove itself.
#[derive(Debug)]
pub(super) struct Trial {
    state_dir: StateDir,
    marked: Mutex<Option<Marked>>,
}

impl Trial {
    pub(super) fn new(state_dir: StateDir) -> Self {
        Self {
            state_dir,
            marked: Mutex::default(),
        }
    }

    /// Notes that a new table has been in force for its first seconds: from here on no crash counts against it, in this
    /// run or any other.
    ///
    /// Returns how long until there is something to note.
    pub(super) fn prove(&self, first_seconds: Duration) -> Option<Duration> {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, digest) = (*marked)?;
        let served = since.elapsed();
        if served < first_seconds {
            return Some(first_seconds.saturating_sub(served));
        }
        *marked = None;
        if let Err(error) = self.state_dir.proved(digest) {
            warn!(%error, "it cannot be noted in the state directory that the table in force has proved itself");
        }
        None
    }

    /// The process ends in good order, which no table is to blame for.
    pub(super) fn end(&self) {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if marked.take().is_some()
            && let Err(error) = self.state_dir.unmark()
        {
            warn!(%error, "it cannot be noted in the state directory that the process ended in good order");
        }
    }

    /// Marks a table as one that has yet to prove itself, if it has; what was marked before.
    pub(super) fn mark(&self, digest: Digest) -> Option<Marked> {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *marked;
        let is_proven = self.state_dir.is_proven(digest);
        let noted = if is_proven {
            self.state_dir.unmark()
        } else {
            self.state_dir.mark_start(digest)
        };
        match noted {
            Ok(()) => *marked = (!is_proven).then(|| (Instant::now(), digest)),
            Err(error) => debug!(%error, "the start under a table cannot be marked on disk"),
        }
        before
    }

    /// Writes the mark once more, where another process may have changed it.
    pub(super) fn mark_again(&self) {
        let before = *self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        self.restore_mark(before);
    }

    /// Takes a mark back: the process still runs, so the table in force is the one to watch, if it has yet to prove
    /// itself.
    pub(super) fn restore_mark(&self, before: Option<Marked>) {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let restored = match before {
            Some((_, digest)) => self.state_dir.mark_start(digest),
            None => self.state_dir.unmark(),
        };
        if let Err(error) = restored {
            warn!(%error, "a mark in the state directory names a table that is not in force");
        }
        *marked = before;
    }
}
