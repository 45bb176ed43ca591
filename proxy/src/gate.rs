//! The strict gate: an inspection of HTTP/1.x request bytes before any parser of ours or of a cell sees them.
//!
//! What two programs could read differently is refused here, because a proxy and a cell that disagree about where a
//! request ends, or whom it is for, hand one tenant's bytes to another. Nothing is repaired: a request passes as it
//! came or it is refused. What RFC 9110 and RFC 9112 allow and everybody reads alike passes; being strict is not being
//! deaf.
//!
//! The connection loop uses three parts in turn:
//!
//! 1. [`HeadScanner`] finds the end of a head in a growing buffer, without scanning a byte twice.
//! 2. [`inspect_lines`] reads exactly that head and says how the body is framed.
//! 3. [`BodyTracker`] follows the body, so that not one byte of the next request is handed on with this one.
//!
//! This room is pure and synchronous. It must not do I/O, read a clock, log, allocate for a request, name a status,
//! depend on Pingora, or know anything about tenants and cells. It keeps no state but what its two small state machines
//! hold.

mod body;
pub(crate) mod bytes;
mod fields;
mod framing;
mod head;
mod host;
mod refusal;
mod scan;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;
mod version;

pub use body::{BodyTracker, CHUNK_EXTENSION_BYTES_MAX, Progress, TRAILER_BYTES_MAX};
pub use framing::BodyFraming;
pub use head::{Head, inspect_head, inspect_lines};
pub use refusal::Refusal;
pub use scan::{HeadScan, HeadScanner};
pub use upgrade::{Protocol, ProtocolError, Upgrade, allowed, was_offered};

/// Whether these are characters that RFC 3986 has in a path.
pub fn is_plain_path(path: &[u8]) -> bool {
    let is_plain = |byte: &u8| bytes::is(*byte, bytes::PLAIN_IN_TARGET) && *byte != b'?';
    path.iter().all(is_plain)
}

/// What a head may weigh and ask for. The defaults are well above what browsers and API clients send and below what Pingora takes
/// (1 MiB, 256 fields and 65,534 bytes of target, fixed): a limit set above Pingora's moves its refusals there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits<'p> {
    /// Bytes from the first of the request line to the blank line, both included.
    pub head_bytes_max: usize,
    /// Header field lines.
    pub headers_max: usize,
    /// Bytes of the request target. RFC 9112 section 3 asks for at least 8,000 for the whole request line.
    pub target_bytes_max: usize,
    /// The protocols that a client may ask for with Upgrade.
    pub upgrades: &'p [Protocol],
}

impl Default for GateLimits<'_> {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * 1024,
            headers_max: 128,
            target_bytes_max: 8 * 1024,
            upgrades: Protocol::defaults(),
        }
    }
}
