//! Reading the PROXY header that a connection begins with, or making sure that it begins with none.

use std::{net::SocketAddr, time::Duration};

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::close_reason::CloseReason;
use crate::{
    tenant_key::Extensions,
    wire::proxy_protocol::{self, Fault, HEADER_BYTES_MAX, Header, Progress, begins_header, parse},
};

/// Looked at in one piece. Nearly every header is shorter.
const PIECE_BYTES: usize = 512;

/// How a load balancer's connection begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It is this peer's.
    Of(SocketAddr, Extensions),
    /// It is the load balancer's own.
    Own,
    /// It is of somebody without an address.
    Nameless(Extensions),
    /// With nothing: somebody looked whether anybody is here.
    Nothing,
}

/// Reads the header of a load balancer's connection, and of its extensions those of the wanted types. Of what follows it,
/// nothing is read.
pub(super) async fn read(
    socket: &mut TcpStream,
    limit: Duration,
    wanted: &[u8],
) -> Result<Beginning, CloseReason> {
    let mut came = Vec::new();
    match timeout(limit, read_header(socket, &mut came, wanted)).await {
        Ok(read) => read,
        Err(_) if came.is_empty() => Ok(Beginning::Nothing),
        Err(_) => Err(CloseReason::ProxyHeaderLate),
    }
}

/// Makes sure that a connection of anybody else begins with none. Returns what was read of its first request, `None` if
/// nothing came. Whoever stops where it could still become either has claimed nothing, and is like any slow client.
pub(super) async fn read_none(
    socket: &mut TcpStream,
    limit: Duration,
) -> Result<Option<Vec<u8>>, CloseReason> {
    let mut ahead = Vec::new();
    let something_came = match timeout(limit, read_no_header(socket, &mut ahead)).await {
        Ok(read) => read?,
        Err(_) => !ahead.is_empty(),
    };
    Ok(something_came.then_some(ahead))
}

/// Whether any byte comes before the end, or in time.
pub(super) async fn is_followed(socket: &TcpStream, limit: Duration) -> bool {
    matches!(timeout(limit, socket.peek(&mut [0])).await, Ok(Ok(1..)))
}

async fn read_header(
    socket: &mut TcpStream,
    came: &mut Vec<u8>,
    wanted: &[u8],
) -> Result<Beginning, CloseReason> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        let had = came.len();
        let room = PIECE_BYTES.min(HEADER_BYTES_MAX - had);
        // It is not known yet how much of this is the header, and whoever comes next reads from the socket itself.
        match socket.peek(&mut piece[..room]).await {
            Ok(0) | Err(_) if had > 0 => return Err(Fault::Malformed.into()),
            Ok(0) | Err(_) => return Ok(Beginning::Nothing),
            Ok(count) => came.extend_from_slice(&piece[..count]),
        }
        let (end, header) = match parse(came)? {
            Progress::Partial => (came.len(), None),
            Progress::Complete { bytes, header } => (bytes, Some(header)),
        };
        came.truncate(end);
        // It was reset between the look and this.
        if socket.read_exact(&mut piece[..end - had]).await.is_err() {
            return Err(Fault::Malformed.into());
        }
        match header {
            None => {}
            Some(Header::Local) => return Ok(Beginning::Own),
            Some(Header::Unknown) => return Ok(Beginning::Nameless(wanted_of(came, wanted))),
            Some(Header::For(source)) => {
                return Ok(Beginning::Of(canonical(source), wanted_of(came, wanted)));
            }
        }
    }
}

/// IPv4 addresses have one form.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn wanted_of(header: &[u8], wanted: &[u8]) -> Extensions {
    let mut extensions = Extensions::default();
    for (kind, value) in proxy_protocol::extensions(header) {
        if wanted.contains(&kind) {
            extensions.add(kind, value);
        }
    }
    extensions
}

/// Whether anything came.
async fn read_no_header(socket: &mut TcpStream, ahead: &mut Vec<u8>) -> Result<bool, CloseReason> {
    // As long as the longer one of the two beginnings.
    let mut piece = [0; 12];
    loop {
        let had = ahead.len();
        let count = match socket.peek(&mut piece[had..]).await {
            // Whoever reads next meets it again.
            Ok(0) | Err(_) => return Ok(had > 0),
            Ok(count) => count,
        };
        match begins_header(&piece[..had + count]) {
            Some(true) => return Err(CloseReason::ProxyHeaderUnexpected),
            // Another protocol.
            Some(false) => return Ok(true),
            None => {
                // Taken out, so that the next look waits for more.
                let taken = &mut piece[had..had + count];
                if socket.read_exact(taken).await.is_err() {
                    return Ok(true);
                }
                ahead.extend_from_slice(taken);
            }
        }
    }
}
