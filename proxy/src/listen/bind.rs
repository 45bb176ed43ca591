//! Listening sockets: bound before anything starts, so that a taken port is a clear error and not a dead thread.

use std::{io, net::SocketAddr, sync::Arc};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listener;

/// Connections that the kernel may hold ready.
const BACKLOG: i32 = 4_096;

/// A socket that listens already.
#[derive(Debug)]
pub struct BoundListener {
    pub listener: Arc<Listener>,
    /// Where it listens, with the port that it was given where it asked for any.
    pub address: SocketAddr,
    pub(super) socket: std::net::TcpListener,
}

/// Binds a listener's address and listens on it. Port 0 takes a free one; `address` of the result names it.
pub fn bind(listener: &Listener) -> io::Result<BoundListener> {
    let address = listener.address;
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the last life to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = std::net::TcpListener::from(socket);
    Ok(BoundListener {
        listener: Arc::new(listener.clone()),
        address: socket.local_addr()?,
        socket,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_have_nodelay() {
        let bound = bind(&Listener::new("edge", "127.0.0.1:0".parse().unwrap())).unwrap();
        bound.socket.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(bound.address).unwrap();
        let (accepted, _) = bound.socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
