//! From an accepted socket to one with TLS on it, within a time and a number of places.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use rustls::{AlertDescription, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::socket::{Step, TlsSocket};
use crate::{buffer::Buffer, exchange::TlsFacts, socket::poll_receive};

/// What a record that begins a handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
const RECORD_HEADER_BYTES: usize = 5;
/// The content of a record that is not enciphered.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a hello begins with: a kind, and the length of what follows in three bytes (section 4).
const CLIENT_HELLO: u8 = 1;
const HELLO_HEADER_BYTES: usize = 4;
/// With its header. Real ones have less than 2 KiB.
const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Of a hello in pieces: a real client has one or two, and every one costs five further bytes.
const RECORDS_MAX: usize = 32;

/// How long a client has to read why it is refused, and how much it may send meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Why there is no TLS on a connection.
#[derive(Debug)]
pub enum Refused {
    /// The client speaks HTTP, which can be answered.
    PlainHttp(TcpStream),
    NotTls,
    TimedOut,
    /// No place was free in time.
    Overloaded,
    /// The client left without a byte.
    Gone,
    /// The client left in the middle of it.
    Aborted,
    /// What rustls or the client found wrong with the handshake.
    Failed(io::Error),
}

impl Refused {
    /// The label of its metric. A client that leaves without a byte is a probe and not counted.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::PlainHttp(_) => Some("plain_http"),
            Self::NotTls => Some("not_tls"),
            Self::TimedOut => Some("timeout"),
            Self::Overloaded => Some("overloaded"),
            Self::Gone => None,
            Self::Aborted => Some("aborted"),
            Self::Failed(_) => Some("failed"),
        }
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Established {
    pub socket: TlsSocket,
    pub facts: TlsFacts,
    pub is_resumed: bool,
}

/// Does a handshake. A place is held only while there is work to do on what a client sent, never while it is waited for, so
/// that slow clients keep nobody out. `config` is asked for with the first place, so that one who waits cannot keep what has
/// been replaced meanwhile, such as a list of revoked certificates.
///
/// The work is done on a thread apart: it takes as long as 20 requests, and what becomes ready meanwhile would wait for it.
pub async fn accept(
    socket: TcpStream,
    came: &[u8],
    config: impl FnOnce() -> Arc<ServerConfig>,
    places: &Arc<Semaphore>,
    limit: Duration,
) -> Result<Established, Refused> {
    let mut waits_for_place = false;
    let shaking = async {
        let mut received = Buffer::new();
        if !came.is_empty() {
            received.extend_from_slice(came);
        }
        let socket = match first_message(&socket, &mut received).await? {
            First::Handshake => socket,
            First::Http => return Err(Refused::PlainHttp(socket)),
            First::Other => return Err(Refused::NotTls),
        };
        let mut place = wait_for_place(places, &mut waits_for_place).await?;
        let tls = ServerConnection::new(config());
        let tls = tls.map_err(|error| Refused::Failed(io::Error::other(error)))?;
        let mut socket = TlsSocket::new(socket, tls, received);
        loop {
            let worked;
            (socket, worked) = work_apart(socket, place).await?;
            if let Err(error) = worked {
                return Ok(Err((socket, error)));
            }
            let step = poll_fn(|cx| socket.poll_handshake(cx)).await;
            if step.map_err(|_| Refused::Aborted)? == Step::Done {
                return Ok(Ok(established(socket)));
            }
            place = wait_for_place(places, &mut waits_for_place).await?;
        }
    };
    match timeout(limit, shaking).await {
        Ok(Ok(Ok(established))) => Ok(established),
        Ok(Ok(Err((socket, error)))) => {
            // Whether or not it can be reported.
            let _ = timeout(LINGER, socket.refuse_handshake(LINGER_BYTES_MAX)).await;
            Err(judge_failure(error))
        }
        Ok(Err(refused)) => Err(refused),
        Err(_) if waits_for_place => Err(Refused::Overloaded),
        Err(_) => Err(Refused::TimedOut),
    }
}

async fn wait_for_place(
    places: &Arc<Semaphore>,
    waits: &mut bool,
) -> Result<OwnedSemaphorePermit, Refused> {
    *waits = true;
    let place = Arc::clone(places).acquire_owned().await;
    *waits = false;
    place.map_err(|_| Refused::Overloaded)
}

/// The place is held until the work is done, even if nobody waits for it any more.
async fn work_apart(
    mut socket: TlsSocket,
    place: OwnedSemaphorePermit,
) -> Result<(TlsSocket, io::Result<()>), Refused> {
    let working = spawn_blocking(move || {
        let worked = socket.work_on_handshake();
        drop(place);
        (socket, worked)
    });
    let panicked = |error| Refused::Failed(io::Error::other(error));
    working.await.map_err(panicked)
}

/// A client that says that it breaks off has left, in the most polite way.
fn judge_failure(error: io::Error) -> Refused {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(AlertDescription::UserCanceled)) => Refused::Aborted,
        _ => Refused::Failed(error),
    }
}

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Handshake,
    Http,
    Other,
}

/// Receives a whole hello, or enough to see that it is not one.
async fn first_message(socket: &TcpStream, received: &mut Buffer) -> Result<First, Refused> {
    loop {
        let wanted = match judge(received) {
            Ok(first) => return Ok(first),
            Err(wanted) => wanted,
        };
        // No memory before there is something to put there.
        if received.is_empty() {
            socket.readable().await.map_err(|_| Refused::Gone)?;
        }
        received.reserve_for_reading();
        received.reserve(wanted - received.len());
        match poll_fn(|cx| poll_receive(socket, cx, received)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) if received.is_empty() => return Err(Refused::Gone),
            Ok(0) | Err(_) => return Err(Refused::Aborted),
        }
    }
}

/// What these first bytes are; the error is how many there have to be to know.
fn judge(bytes: &[u8]) -> Result<First, usize> {
    let Some(&first) = bytes.first() else {
        return Err(RECORD_HEADER_BYTES);
    };
    if first.is_ascii_uppercase() {
        return Ok(First::Http);
    }
    if first != HANDSHAKE_RECORD {
        return Ok(First::Other);
    }
    judge_hello(bytes)
}

/// The same of bytes that begin with a record of a handshake. A hello may be cut into several records.
fn judge_hello(bytes: &[u8]) -> Result<First, usize> {
    let (mut start, mut header, mut content) = (0, Vec::with_capacity(HELLO_HEADER_BYTES), 0);
    for _ in 0..RECORDS_MAX {
        let record = &bytes[start..];
        if record.first().is_some_and(|&kind| kind != HANDSHAKE_RECORD) {
            return Ok(First::Other);
        }
        let Some((record_header, record)) = record.split_first_chunk::<RECORD_HEADER_BYTES>()
        else {
            return Err(start + RECORD_HEADER_BYTES);
        };
        let length = usize::from(u16::from_be_bytes([record_header[3], record_header[4]]));
        if length == 0 || length > RECORD_BYTES_MAX {
            return Ok(First::Other);
        }
        let missing = HELLO_HEADER_BYTES - header.len();
        header.extend(record.iter().take(length.min(missing)));
        content += length;
        if header.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
            return Ok(First::Other);
        }
        start += RECORD_HEADER_BYTES + length;
        if let [_, high, middle, low] = header[..] {
            let hello = u32::from_be_bytes([0, high, middle, low]) as usize + HELLO_HEADER_BYTES;
            if hello > HELLO_BYTES_MAX {
                return Ok(First::Other);
            }
            if content >= hello && bytes.len() >= start {
                return Ok(First::Handshake);
            }
        }
        if bytes.len() < start {
            return Err(start);
        }
    }
    Ok(First::Other)
}

fn established(socket: TlsSocket) -> Established {
    let tls = socket.connection();
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "",
    };
    let suite = tls.negotiated_cipher_suite();
    let facts = TlsFacts {
        version,
        cipher: suite
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or_default(),
        server_name: tls.server_name().map(Into::into),
    };
    let is_resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
    Established {
        socket,
        facts,
        is_resumed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_what_a_client_speaks() {
        let mut hello = vec![22, 3, 1, 2, 0, 1, 0, 1, 252];
        hello.resize(5 + 512, 0);
        for length in 0..5 {
            assert_eq!(judge(&hello[..length]), Err(5));
        }
        for length in 5..hello.len() {
            assert_eq!(judge(&hello[..length]), Err(517));
        }
        assert_eq!(judge(&hello), Ok(First::Handshake));
        for (bytes, expected) in [
            (&b"G"[..], First::Http),
            (b"POST / HTTP/1.1\r\n", First::Http),
            (b"PRI * HTTP/2.0\r\n", First::Http),
            (b"\r\n", First::Other),
            (b"\0", First::Other),
            // An SSL 2 hello, and a record that is larger than one may be.
            (b"\x80\x2e\x01", First::Other),
            (b"\x16\x03\x01\xff\xff", First::Other),
            // Another message of a handshake, a hello that is too long, a record of another kind within one, an empty one.
            (b"\x16\x03\x01\0\x01\x02", First::Other),
            (b"\x16\x03\x01\0\x05\x01\0\x40\0\0", First::Other),
            (b"\x16\x03\x01\0\x01\x01\x15", First::Other),
            (b"\x16\x03\x01\0\0", First::Other),
        ] {
            assert_eq!(judge(bytes), Ok(expected), "{bytes:?}");
        }
    }

    /// Clients who send the beginning of a hello in records of their own get no place.
    #[test]
    fn a_hello_in_several_records_is_waited_for() {
        let hello = [&[1, 0, 0, 40][..], &[7; 40]].concat();
        let record = |piece: &[u8]| -> Vec<u8> {
            let length = u8::try_from(piece.len()).unwrap();
            [&[22, 3, 1, 0, length][..], piece].concat()
        };
        assert_eq!(judge(&record(&hello[..1])), Err(6 + 5));
        for cut in 1..hello.len() {
            let (first, second) = hello.split_at(cut);
            let records = [record(first), record(second)].concat();
            for length in 0..records.len() {
                let wanted = judge(&records[..length]).unwrap_err();
                assert!(wanted > length && wanted <= records.len(), "{cut} {length}");
            }
            assert_eq!(judge(&records), Ok(First::Handshake), "{cut}");
        }
        let all: Vec<u8> = hello.iter().flat_map(|&byte| record(&[byte])).collect();
        assert_eq!(judge(&all), Ok(First::Other), "nobody cuts it so small");
    }
}
