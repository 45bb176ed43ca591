//! Following a request's body byte by byte, to know where it ends and that it is well formed.
//!
//! The tracker does not decode: every byte goes on as it came. It says how many of the bytes belong to this request,
//! counts what the decoded body amounts to, and refuses a chunked body that is not to the letter of RFC 9112
//! section 7.1.

mod chunked;
mod progress;
#[cfg(test)]
mod tests;

use super::{BodyFraming, Refusal};
pub use chunked::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};
use chunked::{Chunked, Dialect};
pub use progress::Progress;
use progress::take;

/// The place in one request's body.
#[derive(Clone, Debug)]
pub struct BodyTracker {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Length { left: u64 },
    Chunked(Chunked),
    Complete,
    Refused(Refusal),
}

impl BodyTracker {
    /// # Errors
    ///
    /// [`Refusal::BodyTooLarge`] when the announced length alone is over `body_bytes_max`, so that a client which waits
    /// for `100 Continue` hears of it before it sends anything.
    pub fn new(framing: BodyFraming, body_bytes_max: u64) -> Result<Self, Refusal> {
        let state = match framing {
            BodyFraming::Length(length) if length > body_bytes_max => {
                return Err(Refusal::BodyTooLarge);
            }
            BodyFraming::None | BodyFraming::Length(0) => State::Complete,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::Chunked(Chunked::new(body_bytes_max, Dialect::Request)),
        };
        Ok(Self { state })
    }

    /// Follows an answer's body: of any size, and with the spaces that some servers pad chunk sizes with.
    #[must_use]
    pub fn for_answer(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Complete,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::Chunked(Chunked::new(u64::MAX, Dialect::Answer)),
        };
        Self { state }
    }

    /// Bytes that are still to come, where their number was announced.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match self.state {
            State::Length { left } => Some(left),
            State::Complete => Some(0),
            State::Chunked(_) | State::Refused(_) => None,
        }
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Whether these bytes hold all that is left of the body, in good order.
    #[must_use]
    pub fn is_ended_by(mut self, bytes: &[u8]) -> bool {
        self.advance(bytes).is_ok_and(|progress| progress.complete)
    }

    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    ///
    /// The rule that the body breaks. None of these bytes may be handed on then, and each further call gives the same
    /// answer.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Progress, Refusal> {
        self.advance_seeing(bytes, |_| {})
    }

    /// The same, and shows the pieces of the decoded body among the bytes. They were shown in vain when the bytes are
    /// refused.
    ///
    /// # Errors
    ///
    /// As for [`advance`](Self::advance).
    pub fn advance_seeing(
        &mut self,
        bytes: &[u8],
        mut see: impl FnMut(&[u8]),
    ) -> Result<Progress, Refusal> {
        let consumed = match &mut self.state {
            State::Complete => 0,
            State::Refused(refusal) => return Err(*refusal),
            State::Length { left } => {
                let consumed = take(left, bytes.len());
                see(&bytes[..consumed]);
                if *left == 0 {
                    self.state = State::Complete;
                }
                consumed
            }
            State::Chunked(chunked) => match chunked.advance(bytes, see) {
                Ok(Progress { consumed, complete }) => {
                    if complete {
                        self.state = State::Complete;
                    }
                    consumed
                }
                Err(refusal) => {
                    self.state = State::Refused(refusal);
                    return Err(refusal);
                }
            },
        };
        Ok(Progress {
            consumed,
            complete: self.is_complete(),
        })
    }
}
