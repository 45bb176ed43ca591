//! Whether this process may write the state directory: during a hand-over only one of two does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cellgate_table::{Digest, Generation};

/// A table that is to be kept.
pub(super) type Unwritten = (Generation, Digest, Vec<u8>);

/// Shared by all copies of a `StateDir`.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    unwritten: Option<Unwritten>,
}

/// Held while something is written.
#[derive(Debug)]
pub(super) struct Writing<'g>(MutexGuard<'g, State>);

impl Gate {
    pub(super) fn enter(&self) -> Writing<'_> {
        Writing(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn close(&self) {
        self.enter().0.is_closed = true;
    }

    /// The newest table that was not written meanwhile.
    pub(super) fn open(&self) -> Option<Unwritten> {
        let mut writing = self.enter();
        writing.0.is_closed = false;
        writing.0.unwritten.take()
    }
}

impl Writing<'_> {
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed
    }

    pub(super) fn put_off(&mut self, generation: Generation, digest: Digest, bytes: &[u8]) {
        self.0.unwritten = Some((generation, digest, bytes.to_owned()));
    }
}
