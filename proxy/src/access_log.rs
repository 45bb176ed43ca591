//! One JSON line per request, written by a thread of its own.
//!
//! A request hands its entry over without waiting: when the queue is full the line is dropped and counted, so a slow disk
//! costs log lines, never latency.

mod entry;

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{error, info};

pub use entry::Entry;

use crate::{config::AccessLogConfig, metrics::Metrics};

/// A line waits this long in memory, at most.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// A file that cannot be written is opened anew after this long, as a disk that was full may not be full any more.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 64 * 1024;

/// Where entries are handed in. Without a configured log it does nothing and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    sender: Option<Sender>,
}

#[derive(Clone, Debug)]
struct Sender {
    queue: SyncSender<Message>,
    metrics: Arc<Metrics>,
    reopen: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Message {
    Line(Box<Entry>),
    /// Look at the flags.
    Wake,
    /// Write out what is queued and end.
    Finish,
}

/// The thread that writes.
#[derive(Debug)]
pub struct AccessLogWriter {
    queue: SyncSender<Message>,
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
        let file = open(&config.path)?;
        let (queue, lines) = sync_channel(config.queue_lines_max);
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path: config.path.clone(),
            output: Output::new(file),
            lines,
            reopen: Arc::clone(&reopen),
            metrics: Arc::clone(metrics),
        };
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(|| writer.run())?;
        let sender = Sender {
            queue: queue.clone(),
            metrics: Arc::clone(metrics),
            reopen,
        };
        Ok((
            Self {
                sender: Some(sender),
            },
            Some(AccessLogWriter { queue, thread }),
        ))
    }

    /// Hands an entry in. `entry` is made only if there is a log.
    pub fn write(&self, entry: impl FnOnce() -> Entry) {
        let Some(sender) = &self.sender else { return };
        if sender
            .queue
            .try_send(Message::Line(Box::new(entry())))
            .is_err()
        {
            sender.metrics.access_log_dropped.inc();
        }
    }

    /// Opens the file anew, for whoever moved it away.
    pub fn reopen(&self) {
        let Some(sender) = &self.sender else { return };
        sender.reopen.store(true, Ordering::Release);
        // With the queue full the flag is seen at the next line.
        let _ = sender.queue.try_send(Message::Wake);
    }
}

impl AccessLogWriter {
    /// Writes out what is queued and ends the thread.
    pub fn finish(self) {
        if self.queue.send(Message::Finish).is_ok() && self.thread.join().is_err() {
            error!("the access log's writer failed");
        }
    }
}

struct Writer {
    path: PathBuf,
    output: Output,
    lines: Receiver<Message>,
    reopen: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

enum Output {
    Open {
        file: BufWriter<File>,
        /// Lines in the buffer, and until when they may stay there.
        unflushed: u64,
        flush_at: Instant,
    },
    /// Lines are dropped and counted.
    Broken { retry_at: Instant },
}

impl Output {
    fn new(file: BufWriter<File>) -> Self {
        Self::Open {
            file,
            unflushed: 0,
            flush_at: Instant::now(),
        }
    }
}

impl Writer {
    fn run(mut self) {
        loop {
            let message = match self.flush_due() {
                Some(due) => self.lines.recv_timeout(due),
                None => self
                    .lines
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            if self.reopen.swap(false, Ordering::AcqRel) {
                self.open_anew();
            }
            match message {
                Ok(Message::Line(entry)) => {
                    self.write(&entry);
                    if self.flush_due() == Some(Duration::ZERO) {
                        self.flush();
                    }
                }
                Ok(Message::Wake) => {}
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    return;
                }
            }
        }
    }

    /// How long until the lines in the buffer have to be written; `None` when there are none.
    fn flush_due(&self) -> Option<Duration> {
        match &self.output {
            Output::Open {
                unflushed: 1..,
                flush_at,
                ..
            } => Some(flush_at.saturating_duration_since(Instant::now())),
            _ => None,
        }
    }

    fn write(&mut self, entry: &Entry) {
        if let Output::Broken { retry_at } = self.output
            && retry_at <= Instant::now()
        {
            self.open_anew();
        }
        let Output::Open {
            file,
            unflushed,
            flush_at,
        } = &mut self.output
        else {
            self.metrics.access_log_dropped.inc();
            return;
        };
        if *unflushed == 0 {
            *flush_at = Instant::now() + FLUSH_AFTER;
        }
        *unflushed += 1;
        let written = serde_json::to_writer(&mut *file, entry)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written {
            self.give_up(&error);
        }
    }

    fn flush(&mut self) {
        let Output::Open {
            file, unflushed, ..
        } = &mut self.output
        else {
            return;
        };
        match file.flush() {
            Ok(()) => *unflushed = 0,
            Err(error) => self.give_up(&error),
        }
    }

    /// Told once; lines are dropped and counted until the file can be written again.
    fn give_up(&mut self, error: &io::Error) {
        let broken = Output::Broken {
            retry_at: Instant::now() + RETRY_AFTER,
        };
        if let Output::Open {
            file, unflushed, ..
        } = std::mem::replace(&mut self.output, broken)
        {
            error!(
                path = %self.path.display(), %error,
                "the access log cannot be written; lines are dropped until it can"
            );
            self.metrics.access_log_dropped.inc_by(unflushed);
            // Dropping the buffered writer would try to write once more, and fail once more.
            let _ = file.into_parts();
        }
    }

    fn open_anew(&mut self) {
        self.flush();
        match open(&self.path) {
            Ok(file) => {
                self.output = Output::new(file);
                info!(path = %self.path.display(), "access log opened anew");
            }
            Err(error) => self.give_up(&error),
        }
    }
}

fn open(path: &Path) -> io::Result<BufWriter<File>> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
}

#[cfg(test)]
mod tests;
