//! What the signals that do not end the process ask for.

use std::sync::Arc;

use async_trait::async_trait;
use cellgate_process::restart;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::sync::Mutex;
use tracing::info;

use crate::{
    access_log::AccessLog,
    handover::Giving,
    signals::HousekeepingSignals,
    watch::{Wake, Waker},
};

/// Acts on them as long as the process lives: during a drain, too, tables change and logs are rotated.
pub(super) struct Housekeeping {
    pub(super) signals: Mutex<HousekeepingSignals>,
    pub(super) waker: Waker,
    pub(super) access_log: AccessLog,
    pub(super) giving: Arc<Giving>,
}

#[async_trait]
impl BackgroundService for Housekeeping {
    async fn start(&self, _: ShutdownWatch) {
        restart::until_done("housekeeping", |_| {}, || self.act_on_signals()).await;
    }
}

impl Housekeeping {
    async fn act_on_signals(&self) {
        let mut signals = self.signals.lock().await;
        let HousekeepingSignals {
            hangup,
            user1,
            user2,
        } = &mut *signals;
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    info!("SIGHUP: reading the table file");
                    self.waker.wake(Wake::Reread);
                }
                _ = user1.recv() => self.access_log.reopen(),
                _ = user2.recv() => self.giving.start_successor(),
            }
        }
    }
}
