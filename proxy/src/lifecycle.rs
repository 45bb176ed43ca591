//! From start to end: what is in flight, and when the process may leave.

use std::{
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use cellgate_process::notify;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::{OwnedMutexGuard, watch};
use tracing::{info, warn};

use crate::{metrics::Metrics, signals::StopSignals};

/// The ends of a process's life. Each phase follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    Serving,
    /// Readiness fails, so that load balancers look elsewhere; all else goes on.
    Leaving,
    /// Listeners close; requests go on to their end, and each answer ends its connection. Idle connections may ask once
    /// more.
    Draining,
    /// Nothing can come any more.
    ListenersClosed,
    /// Somebody does not want to wait.
    GivenUp,
}

/// Counts what is in flight and says when it is time to go.
#[derive(Debug)]
pub struct Lifecycle {
    metrics: Arc<Metrics>,
    phase: AtomicU8,
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// Connections of the admin address that have had no answer yet.
    unanswered: AtomicUsize,
    /// A successor serves in this process's place.
    is_handed_over: AtomicBool,
    /// Guards nothing but the wait for a change.
    waiting: Mutex<()>,
    changed: Condvar,
    /// When the drain began.
    drain_began: OnceLock<Instant>,
}

/// An open client connection. Dropping it ends the count.
#[derive(Debug)]
pub struct OpenConnection<'l>(&'l Lifecycle);

/// A connection of the admin address that has had no answer yet. Dropping it ends the count.
#[derive(Debug)]
pub struct Unanswered<'l>(&'l Lifecycle);

/// A request in flight. Dropping it ends the count.
#[derive(Debug)]
pub struct BusyRequest<'l>(&'l Lifecycle);

impl Lifecycle {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            phase: AtomicU8::new(Phase::Serving as u8),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            is_handed_over: AtomicBool::new(false),
            waiting: Mutex::new(()),
            changed: Condvar::new(),
            drain_began: OnceLock::new(),
        }
    }

    /// `None` when `limit` connections are open already.
    pub fn connection(&self, limit: usize) -> Option<OpenConnection<'_>> {
        let open = self.connections.fetch_add(1, Ordering::AcqRel);
        self.metrics.connections.inc();
        let connection = OpenConnection(self);
        (open < limit).then_some(connection)
    }

    pub fn request(&self) -> BusyRequest<'_> {
        self.requests.fetch_add(1, Ordering::AcqRel);
        BusyRequest(self)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// For a new connection of the admin address, until its first answer.
    pub fn unanswered(&self) -> Unanswered<'_> {
        self.unanswered.fetch_add(1, Ordering::AcqRel);
        Unanswered(self)
    }

    /// Whoever has just asked on the admin address could not tell an answer that is cut off from a proxy that crashed.
    pub fn wait_until_answered(&self, limit: Duration) {
        const CHECK_INTERVAL: Duration = Duration::from_millis(2);
        let began = Instant::now();
        while self.unanswered.load(Ordering::Acquire) > 0 && began.elapsed() < limit {
            thread::sleep(CHECK_INTERVAL);
        }
    }

    /// A successor serves. What still comes to this process is on connections from before, and about both of them.
    pub fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::Release);
    }

    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// What is left of the time for the drain; nothing if it has not begun.
    pub fn left_to_drain(&self, limit: Duration) -> Duration {
        self.drain_began.get().map_or(Duration::ZERO, |began| {
            limit.saturating_sub(began.elapsed())
        })
    }

    /// When the drain began, once it has.
    pub fn drain_began(&self) -> Option<Instant> {
        self.drain_began.get().copied()
    }

    /// Goes on to a later phase; going back is not possible.
    pub fn enter(&self, phase: Phase) {
        if phase >= Phase::Draining {
            self.drain_began.get_or_init(Instant::now);
        }
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.note_change();
    }

    pub fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }

    fn note_change(&self) {
        if self.has_reached(Phase::Draining) {
            let _waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.changed.notify_all();
        }
    }

    /// Waits until the drain has begun and nothing is open any more, or `limit` has passed since it began, or somebody
    /// gave up on waiting, or `stopped` says that there is nothing left to wait for. Returns how many requests were cut.
    pub fn wait_until_drained(&self, limit: Duration, stopped: impl Fn() -> bool) -> usize {
        /// The condition is looked at this often even if nobody notifies.
        const LOOK: Duration = Duration::from_millis(50);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.has_reached(Phase::Draining) {
                if self.left_to_drain(limit).is_zero() || self.has_reached(Phase::GivenUp) {
                    return self.requests();
                }
                if self.has_reached(Phase::ListenersClosed) && self.connections() == 0 {
                    return 0;
                }
            }
            if stopped() {
                return self.requests();
            }
            let woken = self.changed.wait_timeout(waiting, LOOK);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.connections.dec();
        self.0.note_change();
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for BusyRequest<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Turns SIGTERM and SIGINT into a drain.
#[derive(Debug)]
pub struct Shutdown {
    pub lifecycle: Arc<Lifecycle>,
    /// Another has them while this process loads; from then on they are acted on here.
    pub signals: Arc<tokio::sync::Mutex<StopSignals>>,
    /// How long readiness fails before the listeners close.
    pub delay: Duration,
    /// Becomes true once a successor serves.
    pub given: watch::Receiver<bool>,
    /// Becomes true if the process has to leave by itself.
    pub stopped: watch::Receiver<bool>,
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let mut signals = Arc::clone(&self.signals).lock_owned().await;
        let (mut given, mut stopped) = (self.given.clone(), self.stopped.clone());
        let is_given = tokio::select! {
            () = signals.asked() => false,
            Ok(_) = stopped.wait_for(|stopped| *stopped) => true,
            Ok(_) = given.wait_for(|given| *given) => true,
        };
        if is_given {
            return self.drain_behind_successor(signals);
        }
        notify::send("STOPPING=1");
        info!(
            requests = self.lifecycle.requests(),
            connections = self.lifecycle.connections(),
            "leaving: not ready any more; requests in flight go on"
        );
        self.lifecycle.enter(Phase::Leaving);
        tokio::select! {
            () = tokio::time::sleep(self.delay) => {}
            // A second signal is somebody who does not want to wait.
            () = signals.asked() => {}
        }
        self.lifecycle.enter(Phase::Draining);
        let lifecycle = Arc::clone(&self.lifecycle);
        tokio::spawn(async move {
            signals.asked().await;
            warn!("a second signal: leaving immediately");
            lifecycle.enter(Phase::GivenUp);
        });
        ShutdownSignal::GracefulTerminate
    }
}

impl Shutdown {
    /// Readiness is the successor's now, and so is what a service manager hears.
    fn drain_behind_successor(&self, mut signals: OwnedMutexGuard<StopSignals>) -> ShutdownSignal {
        self.lifecycle.enter(Phase::Draining);
        let lifecycle = Arc::clone(&self.lifecycle);
        tokio::spawn(async move {
            signals.asked().await;
            info!("draining already; a second signal ends it");
            signals.asked().await;
            warn!("a second signal: leaving immediately");
            lifecycle.enter(Phase::GivenUp);
        });
        ShutdownSignal::GracefulTerminate
    }
}

#[cfg(test)]
mod tests;
