//! Reading the PROXY header that a connection begins with, or making sure that it begins with none.

use std::{net::IpAddr, time::Duration};

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::close_reason::CloseReason;
use crate::{
    config::ProxyProtocol,
    wire::proxy_protocol::{Fault, HEADER_BYTES_MAX, Header, Progress, begins_header, parse},
};

/// Looked at in one piece. Nearly every header is shorter.
const PIECE_BYTES: usize = 512;

/// How a connection begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It is this peer's.
    Of {
        peer: IpAddr,
        /// What was read of its first request.
        ahead: Vec<u8>,
    },
    /// It is the load balancer's own.
    Own,
    /// It is of somebody without an address.
    Nameless,
    /// With nothing: somebody looked whether anybody is here.
    Nothing,
}

/// Reads what a listener's rule asks of a peer's connection. Of what follows a header, nothing is read.
pub(super) async fn read(
    socket: &mut TcpStream,
    peer: IpAddr,
    rule: &ProxyProtocol,
    limit: Duration,
) -> Result<Beginning, CloseReason> {
    let is_balancer = rule.from.contain(peer);
    if rule.required && !is_balancer {
        return Err(CloseReason::ProxyRequired);
    }
    let mut came = Vec::new();
    let read = if is_balancer {
        timeout(limit, read_header(socket, &mut came)).await
    } else {
        timeout(limit, read_no_header(socket, peer, &mut came)).await
    };
    match read {
        Ok(read) => read,
        Err(_) if came.is_empty() => Ok(Beginning::Nothing),
        Err(_) => Err(CloseReason::ProxyHeaderLate),
    }
}

async fn read_header(socket: &mut TcpStream, came: &mut Vec<u8>) -> Result<Beginning, CloseReason> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        let had = came.len();
        let room = PIECE_BYTES.min(HEADER_BYTES_MAX - had);
        // It is not known yet how much of this is the header, and whoever comes next reads from the socket itself.
        match socket.peek(&mut piece[..room]).await {
            Ok(0) if had > 0 => return Err(Fault::Malformed.into()),
            Ok(0) | Err(_) => return Ok(Beginning::Nothing),
            Ok(count) => came.extend_from_slice(&piece[..count]),
        }
        let (end, header) = match parse(came)? {
            Progress::Partial => (came.len(), None),
            Progress::Complete { bytes, header } => (bytes, Some(header)),
        };
        came.truncate(end);
        if socket.read_exact(&mut piece[..end - had]).await.is_err() {
            return Ok(Beginning::Nothing);
        }
        match header {
            None => {}
            Some(Header::Local) => return Ok(Beginning::Own),
            Some(Header::Unknown) => return Ok(Beginning::Nameless),
            Some(Header::For(source)) => {
                return Ok(Beginning::Of {
                    peer: source.ip().to_canonical(),
                    ahead: Vec::new(),
                });
            }
        }
    }
}

async fn read_no_header(
    socket: &mut TcpStream,
    peer: IpAddr,
    ahead: &mut Vec<u8>,
) -> Result<Beginning, CloseReason> {
    // As long as the longer one of the two beginnings.
    let mut piece = [0; 12];
    loop {
        let had = ahead.len();
        let Ok(count) = socket.peek(&mut piece[had..]).await else {
            return Ok(Beginning::Nothing);
        };
        if count == 0 && had == 0 {
            return Ok(Beginning::Nothing);
        }
        match begins_header(&piece[..had + count]) {
            Some(true) => return Err(CloseReason::ProxyHeaderUnexpected),
            None if count > 0 => {
                // Taken out, so that the next look waits for more.
                let taken = &mut piece[had..had + count];
                if socket.read_exact(taken).await.is_err() {
                    return Ok(Beginning::Nothing);
                }
                ahead.extend_from_slice(taken);
            }
            // Another protocol, or the end.
            Some(false) | None => {
                let ahead = std::mem::take(ahead);
                return Ok(Beginning::Of { peer, ahead });
            }
        }
    }
}
