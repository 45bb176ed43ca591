//! Memory for bodies that are read before their cell is asked: so much for all of them together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What is in use, and the most that may be.
#[derive(Debug)]
pub struct BodyBuffers {
    in_use: AtomicUsize,
    bytes_max: usize,
}

/// Memory that a body may fill. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Reserved {
    buffers: Arc<BodyBuffers>,
    bytes: usize,
}

impl BodyBuffers {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            in_use: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// `None` when that much is not left.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let reserved = self
            .in_use
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |in_use| {
                let sum = in_use.checked_add(bytes)?;
                (sum <= self.bytes_max).then_some(sum)
            });
        reserved.ok()?;
        Some(Reserved {
            buffers: Arc::clone(self),
            bytes,
        })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.buffers.in_use.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_than_there_is() {
        let buffers = Arc::new(BodyBuffers::new(100));
        let first = buffers.reserve(60).unwrap();
        assert!(buffers.reserve(41).is_none());
        let second = buffers.reserve(40).unwrap();
        assert!(buffers.reserve(1).is_none());
        drop(first);
        assert!(buffers.reserve(usize::MAX).is_none());
        drop((buffers.reserve(60).unwrap(), second));
        assert_eq!(buffers.in_use.load(Ordering::Acquire), 0);
    }
}
