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
    time::Duration,
};

use tracing::{error, info};

pub use entry::Entry;

use crate::{config::AccessLogConfig, metrics::Metrics};

/// Lines are flushed when none comes for this long.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
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
            file: Some(file),
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
    /// `None` while the file cannot be opened.
    file: Option<BufWriter<File>>,
    lines: Receiver<Message>,
    reopen: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Writer {
    fn run(mut self) {
        let mut unflushed = false;
        loop {
            let message = if unflushed {
                self.lines.recv_timeout(FLUSH_AFTER)
            } else {
                self.lines
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected)
            };
            if self.reopen.swap(false, Ordering::AcqRel) {
                self.open_anew();
            }
            match message {
                Ok(Message::Line(entry)) => {
                    self.write(&entry);
                    unflushed = true;
                }
                Ok(Message::Wake) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    unflushed = false;
                }
                Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    return;
                }
            }
        }
    }

    fn write(&mut self, entry: &Entry) {
        let Some(file) = &mut self.file else {
            self.metrics.access_log_dropped.inc();
            return;
        };
        let written = serde_json::to_writer(&mut *file, entry)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written {
            self.metrics.access_log_dropped.inc();
            self.give_up(&error);
        }
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.flush()) {
            self.give_up(&error);
        }
    }

    /// Told once; lines are dropped and counted until the file is opened anew.
    fn give_up(&mut self, error: &io::Error) {
        error!(
            path = %self.path.display(), %error,
            "the access log cannot be written; mend it and send SIGUSR1"
        );
        // Dropping the buffered writer would try to write once more, and fail once more.
        if let Some(file) = self.file.take() {
            let _ = file.into_parts();
        }
    }

    fn open_anew(&mut self) {
        self.flush();
        match open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
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
