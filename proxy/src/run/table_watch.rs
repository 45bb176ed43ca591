//! The thread that watches the table, from its start to its end, which nothing that hangs may hold up.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tracing::warn;

use crate::watch::{self, Loader, Waker, Watcher};

/// A thread that watches the table.
pub(super) struct TableWatch {
    waker: Waker,
    watcher: thread::JoinHandle<()>,
    loader: Arc<Loader>,
}

impl TableWatch {
    pub(super) fn start(loader: Arc<Loader>, poll_interval: Duration) -> Result<Self, String> {
        let channel = watch::channel();
        let waker = channel.0.clone();
        match Watcher::new(Arc::clone(&loader), channel, poll_interval).spawn() {
            Ok(watcher) => Ok(Self {
                waker,
                watcher,
                loader,
            }),
            Err(error) => {
                loader.end();
                Err(no_thread(&error))
            }
        }
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Ends the watch. It may be at work on a disk that hangs, so it is waited for no longer than `limit`.
    pub(super) fn end(self, limit: Duration) {
        let ending = thread::spawn(move || {
            self.waker.stop();
            // A panic there has been logged, as every one is.
            let _ = self.watcher.join();
            self.loader.end();
        });
        if !ends_within(&ending, limit) {
            warn!("the table watcher is still at work, or waits for a disk, and is left behind");
        }
    }
}

/// Why the process cannot go on without a thread.
pub(super) fn no_thread(error: &io::Error) -> String {
    format!("no thread to be had: {error}")
}

fn ends_within(thread: &thread::JoinHandle<()>, limit: Duration) -> bool {
    const CHECK_INTERVAL: Duration = Duration::from_millis(2);
    let began = Instant::now();
    while !thread.is_finished() {
        if began.elapsed() >= limit {
            return false;
        }
        thread::sleep(CHECK_INTERVAL);
    }
    true
}
