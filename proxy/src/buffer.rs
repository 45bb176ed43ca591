//! Bytes that were received, or are about to be sent, and where their memory comes from.
//!
//! A buffer has no memory until something is put in, and none after [`Buffer::release`], so thousands of idle connections
//! hold none. The first memory it gets is of one size, which fits most heads and small bodies, and its thread keeps such
//! pieces for the next buffer: the allocator would have to lock where many of one size are out at the same time.

use std::{cell::RefCell, fmt, ops::Deref};

/// Size of the memory that a buffer begins with.
pub const BUFFER_BYTES: usize = 4 * 1024;
/// Pieces of this size that a thread keeps: 1 MiB of them.
const KEPT_MAX: usize = 256;
/// With less room than this, a buffer gets more before it is read into.
const READ_ROOM_BYTES_MIN: usize = 512;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// See the module's documentation.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// What is before it was taken.
    start: usize,
}

impl Buffer {
    /// Without memory.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// Whether it holds memory.
    pub fn has_memory(&self) -> bool {
        self.bytes.capacity() > 0
    }

    /// How many bytes can be added without more memory.
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Makes room for so many bytes more.
    #[inline]
    pub fn reserve(&mut self, room: usize) {
        if self.room() < room {
            self.make_room(room, self.len() + room);
        }
    }

    /// Makes room to read into, if there is little. So a message that comes in small pieces is not moved for each of them.
    #[inline]
    pub fn reserve_for_reading(&mut self) {
        if self.room() < READ_ROOM_BYTES_MIN {
            self.reserve(BUFFER_BYTES);
        }
    }

    /// Memory for so many bytes in all, or what was taken is overwritten if that makes enough room.
    fn make_room(&mut self, room: usize, bytes: usize) {
        if !self.has_memory() {
            self.bytes = take(bytes);
        } else if self.bytes.capacity() - self.len() >= room {
            self.bytes.drain(..self.start);
        } else {
            let mut larger = take(bytes);
            larger.extend_from_slice(self);
            give(std::mem::replace(&mut self.bytes, larger));
        }
        self.start = 0;
    }

    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if self.room() < bytes.len() {
            // What grows little by little would otherwise be moved each time.
            let enough = self.len() + bytes.len().max(self.len());
            self.make_room(bytes.len(), enough);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The memory, for whoever adds to its end. What was taken is still at its front.
    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes so many bytes from the front.
    ///
    /// # Panics
    ///
    /// There are not as many.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "only what is there can be taken");
        self.start += count;
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    /// Takes all bytes; the memory stays.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Keeps so many bytes at the front.
    pub fn truncate(&mut self, count: usize) {
        self.bytes.truncate(self.start + count);
    }

    /// Takes all bytes and lets the memory go.
    pub fn release(&mut self) {
        give(std::mem::take(&mut self.bytes));
        self.start = 0;
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.has_memory() {
            self.release();
        }
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("bytes", &self.len())
            .field("room", &self.room())
            .finish()
    }
}

/// Memory for so many bytes.
fn take(bytes: usize) -> Vec<u8> {
    if bytes > BUFFER_BYTES {
        return Vec::with_capacity(bytes);
    }
    let kept = KEPT.try_with(|kept| kept.borrow_mut().pop());
    let kept = kept.ok().flatten();
    kept.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
}

/// Gives memory back. What is of another size is let go.
fn give(mut memory: Vec<u8>) {
    if memory.capacity() != BUFFER_BYTES {
        return;
    }
    memory.clear();
    // When its thread ends there is nobody to keep it for.
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        KEPT.with_borrow(Vec::len)
    }

    #[test]
    fn memory_that_was_used_is_used_again() {
        let mut buffer = Buffer::new();
        assert!(!buffer.has_memory());
        buffer.extend_from_slice(&[7; 100]);
        let place = buffer.as_ptr();
        buffer.advance(50);
        assert_eq!((buffer.len(), buffer.room()), (50, BUFFER_BYTES - 100));
        drop(buffer);
        let mut again = Buffer::new();
        again.reserve(1);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(again.room(), BUFFER_BYTES);
    }

    #[test]
    fn only_memory_of_the_usual_size_is_kept_and_not_without_end() {
        let mut large = Buffer::new();
        large.reserve(BUFFER_BYTES + 1);
        drop(large);
        drop(Buffer::new());
        assert_eq!(kept(), 0);
        let buffer = || {
            let mut buffer = Buffer::new();
            buffer.reserve(1);
            buffer
        };
        let many: Vec<Buffer> = (0..2 * KEPT_MAX).map(|_| buffer()).collect();
        drop(many);
        assert_eq!(kept(), KEPT_MAX);
    }

    #[test]
    fn bytes_survive_growing_and_moving_to_the_front() {
        let mut buffer = Buffer::new();
        let mut expected = Vec::new();
        for step in 0..2_000_usize {
            let piece = vec![step.to_le_bytes()[0]; step % 97];
            buffer.extend_from_slice(&piece);
            expected.extend_from_slice(&piece);
            let taken = expected.len().min(step % 89);
            buffer.advance(taken);
            expected.drain(..taken);
            buffer.reserve(step % 500);
            assert!(buffer.room() >= step % 500);
            assert_eq!(*buffer, expected);
        }
        buffer.truncate(10);
        assert_eq!(*buffer, expected[..10]);
        buffer.release();
        assert!(buffer.is_empty() && !buffer.has_memory());
    }

    #[test]
    fn a_buffer_that_grew_gives_its_first_memory_back() {
        let mut buffer = Buffer::new();
        buffer.extend_from_slice(b"head");
        buffer.reserve(BUFFER_BYTES);
        assert_eq!(kept(), 1);
        assert_eq!(*buffer, *b"head");
    }
}
