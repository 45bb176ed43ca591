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

    /// Room for a body that has yet to come: none so far.
    pub(super) fn begin(self: &Arc<Self>) -> Reserved {
        Reserved {
            buffers: Arc::clone(self),
            bytes: 0,
        }
    }

    fn add(&self, bytes: usize) -> bool {
        let added = self
            .in_use
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |in_use| {
                let sum = in_use.checked_add(bytes)?;
                (sum <= self.bytes_max).then_some(sum)
            });
        added.is_ok()
    }
}

impl Reserved {
    /// Makes it this many bytes at least; false when there is not that much left. It grows with what comes: a client that
    /// announces much and sends little takes little.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let has_grown = self.buffers.add(more);
        if has_grown {
            self.bytes += more;
        }
        has_grown
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
        let (mut first, mut second) = (buffers.begin(), buffers.begin());
        assert!(first.grow_to(20) && first.grow_to(60) && first.grow_to(30));
        assert!(!second.grow_to(41));
        assert!(second.grow_to(40) && !second.grow_to(41) && second.grow_to(40));
        drop(first);
        assert!(!second.grow_to(usize::MAX) && second.grow_to(100));
        drop(second);
        assert_eq!(buffers.in_use.load(Ordering::Acquire), 0);
    }
}
