//! How Pingora gets a [`CellStream`]: in place of the connection that it would make itself.
//!
//! The only part of the room that knows Pingora. Its own pool of connections stays empty: it keeps no stream that is at
//! its end, and a [`CellStream`] is at its end after the answer.

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use cellgate_process::descriptors::is_exhaustion;
use pingora::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    protocols::l4::{
        socket,
        stream::Stream,
        virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
    },
};
use tokio::{net::TcpStream, time::timeout};

use super::{CellStream, Connection, IdleCheck, Return, Terms};
use crate::tls::{CellSocket, CellTls};

/// Gives one request's attempt its stream: over a connection that waits in the pool, or over a new one.
#[derive(Debug)]
pub struct Connector {
    pub address: SocketAddr,
    pub tls: Option<Arc<CellTls>>,
    pub connect_timeout: Duration,
    /// Look for a kept connection first. Not after one has failed this request already.
    pub may_reuse: bool,
    pub check: IdleCheck,
    pub terms: Terms,
}

impl Connector {
    async fn connect_stream(&self) -> Result<CellStream> {
        let kept = self.terms.back.as_ref().filter(|_| self.may_reuse);
        let kept = kept.and_then(|back| {
            let Return {
                pool,
                transport,
                tenant,
            } = back;
            pool.take(transport, tenant.as_deref(), self.check, Instant::now())
        });
        let connection = match kept {
            Some(connection) => connection,
            // Boxed, as it is rare: what serves a client has no place for it.
            None => Box::pin(self.connect_new()).await?,
        };
        Ok(CellStream::new(connection, self.terms.clone()))
    }

    async fn connect_new(&self) -> Result<Connection> {
        let connected =
            connect_to_cell(self.address, self.tls.as_ref(), self.connect_timeout).await;
        connected.map_err(|error| {
            let context = format!("connecting to {}", self.address);
            Error::because(error_type(&error), context, error)
        })
    }
}

/// Makes a connection to a cell, with TLS on it if there is to be. All of it has to be done within the time.
pub async fn connect_to_cell(
    address: SocketAddr,
    tls: Option<&Arc<CellTls>>,
    limit: Duration,
) -> io::Result<Connection> {
    if let Some(tls) = tls {
        tls.check_usable()?;
    }
    let began = Instant::now();
    let socket = connect(address, limit).await?;
    let Some(tls) = tls else {
        return Ok(Connection::new(CellSocket::Plain(socket), None));
    };
    let left = limit.saturating_sub(began.elapsed());
    let socket = CellSocket::Tls(Box::new(tls.connect(socket, left).await?));
    Ok(Connection::new(socket, Some(Arc::clone(tls))))
}

/// Makes a connection, without anything on it.
pub async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let connected = timeout(limit, TcpStream::connect(address)).await;
    let socket = connected
        .unwrap_or_else(|elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn error_type(error: &io::Error) -> ErrorType {
    if is_exhaustion(error) {
        return ErrorType::InternalError;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ErrorType::ConnectNoRoute
        }
        _ => ErrorType::ConnectError,
    }
}

#[async_trait]
impl L4Connect for Connector {
    /// Pingora's address is that of the peer, which is this connector's own.
    async fn connect(&self, _address: &socket::SocketAddr) -> Result<Stream> {
        let stream = self.connect_stream().await?;
        // A stream made in this way has no buffers of its own.
        Ok(Stream::from(VirtualSocketStream::new(Box::new(stream))))
    }
}

impl VirtualSocket for CellSocket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        option_is_set(&option)
    }
}

impl VirtualSocket for CellStream {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        option_is_set(&option)
    }
}

fn option_is_set(option: &VirtualSockOpt) -> io::Result<()> {
    match option {
        // Set when the connection was made.
        VirtualSockOpt::NoDelay => Ok(()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
