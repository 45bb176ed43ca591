//! The side that gives: offers what it has to a successor, and goes on as if nothing had been unless that one serves.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::{Child, Command},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cellgate_process::{descriptors, notify};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{
    channel::Channel,
    message::{CellReport, Offer, Offered, Reply, Report, Request, Role, VERSION},
    place::{Place, check_peer},
    predecessor::Predecessor,
};
use crate::{
    config::Tcp,
    lifecycle::{Lifecycle, Phase},
    listen::{BoundListener, Spare, set_options},
    snapshot::Current,
    state_dir::{Claim, StateDir},
    tls::Terminator,
};

/// How often a successor that was started here is looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How long a successor may take from the confirmation until it says that it accepts.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);

/// How successors are started.
#[derive(Clone, Debug)]
pub struct Successors {
    /// The program's path as it was called: another file may be there by then, and that is the point.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// How long one may take until it serves.
    pub limit: Duration,
}

/// What is given away.
#[derive(Debug)]
pub struct Stock {
    sockets: Vec<(Offered, Arc<Spare>)>,
    /// What the listeners want of them, in the same order.
    options: Vec<Tcp>,
    terminators: Vec<Arc<Terminator>>,
}

impl Stock {
    /// Of the listeners that this process accepts on.
    pub fn of(edge: &[BoundListener], admin: &BoundListener) -> io::Result<Self> {
        let edge_roles = edge.iter().map(|bound| (Role::Edge, bound));
        let sockets = edge_roles
            .chain([(Role::Admin, admin)])
            .map(|(role, bound)| {
                let offered = Offered {
                    role,
                    name: bound.listener.name.clone(),
                    configured: bound.listener.address,
                    ipv6_only: bound.listener.ipv6_only,
                };
                Ok((offered, bound.keep_spare()?))
            });
        Ok(Self {
            options: edge
                .iter()
                .chain([admin])
                .map(|it| it.listener.tcp)
                .collect(),
            sockets: sockets.collect::<io::Result<_>>()?,
            terminators: edge
                .iter()
                .filter_map(|bound| bound.terminator().cloned())
                .collect(),
        })
    }
}

/// What the process knows of itself, and gives away when it is asked to.
#[derive(Debug)]
pub struct Giving {
    pub state_dir: StateDir,
    pub claim: Mutex<Option<Claim>>,
    pub current: Arc<Current>,
    pub lifecycle: Arc<Lifecycle>,
    pub predecessor: Arc<Predecessor>,
    pub successors: Successors,
    pub stock: Mutex<Option<Stock>>,
    /// Becomes true once a successor serves.
    pub given: watch::Sender<bool>,
    /// A hand-over is under way, from this process or to it.
    pub is_busy: AtomicBool,
    /// A successor that was started here has neither ended nor been given anything.
    pub awaits_successor: AtomicBool,
}

/// Why nothing was handed over.
struct Failed(String);

impl<E: fmt::Display> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Giving {
    /// The sockets that were taken over are this process's now, and so are their options.
    pub fn set_options(&self) {
        let stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stock) = &*stock else {
            return;
        };
        for ((offered, spare), tcp) in stock.sockets.iter().zip(&stock.options) {
            if let Some(socket) = spare.get()
                && let Err(error) = set_options(&socket, *tcp)
            {
                warn!(listener = offered.name, %error, "the options of a socket that was taken over cannot be set");
            }
        }
    }

    /// Waits for successors until one serves.
    pub fn listen(self: &Arc<Self>, place: Place) -> io::Result<()> {
        self.is_busy.store(false, Ordering::Release);
        let giving = Arc::clone(self);
        thread::Builder::new()
            .name("hand-over".to_owned())
            .spawn(move || giving.wait_for_successors(&place))?;
        Ok(())
    }

    fn wait_for_successors(&self, place: &Place) {
        while !*self.given.borrow() {
            match place.accept() {
                Ok(None) => {}
                // One after the other: while one is here, the next waits. Once one serves, all others are its own, which
                // this process must not accept in its place.
                Ok(Some(socket)) => self.meet(socket, place),
                Err(error) => {
                    warn!(%error, "a successor cannot be accepted");
                    thread::sleep(CHECK_INTERVAL);
                }
            }
        }
    }

    fn meet(&self, socket: OwnedFd, place: &Place) {
        let peer = check_peer(&socket);
        let Ok(channel) = Channel::new(socket) else {
            return;
        };
        let process = match peer {
            Ok(process) => process,
            Err(error) => {
                warn!(%error, "a successor is refused");
                return;
            }
        };
        let refuse = |why: &str| {
            warn!(process, "a successor is refused: {why}");
            let why = why.to_owned();
            let _ = channel.send(&Reply::Refused { why }, &[]);
        };
        if self.lifecycle.has_reached(Phase::Leaving) {
            return refuse("this process is about to end");
        }
        self.is_busy.store(true, Ordering::Release);
        info!(process, "a successor asks for the sockets");
        let handed_over = self.hand_over(&channel, place, process);
        if handed_over.is_ok() {
            self.report_for_ever(&channel);
            return;
        }
        self.state_dir.resume();
        if let Err(Failed(why)) = handed_over {
            warn!(
                process,
                "nothing is handed over, and this process goes on: {why}"
            );
        }
        self.is_busy.store(false, Ordering::Release);
    }

    fn hand_over(&self, channel: &Channel, place: &Place, process: u32) -> Result<(), Failed> {
        let deadline = Instant::now() + self.successors.limit;
        let next = || -> Result<Request, Failed> {
            let left = deadline.saturating_duration_since(Instant::now());
            let received = channel.receive(Some(left));
            Ok(received
                .map_err(|error| format!("the successor: {error}"))?
                .0)
        };
        let Request::Hello { version, .. } = next()? else {
            return Err("the successor does not begin with a greeting".into());
        };
        if version != VERSION {
            let why =
                format!("it hands over by version {VERSION}, and not {version}; restart instead");
            channel.send(&Reply::Refused { why: why.clone() }, &[])?;
            return Err(why.into());
        }
        self.offer(channel, place)?;
        let Request::Ready = next()? else {
            return Err("the successor does not say that it is ready".into());
        };
        self.state_dir.pause();
        self.send_lock(channel)?;
        let kept = loop {
            match next()? {
                Request::Ask { limit_ms } => self.report_to(channel, limit_ms)?,
                Request::Serving { kept } => break kept,
                _ => return Err("the successor does not say that it serves".into()),
            }
        };
        notify::send(&format!("MAINPID={process}"));
        if let Err(error) = self.commit(channel) {
            notify::send(&format!("MAINPID={}", std::process::id()));
            return Err(error);
        }
        self.let_go(&kept, process);
        Ok(())
    }

    /// Confirms that the successor may serve, and keeps what it has until that one accepts: it may still die.
    fn commit(&self, channel: &Channel) -> Result<(), Failed> {
        channel.send(&Reply::Committed, &[])?;
        let deadline = Instant::now() + COMMIT_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match channel.receive::<Request>(Some(left)) {
                Ok((Request::Ask { limit_ms }, _)) => self.report_to(channel, limit_ms)?,
                Ok((Request::Accepting, _)) => return Ok(()),
                Ok(_) => return Err("the successor does not say that it accepts".into()),
                // It has the confirmation and lives: two that accept do no harm, and two that write do.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
                Err(error) => return Err(format!("the successor: {error}").into()),
            }
        }
    }

    fn offer(&self, channel: &Channel, place: &Place) -> Result<(), Failed> {
        let stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stock) = &*stock else {
            return Err("there is nothing left".into());
        };
        let ticket_keys: BTreeMap<_, _> = stock
            .terminators
            .iter()
            .filter_map(|tls| Some((tls.listener().to_owned(), tls.ticket_keys()?)))
            .collect();
        let offer = Offer {
            version: VERSION,
            process: std::process::id(),
            sockets: stock.sockets.iter().map(|(o, _)| o.clone()).collect(),
            ticket_keys,
            generation: self.current.load().map(|s| s.generation.get()),
        };
        let sockets: Option<Vec<_>> = stock.sockets.iter().map(|(_, spare)| spare.get()).collect();
        let Some(sockets) = sockets else {
            return Err("the listeners are closed, or no further files can be opened".into());
        };
        let descriptors = sockets.iter().map(AsFd::as_fd);
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.chain([place.socket.as_fd()]).collect();
        Ok(channel.send(&Reply::Offer(offer), &descriptors)?)
    }

    fn send_lock(&self, channel: &Channel) -> Result<(), Failed> {
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = claim.as_ref().and_then(Claim::descriptor);
        Ok(channel.send(&Reply::Lock, lock.as_slice())?)
    }

    /// The successor serves: from here on there is no way back.
    fn let_go(&self, kept: &[usize], process: u32) {
        let stock = self
            .stock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for (at, (_, spare)) in stock.iter().flat_map(|stock| &stock.sockets).enumerate() {
            if kept.contains(&at) {
                spare.take();
            } else {
                spare.close();
            }
        }
        drop(stock);
        self.claim
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.lifecycle.hand_over();
        info!(
            process,
            "handed over: the successor serves, and this process drains"
        );
        self.given.send_replace(true);
    }

    /// As long as the successor lives, it may ask.
    fn report_for_ever(&self, channel: &Channel) {
        while let Ok((Request::Ask { limit_ms }, _)) = channel.receive(None) {
            if self.report_to(channel, limit_ms).is_err() {
                return;
            }
        }
    }

    fn report_to(&self, channel: &Channel, limit_ms: u64) -> Result<(), Failed> {
        let before = self.predecessor.ask_within(Duration::from_millis(limit_ms));
        let snapshot = self.current.load();
        let cells = snapshot.iter().flat_map(|snapshot| snapshot.cells());
        let report = Report {
            process: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: snapshot.as_ref().map(|s| s.generation.get()),
            digest: snapshot.as_ref().map(|s| s.digest.to_string()),
            requests_in_flight: self.lifecycle.requests(),
            client_connections: self.lifecycle.connections(),
            cells: cells
                .map(|cell| {
                    let report = CellReport {
                        in_flight: cell.state.in_flight(),
                        tunnels: cell.state.tunnels(),
                        connections: cell.state.connections(),
                    };
                    (cell.state.id.to_string(), report)
                })
                .filter(|(_, report)| *report != CellReport::default())
                .collect(),
            predecessors: before.into_iter().collect(),
            answers: true,
        };
        Ok(channel.send(&Reply::Report(report), &[])?)
    }

    /// Starts a successor, which asks for everything by itself.
    pub fn start_successor(self: &Arc<Self>) {
        if std::process::id() == 1 {
            error!(
                "SIGUSR2: process 1 cannot be replaced, for all others end with it; restart the container"
            );
            return;
        }
        if self.lifecycle.has_reached(Phase::Leaving) {
            warn!("SIGUSR2: this process is about to end");
            return;
        }
        let is_under_way = *self.given.borrow() || self.is_busy.load(Ordering::Acquire);
        // From the start on, and not only once it asks: a second one would take over from the first.
        if is_under_way || self.awaits_successor.swap(true, Ordering::AcqRel) {
            warn!("SIGUSR2: a hand-over is under way already");
            return;
        }
        notify::reloading();
        let mut command = Command::new(&self.successors.program);
        command
            .args(&self.successors.arguments)
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES");
        match command.spawn() {
            Ok(child) => {
                descriptors::restore_limit_of(child.id());
                info!(
                    process = child.id(), program = %self.successors.program.display(),
                    "SIGUSR2: a successor is started"
                );
                let giving = Arc::clone(self);
                thread::spawn(move || giving.watch_over(child));
            }
            Err(error) => {
                let program = self.successors.program.display();
                error!(%program, %error, "SIGUSR2: no successor can be started, and this process goes on");
                self.goes_on();
            }
        }
    }

    fn watch_over(&self, mut child: Child) {
        let process = child.id();
        let began = Instant::now();
        // Once anybody serves in this process's place, it may be this one, or take over from that one.
        while !*self.given.borrow() {
            let status = match child.try_wait() {
                Ok(Some(status)) => status.to_string(),
                // A hand-over that is under way has a limit of its own, and may be past the point of no return.
                Ok(None)
                    if began.elapsed() < self.successors.limit
                        || self.is_busy.load(Ordering::Acquire) =>
                {
                    thread::sleep(CHECK_INTERVAL);
                    continue;
                }
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    "it took too long and was killed".to_owned()
                }
            };
            error!(
                process,
                "the successor does not serve, and this process goes on: {status}"
            );
            self.goes_on();
            return;
        }
        // Only so that nothing is left of it should it end before this process.
        let _ = child.wait();
    }

    fn goes_on(&self) {
        self.awaits_successor.store(false, Ordering::Release);
        notify::send("READY=1");
    }
}
