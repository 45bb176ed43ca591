//! Has providers do what was asked of them, and supervises what they made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cellgate_table::CellId;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};
use tracing::{error, info, warn};

use super::wait::{blocking, pause, record};
use crate::{
    change::cells,
    clock,
    daemon::Daemon,
    model::{Amounts, Cell, CellState},
    observe::{Degraded, ProxyState},
    provider::{Described, Failed, Job, Provider},
    refusal::{Refusal, StorageError},
    store::{Operation, Request},
};

/// What was asked of providers is checked so often.
const OPERATE_PERIOD: Duration = Duration::from_secs(1);
/// Operations at work at the same time.
const OPERATIONS_MAX: usize = 16;
/// Cells supervised at the same time, besides.
const CHECKS_MAX: usize = 64;

/// Cells that somebody is at work on, and when each was described last.
#[derive(Debug, Default)]
struct InFlight {
    busy: Mutex<BTreeSet<CellId>>,
    described: Mutex<BTreeMap<CellId, Instant>>,
    /// The cell that was supervised last: the next round begins behind it, so that each has its turn.
    last: Mutex<Option<CellId>>,
}

/// What there is to do.
struct Work {
    operations: Vec<Operation>,
    cells: Vec<Cell>,
}

pub(super) async fn operating(daemon: Arc<Daemon>, mut stop: watch::Receiver<bool>) {
    let in_flight = Arc::new(InFlight::default());
    let (mut operations, mut supervised) = (JoinSet::new(), JoinSet::new());
    loop {
        let work = blocking(&daemon, "operate", find_work).await;
        if let Some(Ok(work)) = work {
            forget_ended(&daemon, &work.operations);
            for operation in work.operations {
                begin(&daemon, &in_flight, &mut operations, operation, &work.cells);
            }
            for cell in in_flight.in_turn(work.cells) {
                if supervised.len() >= CHECKS_MAX {
                    break;
                }
                supervise(&daemon, &in_flight, &mut supervised, cell);
            }
        }
        // Those that have ended are cleared away.
        for at_work in [&mut operations, &mut supervised] {
            while let Some(ended) = at_work.try_join_next() {
                ended.unwrap_or_else(|error| record(&daemon, "operate", error));
            }
        }
        if pause(OPERATE_PERIOD, Some(&daemon.wake.operate), &mut stop).await {
            return;
        }
    }
}

fn find_work(daemon: &Daemon) -> Result<Work, StorageError> {
    daemon.store.read(|read| {
        Ok(Work {
            operations: read.open_operations()?,
            cells: read.cells()?,
        })
    })
}

fn begin(
    daemon: &Arc<Daemon>,
    in_flight: &Arc<InFlight>,
    at_work: &mut JoinSet<()>,
    operation: Operation,
    cells: &[Cell],
) {
    let Some(cell) = cells.iter().find(|cell| cell.id == operation.cell) else {
        return;
    };
    if at_work.len() >= OPERATIONS_MAX || has_to_wait(daemon, &operation, cell) {
        return;
    }
    let Some(taken) = InFlightOperation::of(in_flight, &cell.id) else {
        return;
    };
    let (daemon, cell) = (Arc::clone(daemon), cell.clone());
    at_work.spawn(async move {
        carry_out(&daemon, &operation, &cell).await;
        drop(taken);
        daemon.wake.operate.notify_one();
    });
}

/// A cell is taken down only once nobody can send requests to it: no published table names it, and no proxy has one that
/// does. One that no table has ever named waits for nobody. What it waits for, if it does.
fn waits_for(daemon: &Daemon, operation: &Operation, cell: &Cell) -> Option<String> {
    if operation.verb != "remove" || !cell.was_in_table {
        return None;
    }
    let cell = &operation.cell;
    let status = daemon.publisher.status();
    let mut seen = daemon.observed.seen();
    if status.may_name(cell) {
        seen.clear_from.remove(cell);
        return Some("waits to be taken down until the table no longer names it".to_owned());
    }
    let published = status.generation.unwrap_or(0);
    let clear_from = *seen.clear_from.entry(cell.clone()).or_insert(published);
    let proxy = seen.may_name(daemon.config.proxy_names(), cell, clear_from)?;
    let hint = match seen.proxies.get(proxy).map(|status| status.state) {
        Some(ProxyState::Reachable) => String::new(),
        _ => {
            format!(
                "; it does not answer: if it is permanently gone, `cellctl proxy forget {proxy}`"
            )
        }
    };
    Some(format!(
        "waits to be taken down until proxy {proxy} is seen with a table that does not name it{hint}"
    ))
}

/// What has ended, or was given up, waits for nothing any more.
fn forget_ended(daemon: &Daemon, open: &[Operation]) {
    let mut seen = daemon.observed.seen();
    let is_open = |cell: &CellId| open.iter().any(|operation| operation.cell == *cell);
    seen.waiting.retain(|cell, _| is_open(cell));
    seen.clear_from.retain(|cell, _| is_open(cell));
}

/// Whether an operation has to wait; people can see why.
fn has_to_wait(daemon: &Daemon, operation: &Operation, cell: &Cell) -> bool {
    let reason = waits_for(daemon, operation, cell);
    let has_to_wait = reason.is_some();
    let mut seen = daemon.observed.seen();
    match reason {
        Some(reason) => seen.waiting.insert(operation.cell.clone(), reason),
        None => seen.waiting.remove(&operation.cell),
    };
    has_to_wait
}

async fn carry_out(daemon: &Arc<Daemon>, operation: &Operation, cell: &Cell) {
    let id = operation.id.clone();
    let begun = blocking(daemon, "operate", move |daemon| {
        daemon.store.begin_operation(&id, clock::now_ms())
    })
    .await;
    match begun {
        Some(Ok(true)) => {}
        Some(Ok(false)) => return,
        Some(Err(_)) | None => {
            error!(operation = operation.id, "an operation cannot be begun");
            return;
        }
    }
    info!(cell = %cell.id, operation = operation.id, verb = operation.verb, "asking the provider");
    let job = Job::new(&operation.id, cell);
    let outcome = match (daemon.providers.get(&cell.provider), &*operation.verb) {
        (Some(provider), "provision") => provider.provision(&job).await,
        (Some(provider), _) => provider.remove(&job).await.map(|output| Described {
            output,
            ..Described::default()
        }),
        (None, _) => Err(Failed {
            error: format!(
                "the configuration has no provider `{}` any more",
                cell.provider
            ),
            output: String::new(),
        }),
    };
    if let Err(failed) = &outcome {
        warn!(cell = %cell.id, error = failed.error, "a provider failed");
    }
    let (id, verb) = (operation.id.clone(), operation.verb.clone());
    let noted = blocking(daemon, "operate", move |daemon| {
        daemon.change(&Request::of_daemon("operate"), |write| match outcome {
            Err(failed) => cells::provider_failed(write, &id, &failed.output, &failed.error),
            Ok(described) if verb == "provision" => {
                cells::provisioned(write, &id, described.endpoints, &described.output)
            }
            Ok(described) => cells::taken_down(write, &id, &described.output),
        })
    })
    .await;
    if let Some(Err(error)) = noted {
        error!(operation = operation.id, %error, "the end of an operation cannot be noted");
    }
}

/// Processes that ended are started anew, and cells of programs are described now and then.
fn supervise(
    daemon: &Arc<Daemon>,
    in_flight: &Arc<InFlight>,
    at_work: &mut JoinSet<()>,
    cell: Cell,
) {
    if !cell.state.is_running() || cell.state_reason.is_some() && cell.state == CellState::Drained {
        return;
    }
    let Some(provider) = daemon.providers.get(&cell.provider) else {
        return;
    };
    if let Provider::Exec(exec) = provider {
        let mut described = in_flight
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = described
            .entry(cell.id.clone())
            .or_insert_with(Instant::now);
        if last.elapsed() < exec.describe_interval() {
            return;
        }
        *last = Instant::now();
    }
    let Some(taken) = InFlightOperation::of(in_flight, &cell.id) else {
        return;
    };
    in_flight.note_turn(&cell.id);
    let daemon = Arc::clone(daemon);
    at_work.spawn(async move {
        let _taken = taken;
        if still_runs(&daemon, &cell.id).await {
            match describe(&daemon, &cell).await {
                Ok(mut described) => {
                    let trouble = described.trouble.take();
                    note_trouble(&daemon, &cell.id, trouble, described.was_restarted);
                    note_description(&daemon, &cell, described).await;
                }
                Err(failed) => note_trouble(&daemon, &cell.id, Some(failed.error), false),
            }
        }
    });
}

/// Between the reading of the list and its turn, the cell may have been taken down.
async fn still_runs(daemon: &Arc<Daemon>, id: &CellId) -> bool {
    let wanted = id.clone();
    let cell = blocking(daemon, "operate", move |daemon| {
        daemon.store.read(|read| read.cell(&wanted))
    })
    .await;
    matches!(cell, Some(Ok(cell)) if cell.state.is_running())
}

async fn describe(daemon: &Daemon, cell: &Cell) -> Result<Described, Failed> {
    let job = Job::new(&format!("{}-describe", cell.id), cell);
    match &daemon.providers[&cell.provider] {
        Provider::Process(process) => tokio::task::block_in_place(|| process.tend(&job)),
        Provider::Exec(exec) => exec.describe(&job).await,
    }
}

/// Shows that a cell runs with trouble, or no longer does: once when it begins and once when it ends.
fn note_trouble(daemon: &Daemon, id: &CellId, trouble: Option<String>, was_restarted: bool) {
    let now = clock::now_ms();
    if was_restarted {
        daemon
            .metrics
            .cell_process_restarts
            .with_label_values(&[id.as_str()])
            .inc();
        let detail = json!({ "trouble": trouble });
        daemon
            .events
            .add(now, "cell.process_restarted", id.as_str(), detail);
    }
    let mut seen = daemon.observed.seen();
    let known = seen.degraded.get(id).map(|known| known.since_ms);
    match (trouble, known) {
        (Some(reason), Some(since_ms)) => {
            seen.degraded
                .insert(id.clone(), Degraded { reason, since_ms });
        }
        (Some(reason), None) => {
            warn!(cell = %id, reason, "a cell is degraded");
            let detail = json!({ "reason": reason });
            daemon.events.add(now, "cell.degraded", id.as_str(), detail);
            let since_ms = now;
            seen.degraded
                .insert(id.clone(), Degraded { reason, since_ms });
        }
        (None, Some(_)) => {
            info!(cell = %id, "a cell is no longer degraded");
            seen.degraded.remove(id);
            daemon
                .events
                .add(now, "cell.degraded_ended", id.as_str(), json!({}));
        }
        (None, None) => {}
    }
}

async fn note_description(daemon: &Arc<Daemon>, cell: &Cell, described: Described) {
    let is_same = cell.settings.spec().endpoints == described.endpoints;
    let usage = described
        .usage
        .filter(|usage| *usage != cell.usage.to_map());
    if is_same && usage.is_none() {
        return;
    }
    let id = cell.id.clone();
    let noted = blocking(daemon, "operate", move |daemon| -> Result<(), Refusal> {
        if let Some(usage) = usage {
            let usage = Amounts::new(usage).map_err(|objection| {
                Refusal::bad_input("usage", objection, "the provider has to say it otherwise")
            })?;
            daemon.store.record_usage(&id, &usage)?;
        }
        if !is_same {
            daemon.change(&Request::of_daemon("operate"), |write| {
                cells::readdress(write, &id, described.endpoints)
            })?;
        }
        Ok(())
    })
    .await;
    if let Some(Err(error)) = noted {
        warn!(cell = %cell.id, %error, "what a provider says of a cell is not taken");
    }
}

impl InFlight {
    /// The cells that have a provider to supervise them, beginning behind the one that had its turn last.
    fn in_turn(&self, mut cells: Vec<Cell>) -> Vec<Cell> {
        cells.retain(|cell| cell.state.is_running() && cell.provider != cells::STATIC);
        let mut described = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        described.retain(|id, _| cells.iter().any(|cell| cell.id == *id));
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last {
            let behind = cells.partition_point(|cell| cell.id <= *last);
            cells.rotate_left(behind);
        }
        cells
    }

    fn note_turn(&self, cell: &CellId) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(cell.clone());
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<CellId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cell that somebody is at work on. Dropping it lets others have the cell.
#[derive(Debug)]
struct InFlightOperation {
    in_flight: Arc<InFlight>,
    cell: CellId,
}

impl InFlightOperation {
    /// `None` when somebody is at work on the cell already.
    fn of(in_flight: &Arc<InFlight>, cell: &CellId) -> Option<Self> {
        let is_free = in_flight.busy().insert(cell.clone());
        is_free.then(|| Self {
            in_flight: Arc::clone(in_flight),
            cell: cell.clone(),
        })
    }
}

impl Drop for InFlightOperation {
    fn drop(&mut self) {
        self.in_flight.busy().remove(&self.cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cell_comes_back_from_work_that_panicked() {
        let in_flight = Arc::new(InFlight::default());
        let cell = CellId::new("eu-1").unwrap();
        let taken = InFlightOperation::of(&in_flight, &cell).unwrap();
        assert!(InFlightOperation::of(&in_flight, &cell).is_none());
        let work = tokio::spawn(async move {
            let _taken = taken;
            panic!("a provider's fault");
        });
        assert!(work.await.unwrap_err().is_panic());
        assert!(InFlightOperation::of(&in_flight, &cell).is_some());
    }
}
