//! Polls proxies and checks cells, at a constant rate.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use cellgate_table::CellId;
use serde_json::json;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tracing::warn;

use super::wait::{blocking, pause};
use crate::{
    change::cells,
    clock,
    daemon::Daemon,
    metrics::as_gauge,
    model::{Cell, CellState},
    observe::{
        CellStatus, CheckError, Checked, ErrorShare, ProxyState, ProxyStatus, Signal, Usual,
        cells::check, proxies::ask, suspicion,
    },
    refusal::Refusal,
    store::{KnownProxy, Request},
};

/// Endpoints checked at the same time: each takes a file descriptor.
const CHECKS_MAX: usize = 256;
/// Failed checks in a row from which an endpoint counts as failing.
const FAILING_CHECKS: u32 = 3;

/// Polls every proxy, all at the same time.
pub(super) async fn observing_proxies(
    daemon: Arc<Daemon>,
    client: reqwest::Client,
    mut stop: watch::Receiver<bool>,
) {
    let config = daemon.config.observe;
    loop {
        let mut polls = JoinSet::new();
        for proxy in daemon.config.proxies.clone() {
            let client = client.clone();
            polls.spawn(async move {
                let polled = ask(&client, &proxy, config.timeout).await;
                (proxy, polled)
            });
        }
        let mut changed = Vec::new();
        while let Some(polled) = polls.join_next().await {
            let Ok((proxy, polled)) = polled else {
                continue;
            };
            let polled = match polled {
                Ok(answers) => Ok(answers),
                Err(CheckError::Unhealthy(why)) => Err(why),
                Err(CheckError::OutOfResources(why)) => {
                    warn!(
                        proxy = proxy.name,
                        error = why,
                        "a proxy cannot be asked: this machine has run out of something"
                    );
                    continue;
                }
            };
            changed.extend(record_proxy_status(
                &daemon,
                &proxy.name,
                proxy.admin,
                polled,
            ));
        }
        if !changed.is_empty() {
            blocking(&daemon, "observe_proxies", move |daemon| {
                store_proxies(daemon, &changed);
            })
            .await;
        }
        if pause(config.interval, None, &mut stop).await {
            return;
        }
    }
}

/// What a proxy was seen with outlives a restart: until it answers again, that is what it may still have.
fn store_proxies(daemon: &Daemon, changed: &[KnownProxy]) {
    for proxy in changed {
        if let Err(error) = daemon.store.record_proxy(proxy) {
            tracing::error!(proxy = proxy.name, %error, "what a proxy was seen with cannot be stored");
            let mut seen = daemon.observed.seen();
            if let Some(status) = seen.proxies.get_mut(&proxy.name) {
                status.is_unstored = true;
            }
        }
    }
}

/// Returns what is to be stored of it.
fn record_proxy_status(
    daemon: &Daemon,
    name: &str,
    admin: SocketAddr,
    polled: Result<crate::observe::proxies::Answers, String>,
) -> Option<KnownProxy> {
    let now = clock::now_ms();
    let status = daemon.publisher.status();
    let published = status.digest.as_deref();
    let window = i64::try_from(daemon.config.observe.window.as_millis()).unwrap_or(i64::MAX);
    let (before, after, to_store) = {
        let mut seen = daemon.observed.seen();
        let status = seen.proxies.entry(name.to_owned()).or_default();
        status.admin = admin.to_string();
        let before = (status.state, status.generation, status.refusal.clone());
        let known = status.known(name);
        status.see(polled, published, now, window);
        if known.is_forgotten && !status.is_forgotten {
            warn!(
                proxy = name,
                "a forgotten proxy answers: it is part of the fleet again"
            );
        }
        let to_store = status.store_if_due(name, &known, now);
        let after = ProxyStatus {
            admin: status.admin.clone(),
            state: status.state,
            error: status.error.clone(),
            generation: status.generation,
            source: status.source.clone(),
            refusal: status.refusal.clone(),
            ..ProxyStatus::default()
        };
        (before, after, to_store)
    };
    let is_up = i64::from(after.state == ProxyState::Reachable);
    let metrics = &daemon.metrics;
    metrics.proxy_up.with_label_values(&[name]).set(is_up);
    metrics
        .proxy_generation
        .with_label_values(&[name])
        .set(as_gauge(after.generation.unwrap_or(0)));
    report_proxy(daemon, name, &before, &after);
    to_store
}

fn report_proxy(
    daemon: &Daemon,
    name: &str,
    before: &(ProxyState, Option<u64>, Option<String>),
    after: &ProxyStatus,
) {
    let now = clock::now_ms();
    if after.state != before.0 {
        let kind = match after.state {
            ProxyState::Reachable => "proxy.reachable",
            ProxyState::Unreachable | ProxyState::Unknown => "proxy.unreachable",
        };
        let detail = json!({ "admin": after.admin, "error": after.error });
        daemon.events.add(now, kind, name, detail);
    }
    if after.generation != before.1 {
        let detail = json!({ "generation": after.generation, "source": after.source });
        daemon.events.add(now, "proxy.generation", name, detail);
        // Somebody may wait for all proxies to have it.
        daemon.wake.operate.notify_one();
    }
    if after.refusal.is_some() && after.refusal != before.2 {
        let detail = json!({ "error": after.refusal });
        daemon.events.add(now, "proxy.refused_table", name, detail);
    }
}

/// Checks every endpoint of every cell, all at the same time, and acts on it: warming cells become active or fail, and some
/// look suspicious.
pub(super) async fn observing_cells(
    daemon: Arc<Daemon>,
    client: reqwest::Client,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let cells = blocking(&daemon, "observe_cells", |daemon| {
            daemon.store.read(|read| read.cells())
        })
        .await;
        if let Some(Ok(cells)) = cells {
            check_cells(&daemon, &client, &cells).await;
            let known = cells.clone();
            blocking(&daemon, "observe_cells", move |daemon| {
                end_warming(daemon, &known);
            })
            .await;
            report_cells(&daemon, &cells);
        }
        if pause(daemon.config.observe.interval, None, &mut stop).await {
            return;
        }
    }
}

async fn check_cells(daemon: &Daemon, client: &reqwest::Client, cells: &[Cell]) {
    let mut checks = JoinSet::new();
    let limit = daemon.config.observe.timeout;
    let turns = Arc::new(Semaphore::new(CHECKS_MAX));
    for cell in cells.iter().filter(|cell| cell.state.is_running()) {
        for endpoint in &cell.settings.endpoints {
            let (client, settings) = (client.clone(), cell.settings.clone());
            let (id, address) = (cell.id.clone(), endpoint.address);
            let turn = Arc::clone(&turns);
            checks.spawn(async move {
                let _turn = turn.acquire().await;
                let outcome = check(&client, address, &settings, limit).await;
                (id, address, outcome)
            });
        }
    }
    let mut outcomes: BTreeMap<CellId, Vec<Checked>> = BTreeMap::new();
    while let Some(checked) = checks.join_next().await {
        if let Ok((id, address, outcome)) = checked {
            outcomes.entry(id).or_default().push((address, outcome));
        }
    }
    let now = clock::now_ms();
    let mut seen = daemon.observed.seen();
    seen.cells.retain(|id, _| outcomes.contains_key(id));
    for (id, mut checked) in outcomes {
        checked.sort_by_key(|(address, _)| *address);
        seen.cells.entry(id).or_default().see(checked, now);
    }
}

/// A warming cell becomes active once it has passed its checks, and fails if it has not in time.
fn end_warming(daemon: &Daemon, cells: &[Cell]) {
    let rules = &daemon.config.cells;
    for cell in cells.iter().filter(|cell| cell.state == CellState::Warming) {
        let (is_healthy, complaint) = {
            let seen = daemon.observed.seen();
            let status = seen.cells.get(&cell.id);
            (
                status.is_some_and(|status| status.is_healthy(rules.warm_checks)),
                status.and_then(CellStatus::complaint),
            )
        };
        let waited = clock::now_ms() - cell.state_since_ms;
        let is_late = u128::try_from(waited).unwrap_or(0) > rules.warming_limit.as_millis();
        let outcome = match (is_healthy, is_late) {
            (true, _) => Ok(()),
            (false, true) => Err(format!(
                "not healthy within {} ms: {}",
                rules.warming_limit.as_millis(),
                complaint.as_deref().unwrap_or("no endpoint was seen")
            )),
            (false, false) => continue,
        };
        let changed: Result<_, Refusal> = daemon.change(&Request::of_daemon("observe"), |write| {
            cells::warmed(write, &cell.id, outcome)
        });
        if let Err(error) = changed {
            tracing::error!(cell = %cell.id, %error, "a warming cell cannot be noted");
        }
    }
}

/// Suspects, gauges, events.
fn report_cells(daemon: &Daemon, cells: &[Cell]) {
    let suspects = find_suspects(daemon, cells);
    let degraded: BTreeSet<CellId> = {
        let runs = |id: &CellId| {
            let mut cells = cells.iter();
            cells.any(|cell| cell.id == *id && cell.state.is_running())
        };
        let mut seen = daemon.observed.seen();
        seen.degraded.retain(|id, _| runs(id));
        seen.degraded.keys().cloned().collect()
    };
    let before = std::mem::replace(&mut daemon.observed.seen().suspects, suspects.clone());
    let now = clock::now_ms();
    for (id, signals) in &suspects {
        if !before.contains_key(id) {
            warn!(cell = %id, ?signals, "several signals speak against a cell");
            let detail = json!({ "signals": signals });
            daemon.events.add(now, "cell.suspect", id.as_str(), detail);
        }
    }
    for id in before.keys().filter(|id| !suspects.contains_key(*id)) {
        daemon
            .events
            .add(now, "cell.recovered", id.as_str(), json!({}));
    }
    let metrics = &daemon.metrics;
    for state in CellState::ALL {
        let count = cells.iter().filter(|cell| cell.state == state).count();
        metrics
            .cells
            .with_label_values(&[state.as_str()])
            .set(as_gauge(count as u64));
    }
    for cell in cells {
        let labels = [cell.id.as_str()];
        if cell.state == CellState::Removed {
            // A series that is not there is as good as removed.
            let _ = metrics.cell_tenants.remove_label_values(&labels);
            let _ = metrics.cell_suspect.remove_label_values(&labels);
            let _ = metrics.cell_degraded.remove_label_values(&labels);
            let _ = metrics.cell_process_restarts.remove_label_values(&labels);
            continue;
        }
        metrics
            .cell_tenants
            .with_label_values(&labels)
            .set(as_gauge(cell.tenants));
        metrics
            .cell_suspect
            .with_label_values(&labels)
            .set(i64::from(suspects.contains_key(&cell.id)));
        metrics
            .cell_degraded
            .with_label_values(&labels)
            .set(i64::from(degraded.contains(&cell.id)));
    }
    if let Ok(meta) = daemon.store.read(|read| read.meta()) {
        metrics.revision.set(as_gauge(meta.revision));
    }
}

fn find_suspects(daemon: &Daemon, cells: &[Cell]) -> BTreeMap<CellId, Vec<Signal>> {
    let seen = daemon.observed.seen();
    let errors = |id: &CellId| {
        seen.proxies
            .values()
            .filter(|proxy| proxy.state == ProxyState::Reachable)
            .map(|proxy| proxy.samples.of(id.as_str()))
            .fold(ErrorShare::default(), ErrorShare::plus)
    };
    let shares: Vec<(&CellId, ErrorShare)> = cells
        .iter()
        .filter(|cell| cell.state.is_in_table())
        .map(|cell| (&cell.id, errors(&cell.id)))
        .collect();
    let usual = Usual::of(shares.iter().map(|(_, errors)| *errors));
    let mut suspects = BTreeMap::new();
    for (id, errors) in &shares {
        let status = seen.cells.get(*id);
        let speaking = seen
            .proxies
            .values()
            .filter(|proxy| proxy.state == ProxyState::Reachable)
            .filter_map(|proxy| proxy.cells.get(id.as_str()));
        let (mut proxies, mut proxies_unhealthy) = (0, 0);
        for cell in speaking {
            proxies += 1;
            proxies_unhealthy += usize::from(cell.healthy * 2 <= cell.endpoints);
        }
        let evidence = crate::observe::Evidence {
            endpoints: status.map_or(0, |status| status.endpoints.len()),
            failing: status.map_or(0, |status| status.failing(FAILING_CHECKS)),
            proxies,
            proxies_unhealthy,
            errors: *errors,
        };
        if let Some(signals) = suspicion(&evidence, &usual) {
            suspects.insert((*id).clone(), signals);
        }
    }
    suspects
}
