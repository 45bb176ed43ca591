//! The proxy's own last words on a connection of PostgreSQL that goes nowhere.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{listen::ClientSocket, wire::postgres::ErrorResponse};

/// How long a client has to read them, and how much it may send meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 * 1024;
/// In TLS, a fatal alert: the handshake failed (RFC 8446, section 6.2).
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// Says it. A client whose TLS was to end at the cell is in the middle of its handshake, and understands only an alert.
pub(super) async fn say(mut socket: ClientSocket, code: &str) {
    let message = format!("the connection was refused: {code}");
    let refusal = ErrorResponse {
        sqlstate: "08004",
        message: &message,
        hint: None,
    };
    let words = match socket {
        ClientSocket::Plain(_) => ALERT.to_vec(),
        ClientSocket::Tls(_) => refusal.encode(),
    };
    // Whether or not it can be said.
    let _ = timeout(LINGER, send(&mut socket, &words)).await;
}

async fn send(socket: &mut ClientSocket, words: &[u8]) -> io::Result<()> {
    socket.write_all(words).await?;
    socket.shutdown().await?;
    // A reset would take the words away.
    let (mut piece, mut left) = ([0; 1024], LINGER_BYTES_MAX);
    while left > 0 {
        match socket.read(&mut piece).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}
