//! The beginning of a connection of PostgreSQL, up to where its TLS begins: the client asks for it, or begins it directly.
//!
//! Nothing is answered that a client could have been sent words for by somebody on the way: what comes before TLS is
//! nobody's (CVE-2021-23214).

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::close_reason::CloseReason;
use crate::wire::postgres::{
    ACCEPTED, ErrorResponse, Fault, PACKET_BYTES_MAX, Packet, Progress, REFUSED, parse,
};

/// What a record that begins a handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
const PIECE_BYTES: usize = 1_024;
/// How long a client has to read why it is refused.
const LINGER: Duration = Duration::from_secs(1);

/// How a client's TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Negotiated,
    Direct,
}

/// Answers a client's requests until TLS begins. `ahead` is what was read of it, before and after. `None` for a connection
/// without a byte.
pub(super) async fn start(
    socket: &mut TcpStream,
    ahead: &mut Vec<u8>,
    limit: Duration,
) -> Result<Option<Start>, CloseReason> {
    let started = timeout(limit, negotiate(socket, ahead)).await;
    let started = started.unwrap_or(Err(CloseReason::PostgresLate));
    if started == Err(CloseReason::PostgresPlaintext) {
        // Whether or not it reads it.
        let _ = timeout(LINGER, refuse_plaintext(socket)).await;
    }
    started
}

async fn negotiate(
    socket: &mut TcpStream,
    ahead: &mut Vec<u8>,
) -> Result<Option<Start>, CloseReason> {
    let mut may_ask_for_gss = true;
    loop {
        if ahead.is_empty() && !receive(socket, ahead).await {
            return Ok(None);
        }
        if ahead[0] == HANDSHAKE_RECORD {
            return Ok(Some(Start::Direct));
        }
        let (bytes, packet) = loop {
            match parse(ahead).map_err(CloseReason::Postgres)? {
                Progress::Complete { bytes, packet } => break (bytes, packet),
                Progress::Partial if receive(socket, ahead).await => {}
                Progress::Partial => return Ok(None),
            }
        };
        let answer = match packet {
            Packet::SslRequest => ACCEPTED,
            Packet::GssEncRequest if may_ask_for_gss => REFUSED,
            Packet::GssEncRequest => return Err(CloseReason::Postgres(Fault::Malformed)),
            Packet::CancelRequest => return Err(CloseReason::PostgresCancel),
            Packet::Startup { .. } => return Err(CloseReason::PostgresPlaintext),
        };
        if ahead.len() > bytes || !is_silent(socket) {
            return Err(CloseReason::PostgresAhead);
        }
        ahead.clear();
        if socket.write_all(&[answer]).await.is_err() {
            return Ok(None);
        }
        if answer == ACCEPTED {
            return Ok(Some(Start::Negotiated));
        }
        may_ask_for_gss = false;
    }
}

/// False at the end.
async fn receive(socket: &mut TcpStream, ahead: &mut Vec<u8>) -> bool {
    let mut piece = [0; PIECE_BYTES];
    let room = PIECE_BYTES.min((PACKET_BYTES_MAX + 1).saturating_sub(ahead.len()));
    match socket.read(&mut piece[..room]).await {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            ahead.extend_from_slice(&piece[..count]);
            true
        }
    }
}

/// Whether nothing has arrived, as the system has it and not only as far as the event loop has heard.
fn is_silent(socket: &TcpStream) -> bool {
    let peeked = rustix::net::recv(
        socket,
        &mut [0_u8; 1],
        rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT,
    );
    peeked.is_err_and(|error| io::Error::from(error).kind() == io::ErrorKind::WouldBlock)
}

async fn refuse_plaintext(socket: &mut TcpStream) -> io::Result<()> {
    let refusal = ErrorResponse {
        sqlstate: "08P01",
        message: "this server takes only connections with TLS",
        hint: Some("connect with sslmode=require, or a stricter one"),
    };
    socket.write_all(&refusal.encode()).await?;
    socket.shutdown().await?;
    // A reset would take the words away.
    while socket.read(&mut [0; PIECE_BYTES]).await? > 0 {}
    Ok(())
}
