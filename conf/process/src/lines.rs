//! Lines that a thread of their own writes: access logs and the programs' own logs.
//!
//! Whoever hands a line in never waits for a disk, a pipe or a reader. What does not fit into the queue is dropped and
//! counted. A sink that cannot be opened or written costs lines and nothing else; it is tried again.

mod queue;
mod sink;
mod writer;

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;

use self::{queue::Queue, writer::Writer};

pub use self::{
    queue::{Place, Shard},
    sink::Sink,
    writer::Chore,
};

/// At the end, a writer that has got no line out for so long is given up.
const STUCK_AFTER: Duration = Duration::from_millis(300);
/// How often the end of a writer is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// How many lines may wait, for how long, and where it is counted what does not fit.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Lines in the queue, with those that are just being written. Bytes are limited to 1 KiB for each, and never to
    /// less than 2 MiB.
    pub lines_max: usize,
    /// More lines may join a first one for so long; zero writes each as soon as possible.
    pub flush_after: Duration,
    /// Counts each line that was not written.
    pub dropped: IntCounter,
}

/// Where lines are handed in.
#[derive(Clone, Debug)]
pub struct Lines {
    queue: Arc<Queue>,
    dropped: IntCounter,
}

/// The thread that writes.
#[derive(Debug)]
pub struct LinesWriter {
    queue: Arc<Queue>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Starts the writer of a sink under the thread name `name`. The sink is opened there, so nothing of it can stop the
/// caller; even without a thread there are `Lines`, which then drops all. `chore` is done about once a second.
pub fn start(
    name: &str,
    sink: Sink,
    settings: Settings,
    chore: Option<Chore>,
) -> (Lines, LinesWriter) {
    let queue = Arc::new(Queue::new(settings.lines_max, settings.flush_after));
    let writer = Writer::new(sink, Arc::clone(&queue), settings.dropped.clone(), chore);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(|| writer.run());
    match &thread {
        Ok(thread) => queue.set_writer(thread.thread().clone()),
        Err(error) => {
            queue.close();
            tracing::error!(log = name, %error, "a log has no thread to write it, and stays empty");
        }
    }
    let lines = Lines {
        queue: Arc::clone(&queue),
        dropped: settings.dropped,
    };
    let writer = LinesWriter {
        queue,
        thread: thread.ok(),
    };
    (lines, writer)
}

impl Lines {
    /// A place for one line, if there is one. Without one the line counts as dropped.
    pub fn place(&self) -> Option<Place<'_>> {
        let place = self.queue.place();
        if place.is_none() {
            self.dropped.inc();
        }
        place
    }

    /// Fills a place.
    pub fn fill(&self, place: Place<'_>, shard: Shard, line: &[u8]) {
        if !place.fill(shard, line) {
            self.dropped.inc();
        }
    }

    /// Opens the sink again, for whoever moved the file away.
    pub fn reopen(&self) {
        self.queue.ask_to_reopen();
    }
}

impl LinesWriter {
    /// Writes out what is queued and ends the thread. It waits no longer than `limit`, and not for a sink that takes
    /// nothing: lines that are left then are lost.
    pub fn finish(self, limit: Duration) {
        let Some(thread) = self.thread else { return };
        self.queue.ask_to_finish();
        let began = Instant::now();
        let mut waiting = self.queue.waiting();
        let mut moved = began;
        while !thread.is_finished() {
            let now = Instant::now();
            let left = self.queue.waiting();
            if left != waiting {
                (waiting, moved) = (left, now);
            }
            if now - began >= limit || now - moved >= STUCK_AFTER {
                return;
            }
            thread::sleep(CHECK_INTERVAL);
        }
        // A panic there has been logged, as every one is.
        let _ = thread.join();
    }
}

/// Lines for a program's own log: each written event is one line.
impl io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(place) = self.place() {
            self.fill(place, Shard::default(), line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
