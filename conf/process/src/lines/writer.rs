//! The thread that writes what waits, and keeps the sink: opens it anew, and gets over its failures.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tracing::{error, info};

use super::{
    queue::{BATCH_BYTES, Batch, Queue, SHARDS},
    sink::{Output, Sink},
};

/// A sink that cannot be written is opened anew after this long, as a disk that was full may not be full any more.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often the chore is done.
const CHORE_PERIOD: Duration = Duration::from_secs(1);

/// Something that the writer's thread does now and then, between lines. It must not wait.
pub type Chore = Box<dyn FnMut() + Send>;

pub(super) struct Writer {
    sink: Sink,
    /// `None` while it cannot be opened or written: lines are dropped and counted.
    output: Option<Output>,
    retry_at: Instant,
    /// It has been reported that lines are lost.
    is_failing: bool,
    queue: Arc<Queue>,
    dropped: IntCounter,
    chore: Option<Chore>,
    chore_done: Instant,
    /// Batches of the shard that is written, and empty ones to be filled.
    taken: Vec<Batch>,
    spare: Vec<Batch>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(
        sink: Sink,
        queue: Arc<Queue>,
        dropped: IntCounter,
        chore: Option<Chore>,
    ) -> Self {
        let now = Instant::now();
        Self {
            sink,
            output: None,
            retry_at: now,
            is_failing: false,
            queue,
            dropped,
            chore,
            chore_done: now,
            taken: Vec::new(),
            spare: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        self.open();
        loop {
            // Asked first: what was handed in before belongs into the file as it was.
            let orders = self.queue.take_orders();
            if orders.finish {
                self.queue.close();
            }
            let has_written = self.write_waiting();
            if orders.reopen && self.open() {
                info!(log = %self.sink, "log opened anew");
            }
            if orders.finish {
                return;
            }
            let until_chore = self.do_chore();
            self.queue.wait(has_written, until_chore);
        }
    }

    /// Does the chore if it is time; returns the time until the next one. What a chore has to say is said in a log, which
    /// has to be written for that.
    fn do_chore(&mut self) -> Option<Duration> {
        let chore = self.chore.as_mut()?;
        if !self.is_failing && self.chore_done.elapsed() >= CHORE_PERIOD {
            chore();
            self.chore_done = Instant::now();
        }
        Some(CHORE_PERIOD)
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
        if self.output.is_none() && self.retry_at <= Instant::now() {
            self.open();
        }
        let Some(output) = &mut self.output else {
            return self.dropped.inc_by(batch.lines as u64);
        };
        match output.write(&batch.bytes) {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                info!(log = %self.sink, dropped = self.dropped.get(), "the log is written again");
            }
            Ok(()) => {}
            Err(failed) => {
                self.dropped.inc_by(failed.lines as u64);
                self.give_up(&failed.error);
            }
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

    /// Reported once; lines are dropped and counted until the sink can be written again.
    fn give_up(&mut self, error: &io::Error) {
        self.output = None;
        self.retry_at = Instant::now() + RETRY_AFTER;
        if !std::mem::replace(&mut self.is_failing, true) {
            error!(log = %self.sink, %error, "the log cannot be written; lines are dropped until it can");
        }
    }

    /// False if it cannot be opened.
    fn open(&mut self) -> bool {
        match self.sink.open() {
            Ok(output) => self.output = Some(output),
            Err(error) => self.give_up(&error),
        }
        self.output.is_some()
    }
}
