//! The first message of a connection with TLS, read without taking part in it: for connections whose TLS ends at the
//! cell, of which only the name that they ask for has to be known (RFC 8446, RFC 6066).
//!
//! What is read here is read again by whoever ends the TLS. So that both read the same, nothing is taken that could be
//! read in two ways, and nothing that the standards forbid.

mod body;
mod fault;
mod host_name;

use body::Wishes;
pub use fault::Fault;

/// The longest beginning of a connection that is waited for, records included. Nearly every hello has under 2 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Type, version, length.
const RECORD_FIXED_BYTES: usize = 5;
const RECORD_HANDSHAKE: u8 = 22;
/// Of what stands in a record.
const RECORD_BYTES_MAX: usize = 1 << 14;
/// Type, length.
const MESSAGE_FIXED_BYTES: usize = 4;
const MESSAGE_CLIENT_HELLO: u8 = 1;

/// What bytes are, as far as they have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a hello.
    Partial,
    /// A whole one.
    Complete {
        /// The host name that the client asks for, in small letters.
        server_name: Option<String>,
        /// Whether the hello has an encrypted one inside. Then the name may be that of a front, or the encrypted one may
        /// be nothing but random bytes, which clients send so that both look alike.
        has_ech: bool,
    },
}

/// Reads the hello that a connection has to begin with, out of what has come so far. Records may cut it anywhere.
///
/// # Errors
/// What is wrong, as soon as it shows; the bytes that come after cannot make it right.
pub fn parse(bytes: &[u8]) -> Result<Progress, Fault> {
    let window = &bytes[..bytes.len().min(HELLO_BYTES_MAX)];
    match message(window)? {
        Some(message) => {
            let Wishes {
                server_name,
                has_ech,
            } = body::read(&message[MESSAGE_FIXED_BYTES..])?;
            Ok(Progress::Complete {
                server_name,
                has_ech,
            })
        }
        None if window.len() < HELLO_BYTES_MAX => Ok(Progress::Partial),
        None => Err(Fault::TooLarge),
    }
}

/// The message without the records that it came in; `None` if it is not whole yet.
fn message(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut message = Vec::with_capacity(rest.len());
    loop {
        check_record(rest)?;
        let Some((fixed, after)) = rest.split_first_chunk::<RECORD_FIXED_BYTES>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([fixed[3], fixed[4]]));
        // Of a handshake, none may be empty.
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(Fault::Malformed);
        }
        let before = message.len();
        message.extend_from_slice(&after[..length.min(after.len())]);
        if let Some(total) = check_message(&message)? {
            // A client has nothing to say behind its hello until it is answered, but what is encrypted, and that is not
            // in the same record.
            if before + length > total {
                return Err(Fault::Malformed);
            }
            if message.len() == total {
                return Ok(Some(message));
            }
        }
        match after.get(length..) {
            Some(next) => rest = next,
            None => return Ok(None),
        }
    }
}

/// What begins a record, as far as it is there.
fn check_record(rest: &[u8]) -> Result<(), Fault> {
    let fits = match rest {
        [] => true,
        [kind] => *kind == RECORD_HANDSHAKE,
        // The minor number is that of old versions, for the sake of what stands in between.
        [kind, major] => *kind == RECORD_HANDSHAKE && *major == 3,
        [kind, major, minor, ..] => *kind == RECORD_HANDSHAKE && *major == 3 && *minor <= 4,
    };
    if fits { Ok(()) } else { Err(Fault::NoHello) }
}

/// What begins a message. Returns how long it is in whole, once that is known.
fn check_message(message: &[u8]) -> Result<Option<usize>, Fault> {
    if message
        .first()
        .is_some_and(|kind| *kind != MESSAGE_CLIENT_HELLO)
    {
        return Err(Fault::NoHello);
    }
    let Some([_, high, middle, low]) = message.first_chunk::<MESSAGE_FIXED_BYTES>() else {
        return Ok(None);
    };
    let total = MESSAGE_FIXED_BYTES + u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    if total > HELLO_BYTES_MAX - RECORD_FIXED_BYTES {
        return Err(Fault::TooLarge);
    }
    Ok(Some(total))
}

#[cfg(test)]
mod tests;
