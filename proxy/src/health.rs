//! Active health checks: one task per endpoint of a cell that asks for it, following the table in force.
//!
//! What they find goes into the endpoint's state, where requests read it.

mod probe;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use cellgate_process::restart;
use cellgate_table::{Digest, HealthCheck};
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::{sync::Semaphore, task::JoinHandle};
use tracing::{debug, error, info, warn};

use self::probe::{Failed, Probe};
use crate::{
    cell::{Change, EndpointState},
    clock,
    snapshot::{Current, Snapshot},
    tls::CellTls,
};

/// How often the checks are matched with the table in force, and the cells' gauges are set.
const TICK: Duration = Duration::from_millis(250);

/// One cell has at most this part of the places for checks.
const CELL_PART: usize = 4;

/// Runs the checks.
#[derive(Debug)]
pub struct HealthChecks {
    pub current: Arc<Current>,
    /// Each check takes a descriptor; with more at the same time than this, checks wait for each other.
    pub checks_at_once_max: usize,
}

/// Places for checks at the same time: of each cell a part of those of all.
struct Places {
    all: Arc<Semaphore>,
    cell_max: usize,
    cells: HashMap<String, Arc<Semaphore>>,
}

impl Places {
    fn new(max: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(max)),
            cell_max: (max / CELL_PART).max(1),
            cells: HashMap::new(),
        }
    }

    fn of(&mut self, cell: &str) -> [Arc<Semaphore>; 2] {
        let new = || Arc::new(Semaphore::new(self.cell_max));
        let of_cell = self.cells.entry(cell.to_owned()).or_insert_with(new);
        [Arc::clone(of_cell), Arc::clone(&self.all)]
    }

    /// Of cells whose checks have all ended nothing is kept.
    fn forget_idle(&mut self) {
        self.cells.retain(|_, places| Arc::strong_count(places) > 1);
    }
}

/// Which check runs on which endpoint, and what its TLS is made by.
type CheckKey = (String, SocketAddr, HealthCheck, Option<Digest>);
/// Whom it checks, and how that is met.
type Checked = (Arc<EndpointState>, Option<Arc<CellTls>>);

/// A check at work, and whose state it keeps. Dropping it ends the check.
struct Running {
    endpoint: Arc<EndpointState>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl BackgroundService for HealthChecks {
    /// Until the process ends: during the drain there are requests still.
    async fn start(&self, _: ShutdownWatch) {
        restart::until_done("health", |_| {}, || self.check()).await;
    }
}

impl HealthChecks {
    async fn check(&self) {
        let mut places = Places::new(self.checks_at_once_max);
        let mut running: HashMap<CheckKey, Running> = HashMap::new();
        let mut cells_down: HashMap<String, bool> = HashMap::new();
        loop {
            if let Some(snapshot) = self.current.load() {
                match_with_table(&snapshot, &mut places, &mut running);
                places.forget_idle();
                report_cells(&snapshot, &mut cells_down);
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Starts the checks that the table asks for and ends the others.
fn match_with_table(
    snapshot: &Snapshot,
    places: &mut Places,
    running: &mut HashMap<CheckKey, Running>,
) {
    let mut wanted: HashMap<CheckKey, Checked> = HashMap::new();
    for (cell, runtime) in snapshot.table.cells().iter().zip(snapshot.cells()) {
        let Some(check) = cell.health_check() else {
            // A check that had not ended yet when its table did may have spoken since, and nobody else would correct it.
            for endpoint in &runtime.endpoints {
                if endpoint.state.health.is_unhealthy() {
                    endpoint.state.health.forget_checks();
                }
            }
            continue;
        };
        for endpoint in &runtime.endpoints {
            let (id, address) = (cell.id().to_string(), endpoint.state.address);
            let digest = endpoint.tls.as_ref().map(|tls| tls.digest());
            let checked = (Arc::clone(&endpoint.state), endpoint.tls.clone());
            wanted.insert((id, address, check.clone(), digest), checked);
        }
    }
    running.retain(|key, check| {
        // An endpoint that left the table and came back has a new state, which the old check does not know.
        let is_wanted = wanted
            .get(key)
            .is_some_and(|(endpoint, _)| Arc::ptr_eq(endpoint, &check.endpoint));
        is_wanted && !check.task.is_finished()
    });
    for (key, (endpoint, tls)) in wanted {
        running
            .entry(key)
            .or_insert_with_key(|(cell, _, check, _)| {
                let (cell, check) = (cell.clone(), check.clone());
                let places = places.of(&cell);
                let checked = (Arc::clone(&endpoint), tls);
                let task = tokio::spawn(check_endpoint(cell, checked, check, places));
                Running { endpoint, task }
            });
    }
}

/// Checks one endpoint for ever, at a steady pace.
async fn check_endpoint(
    cell: String,
    (endpoint, tls): Checked,
    check: HealthCheck,
    [of_cell, of_all]: [Arc<Semaphore>; 2],
) {
    let interval = Duration::from_millis(check.interval_ms.into());
    let time_limit = Duration::from_millis(check.timeout_ms.into());
    let probe = match Probe::new(&check.probe, endpoint.address, tls, time_limit) {
        Ok(probe) => probe,
        Err(error) => {
            error!(cell, endpoint = %endpoint.address, %error, "an endpoint cannot be checked");
            // Ended, this task would only be started anew.
            return std::future::pending().await;
        }
    };
    // The endpoints of a fleet must not all be asked in the same moment.
    tokio::time::sleep(
        interval
            .mul_f64(fastrand::f64())
            .min(Duration::from_secs(1)),
    )
    .await;
    let mut pace = tokio::time::interval(interval);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        // First within the cell: the checks of one that hangs do not stand in line before those of others.
        let turn = (of_cell.acquire().await, of_all.acquire().await);
        let result = probe.check().await;
        drop(turn);
        let failure = match result {
            Ok(()) => None,
            Err(Failed::Unhealthy(why)) => Some(why),
            Err(Failed::OutOfResources(error)) => {
                warn!(%error, "endpoints cannot be checked: this machine has run out of something");
                continue;
            }
        };
        let passed = failure.is_none();
        match endpoint
            .health
            .checked(passed, check.unhealthy_after, check.healthy_after)
        {
            Some(Change::Unhealthy) => {
                let failure = failure.unwrap_or_default();
                warn!(cell, endpoint = %endpoint.address, failure, "endpoint unhealthy");
            }
            Some(Change::Healthy) => {
                info!(cell, endpoint = %endpoint.address, "endpoint healthy again");
            }
            Some(Change::Ejected { .. } | Change::EjectionSuppressed) | None => {
                debug!(cell, endpoint = %endpoint.address, passed, "endpoint checked");
            }
        }
    }
}

/// Sets each cell's gauge, and warns when a cell has no endpoint left that may be chosen.
fn report_cells(snapshot: &Snapshot, cells_down: &mut HashMap<String, bool>) {
    let now = clock::now_ms();
    cells_down.retain(|id, _| {
        snapshot
            .cells()
            .iter()
            .any(|cell| cell.state.id.as_str() == id)
    });
    for cell in snapshot.cells() {
        let usable = cell.usable_endpoints(now);
        cell.state
            .metrics
            .healthy_endpoints
            .set(i64::try_from(usable).unwrap_or(i64::MAX));
        let id = cell.state.id.as_str();
        let was_down = cells_down
            .insert(id.to_owned(), usable == 0)
            .unwrap_or(false);
        match (was_down, usable) {
            (false, 0) => error!(
                cell = id,
                "no endpoint of the cell is healthy: its tenants get `no_healthy_endpoint`"
            ),
            (true, 1..) => info!(cell = id, usable, "the cell has a healthy endpoint again"),
            _ => {}
        }
    }
}
