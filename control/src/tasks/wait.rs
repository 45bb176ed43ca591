//! How tasks wait: for their next turn, and for work that blocks.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
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

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    daemon: &Arc<Daemon>,
    work: impl FnOnce(&Daemon) -> T + Send + 'static,
) -> Option<T> {
    let daemon = Arc::clone(daemon);
    match tokio::task::spawn_blocking(move || work(&daemon)).await {
        Ok(result) => Some(result),
        Err(error) => {
            error!(%error, "a task failed; it is tried again");
            None
        }
    }
}
