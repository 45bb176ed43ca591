//! How tasks wait: for their next turn, and for work that blocks.

use std::{sync::Arc, time::Duration};

use cellgate_process::restart;
use tokio::{
    sync::{Notify, watch},
    task::JoinError,
    time::sleep,
};
use tracing::error;

use crate::daemon::Daemon;

/// Waits for the period or a wake-up; true when the daemon stops.
pub(super) async fn pause(
    period: Duration,
    wake: Option<&Notify>,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    let woken = async {
        match wake {
            Some(wake) => wake.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = sleep(period) => {}
        () = woken => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    *stop.borrow()
}

/// Runs what blocks where it may. A panic there is recorded as one of the task `name`.
pub(super) async fn blocking<T: Send + 'static>(
    daemon: &Arc<Daemon>,
    name: &'static str,
    work: impl FnOnce(&Daemon) -> T + Send + 'static,
) -> Option<T> {
    let shared = Arc::clone(daemon);
    match tokio::task::spawn_blocking(move || work(&shared)).await {
        Ok(result) => Some(result),
        Err(error) => {
            record(daemon, name, error);
            None
        }
    }
}

/// Records how a piece of a task ended that did not end well. It is tried again at the task's next turn.
pub(super) fn record(daemon: &Daemon, name: &'static str, error: JoinError) {
    // Pieces are cancelled only when the daemon ends.
    if let Ok(payload) = error.try_into_panic() {
        error!(
            task = name,
            "a piece of the task panicked; it is tried again"
        );
        daemon.panics.record(name, restart::message(&*payload));
    }
}
