//! Listening sockets: bound before anything starts, so that a taken port is a clear error and not a dead thread.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    config::{Listener, Tcp},
    tls::Terminator,
};

/// Connections that the kernel may hold ready.
pub(super) const BACKLOG: i32 = 4_096;
/// How often a client is asked whether it is still there before it is given up.
const KEEPALIVE_PROBES: u32 = 4;

/// A socket that listens already.
#[derive(Debug)]
pub struct BoundListener {
    pub listener: Arc<Listener>,
    /// Where it listens, with the port that it was given where it asked for any.
    pub address: SocketAddr,
    pub(super) socket: std::net::TcpListener,
    /// Its clients speak TLS.
    pub(super) terminator: Option<Arc<Terminator>>,
    pub(super) spare: Arc<Spare>,
}

/// A listening socket once more, for a successor. It has to be closed with the socket itself: as long as it is open,
/// clients can connect, and nobody would accept them.
#[derive(Debug, Default)]
pub struct Spare {
    socket: Mutex<Option<std::net::TcpListener>>,
    is_taken: AtomicBool,
}

impl Spare {
    /// `None` once it is closed, or if it cannot be had.
    pub fn get(&self) -> Option<std::net::TcpListener> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.as_ref()?.try_clone().ok()
    }

    /// A successor accepts on it.
    pub fn take(&self) {
        self.is_taken.store(true, Ordering::Release);
        self.close();
    }

    pub(super) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Acquire)
    }

    pub fn close(&self) {
        self.socket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

impl BoundListener {
    /// The same for clients that speak TLS.
    #[must_use]
    pub fn with_tls(mut self, terminator: Arc<Terminator>) -> Self {
        self.terminator = Some(terminator);
        self
    }

    /// Keeps the socket for a successor.
    pub fn keep_spare(&self) -> io::Result<Arc<Spare>> {
        let socket = self.socket.try_clone()?;
        *self
            .spare
            .socket
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(socket);
        Ok(Arc::clone(&self.spare))
    }

    pub fn terminator(&self) -> Option<&Arc<Terminator>> {
        self.terminator.as_ref()
    }
}

/// Binds a listener's address and listens on it. Port 0 takes a free one; `address` of the result names it.
pub fn bind(listener: &Listener) -> io::Result<BoundListener> {
    let address = listener.address;
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // Whatever the system's default is.
        socket.set_only_v6(listener.ipv6_only)?;
    }
    // A restart must not wait for connections of the previous run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these, which saves system calls for each.
    socket.set_tcp_nodelay(true)?;
    set_limits(&socket, listener.tcp)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    adopt(listener, socket.into())
}

/// Sets what a listener wants of a socket that was not made here, also that it wants nothing.
pub fn set_options(socket: &std::net::TcpListener, tcp: Tcp) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    SockRef::from(socket).set_tcp_nodelay(true)?;
    if tcp.keepalive.is_none() {
        sockopt::set_socket_keepalive(socket, false)?;
    }
    #[cfg(target_os = "linux")]
    if tcp.user_timeout.is_none() {
        sockopt::set_tcp_user_timeout(socket, 0)?;
    }
    set_limits(socket, tcp)
}

/// Takes a socket that listens already, with its options as they are: another process may still use it.
pub fn adopt(listener: &Listener, socket: std::net::TcpListener) -> io::Result<BoundListener> {
    Ok(BoundListener {
        listener: Arc::new(listener.clone()),
        address: socket.local_addr()?,
        socket,
        terminator: None,
        spare: Arc::default(),
    })
}

/// Has the system find out who has vanished.
pub fn set_limits(socket: impl AsFd, tcp: Tcp) -> io::Result<()> {
    if let Some(idle) = tcp.keepalive {
        // In whole seconds, and not sooner than asked for.
        let idle = Duration::from_secs(
            idle.as_millis()
                .div_ceil(1_000)
                .try_into()
                .unwrap_or(u64::MAX),
        );
        let between = (idle / KEEPALIVE_PROBES).max(Duration::from_secs(1));
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, idle)?;
        sockopt::set_tcp_keepintvl(&socket, between)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(limit) = tcp.user_timeout {
        let ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&socket, ms)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(listener: &Listener) -> std::net::TcpStream {
        let bound = bind(listener).unwrap();
        bound.socket.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(bound.address).unwrap();
        bound.socket.accept().unwrap().0
    }

    fn listener() -> Listener {
        Listener::new("edge", ([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn accepted_sockets_have_nodelay() {
        assert!(accepted(&listener()).nodelay().unwrap());
    }

    #[test]
    fn accepted_sockets_have_the_limits() {
        let check = |tcp: Tcp, is_on: bool, idle: u64, between: u64, user_ms: u32| {
            let socket = accepted(&Listener { tcp, ..listener() });
            assert_eq!(
                sockopt::socket_keepalive(&socket).unwrap(),
                is_on,
                "{tcp:?}"
            );
            let seconds = Duration::from_secs;
            if is_on {
                assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), seconds(idle));
                assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), seconds(between));
                assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), KEEPALIVE_PROBES);
            }
            #[cfg(target_os = "linux")]
            assert_eq!(
                sockopt::tcp_user_timeout(&socket).unwrap(),
                user_ms,
                "{tcp:?}"
            );
        };
        check(Tcp::default(), true, 60, 15, 0);
        let set = Tcp {
            keepalive: Some(Duration::from_millis(1_001)),
            user_timeout: Some(Duration::from_millis(2_500)),
        };
        check(set, true, 2, 1, 2_500);
        // The longest that can be configured.
        let most = Tcp {
            keepalive: Some(Duration::from_secs(32_767)),
            user_timeout: Some(Duration::from_secs(86_400)),
        };
        check(most, true, 32_767, 8_192, 86_400_000);
        let off = Tcp {
            keepalive: None,
            user_timeout: None,
        };
        check(off, false, 0, 0, 0);
    }
}
