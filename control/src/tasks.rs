//! What the daemon does by itself: named tasks, each with a period, wakeable, without input, and as good run twice as
//! once. They are all started here.

mod observe;
mod operate;
mod wait;

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cellgate_process::restart;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tracing::{debug, error, info, warn};

use self::wait::{blocking, pause};
use crate::{
    change::slots,
    clock,
    daemon::Daemon,
    metrics::as_gauge,
    model::CellState,
    publish::{Blocked, Outcome, ReportedTable},
    refusal::{Refusal, StorageError},
    store::{Request, TableState},
};

/// The table file is compared with the intent at least so often.
const PUBLISH_PERIOD: Duration = Duration::from_secs(1);
/// A change waits so long for others to join it in one table.
const PUBLISH_GATHER: Duration = Duration::from_millis(20);
/// After a failure; it doubles with each in a row. A change, or a permission, is considered immediately all the same.
const PUBLISH_RETRY: Duration = Duration::from_millis(500);
const PUBLISH_RETRY_MAX: Duration = Duration::from_secs(1);
/// The permission that a table may move more lasts at least so long, for proxies that the daemon does not know.
const ALLOWED_MOVE_MS_MIN: i64 = 60_000;
/// Publishing that takes longer hangs, most likely on a disk: readiness and metrics show it.
const PUBLISH_LIMIT: Duration = Duration::from_secs(10);
const SPREAD_PERIOD: Duration = Duration::from_millis(250);
const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(600);

/// Starts every task. They end once `stop` is true; one that panics is started again.
pub fn start(daemon: &Arc<Daemon>, stop: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without TLS needs nothing of the system");
    let mut spawn = |name, work: fn(Turn) -> Work| {
        let (daemon, client, stop) = (Arc::clone(daemon), client.clone(), stop.clone());
        tasks.spawn(async move {
            let panicked = |message: &str| daemon.panics.record(name, message);
            let turn = || Turn {
                daemon: Arc::clone(&daemon),
                client: client.clone(),
                stop: stop.clone(),
            };
            restart::until_done(name, panicked, || work(turn())).await;
        });
    };
    spawn("publish", |it| Box::pin(publishing(it.daemon, it.stop)));
    spawn("operate", |it| {
        Box::pin(operate::operating(it.daemon, it.stop))
    });
    spawn("spread", |it| Box::pin(spreading(it.daemon, it.stop)));
    spawn("forget", |it| Box::pin(housekeeping(it.daemon, it.stop)));
    spawn("observe_proxies", |it| {
        Box::pin(observe::observing_proxies(it.daemon, it.client, it.stop))
    });
    spawn("observe_cells", |it| {
        Box::pin(observe::observing_cells(it.daemon, it.client, it.stop))
    });
    tasks
}

/// What a task gets each time it is started.
struct Turn {
    daemon: Arc<Daemon>,
    client: reqwest::Client,
    stop: watch::Receiver<bool>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keeps the table file what is intended.
async fn publishing(daemon: Arc<Daemon>, mut stop: watch::Receiver<bool>) {
    let mut retry = PUBLISH_RETRY;
    loop {
        let begun = Instant::now();
        let outcome = publish_or_show_hanging(&daemon).await;
        // A table that takes long is not made again immediately: changes come faster than it can be written.
        let gather = PUBLISH_GATHER.max(begun.elapsed());
        let period = match outcome {
            Some(Outcome::Current | Outcome::Published(_)) => {
                retry = PUBLISH_RETRY;
                PUBLISH_PERIOD
            }
            Some(Outcome::Blocked) | None => {
                let pause = retry;
                retry = (retry * 2).min(PUBLISH_RETRY_MAX);
                pause
            }
        };
        if pause(period, Some(&daemon.wake.publish), &mut stop).await
            || pause(gather, None, &mut stop).await
        {
            return;
        }
    }
}

/// Publishes. While that takes too long, it shows.
async fn publish_or_show_hanging(daemon: &Arc<Daemon>) -> Option<Outcome> {
    let mut publishing = pin!(blocking(daemon, "publish", publish_once));
    if let Ok(outcome) = timeout(PUBLISH_LIMIT, &mut publishing).await {
        return outcome;
    }
    warn!("publishing hangs: check the disks of the table's folder and of state_dir");
    daemon.is_publish_hanging.store(true, Ordering::Relaxed);
    daemon.metrics.publish_blocked.set(1);
    let outcome = publishing.await;
    info!("publishing no longer hangs");
    daemon.is_publish_hanging.store(false, Ordering::Relaxed);
    outcome
}

/// One turn of the publisher, and what is to be reported of it.
fn publish_once(daemon: &Daemon) -> Outcome {
    if daemon.is_storage_failing.load(Ordering::Relaxed) && daemon.store.probe().is_ok() {
        daemon.is_storage_failing.store(false, Ordering::Relaxed);
    }
    watch_storage(daemon);
    let reported_tables = daemon.observed.seen().reported_tables();
    let published = daemon.publisher.status().generation;
    if reported_tables
        .iter()
        .any(|it| Some(it.generation) > published)
    {
        advance_past_proxies(daemon, &reported_tables);
    }
    let before = daemon.publisher.status();
    let outcome = daemon.publisher.publish(&reported_tables);
    let status = daemon.publisher.status();
    let now = clock::now_ms();
    if let Outcome::Published(generation) = outcome {
        daemon.metrics.tables_published.inc();
        let detail = serde_json::json!({ "generation": generation, "digest": status.digest });
        daemon.events.add(now, "table.published", "table", detail);
    }
    if status.blocked != before.blocked {
        let (kind, detail) = match &status.blocked {
            Some(blocked) => (
                "table.blocked",
                serde_json::json!({ "reason": blocked.to_string() }),
            ),
            None => ("table.unblocked", serde_json::json!({})),
        };
        daemon.events.add(now, kind, "table", detail);
    }
    let is_blocked = !matches!(status.blocked, None | Some(Blocked::NoTable));
    daemon.metrics.publish_blocked.set(i64::from(is_blocked));
    let generation = status.generation.unwrap_or(0);
    daemon.metrics.table_generation.set(as_gauge(generation));
    end_allowed_move(daemon);
    outcome
}

/// Notes when something comes to be wrong with the storage, and when it is right again.
fn watch_storage(daemon: &Daemon) {
    let problem = daemon.storage_problem();
    daemon
        .metrics
        .storage_failing
        .set(i64::from(problem.is_some()));
    let mut known = daemon
        .known_storage_problem
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    match (&problem, known.is_some()) {
        (Some(problem), false) => {
            error!(problem, "changes cannot be stored");
            let detail = serde_json::json!({ "problem": problem });
            let now = clock::now_ms();
            daemon.events.add(now, "storage.failing", "storage", detail);
        }
        (None, true) => {
            info!("changes can be stored again");
            let (now, detail) = (clock::now_ms(), serde_json::json!({}));
            daemon
                .events
                .add(now, "storage.recovered", "storage", detail);
        }
        _ => {}
    }
    *known = problem;
}

/// Once every proxy has a table that was allowed to move more, the limits hold again.
fn end_allowed_move(daemon: &Daemon) {
    let Ok(meta) = daemon.store.read(|read| read.meta()) else {
        return;
    };
    let allowed = meta.move_allowed;
    if allowed == 0 {
        return;
    }
    let Ok(tables) = daemon.store.read(|read| read.tables()) else {
        return;
    };
    let first = tables
        .iter()
        .rev()
        .find(|table| table.generation >= allowed && table.state == TableState::Published);
    let is_out = first.is_some_and(|table| clock::now_ms() - table.at_ms >= ALLOWED_MOVE_MS_MIN);
    if is_out
        && daemon
            .observed
            .seen()
            .all_of_have(daemon.config.proxy_names(), allowed)
        && let Err(error) = daemon.store.end_allowed_move(allowed)
    {
        error!(%error, "an allowed move cannot be ended");
    }
}

/// A proxy increments the number by itself from a table that names no generation. If that table is one that we know (it was
/// adopted), the next revision is larger still, or the proxy would take nothing from us any more.
fn advance_past_proxies(daemon: &Daemon, reported_tables: &[ReportedTable]) {
    let read = daemon
        .store
        .read(|read| -> Result<_, StorageError> { Ok((read.meta()?, read.tables()?)) });
    let Ok((meta, tables)) = read else {
        return;
    };
    let is_known = |it: &&ReportedTable| {
        let mut kept = tables.iter();
        kept.any(|table| table.digest == it.digest && table.generation != it.generation)
    };
    let theirs = reported_tables
        .iter()
        .filter(|it| it.generation > meta.revision)
        .filter(is_known)
        .map(|it| it.generation)
        .max();
    let Some(theirs) = theirs else {
        return;
    };
    let counted = daemon.change(&Request::of_daemon("publish"), |write| {
        write.skip_to(theirs + 1);
        write.touch_table();
        let detail = serde_json::json!({ "proxies_have": theirs });
        write.note("table.advance", "table", &detail)?;
        Ok::<(), Refusal>(())
    });
    if let Err(error) = counted {
        error!(%error, "the revision cannot be advanced");
    }
}

/// Gives the slots their first owners once the cells have settled.
async fn spreading(daemon: Arc<Daemon>, mut stop: watch::Receiver<bool>) {
    loop {
        match blocking(&daemon, "spread", spread_when_settled).await {
            Some(Ok(true)) => return,
            Some(Ok(false)) | None => {}
            Some(Err(error)) => error!(%error, "the slots cannot be spread"),
        }
        if pause(SPREAD_PERIOD, None, &mut stop).await {
            return;
        }
    }
}

/// True when the slots have owners.
fn spread_when_settled(daemon: &Daemon) -> Result<bool, Refusal> {
    let (slots, cells) = daemon
        .store
        .read(|read| -> Result<_, Refusal> { Ok((read.slots()?, read.cells()?)) })?;
    if !slots.is_unassigned() {
        return Ok(true);
    }
    let rules = &daemon.config.cells;
    let is_on_its_way =
        |state: CellState| matches!(state, CellState::Provisioning | CellState::Warming);
    let active = cells.iter().filter(|cell| cell.state.takes_tenants());
    if active.count() < rules.first_table_cells.max(1)
        || cells.iter().any(|cell| is_on_its_way(cell.state))
    {
        return Ok(false);
    }
    let newest = cells.iter().map(|cell| cell.state_since_ms).max();
    let quiet_ms = clock::now_ms() - newest.unwrap_or(0);
    if u128::try_from(quiet_ms).unwrap_or(0) < rules.first_table_settle.as_millis() {
        return Ok(false);
    }
    let spread = daemon.change(&Request::of_daemon("spread"), |write| {
        slots::spread_first(write).map(|_| ())
    });
    match spread {
        Ok(_) | Err(Refusal::SlotsAssigned) => Ok(true),
        Err(refusal) => Err(refusal),
    }
}

/// Forgets what is no longer needed.
async fn housekeeping(daemon: Arc<Daemon>, mut stop: watch::Receiver<bool>) {
    loop {
        let forgotten = blocking(&daemon, "forget", |daemon| {
            daemon.store.forget_old_answers(clock::now_ms())
        })
        .await;
        match forgotten {
            Some(Ok(count)) => debug!(count, "old answers to idempotency keys forgotten"),
            Some(Err(error)) => error!(%error, "old answers cannot be forgotten"),
            None => {}
        }
        if pause(HOUSEKEEPING_PERIOD, None, &mut stop).await {
            return;
        }
    }
}
