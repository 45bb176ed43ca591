//! The only room that reads the table: it watches the file, judges what it finds, and swaps the snapshot.
//!
//! File events are a hint, never the truth: the file is checked on an event, on a timer, and read whole every so often
//! whatever its stat says. All of it happens on a thread of its own, away from the threads that serve requests; nothing
//! here may call the control plane or touch a request.

mod cell_files;
mod events;
mod file;
mod loader;
mod outcome;
mod trial;
mod wake;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::error;

use events::DirectoryWatch;
use wake::strongest;

use crate::regular_file::Stamp;

pub use cell_files::{folder_of, problems_of};
pub use file::read_table_file;
pub use loader::Loader;
pub use outcome::{Behind, LastReload, Outcome, TableStatus};
pub use trial::FIRST_SECONDS;
pub use wake::{Wake, Waker, channel};

/// The file is read and hashed anyway after this long, whatever its stat says.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(30);
/// A file that is being written to in place is read once it has been quiet for this long …
const QUIET: Duration = Duration::from_millis(40);
/// … or after this long if it never is.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// After a panic the watch begins again so much later.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Watches the table file until it is stopped.
#[derive(Debug)]
pub struct Watcher {
    loader: Arc<Loader>,
    waker: Waker,
    wakes: Receiver<Wake>,
    poll_interval: Duration,
}

impl Watcher {
    pub fn new(
        loader: Arc<Loader>,
        channel: (Waker, Receiver<Wake>),
        poll_interval: Duration,
    ) -> Self {
        Self {
            loader,
            waker: channel.0,
            wakes: channel.1,
            poll_interval,
        }
    }

    pub fn spawn(self) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new()
            .name("table-watch".to_owned())
            .spawn(move || {
                // The loader gets over its own panics; without the watch, no change would ever be seen again.
                while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                    error!("the watch of the table panicked and is started again");
                    thread::sleep(RESTART_PAUSE);
                }
            })
    }

    fn run(&self) {
        let path = self.loader.table_path().to_owned();
        let mut directory = DirectoryWatch::new(&path, self.waker.clone());
        // The file may be newer than what was read before this thread began, so the first poll always reads it.
        let mut seen = None;
        let mut read_at = Instant::now();
        loop {
            directory.arm();
            let to_prove = self.loader.prove(FIRST_SECONDS);
            let to_settle = self.loader.poll_cell_files();
            let pause = [to_prove, to_settle].into_iter().flatten();
            let pause = pause.fold(self.poll_interval, Duration::min);
            let mut wake = match self.wakes.recv_timeout(pause) {
                Ok(wake) => Some(wake),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Ok(more) = self.wakes.try_recv() {
                wake = strongest(wake, Some(more));
            }
            if wake == Some(Wake::Stop) {
                return;
            }
            let stamp = Some(Stamp::of(&path));
            let due = wake == Some(Wake::Reread)
                || read_at.elapsed() >= FULL_READ_INTERVAL
                || self.loader.have_awaited_files_changed();
            if stamp == seen && !due {
                continue;
            }
            if wake != Some(Wake::Finished) && stamp != seen {
                self.wait_until_quiet(&path);
            }
            // Stamped before the read: a change during it makes the next poll see another stamp.
            seen = Some(Stamp::of(&path));
            read_at = Instant::now();
            if matches!(self.loader.poll(), Outcome::Unread(_)) {
                seen = None;
            }
        }
    }

    /// Gives somebody who writes in place the time to finish.
    fn wait_until_quiet(&self, path: &Path) {
        let started = Instant::now();
        let mut stamp = Stamp::of(path);
        loop {
            match self.wakes.recv_timeout(QUIET) {
                Ok(Wake::Finished | Wake::Reread) => return,
                Ok(Wake::Stop) => {
                    self.waker.wake(Wake::Stop);
                    return;
                }
                Ok(Wake::Touched) => {}
                Err(_) => {
                    let now = Stamp::of(path);
                    if now == stamp {
                        return;
                    }
                    stamp = now;
                }
            }
            if started.elapsed() > QUIET_WAIT_MAX {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
