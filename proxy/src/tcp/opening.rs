//! How a connection to a cell begins, before anything of the client's is passed on: whose it is, and TLS.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    config::{Relaying, SendProxy, Starttls, Tcp},
    exchange::Connection,
    listen::set_limits,
    tls::{CellSocket, CellTls},
    upstream::connect,
    wire::{
        postgres::{ACCEPTED, SSL_REQUEST},
        proxy_protocol::Outgoing,
    },
};

/// What is said first.
#[derive(Debug)]
pub(super) struct Opening {
    proxy_header: Vec<u8>,
    asks_for_tls: AsksForTls,
    tcp: Tcp,
}

/// When the cell is asked for TLS before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsksForTls {
    Never,
    /// Where the proxy speaks TLS with it.
    IfOurs,
    /// The client has asked, and speaks TLS with the cell.
    Always,
}

/// The cell will not have TLS, and without it goes nothing.
#[derive(Debug)]
struct Declined;

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cell declines TLS")
    }
}

impl std::error::Error for Declined {}

/// Whether a cell could not be connected to because it will not have TLS.
pub(super) fn is_declined(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner
        .and_then(|inner| inner.downcast_ref::<Declined>())
        .is_some()
}

impl Opening {
    pub(super) fn new(
        relaying: Relaying,
        connection: &Connection,
        client: &TcpStream,
        server_name: Option<&str>,
        is_negotiated: bool,
    ) -> Self {
        let proxy_header = relaying.send_proxy.map(|version| {
            let outgoing = Outgoing {
                source: SocketAddr::new(connection.peer, connection.peer_port),
                destination: client.local_addr().unwrap_or(connection.listener.address),
                authority: server_name,
            };
            match version {
                SendProxy::V1 => outgoing.v1(),
                SendProxy::V2 => outgoing.v2(),
            }
        });
        let asks_for_tls = match relaying.starttls {
            Some(Starttls::PostgreSql) if connection.tls.is_some() => AsksForTls::IfOurs,
            Some(Starttls::PostgreSql) if is_negotiated => AsksForTls::Always,
            // It has begun TLS without asking, or there is nothing to ask for.
            Some(Starttls::PostgreSql) | None => AsksForTls::Never,
        };
        Self {
            proxy_header: proxy_header.unwrap_or_default(),
            asks_for_tls,
            // Nobody else asks the cell whether it is still there: it is the proxy that answers the client's system. How long
            // it may take nothing is its own affair.
            tcp: Tcp {
                user_timeout: None,
                ..connection.listener.tcp
            },
        }
    }

    /// Connects, and does all of it within the time.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        tls: Option<&Arc<CellTls>>,
        limit: Duration,
    ) -> io::Result<CellSocket> {
        if let Some(tls) = tls {
            tls.check_usable()?;
        }
        let began = Instant::now();
        let left = || limit.saturating_sub(began.elapsed());
        let mut socket = connect(address, limit).await?;
        set_limits(&socket, self.tcp)?;
        let is_open = timeout(left(), self.begin(&mut socket, tls.is_some())).await;
        is_open.map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
        Ok(match tls {
            None => CellSocket::Plain(socket),
            Some(tls) => CellSocket::Tls(Box::new(tls.connect(socket, left()).await?)),
        })
    }

    async fn begin(&self, socket: &mut TcpStream, is_ours: bool) -> io::Result<()> {
        if !self.proxy_header.is_empty() {
            socket.write_all(&self.proxy_header).await?;
        }
        let asks = match self.asks_for_tls {
            AsksForTls::Never => false,
            AsksForTls::IfOurs => is_ours,
            AsksForTls::Always => true,
        };
        if !asks {
            return Ok(());
        }
        socket.write_all(&SSL_REQUEST).await?;
        // One byte, and what is behind it is nobody's: somebody on the way could have put it there (CVE-2021-23222).
        let answer = socket.read_u8().await?;
        let further = socket.try_read(&mut [0]);
        let is_silent = further.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if answer == ACCEPTED && is_silent {
            Ok(())
        } else {
            Err(io::Error::other(Declined))
        }
    }
}
