//! Rendered lines that wait for the writer: limited in number and bytes, and taken in whole batches.
//!
//! Nobody who hands a line in waits for a disk: no lock is held while the writer writes. The writer is woken for a batch,
//! not for a line: by the first line after a quiet time, and when a batch is half full.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

/// Lists of lines, so that the threads that hand lines in seldom meet at one.
pub(super) const SHARDS: usize = 16;
/// Lines are written in batches of about this size.
pub(super) const BATCH_BYTES: usize = 64 * 1024;
/// The writer is woken when a batch has grown to this.
const WAKE_BYTES: usize = BATCH_BYTES / 2;
/// What a waiting line may have on average; a usual one has a third of it.
const LINE_BYTES: usize = 1024;
/// A queue of few lines takes long ones too.
const QUEUE_BYTES_MIN: usize = 4 * SHARDS * WAKE_BYTES;

/// Which of the lists a line goes to. Lines of one list keep their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shard(usize);

impl Shard {
    /// The list for whatever lives at this place in memory, for as long as it lives there.
    pub fn of<T>(owner: &T) -> Self {
        let address = std::ptr::from_ref(owner).addr() as u64;
        // The lowest bits are the same for all. The highest of this product depend on every other (Knuth, TAOCP 6.4).
        let [highest, ..] = address.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        Self(usize::from(highest) % SHARDS)
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    /// A line waits this long in memory before the writer turns to it, at most.
    flush_after: Duration,
    shards: [Mutex<Waiting>; SHARDS],
    room: Room,
    /// The writer waits for a first line, for as long as it takes.
    is_idle: AtomicBool,
    reopen: AtomicBool,
    finish: AtomicBool,
    writer: OnceLock<Thread>,
}

/// Apart from its neighbours, so that threads at different lists do not share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Waiting {
    /// The last one is filled; those before it are full.
    batches: Vec<Batch>,
    is_closed: bool,
}

/// Whole lines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: usize,
}

/// What waits, with what is just being written.
#[derive(Debug)]
#[repr(align(128))]
struct Room {
    lines: AtomicUsize,
    lines_max: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// A place for one line. It is given up if it is dropped without one.
#[derive(Debug)]
pub struct Place<'a> {
    queue: &'a Queue,
    /// The queue has come to be half full by this line.
    is_half: bool,
}

/// What the writer is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders {
    pub(super) reopen: bool,
    pub(super) finish: bool,
}

impl Queue {
    pub(super) fn new(lines_max: usize, flush_after: Duration) -> Self {
        Self {
            flush_after,
            shards: Default::default(),
            room: Room {
                lines: AtomicUsize::new(0),
                lines_max,
                bytes: AtomicUsize::new(0),
                bytes_max: lines_max.saturating_mul(LINE_BYTES).max(QUEUE_BYTES_MIN),
            },
            is_idle: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            finish: AtomicBool::new(false),
            writer: OnceLock::new(),
        }
    }

    /// Whom to wake.
    pub(super) fn set_writer(&self, writer: Thread) {
        // It has one writer in its life.
        let _ = self.writer.set(writer);
    }

    /// A place for a line, if there is one.
    pub(super) fn place(&self) -> Option<Place<'_>> {
        let before = self.room.lines.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            queue: self,
            is_half: before + 1 == self.room.half(),
        };
        (before < self.room.lines_max).then_some(place)
    }

    pub(super) fn ask_to_reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn ask_to_finish(&self) {
        self.finish.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// What is asked for by now. Lines that were handed in before the asking can be taken afterwards.
    pub(super) fn take_orders(&self) -> Orders {
        Orders {
            reopen: self.reopen.swap(false, Ordering::AcqRel),
            finish: self.finish.load(Ordering::Acquire),
        }
    }

    /// Moves the lines of one shard to `taken`, which is empty, and leaves a batch out of `spare` there.
    pub(super) fn take(&self, shard: usize, taken: &mut Vec<Batch>, spare: &mut Vec<Batch>) {
        let mut waiting = lock(&self.shards[shard]);
        if waiting.is_empty() {
            return;
        }
        mem::swap(&mut waiting.batches, taken);
        waiting.batches.extend(spare.pop());
    }

    /// A batch is written, or given up.
    pub(super) fn release(&self, batch: &Batch) {
        self.room.release(batch.lines, batch.bytes.len());
    }

    /// Takes no line any more.
    pub(super) fn close(&self) {
        for shard in &self.shards {
            lock(shard).is_closed = true;
        }
    }

    /// How many lines wait, with those that are just being written.
    pub(super) fn waiting(&self) -> usize {
        self.room.lines.load(Ordering::Relaxed)
    }

    /// Waits until there is something to do, for the writer, or `at_most` so long. `has_written` says whether there was
    /// the time before.
    pub(super) fn wait(&self, has_written: bool, at_most: Option<Duration>) {
        if !has_written {
            self.wait_for_a_line(at_most);
        }
        if self.is_asked() || self.room.is_half_full() || self.flush_after.is_zero() {
            return;
        }
        // More lines join the first one. A batch that is half full, or an order, ends the wait.
        thread::park_timeout(self.flush_after);
    }

    /// Waits while there is no line, and no order. It may end sooner.
    fn wait_for_a_line(&self, at_most: Option<Duration>) {
        self.is_idle.store(true, Ordering::Relaxed);
        // Whoever fills a shard after it was checked here sees `is_idle`: its lock was taken later.
        if self.shards.iter().all(|shard| lock(shard).is_empty()) {
            match at_most {
                Some(limit) => thread::park_timeout(limit),
                None => thread::park(),
            }
        }
        self.is_idle.store(false, Ordering::Relaxed);
    }

    fn is_asked(&self) -> bool {
        self.reopen.load(Ordering::Acquire) || self.finish.load(Ordering::Acquire)
    }
}

impl Place<'_> {
    /// Puts a line there, with the line feed at its end. False if the bytes are too many, or nobody takes lines any more.
    pub fn fill(self, shard: Shard, line: &[u8]) -> bool {
        let queue = self.queue;
        if !queue.room.claim_bytes(line.len()) {
            return false;
        }
        let is_batch_half_full = {
            let mut waiting = lock(&queue.shards[shard.0]);
            if waiting.is_closed {
                queue.room.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                return false;
            }
            waiting.push(line)
        };
        let is_half = self.is_half || is_batch_half_full;
        // From now on the line has the place.
        mem::forget(self);
        if is_half
            || queue.is_idle.load(Ordering::Relaxed) && queue.is_idle.swap(false, Ordering::Relaxed)
        {
            queue.wake();
        }
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.room.release(1, 0);
    }
}

impl Room {
    /// With so many lines the writer does not wait for more.
    fn half(&self) -> usize {
        self.lines_max.div_ceil(2)
    }

    fn is_half_full(&self) -> bool {
        self.lines.load(Ordering::Relaxed) >= self.half()
    }

    fn claim_bytes(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.bytes_max;
        if !fits {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn release(&self, lines: usize, bytes: usize) {
        self.lines.fetch_sub(lines, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.batches.first().is_none_or(|batch| batch.lines == 0)
    }

    /// Appends a line; true if its batch is half full from now on.
    fn push(&mut self, line: &[u8]) -> bool {
        let fits =
            |batch: &Batch| batch.lines == 0 || batch.bytes.len() + line.len() <= BATCH_BYTES;
        if !self.batches.last().is_some_and(fits) {
            // Growing one without end would mean to copy it, under the lock.
            self.batches.push(Batch::default());
        }
        let at = self.batches.len() - 1;
        let batch = &mut self.batches[at];
        let before = batch.bytes.len();
        batch.bytes.extend_from_slice(line);
        batch.lines += 1;
        before < WAKE_BYTES && batch.bytes.len() >= WAKE_BYTES
    }
}

/// A line is put in whole, and no code of others runs under the lock.
fn lock(shard: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
