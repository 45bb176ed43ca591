//! Accepting, on sockets that listen already.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use cellgate_process::descriptors::is_of_one_connection;
use pingora::{
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tracing::{debug, error};

use super::{
    bind::{BACKLOG, BoundListener},
    places::Places,
};
use crate::{config::Listener, tls::Terminator};

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the tasks of the last accepted connections may take to begin.
const BEGINNING_LIMIT: Duration = Duration::from_secs(5);
/// It is looked this often whether they have.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// A connection as it was accepted: nothing was read from it yet.
#[derive(Debug)]
pub struct Accepted {
    pub socket: TcpStream,
    /// Whoever connected: a client, or a load balancer in front.
    pub peer: SocketAddr,
    pub listener: Arc<Listener>,
    /// Its client speaks TLS.
    pub terminator: Option<Arc<Terminator>>,
}

impl Accepted {
    /// Whether something has to come before its first request.
    pub fn has_preliminaries(&self) -> bool {
        let listener = &self.listener;
        self.terminator.is_some()
            || listener.proxy_protocol.is_some()
            || listener.starttls().is_some()
    }
}

/// What serves the connections of a listener.
pub trait ServeConnection: Send + Sync + 'static {
    fn serve(
        &self,
        accepted: Box<Accepted>,
        shutdown: &ShutdownWatch,
    ) -> impl Future<Output = ()> + Send;

    /// Called once the listeners are closed.
    fn listeners_closed(&self) {}
}

/// Whether the listeners of this process accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Not yet: until the process before has confirmed it, whoever connects is that one's.
    Waiting,
    Accepting,
    /// Nor will they: the process before goes on.
    Never,
}

/// What all listeners of the process share: when they begin to accept, and when they end.
#[derive(Clone, Debug)]
pub struct Turns {
    pub turn: watch::Receiver<Turn>,
    /// Becomes true once a successor accepts.
    pub given: watch::Receiver<bool>,
    /// How many listeners wait for their turn, or had it.
    pub prepared: Arc<AtomicUsize>,
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
    turns: Turns,
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
        turns: Turns,
    ) -> Self {
        Self {
            name: name.to_owned(),
            listeners,
            app: Arc::new(app),
            threads,
            places: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            accepts_while_draining: false,
            turns,
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

    /// Goes on accepting until the process ends, or a successor serves: for whoever wants to watch it end.
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
        let unbegun = Arc::<AtomicUsize>::default();
        for listener in self.listeners.drain(..) {
            let app = Arc::clone(&self.app);
            let places = Places::new(Arc::clone(&self.places), self.cuts_oldest);
            let (shutdown, unbegun) = (shutdown.clone(), Arc::clone(&unbegun));
            let end = if self.accepts_while_draining {
                End::Never
            } else {
                End::WhenDrained
            };
            let turns = self.turns.clone();
            accepting.spawn(async move {
                accept(listener, app, places, (shutdown, end, turns), unbegun).await;
            });
        }
        accepting.join_all().await;
        // Those that were accepted last have to be counted before anybody looks whether connections are open.
        let closed = Instant::now();
        while unbegun.load(Ordering::Acquire) > 0 && closed.elapsed() < BEGINNING_LIMIT {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
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

/// When a listener stops accepting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Never,
    /// Once the process wants to end, and whoever has connected until then was accepted.
    WhenDrained,
}

/// Accepts from its turn until its end, and closes the socket then.
async fn accept<A: ServeConnection>(
    bound: BoundListener,
    app: Arc<A>,
    places: Places,
    (shutdown, end, turns): (ShutdownWatch, End, Turns),
    unbegun: Arc<AtomicUsize>,
) {
    let BoundListener {
        listener,
        address,
        socket,
        terminator,
        spare,
    } = bound;
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            error!(listener = listener.name, %address, %error, "the listener cannot be used");
            return;
        }
    };
    let Turns {
        mut turn,
        mut given,
        prepared,
    } = turns;
    prepared.fetch_add(1, Ordering::AcqRel);
    let its_turn = turn.wait_for(|turn| *turn != Turn::Waiting).await;
    if !its_turn.is_ok_and(|turn| *turn == Turn::Accepting) {
        return spare.close();
    }
    let mut stop = shutdown.clone();
    let mut accepting = Accepting {
        listener,
        terminator,
        app,
        places,
        shutdown,
        unbegun,
    };
    tokio::select! {
        () = accepting.accept_on(&socket) => {}
        _ = stop.wait_for(|stop| *stop), if end == End::WhenDrained => {}
        _ = given.wait_for(|given| *given), if end == End::Never => {}
    }
    // Of a socket that a successor has, too, the queue is not lost.
    spare.close();
    if !spare.is_taken() {
        accepting.accept_queued(socket).await;
    }
}

/// What becomes of the connections of a listener.
struct Accepting<A> {
    listener: Arc<Listener>,
    terminator: Option<Arc<Terminator>>,
    app: Arc<A>,
    places: Places,
    shutdown: ShutdownWatch,
    /// Connections whose tasks have not begun.
    unbegun: Arc<AtomicUsize>,
}

/// One of them. Dropping it ends the count.
struct Unbegun(Arc<AtomicUsize>);

impl Unbegun {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Unbegun {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<A: ServeConnection> Accepting<A> {
    /// Accepts for ever. Between two connections the future may be dropped.
    async fn accept_on(&mut self, socket: &tokio::net::TcpListener) {
        loop {
            // First the place, then the connection: one that cannot be served is not taken from the kernel.
            let place = self.places.before_accepting().await;
            match socket.accept().await {
                Ok((socket, peer)) => self.serve(socket, peer, place).await,
                Err(error) => {
                    if self.note_failure(&error) == Failed::Listener {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Takes whoever has connected already: the kernel would reset those connections with the socket's end, and their
    /// requests may be on their way. Not more than its queue can hold, so that those who go on connecting do not keep the
    /// process.
    async fn accept_queued(mut self, socket: tokio::net::TcpListener) {
        // Without the event loop, which may not have heard of the newest ones.
        let Ok(socket) = socket.into_std() else {
            return;
        };
        for _ in 0..=BACKLOG {
            let place = self.places.before_accepting().await;
            let accepted = socket.accept().and_then(|(socket, peer)| {
                socket.set_nonblocking(true)?;
                Ok((TcpStream::from_std(socket)?, peer))
            });
            match accepted {
                Ok((socket, peer)) => self.serve(socket, peer, place).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    if self.note_failure(&error) == Failed::Listener {
                        return;
                    }
                }
            }
        }
    }

    async fn serve(
        &mut self,
        socket: TcpStream,
        peer: SocketAddr,
        mut place: Option<OwnedSemaphorePermit>,
    ) {
        let (app, shutdown) = (Arc::clone(&self.app), self.shutdown.clone());
        // Boxed: each future that it goes through would have a place for it.
        let accepted = Box::new(Accepted {
            socket,
            peer,
            listener: Arc::clone(&self.listener),
            terminator: self.terminator.clone(),
        });
        if place.is_none() {
            place = self.places.at_the_cost_of_the_oldest().await;
        }
        let mut unbegun = Some(Unbegun::new(&self.unbegun));
        let serving = tokio::spawn(async move {
            let _held = &place;
            let mut serving = pin!(app.serve(accepted, &shutdown));
            poll_fn(|cx| {
                let poll = serving.as_mut().poll(cx);
                // From its first turn on it is counted as an open one.
                unbegun = None;
                poll
            })
            .await;
        });
        self.places.note(&serving);
    }

    fn note_failure(&self, error: &io::Error) -> Failed {
        let name = &*self.listener.name;
        if is_of_one_connection(error) {
            debug!(listener = name, %error, "a connection ended before it was accepted");
            Failed::Connection
        } else {
            error!(listener = name, %error, "connections cannot be accepted");
            Failed::Listener
        }
    }
}

/// What it was that could not be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Connection,
    /// Anything of it, for now.
    Listener,
}
