//! From start to end: what is in flight, and when the process may leave.

use std::{
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
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
    /// Guards nothing but the wait for a change.
    waiting: Mutex<()>,
    changed: Condvar,
    /// When the drain began.
    drain_began: OnceLock<Instant>,
}

/// An open client connection. Dropping it ends the count.
#[derive(Debug)]
pub struct OpenConnection<'l>(&'l Lifecycle);

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

impl Drop for BusyRequest<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Turns SIGTERM and SIGINT into a drain.
#[derive(Debug)]
pub struct Shutdown {
    pub lifecycle: Arc<Lifecycle>,
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
