//! What needs somebody, and how bad each thing is.

use crate::ctl::{
    answers::{Cell, Proxy, Table},
    show::{cell::signal, date, percent},
};

/// From this share of a capacity on a cell counts as nearly full.
const FULL_SHARE: f64 = 0.9;
/// A table on its way is no trouble unless it takes so long.
const SETTLE_LIMIT_MS: u64 = 3_000;

/// What needs somebody; nothing if all is healthy. The worst first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) reasons: Vec<String>,
}

/// How bad it is; the least is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Failed,
    Suspect,
    Degraded,
    Notable,
    Full,
    /// On its way from one state to another.
    Passing,
    Healthy,
    /// No part of the fleet.
    Gone,
}

/// Proxies and cells are given by severity.
pub(super) fn judge(table: &Table, proxies: &[Proxy], cells: &[Cell]) -> Verdict {
    let mut reasons = Vec::new();
    let is_late = |ms: Option<u64>| ms.is_none_or(|ms| ms >= SETTLE_LIMIT_MS);
    if let Some(problem) = &table.storage_problem {
        reasons.push(format!("changes cannot be stored: {problem}"));
    }
    if let Some(because) = &table.blocked_because {
        reasons.push(format!("no table can be published: {because}"));
    } else if !table.current && is_late(table.pending_for_ms) {
        reasons.push("a change has not been published yet".to_owned());
    }
    for proxy in proxies {
        judge_proxy(&mut reasons, proxy);
    }
    for cell in cells {
        judge_cell(&mut reasons, cell);
    }
    Verdict { reasons }
}

/// Since when it has had an old table, if for too long.
fn is_behind(proxy: &Proxy) -> Option<&str> {
    let since = proxy.behind_since.as_deref()?;
    let is_late = proxy.behind_for_ms.is_none_or(|ms| ms >= SETTLE_LIMIT_MS);
    is_late.then_some(since)
}

pub(super) fn severity_of_proxy(proxy: &Proxy) -> Severity {
    match proxy.state.as_str() {
        _ if proxy.forgotten => Severity::Gone,
        "unreachable" => Severity::Failed,
        "unknown" => Severity::Passing,
        _ if proxy.refusal.is_some() || !proxy.ready => Severity::Degraded,
        _ if is_behind(proxy).is_some() => Severity::Notable,
        _ => Severity::Healthy,
    }
}

fn judge_proxy(reasons: &mut Vec<String>, proxy: &Proxy) {
    let name = &proxy.name;
    match proxy.state.as_str() {
        _ if proxy.forgotten => {}
        "unreachable" => {
            let error = proxy.error.as_deref().unwrap_or("no answer");
            let since = date(&proxy.state_since);
            reasons.push(format!(
                "proxy {name} cannot be reached since {since}: {error}"
            ));
        }
        "reachable" => {
            if let Some(refusal) = &proxy.refusal {
                reasons.push(format!("proxy {name} refused the table: {refusal}"));
            } else if let Some(since) = is_behind(proxy) {
                reasons.push(format!(
                    "proxy {name} has an old table since {}",
                    date(since)
                ));
            }
            if !proxy.ready {
                reasons.push(format!("proxy {name} is not ready"));
            }
        }
        // Not asked yet: the daemon has just begun.
        _ => {}
    }
}

/// Nearly full, or quite.
fn is_full(cell: &Cell) -> bool {
    let Some(tight) = &cell.tightest else {
        return false;
    };
    cell.state == "active" && tight.share.is_none_or(|share| share >= FULL_SHARE)
}

fn is_in_table(cell: &Cell) -> bool {
    matches!(cell.state.as_str(), "active" | "draining")
}

pub(super) fn severity_of_cell(cell: &Cell) -> Severity {
    let has_failing = cell.health.endpoints.iter().any(|it| !it.ok);
    match cell.state.as_str() {
        "failed" => Severity::Failed,
        _ if !cell.health.suspicion.is_empty() => Severity::Suspect,
        _ if cell.degraded.is_some() || is_in_table(cell) && has_failing => Severity::Degraded,
        _ if cell.state_reason.is_some() || cell.waiting_for.is_some() => Severity::Notable,
        _ if is_full(cell) => Severity::Full,
        "active" => Severity::Healthy,
        _ => Severity::Passing,
    }
}

fn judge_cell(reasons: &mut Vec<String>, cell: &Cell) {
    let id = &cell.id;
    if cell.state == "failed" || cell.state_reason.is_some() {
        let reason = cell.state_reason.as_deref().unwrap_or("no reason is known");
        reasons.push(format!("cell {id} is {}: {reason}", cell.state));
    }
    if let Some(degraded) = &cell.degraded {
        reasons.push(format!(
            "cell {id} is degraded since {}: {}",
            date(&degraded.since),
            degraded.reason
        ));
    }
    if !cell.health.suspicion.is_empty() {
        let signals: Vec<String> = cell.health.suspicion.iter().map(signal).collect();
        reasons.push(format!("cell {id} looks unhealthy: {}", signals.join("; ")));
    }
    if is_in_table(cell) {
        for endpoint in cell.health.endpoints.iter().filter(|it| !it.ok) {
            let error = endpoint.error.as_deref().unwrap_or("it fails its checks");
            let address = &endpoint.address;
            reasons.push(format!("endpoint {address} of cell {id}: {error}"));
        }
    }
    if let Some(tight) = cell.tightest.as_ref().filter(|_| is_full(cell)) {
        let share = tight.share.map_or_else(|| "100 %".to_owned(), percent);
        reasons.push(format!("cell {id} is {share} full ({})", tight.dimension));
    }
}
