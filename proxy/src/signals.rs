//! The signals that the proxy acts on.

use std::{io, mem};

use cellgate_process::signals;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// Listens from the moment it is made. From then on no signal does what it does by default, which for most of them is
/// to end the process on the spot; one that comes before somebody waits for it is found by whoever waits first.
#[derive(Debug)]
pub struct Signals {
    pub stop: StopSignals,
    pub housekeeping: HousekeepingSignals,
}

/// SIGTERM and SIGINT. SIGQUIT, on which Pingora by default hands the sockets to a successor that nobody started, is
/// ignored.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// Somebody has asked already, and whoever heard that left it to the next.
    is_asked: bool,
}

/// The signals that do not end the process.
#[derive(Debug)]
pub struct HousekeepingSignals {
    pub hangup: Signal,
    pub user1: Signal,
    pub user2: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        signals::listen(|| {
            Ok(Self {
                stop: StopSignals {
                    terminate: signal(SignalKind::terminate())?,
                    interrupt: signal(SignalKind::interrupt())?,
                    quit: signal(SignalKind::quit())?,
                    is_asked: false,
                },
                housekeeping: HousekeepingSignals {
                    hangup: signal(SignalKind::hangup())?,
                    user1: signal(SignalKind::user_defined1())?,
                    user2: signal(SignalKind::user_defined2())?,
                },
            })
        })
    }
}

impl StopSignals {
    /// Waits until somebody asks the process to end.
    pub async fn asked(&mut self) {
        if mem::take(&mut self.is_asked) {
            return;
        }
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.quit.recv() => warn!("SIGQUIT is not used by this version and is ignored"),
            }
        }
    }

    /// What was heard is for whoever waits next.
    pub fn pass_on(&mut self) {
        self.is_asked = true;
    }
}
