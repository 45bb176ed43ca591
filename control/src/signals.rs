//! The signals that the daemon acts on.

use std::io;

use cellgate_process::signals;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from the moment it is made. From then on no signal does what it does by default, which for SIGHUP is to end
/// the process; one that comes before somebody waits for it is found by whoever waits first.
#[derive(Debug)]
pub struct Signals {
    pub stop: StopSignals,
    /// Asks to read the token file again.
    pub hangup: Signal,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        signals::listen(|| {
            Ok(Self {
                stop: StopSignals {
                    terminate: signal(SignalKind::terminate())?,
                    interrupt: signal(SignalKind::interrupt())?,
                },
                hangup: signal(SignalKind::hangup())?,
            })
        })
    }
}

impl StopSignals {
    /// Waits until somebody asks the process to end.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
