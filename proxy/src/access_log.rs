//! One JSON line per request, written by a thread of its own.
//!
//! A request renders its line and hands it over without waiting for a disk. What does not fit into the queue is dropped
//! and counted, so a slow disk costs log lines, never latency.

mod entry;
mod json;
mod queue;
mod writer;

use std::{cell::RefCell, io, sync::Arc, thread};

use tracing::error;

pub use entry::{Entry, HeadParts, Served};

use self::{queue::Queue, writer::Writer};
use crate::{clock::DateWriter, config::AccessLogConfig, metrics::Metrics};

/// A thread keeps the memory of a line up to this size for the next one.
const KEPT_LINE_BYTES: usize = 4 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a thread uses for one line after the other.
#[derive(Debug, Default)]
struct Scratch {
    line: Vec<u8>,
    dates: DateWriter,
}

/// Where entries are handed in. Without a configured log it does nothing and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    sink: Option<Sink>,
}

#[derive(Clone, Debug)]
struct Sink {
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct AccessLogWriter {
    queue: Arc<Queue>,
    thread: thread::JoinHandle<()>,
}

impl AccessLog {
    /// Opens the file and starts the writer; `None` in the place of the writer when no log is configured.
    pub fn open(
        config: Option<&AccessLogConfig>,
        metrics: &Arc<Metrics>,
    ) -> io::Result<(Self, Option<AccessLogWriter>)> {
        let Some(config) = config else {
            return Ok((Self::default(), None));
        };
        let sink = Sink {
            queue: Arc::new(Queue::new(config.queue_lines_max)),
            metrics: Arc::clone(metrics),
        };
        let queue = Arc::clone(&sink.queue);
        let writer = Writer::open(&config.path, Arc::clone(&queue), Arc::clone(metrics))?;
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(|| writer.run())?;
        queue.set_writer(thread.thread().clone());
        Ok((
            Self { sink: Some(sink) },
            Some(AccessLogWriter { queue, thread }),
        ))
    }

    /// Hands an entry in. `entry` is made only if there is a log with a place for its line.
    pub fn write<'a>(&self, entry: impl FnOnce() -> Entry<'a>) {
        let Some(sink) = &self.sink else { return };
        if !sink.take(entry) {
            sink.metrics.access_log_dropped.inc();
        }
    }

    /// Opens the file anew, for whoever moved it away.
    pub fn reopen(&self) {
        if let Some(sink) = &self.sink {
            sink.queue.ask_to_reopen();
        }
    }
}

impl Sink {
    fn take<'a>(&self, entry: impl FnOnce() -> Entry<'a>) -> bool {
        let Some(place) = self.queue.place() else {
            return false;
        };
        let entry = entry();
        SCRATCH.with_borrow_mut(|Scratch { line, dates }| {
            line.clear();
            entry.render(dates, line);
            let is_queued = place.fill(entry.shard, line);
            line.shrink_to(KEPT_LINE_BYTES);
            is_queued
        })
    }
}

impl AccessLogWriter {
    /// Writes out what is queued and ends the thread.
    pub fn finish(self) {
        self.queue.ask_to_finish();
        if self.thread.join().is_err() {
            error!("the access log's writer failed");
        }
    }
}

#[cfg(test)]
mod tests;
