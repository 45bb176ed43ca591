//! What wakes the watcher, and the channel that it comes by.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Wake-ups that may wait; more say nothing new.
const WAKES_MAX: usize = 64;

/// Why the watcher wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something happened to the file; it may still be being written.
    Touched,
    /// A finished file took its place, or a writer closed it.
    Finished,
    /// Somebody wants it read now.
    Reread,
    Stop,
}

/// Wakes the watcher from anywhere, without waiting.
#[derive(Clone, Debug)]
pub struct Waker(SyncSender<Wake>);

impl Waker {
    pub fn wake(&self, wake: Wake) {
        match self.0.try_send(wake) {
            // Wake-ups wait already; they cause a poll anyway.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Ends the watcher. Unlike the other wake-ups this one is never left out: it waits for a place.
    pub fn stop(&self) {
        // Without a watcher there is nobody to end.
        let _ = self.0.send(Wake::Stop);
    }
}

/// The watcher's ends of its channel, made before its thread so that signals can reach it from the start.
pub fn channel() -> (Waker, Receiver<Wake>) {
    let (sender, receiver) = sync_channel(WAKES_MAX);
    (Waker(sender), receiver)
}

/// The one that makes the watcher do most.
pub(super) fn strongest(left: Option<Wake>, right: Option<Wake>) -> Option<Wake> {
    let rank = |wake: &Option<Wake>| match wake {
        None => 0,
        Some(Wake::Touched) => 1,
        Some(Wake::Finished) => 2,
        Some(Wake::Reread) => 3,
        Some(Wake::Stop) => 4,
    };
    if rank(&right) > rank(&left) {
        right
    } else {
        left
    }
}
