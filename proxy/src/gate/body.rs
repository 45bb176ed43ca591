//! Following a request's body byte by byte, to know where it ends and that it is well formed.
//!
//! The tracker does not decode: every byte goes on as it came. It says how many of the bytes belong to this request,
//! counts what the decoded body amounts to, and refuses a chunked body that is not to the letter of RFC 9112
//! section 7.1.

mod chunked;
#[cfg(test)]
mod tests;

use super::{BodyFraming, Refusal};
use chunked::Chunked;
pub use chunked::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};

/// How far the bytes of one call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many of the bytes belong to this request. Fewer than were given only when it is complete.
    pub consumed: usize,
    /// The request has ended; whatever else there is belongs to the next one.
    pub complete: bool,
}

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
    /// for `100 Continue` is told before it sends anything.
    pub fn new(framing: BodyFraming, body_bytes_max: u64) -> Result<Self, Refusal> {
        let state = match framing {
            BodyFraming::Length(length) if length > body_bytes_max => {
                return Err(Refusal::BodyTooLarge);
            }
            BodyFraming::None | BodyFraming::Length(0) => State::Complete,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::Chunked(Chunked::new(body_bytes_max)),
        };
        Ok(Self { state })
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    ///
    /// The rule that the body breaks. None of these bytes may be handed on then, and each further call gives the same
    /// answer.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Progress, Refusal> {
        let consumed = match &mut self.state {
            State::Complete => 0,
            State::Refused(refusal) => return Err(*refusal),
            State::Length { left } => {
                let consumed = take(left, bytes.len());
                if *left == 0 {
                    self.state = State::Complete;
                }
                consumed
            }
            State::Chunked(chunked) => match chunked.advance(bytes) {
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

/// Takes as much of `available` as `left` allows off `left`.
fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    *left -= taken as u64;
    taken
}
