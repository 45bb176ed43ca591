//! How a connection of PostgreSQL begins: the packets that a client sends before anything else, and the one answer that
//! a proxy gives by itself. The manual describes them under "Message Formats".
//!
//! A packet here has no type: four bytes of length, four that say which packet it is.

mod error_response;
mod fault;

pub use error_response::ErrorResponse;
pub use fault::Fault;

/// The longest packet that is taken, as PostgreSQL itself has it.
pub const PACKET_BYTES_MAX: usize = 10_000;
/// Asks for TLS. The answer is one byte, [`ACCEPTED`] or [`REFUSED`].
pub const SSL_REQUEST: [u8; 8] = request(SSL_CODE);
/// Asks for encryption by GSSAPI. The answer is one byte, `G` or [`REFUSED`].
pub const GSSENC_REQUEST: [u8; 8] = request(GSSENC_CODE);
/// TLS begins with the next byte.
pub const ACCEPTED: u8 = b'S';
/// The connection goes on as it was.
pub const REFUSED: u8 = b'N';

const CANCEL_CODE: u32 = 80_877_102;
const SSL_CODE: u32 = 80_877_103;
const GSSENC_CODE: u32 = 80_877_104;
/// The only version of the protocol, but for its minor number.
const MAJOR_VERSION: u32 = 3;
/// Length and code.
const FIXED_BYTES: usize = 8;
/// Of a cancel request: a process id and a key of 4 to 256 bytes.
const CANCEL_BYTES_MIN: usize = FIXED_BYTES + 4 + 4;
const CANCEL_BYTES_MAX: usize = FIXED_BYTES + 4 + 256;

/// What a client's packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    SslRequest,
    GssEncRequest,
    /// Stops what runs on another connection; this one then ends without an answer.
    CancelRequest,
    /// Begins a session, in version 3 and this minor number.
    Startup {
        minor: u16,
    },
}

/// What bytes are, as far as they have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a packet.
    Partial,
    /// A packet of so many bytes.
    Complete { bytes: usize, packet: Packet },
}

/// Reads the packet that bytes have to begin with, out of what has come so far.
///
/// # Errors
/// What is wrong, as soon as it shows; the bytes that come after cannot make it right.
pub fn parse(bytes: &[u8]) -> Result<Progress, Fault> {
    // The length has four bytes, and no length that is taken fills more than two of them.
    if bytes.iter().take(2).any(|byte| *byte != 0) {
        return Err(Fault::NoPacket);
    }
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Ok(Progress::Partial);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length < FIXED_BYTES {
        return Err(Fault::Malformed);
    }
    if length > PACKET_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    let Some(code) = rest.first_chunk() else {
        return Ok(Progress::Partial);
    };
    let packet = packet(u32::from_be_bytes(*code), length)?;
    let Some(body) = bytes.get(FIXED_BYTES..length) else {
        return Ok(Progress::Partial);
    };
    if matches!(packet, Packet::Startup { .. }) {
        check_parameters(body)?;
    }
    Ok(Progress::Complete {
        bytes: length,
        packet,
    })
}

/// Which packet a code announces, if it can have that length.
fn packet(code: u32, length: usize) -> Result<Packet, Fault> {
    let (packet, fits) = match code {
        SSL_CODE => (Packet::SslRequest, length == FIXED_BYTES),
        GSSENC_CODE => (Packet::GssEncRequest, length == FIXED_BYTES),
        CANCEL_CODE => (
            Packet::CancelRequest,
            (CANCEL_BYTES_MIN..=CANCEL_BYTES_MAX).contains(&length),
        ),
        version if version >> 16 == MAJOR_VERSION => {
            let [_, _, high, low] = version.to_be_bytes();
            let minor = u16::from_be_bytes([high, low]);
            (Packet::Startup { minor }, length > FIXED_BYTES)
        }
        _ => return Err(Fault::Version),
    };
    if fits {
        Ok(packet)
    } else {
        Err(Fault::Malformed)
    }
}

/// The parameters of a session: name and value in turn, each with a zero byte behind it, and another one at the end.
fn check_parameters(mut body: &[u8]) -> Result<(), Fault> {
    loop {
        let (name, rest) = text(body)?;
        if name.is_empty() {
            return if rest.is_empty() {
                Ok(())
            } else {
                Err(Fault::Malformed)
            };
        }
        (_, body) = text(rest)?;
    }
}

/// Up to the next zero byte, and what is behind that.
fn text(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.ok_or(Fault::Malformed)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

const fn request(code: u32) -> [u8; FIXED_BYTES] {
    let [a, b, c, d] = code.to_be_bytes();
    [0, 0, 0, 8, a, b, c, d]
}

#[cfg(test)]
mod tests;
