//! How far the request has gone that is written to a cell.

use crate::gate::{BodyFraming, BodyTracker, Refusal};

const HEAD_END: &[u8] = b"\r\n\r\n";

/// The place in a request. It is Pingora's writing, so its head is well formed, and its body is framed as its head says.
#[derive(Clone, Debug)]
pub(super) struct RequestTracker {
    /// How much of the head's end was seen; all of it once the head is past.
    head_end_seen: usize,
    body: BodyTracker,
}

impl RequestTracker {
    pub(super) fn new(framing: BodyFraming) -> Self {
        let body = BodyTracker::new(framing, u64::MAX)
            .expect("no length is above a limit that is the largest number");
        Self {
            head_end_seen: 0,
            body,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.head_end_seen == HEAD_END.len() && self.body.is_complete()
    }

    /// How many of the bytes belong to the request.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut head = 0;
        while self.head_end_seen < HEAD_END.len() {
            let Some(&byte) = bytes.get(head) else {
                return Ok(head);
            };
            head += 1;
            self.head_end_seen = match byte {
                _ if byte == HEAD_END[self.head_end_seen] => self.head_end_seen + 1,
                b'\r' => 1,
                _ => 0,
            };
        }
        let progress = self.body.advance(&bytes[head..])?;
        Ok(head + progress.consumed)
    }
}
