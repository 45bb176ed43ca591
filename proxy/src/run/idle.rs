//! Idle connections to cells.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use cellgate_process::restart;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};

use crate::{metrics::Metrics, snapshot::Current, upstream::Pool};

/// How often they are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Closes connections to cells that have waited for too long, that their cell has closed, or whose cell is gone, and
/// publishes how many there are.
pub(super) struct IdleConnections {
    pub(super) pool: Arc<Pool>,
    pub(super) current: Arc<Current>,
    pub(super) metrics: Arc<Metrics>,
}

impl IdleConnections {
    fn publish(&self) {
        let (pool, metrics) = (&self.pool, &self.metrics);
        let idle = i64::try_from(pool.idle()).unwrap_or(i64::MAX);
        metrics.upstream_idle.set(idle);
        for (counter, count) in [
            (&metrics.upstream_reused, pool.reused()),
            (&metrics.upstream_missed, pool.missed()),
        ] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

#[async_trait]
impl BackgroundService for IdleConnections {
    /// Until the process ends: during the drain there are requests still.
    async fn start(&self, _: ShutdownWatch) {
        restart::until_done("idle connections", |_| {}, || self.sweep()).await;
    }
}

impl IdleConnections {
    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.pool.sweep(Instant::now());
            if let Some(snapshot) = self.current.load() {
                self.pool
                    .retain_cells(|cell| snapshot.table.index_of(cell).is_some());
            }
            self.publish();
        }
    }
}
