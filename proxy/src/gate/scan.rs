//! Finding the end of a head in a buffer that grows.
//!
//! Each byte is read once however the head is dripped in. Whatever can no longer become a good head is refused with
//! the byte that spoils it, so that nobody waits for a blank line that would not help.

use memchr::memchr_iter;

use super::bytes::{CR, LF, find_control};
use super::version::check_version;
use super::{GateLimits, Refusal};

/// RFC 9112 section 2.2 asks a server to ignore at least one empty line before the request line (old clients sent one
/// after a body). More than one is no known client.
const EMPTY_LINES_MAX: usize = 1;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadScan {
    /// The head is `buffer[skip..end]`: after an ignored empty line, up to and including the blank line.
    Complete { skip: usize, end: usize },
    /// Good so far; read more. `searched` is how far no byte has to be read again.
    Partial { searched: usize },
    /// No further byte can make this a good head.
    Refused(Refusal),
}

/// The scan of one head. It starts at the first byte of the buffer and needs a new one for each request.
#[derive(Clone, Debug, Default)]
pub struct HeadScanner {
    searched: usize,
    line_start: usize,
    skip: usize,
    past_request_line: bool,
}

/// How far the search for a blank line goes in one step.
const STEP_BYTES: usize = 32;

/// The end of a head that came in one piece, as nearly all do. Its bytes are not checked: that is left to
/// [`super::inspect_head`], which follows anyway.
fn whole_head(buffer: &[u8], limits: &GateLimits<'_>) -> Option<usize> {
    if buffer.starts_with(b"\r") {
        return None;
    }
    let window = &buffer[..buffer.len().min(limits.head_bytes_max)];
    let step = |from: usize| window.get(from..)?.first_chunk::<STEP_BYTES>();
    let mut start = 0;
    // The line feeds of a blank line are two bytes apart.
    while let (Some(bytes), Some(two_later)) = (step(start), step(start + 2))
        && !have_line_feeds_together(bytes, two_later)
    {
        start += STEP_BYTES;
    }
    memchr_iter(LF, &window[start..])
        .map(|at| start + at)
        .find(|&at| window[at..].starts_with(b"\n\r\n"))
        .map(|at| at + b"\n\r\n".len())
}

/// Whether both have a line feed in the same place. Written so that the compiler compares all bytes at the same time.
fn have_line_feeds_together(bytes: &[u8; STEP_BYTES], others: &[u8; STEP_BYTES]) -> bool {
    let pairs = bytes.iter().zip(others);
    let found = pairs.map(|(byte, other)| u8::from(*byte == LF) & u8::from(*other == LF));
    found.fold(0, |any, found| any | found) != 0
}

impl HeadScanner {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on where the last call stopped. `buffer` is the whole of what was received, so it begins with the bytes
    /// that the earlier calls saw.
    pub fn scan(&mut self, buffer: &[u8], limits: &GateLimits<'_>) -> HeadScan {
        if self.searched == 0
            && let Some(end) = whole_head(buffer, limits)
        {
            return HeadScan::Complete { skip: 0, end };
        }
        loop {
            let window_end = self.skip.saturating_add(limits.head_bytes_max);
            let window = &buffer[..buffer.len().min(window_end)];
            let unseen = window.get(self.searched..).unwrap_or_default();
            let at = self.searched + find_control(unseen);
            match (window.get(at), window.get(at + 1)) {
                (Some(b'\t'), _) => self.searched = at + 1,
                (Some(&CR), Some(&LF)) => {
                    if let Some(outcome) = self.end_line(&buffer[..at]) {
                        return outcome;
                    }
                }
                (Some(&CR), None) | (None, _) => {
                    self.searched = at;
                    return self.wait(window.len() == window_end);
                }
                (Some(&CR), Some(_)) => return HeadScan::Refused(Refusal::BareCr),
                (Some(&LF), _) => return HeadScan::Refused(Refusal::BareLf),
                (Some(_), _) => return HeadScan::Refused(Refusal::ControlByte),
            }
        }
    }

    /// Takes note of a line that ends with the bytes given and a CRLF after them.
    fn end_line(&mut self, up_to_line_end: &[u8]) -> Option<HeadScan> {
        let line = &up_to_line_end[self.line_start..];
        let next_line = up_to_line_end.len() + 2;
        if line.is_empty() && self.past_request_line {
            return Some(HeadScan::Complete {
                skip: self.skip,
                end: next_line,
            });
        }
        if line.is_empty() {
            if self.skip == EMPTY_LINES_MAX * 2 {
                return Some(HeadScan::Refused(Refusal::EmptyRequestLine));
            }
            self.skip = next_line;
        } else if !self.past_request_line {
            // An HTTP/0.9 request has no blank line, and the HTTP/2 preface goes on in binary: say no now.
            if let Err(refusal) = check_version(line) {
                return Some(HeadScan::Refused(refusal));
            }
            self.past_request_line = true;
        }
        self.line_start = next_line;
        self.searched = next_line;
        None
    }

    fn wait(&self, window_is_full: bool) -> HeadScan {
        match (window_is_full, self.past_request_line) {
            (false, _) => HeadScan::Partial {
                searched: self.searched,
            },
            (true, false) => HeadScan::Refused(Refusal::TargetTooLong),
            (true, true) => HeadScan::Refused(Refusal::HeadTooLarge),
        }
    }
}
