//! Buffers of a thread, for heads and small bodies. A connection has one only while something is in it: thousands of idle
//! ones hold none, and a busy one gets a buffer without asking the allocator, which has to lock where many of one size
//! are out at the same time.

use std::cell::RefCell;

use bytes::BytesMut;

/// Size of a buffer: most heads and small bodies fit.
pub(super) const BUFFER_BYTES: usize = 4 * 1024;
/// Buffers that a thread keeps: 1 MiB of them.
const KEPT_MAX: usize = 256;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub(super) fn take() -> BytesMut {
    KEPT.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
}

/// Gives a buffer back, whatever is in it. One that has grown, or whose memory is shared, is let go.
pub(super) fn give(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.try_reclaim(BUFFER_BYTES) && buffer.capacity() < 2 * BUFFER_BYTES {
        KEPT.with_borrow_mut(|kept| {
            if kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;

    use super::*;

    #[test]
    fn a_buffer_that_was_used_is_used_again_and_empty() {
        let mut buffer = take();
        let place = buffer.as_ptr();
        buffer.extend_from_slice(&[7; 100]);
        buffer.advance(50);
        give(buffer);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(again.capacity(), BUFFER_BYTES);
    }

    #[test]
    fn what_is_too_large_or_too_small_or_shared_is_let_go() {
        let kept = || KEPT.with_borrow(Vec::len);
        give(BytesMut::with_capacity(2 * BUFFER_BYTES));
        give(BytesMut::new());
        let mut first = take();
        first.extend_from_slice(&[7; 100]);
        let second = first.split_to(50);
        give(first);
        assert_eq!(kept(), 0);
        drop(second);
        for _ in 0..2 * KEPT_MAX {
            give(BytesMut::with_capacity(BUFFER_BYTES));
        }
        assert_eq!(kept(), KEPT_MAX);
    }
}
