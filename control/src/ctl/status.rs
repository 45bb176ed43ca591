//! The one screen for three in the morning: is the fleet well, and if not, what needs somebody.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    answers::{Audit, Cell, Cells, Proxies, Proxy, Table},
    call::Call,
    client::Client,
    failure::Failure,
    output::Grid,
    show::{
        cell::{fullest, healthy, note, signal},
        date, fields, fleet, percent,
    },
    terminal::plain,
};

/// Columns of the screen.
const COLUMNS: u16 = 100;
/// What is indented by two has so many.
const COLUMNS_INDENTED: u16 = COLUMNS - 2;
/// Changes shown.
const CHANGES: u32 = 5;
/// From this share of a capacity on a cell counts as nearly full.
const FULL_SHARE: f64 = 0.9;
/// A table on its way is no trouble unless it takes so long.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);
const SETTLE_PERIOD: Duration = Duration::from_millis(200);

/// What the daemon says of the fleet.
#[derive(Debug)]
pub struct Status {
    table: Value,
    proxies: Value,
    cells: Value,
    changes: Value,
    verdict: Verdict,
}

/// What needs somebody; nothing if all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    reasons: Vec<String>,
}

/// Asks for all of it. While a table is on its way, it is asked for again for a moment.
pub async fn look(client: &Client) -> Result<Status, Failure> {
    let begin = Instant::now();
    loop {
        let status = look_once(client).await?;
        let (is_settling, _) = status.read(client)?;
        if !is_settling || begin.elapsed() >= SETTLE_LIMIT {
            return Ok(status);
        }
        tokio::time::sleep(SETTLE_PERIOD).await;
    }
}

async fn look_once(client: &Client) -> Result<Status, Failure> {
    let mut status = Status {
        table: client.json(&Call::get(&["table"])).await?,
        proxies: client.json(&Call::get(&["proxies"])).await?,
        cells: client.json(&Call::get(&["cells"])).await?,
        changes: client
            .json(&Call::get(&["audit"]).with("limit", &CHANGES))
            .await?,
        verdict: Verdict {
            reasons: Vec::new(),
        },
    };
    (_, status.verdict) = status.read(client)?;
    Ok(status)
}

impl Status {
    pub fn needs_attention(&self) -> bool {
        !self.verdict.reasons.is_empty()
    }

    /// Whether a table is on its way, and the verdict.
    fn read(&self, client: &Client) -> Result<(bool, Verdict), Failure> {
        let read = || -> Result<_, serde_json::Error> {
            let table = Table::deserialize(&self.table)?;
            let proxies = Proxies::deserialize(&self.proxies)?;
            let cells = Cells::deserialize(&self.cells)?;
            Ok((
                is_settling(&table, &proxies),
                judge(&table, &proxies, &cells),
            ))
        };
        read().map_err(|error| client.odd(error.to_string()))
    }

    /// The answers of the API, each under its name, and the verdict.
    pub fn json(&self) -> Value {
        json!({
            "attention": self.needs_attention(),
            "reasons": self.verdict.reasons,
            "table": self.table,
            "proxies": self.proxies["proxies"],
            "cells": self.cells["cells"],
            "changes": self.changes["entries"],
        })
    }

    pub fn text(&self) -> Result<String, serde_json::Error> {
        let table = Table::deserialize(&self.table)?;
        let proxies = Proxies::deserialize(&self.proxies)?;
        let cells = Cells::deserialize(&self.cells)?;
        let changes = Audit::deserialize(&self.changes)?;
        let mut text = verdict_text(&self.verdict);
        table_text(&mut text, &table);
        proxies_text(&mut text, &proxies);
        cells_text(&mut text, &cells);
        changes_text(&mut text, &changes);
        Ok(text)
    }
}

fn is_settling(table: &Table, proxies: &Proxies) -> bool {
    let is_on_its_way = table.blocked.is_none() && !table.current;
    let is_behind = |it: &Proxy| it.state == "reachable" && it.behind_since.is_some();
    is_on_its_way || proxies.proxies.iter().any(is_behind)
}

fn judge(table: &Table, proxies: &Proxies, cells: &Cells) -> Verdict {
    let mut reasons = Vec::new();
    if let Some(because) = &table.blocked_because {
        reasons.push(format!("no table can be published: {because}"));
    } else if !table.current {
        reasons.push("a change has not been published yet".to_owned());
    }
    for proxy in &proxies.proxies {
        judge_proxy(&mut reasons, proxy);
    }
    for cell in &cells.cells {
        judge_cell(&mut reasons, cell);
    }
    Verdict { reasons }
}

fn judge_proxy(reasons: &mut Vec<String>, proxy: &Proxy) {
    let name = &proxy.name;
    match proxy.state.as_str() {
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
            } else if let Some(since) = &proxy.behind_since {
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

fn judge_cell(reasons: &mut Vec<String>, cell: &Cell) {
    let id = &cell.id;
    if cell.state == "failed" || cell.state_reason.is_some() {
        let reason = cell.state_reason.as_deref().unwrap_or("no reason is known");
        reasons.push(format!("cell {id} is {}: {reason}", cell.state));
    }
    if !cell.health.suspicion.is_empty() {
        let signals: Vec<String> = cell.health.suspicion.iter().map(signal).collect();
        reasons.push(format!("cell {id} looks sick: {}", signals.join("; ")));
    }
    if matches!(cell.state.as_str(), "active" | "draining") {
        for endpoint in cell.health.endpoints.iter().filter(|it| !it.ok) {
            let error = endpoint.error.as_deref().unwrap_or("it fails its checks");
            let address = &endpoint.address;
            reasons.push(format!("endpoint {address} of cell {id}: {error}"));
        }
    }
    let is_full = |share: f64| share >= FULL_SHARE;
    if let Some(tight) = &cell.tightest
        && cell.state == "active"
        && tight.share.is_none_or(is_full)
    {
        let share = tight.share.map_or_else(|| "100 %".to_owned(), percent);
        reasons.push(format!("cell {id} is {share} full ({})", tight.dimension));
    }
}

fn verdict_text(verdict: &Verdict) -> String {
    match &verdict.reasons[..] {
        [] => "OK\n".to_owned(),
        [one] => wrapped(&format!("ATTENTION: {one}"), ""),
        many => {
            let mut text = format!("ATTENTION: {} things\n", many.len());
            for reason in many {
                text.push_str(&wrapped(&format!("- {reason}"), "  "));
            }
            text
        }
    }
}

/// Text in lines that fit the screen; what follows the first one is indented further.
fn wrapped(text: &str, indent: &str) -> String {
    let text = plain(text);
    let width = usize::from(COLUMNS) - indent.len();
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let is_full = line.chars().count() + 1 + word.chars().count() > width;
        if is_full && !line.trim().is_empty() {
            let _ = writeln!(lines, "{indent}{line}");
            "   ".clone_into(&mut line);
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(lines, "{indent}{line}");
    lines
}

fn table_text(text: &mut String, table: &Table) {
    let generation = match table.generation {
        Some(generation) => format!("generation {generation}"),
        None => "none published".to_owned(),
    };
    let how = match (&table.blocked, table.current, table.everywhere) {
        (Some(_), _, _) => "BLOCKED",
        (None, false, _) => "a change waits to be published",
        (None, true, false) => "published, not yet everywhere",
        (None, true, true) => "published, and every proxy that can be reached has it",
    };
    let _ = writeln!(
        text,
        "\nTABLE  {generation}; {how}; last change {}",
        table.intent_generation
    );
    if let Some(because) = &table.blocked_because {
        let since = date(table.blocked_since.as_deref().unwrap_or_default());
        text.push_str(&wrapped(&format!("since {since}: {because}"), "  "));
    }
    if let Some(hint) = &table.hint {
        text.push_str(&wrapped(&format!("hint: {hint}"), "  "));
    }
}

fn proxies_text(text: &mut String, proxies: &Proxies) {
    let mut grid =
        Grid::new(&["PROXY", "STATE", "READY", "GENERATION", "NOTE"]).within(COLUMNS_INDENTED);
    for proxy in &proxies.proxies {
        grid.row([
            proxy.name.clone(),
            proxy.state.clone(),
            if proxy.ready { "yes" } else { "no" }.to_owned(),
            proxy
                .generation
                .map(|it| it.to_string())
                .unwrap_or_default(),
            fleet::note(proxy),
        ]);
    }
    text.push_str("\nPROXIES\n");
    if grid.is_empty() {
        text.push_str("  the daemon's configuration names none\n");
    }
    text.push_str(&grid.text("  "));
}

fn cells_text(text: &mut String, cells: &Cells) {
    let mut grid = Grid::new(&[
        "CELL", "STATE", "TENANTS", "SLOTS", "FULLEST", "HEALTHY", "ERRORS", "NOTE",
    ])
    .within(COLUMNS_INDENTED);
    for cell in &cells.cells {
        grid.row([
            cell.id.clone(),
            cell.state.clone(),
            cell.tenants.to_string(),
            cell.slots.to_string(),
            fullest(cell),
            healthy(cell),
            percent(cell.health.error_share),
            note(cell),
        ]);
    }
    text.push_str("\nCELLS\n");
    if grid.is_empty() {
        text.push_str("  there is none; `cellctl cell add --help` says how to add one\n");
    }
    text.push_str(&grid.text("  "));
}

fn changes_text(text: &mut String, changes: &Audit) {
    let mut grid = Grid::new(&["AT", "ACTOR", "ACTION", "SUBJECT", "REASON OR DETAIL"])
        .within(COLUMNS_INDENTED);
    for entry in &changes.entries {
        grid.row([
            date(&entry.at),
            entry.actor.clone(),
            entry.action.clone(),
            entry.subject.clone(),
            entry
                .reason
                .clone()
                .unwrap_or_else(|| fields(&entry.detail)),
        ]);
    }
    text.push_str("\nLAST CHANGES\n");
    text.push_str(&grid.text("  "));
}

#[cfg(test)]
mod tests;
