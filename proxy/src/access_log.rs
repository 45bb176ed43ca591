//! One line per request, written by a thread of its own.
//!
//! A request renders its line and hands it over without waiting for a disk. What does not fit into the queue is dropped
//! and counted, so a slow disk costs log lines, never latency.

mod combined;
mod entry;
mod json;
mod tcp;

use std::{cell::RefCell, time::Duration};

use cellgate_process::lines::{self, Lines, LinesWriter, Shard};

pub use entry::{Entry, HeadParts, Served};
pub use tcp::TcpEntry;

use crate::{
    clock::DateWriter,
    config::{AccessLogConfig, AccessLogFormat},
    metrics::Metrics,
};

/// A thread keeps the memory of a line up to this size for the next one.
const KEPT_LINE_BYTES: usize = 4 * 1024;
/// A line waits this long in memory before it is written, at most.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a thread uses for one line after the other.
#[derive(Debug, Default)]
struct Scratch {
    line: Vec<u8>,
    dates: DateWriter,
}

/// What a line is written of.
pub trait Line {
    /// Lines of one shard stay in order.
    fn shard(&self) -> Shard;

    /// Appends the line to `out`, with the line feed at its end. No other line feed may be in it, whatever bytes a client
    /// sent.
    fn render(&self, format: AccessLogFormat, dates: &mut DateWriter, out: &mut Vec<u8>);
}

impl Line for Entry<'_> {
    fn shard(&self) -> Shard {
        self.shard
    }

    fn render(&self, format: AccessLogFormat, dates: &mut DateWriter, out: &mut Vec<u8>) {
        match format {
            AccessLogFormat::Json => self.render_json(dates, out),
            AccessLogFormat::Combined => combined::render(self, dates, out),
        }
    }
}

/// Where entries are handed in. Without a configured log it does nothing and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    lines: Option<Lines>,
    format: AccessLogFormat,
}

impl AccessLog {
    /// Starts the writer; `None` in the place of the writer when no log is configured.
    pub fn start(
        config: Option<&AccessLogConfig>,
        metrics: &Metrics,
    ) -> (Self, Option<LinesWriter>) {
        let Some(config) = config else {
            return (Self::default(), None);
        };
        let settings = lines::Settings {
            lines_max: config.queue_lines_max,
            flush_after: FLUSH_AFTER,
            dropped: metrics.access_log_dropped.clone(),
        };
        let (lines, writer) = lines::start("access-log", config.sink.clone(), settings, None);
        let log = Self {
            lines: Some(lines),
            format: config.format,
        };
        (log, Some(writer))
    }

    /// Whether there is a log. What only an entry needs is not worth finding out otherwise.
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Hands an entry in. `entry` is made only if there is a log with a place for its line.
    pub fn write<L: Line>(&self, entry: impl FnOnce() -> L) {
        let Some(lines) = &self.lines else { return };
        let Some(place) = lines.place() else { return };
        let entry = entry();
        SCRATCH.with_borrow_mut(|Scratch { line, dates }| {
            line.clear();
            entry.render(self.format, dates, line);
            lines.fill(place, entry.shard(), line);
            line.shrink_to(KEPT_LINE_BYTES);
        });
    }

    /// Opens the file anew, for whoever moved it away.
    pub fn reopen(&self) {
        if let Some(lines) = &self.lines {
            lines.reopen();
        }
    }
}

#[cfg(test)]
mod tests;
