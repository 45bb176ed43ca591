//! The first message of a client whose TLS ends at the cell: read for the name in it, and passed on with all the rest.

use std::{fmt, time::Duration};

use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::{
    listen::ClientSocket,
    wire::client_hello::{Fault, HELLO_BYTES_MAX, Progress, parse},
};

const PIECE_BYTES: usize = 2_048;

/// What is known of a hello.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) server_name: Option<String>,
    pub(super) has_ech: bool,
}

/// Why no server name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHello {
    /// The client has sent nothing, or left.
    Gone,
    Late,
    Bad(Fault),
}

impl NoHello {
    pub fn code(self) -> &'static str {
        match self {
            Self::Gone => "no_hello",
            Self::Late => "hello_late",
            Self::Bad(Fault::NoHello) => "not_tls",
            Self::Bad(Fault::Malformed) => "hello_malformed",
            Self::Bad(Fault::TooLarge) => "hello_too_large",
            Self::Bad(Fault::ServerName) => "bad_server_name",
        }
    }
}

impl fmt::Display for NoHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the client left before its first message of TLS was whole"),
            Self::Late => f.write_str("the first message of TLS did not come in time"),
            Self::Bad(fault) => fault.fmt(f),
        }
    }
}

/// What a hello asks for, where that names nobody's server.
pub(super) fn explain(server_name: Option<&str>, has_ech: bool) -> String {
    match (server_name, has_ech) {
        (None, true) => "the client asks for a server only in encrypted form (ECH)".to_owned(),
        (None, false) => "the client asks for no server by name (SNI)".to_owned(),
        (Some(name), true) => format!(
            "the client asks for `{name}` in the open, and perhaps for another server in encrypted form (ECH)"
        ),
        (Some(name), false) => format!("the client asks for `{name}`"),
    }
}

/// Reads until the hello is whole. `ahead` is what was read of the connection, before and after.
pub(super) async fn read(
    socket: &mut ClientSocket,
    ahead: &mut Vec<u8>,
    limit: Duration,
) -> Result<Asked, NoHello> {
    let reading = timeout(limit, read_whole(socket, ahead)).await;
    reading.unwrap_or(Err(NoHello::Late))
}

async fn read_whole(socket: &mut ClientSocket, ahead: &mut Vec<u8>) -> Result<Asked, NoHello> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        if let Progress::Complete {
            server_name,
            has_ech,
        } = parse(ahead).map_err(NoHello::Bad)?
        {
            return Ok(Asked {
                server_name,
                has_ech,
            });
        }
        let room = PIECE_BYTES.min(HELLO_BYTES_MAX.saturating_sub(ahead.len()));
        match socket.read(&mut piece[..room]).await {
            Ok(0) | Err(_) => return Err(NoHello::Gone),
            Ok(count) => ahead.extend_from_slice(&piece[..count]),
        }
    }
}
