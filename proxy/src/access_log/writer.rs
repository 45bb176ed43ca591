//! The thread that writes what waits, and keeps the file: opens it anew, and gets over its failures.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{error, info};

use super::queue::{BATCH_BYTES, Batch, Queue, SHARDS};
use crate::metrics::Metrics;

/// A file that cannot be written is opened anew after this long, as a disk that was full may not be full any more.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    output: Output,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    /// Batches of the shard that is written, and empty ones to be filled.
    taken: Vec<Batch>,
    spare: Vec<Batch>,
}

#[derive(Debug)]
enum Output {
    Open(File),
    /// Lines are dropped and counted.
    Broken {
        retry_at: Instant,
    },
}

impl Writer {
    pub(super) fn open(path: &Path, queue: Arc<Queue>, metrics: Arc<Metrics>) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            output: Output::Open(open(path)?),
            queue,
            metrics,
            taken: Vec::new(),
            spare: Vec::new(),
        })
    }

    pub(super) fn run(mut self) {
        loop {
            // Asked first: what was handed in before belongs into the file as it was.
            let orders = self.queue.take_orders();
            if orders.finish {
                self.queue.close();
            }
            let has_written = self.write_waiting();
            if orders.reopen {
                self.open_anew();
            }
            if orders.finish {
                return;
            }
            self.queue.wait(has_written);
        }
    }

    /// Writes all that waits; false if nothing did.
    fn write_waiting(&mut self) -> bool {
        let mut has_written = false;
        for shard in 0..SHARDS {
            let mut taken = std::mem::take(&mut self.taken);
            self.queue.take(shard, &mut taken, &mut self.spare);
            for batch in taken.drain(..) {
                has_written = true;
                self.write(&batch);
                self.queue.release(&batch);
                self.keep(batch);
            }
            self.taken = taken;
        }
        has_written
    }

    fn write(&mut self, batch: &Batch) {
        if let Output::Broken { retry_at } = self.output
            && retry_at <= Instant::now()
        {
            self.open_anew();
        }
        let Output::Open(file) = &mut self.output else {
            return self.metrics.access_log_dropped.inc_by(batch.lines as u64);
        };
        if let Err(failed) = write_lines(file, &batch.bytes) {
            self.metrics.access_log_dropped.inc_by(failed.lines as u64);
            self.give_up(&failed.error);
        }
    }

    /// Keeps a batch's memory for the next one, unless it is out of the ordinary.
    fn keep(&mut self, mut batch: Batch) {
        if self.spare.len() < SHARDS && batch.bytes.capacity() <= BATCH_BYTES * 2 {
            batch.bytes.clear();
            batch.lines = 0;
            self.spare.push(batch);
        }
    }

    /// Reported once; lines are dropped and counted until the file can be written again.
    fn give_up(&mut self, error: &io::Error) {
        let retry_at = Instant::now() + RETRY_AFTER;
        let before = std::mem::replace(&mut self.output, Output::Broken { retry_at });
        if let Output::Open(_) = before {
            error!(
                path = %self.path.display(), %error,
                "the access log cannot be written; lines are dropped until it can"
            );
        }
    }

    fn open_anew(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.output = Output::Open(file);
                info!(path = %self.path.display(), "access log opened anew");
            }
            Err(error) => self.give_up(&error),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[derive(Debug)]
struct Failed {
    error: io::Error,
    /// Those that are not in the file, or not as a whole.
    lines: usize,
}

/// Writes whole lines.
fn write_lines(file: &mut impl Write, mut lines: &[u8]) -> Result<(), Failed> {
    while !lines.is_empty() {
        let error = match file.write(lines) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(count) => {
                lines = &lines[count..];
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let lines = lines.split_inclusive(|byte| *byte == b'\n').count();
        return Err(Failed { error, lines });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, a few at a time and interrupted in between, and is full then.
    struct Narrow {
        room: usize,
        is_interrupted: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.room).min(3);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_torn_is_lost_and_those_before_it_are_not() {
        let lines = b"one\ntwo\nthree\n";
        for (room, lost) in [(0, 3), (3, 3), (4, 2), (7, 2), (8, 1), (13, 1), (14, 0)] {
            let mut file = Narrow {
                room,
                is_interrupted: false,
            };
            let failed = write_lines(&mut file, lines).err();
            let counted = failed.map_or(0, |failed| failed.lines);
            assert_eq!(counted, lost, "room for {room} bytes");
        }
    }
}
