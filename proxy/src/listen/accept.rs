//! Accepting, on sockets that listen already.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use cellgate_process::descriptors::is_of_one_connection;
use pingora::{
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use tokio::{net::TcpStream, sync::Semaphore};
use tracing::{debug, error};

use super::{bind::BoundListener, places::Places};
use crate::config::Listener;

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for the tasks of the last accepted connections to begin.
const SETTLING: Duration = Duration::from_millis(20);

/// A connection as it was accepted: nothing was read from it yet.
#[derive(Debug)]
pub struct Accepted {
    pub socket: TcpStream,
    /// Whoever connected: a client, or a load balancer in front.
    pub peer: SocketAddr,
    pub listener: Arc<Listener>,
}

/// What serves the connections of a listener.
pub trait ServeConnection: Send + Sync + 'static {
    fn serve(
        &self,
        accepted: Accepted,
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
            let places = Places::new(Arc::clone(&self.places), self.cuts_oldest);
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
    bound: BoundListener,
    app: Arc<A>,
    mut places: Places,
    shutdown: ShutdownWatch,
) {
    let BoundListener {
        listener,
        address,
        socket,
    } = bound;
    let name = &*listener.name;
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            error!(listener = name, %address, %error, "the listener cannot be used");
            return;
        }
    };
    loop {
        // First the place, then the connection: one that cannot be served is not taken from the kernel.
        let mut place = places.before_accepting().await;
        match socket.accept().await {
            Ok((socket, peer)) => {
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                let accepted = Accepted {
                    socket,
                    peer,
                    listener: Arc::clone(&listener),
                };
                if place.is_none() {
                    place = places.at_the_cost_of_the_oldest().await;
                }
                let serving = tokio::spawn(async move {
                    let _place = place;
                    app.serve(accepted, &shutdown).await;
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
