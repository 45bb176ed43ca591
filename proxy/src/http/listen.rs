//! Listening sockets: bound before anything starts, so that a taken port is a clear error and not a dead thread.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use cellgate_process::descriptors::is_of_one_connection;
use pingora::{
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, JoinHandle},
};
use tracing::{debug, error};

use crate::exchange::{Connection, Scheme};

/// Connections that the kernel may hold ready.
const BACKLOG: i32 = 4_096;
/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for the tasks of the last accepted connections to begin.
const SETTLING: Duration = Duration::from_millis(20);

/// A socket that listens already.
#[derive(Debug)]
pub struct BoundListener {
    pub name: String,
    pub address: SocketAddr,
    listener: std::net::TcpListener,
}

/// Binds an address and listens on it. Port 0 takes a free one; `address` of the result names it.
pub fn bind(name: &str, address: SocketAddr) -> io::Result<BoundListener> {
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
    let listener = std::net::TcpListener::from(socket);
    Ok(BoundListener {
        name: name.to_owned(),
        address: listener.local_addr()?,
        listener,
    })
}

/// What serves the connections of a listener.
pub trait ServeConnection: Send + Sync + 'static {
    fn serve(
        &self,
        socket: TcpStream,
        connection: Connection,
        shutdown: &ShutdownWatch,
    ) -> impl Future<Output = ()> + Send;

    /// Called once the listeners are closed.
    fn listeners_closed(&self) {}
}

/// A Pingora service that accepts on bound listeners.
#[derive(Debug)]
pub struct ListenService<A> {
    name: String,
    listeners: Vec<BoundListener>,
    app: Arc<A>,
    threads: usize,
    /// A place for each connection at once, of all listeners.
    places: Arc<Semaphore>,
    accepts_while_draining: bool,
    cuts_oldest: bool,
}

impl<A> ListenService<A> {
    /// Beyond `connections_max` open connections, further ones wait in the kernel's queue.
    pub fn new(
        name: &str,
        listeners: Vec<BoundListener>,
        app: A,
        threads: usize,
        connections_max: usize,
    ) -> Self {
        Self {
            name: name.to_owned(),
            listeners,
            app: Arc::new(app),
            threads,
            places: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            accepts_while_draining: false,
            cuts_oldest: false,
        }
    }

    /// When there is no place left, the oldest connection gives way to a new one: for whoever has to be reached whatever
    /// others do.
    #[must_use]
    pub fn cutting_oldest(mut self) -> Self {
        self.cuts_oldest = true;
        self
    }

    /// Goes on accepting until the process ends: for whoever wants to watch it end.
    #[must_use]
    pub fn accepting_while_draining(mut self) -> Self {
        self.accepts_while_draining = true;
        self
    }
}

#[async_trait]
impl<A: ServeConnection> Service for ListenService<A> {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let mut accepting = tokio::task::JoinSet::new();
        for listener in self.listeners.drain(..) {
            let app = Arc::clone(&self.app);
            let places = Places {
                semaphore: Arc::clone(&self.places),
                held: self.cuts_oldest.then(VecDeque::new),
            };
            let accepting_on = accept(listener, app, places, shutdown.clone());
            let mut shutdown = shutdown.clone();
            let ends = !self.accepts_while_draining;
            accepting.spawn(async move {
                tokio::select! {
                    () = accepting_on => {}
                    _ = shutdown.wait_for(|stop| *stop), if ends => {}
                }
            });
        }
        accepting.join_all().await;
        // Let those that were accepted last be counted before anybody looks whether connections are open.
        tokio::time::sleep(SETTLING).await;
        self.app.listeners_closed();
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(self.threads)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(
            self.listeners
                .iter()
                .map(|listener| listener.address.to_string())
                .collect(),
        )
    }
}

/// Accepts for ever. Dropping the future closes the socket.
async fn accept<A: ServeConnection>(
    listener: BoundListener,
    app: Arc<A>,
    mut places: Places,
    shutdown: ShutdownWatch,
) {
    let BoundListener {
        name,
        address,
        listener,
    } = listener;
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            error!(listener = name, %address, %error, "the listener cannot be used");
            return;
        }
    };
    let listener_name: Arc<str> = name.as_str().into();
    loop {
        // First the place, then the connection: one that cannot be served is not taken from the kernel.
        let mut place = places.before_accepting().await;
        match listener.accept().await {
            Ok((socket, peer)) => {
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                let listener = Arc::clone(&listener_name);
                let connection = Connection::new(peer.ip(), listener, Scheme::Http);
                if place.is_none() {
                    place = places.at_the_cost_of_the_oldest().await;
                }
                let serving = tokio::spawn(async move {
                    let _place = place;
                    app.serve(socket, connection, &shutdown).await;
                });
                places.note(&serving);
            }
            Err(error) if is_of_one_connection(&error) => {
                debug!(listener = name, %error, "a connection ended before it was accepted");
            }
            Err(error) => {
                error!(listener = name, %error, "connections cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A place for each connection at once.
struct Places {
    semaphore: Arc<Semaphore>,
    /// The connections that have one, the oldest first, where they can be cut.
    held: Option<VecDeque<AbortHandle>>,
}

impl Places {
    /// A place. `None` where there is none, and a connection that comes can have that of the oldest.
    async fn before_accepting(&self) -> Option<OwnedSemaphorePermit> {
        let semaphore = Arc::clone(&self.semaphore);
        if self.held.is_some() {
            return semaphore.try_acquire_owned().ok();
        }
        semaphore.acquire_owned().await.ok()
    }

    async fn at_the_cost_of_the_oldest(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.semaphore).try_acquire_owned() {
            return Some(place);
        }
        let held = self.held.iter_mut().flatten();
        if let Some(oldest) = held.into_iter().find(|handle| !handle.is_finished()) {
            oldest.abort();
        }
        Arc::clone(&self.semaphore).acquire_owned().await.ok()
    }

    fn note(&mut self, serving: &JoinHandle<()>) {
        if let Some(held) = &mut self.held {
            held.retain(|handle| !handle.is_finished());
            held.push_back(serving.abort_handle());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_have_nodelay() {
        let bound = bind("edge", "127.0.0.1:0".parse().unwrap()).unwrap();
        bound.listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(bound.address).unwrap();
        let (accepted, _) = bound.listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
