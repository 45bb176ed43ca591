//! The one screen for three in the morning: is the fleet healthy, and if not, what needs somebody. It shows what has been
//! observed, immediately; the worst comes first.

mod verdict;

use std::fmt::Write as _;

use serde::Deserialize as _;
use serde_json::{Value, json};

use self::verdict::{Verdict, judge, severity_of_cell, severity_of_proxy};
use super::{
    answers::{Audit, Cell, Cells, Proxies, Proxy, Table},
    call::Call,
    client::Client,
    failure::Failure,
    fitted::Fitted,
    show::{
        age,
        cell::{fullest, healthy, note, state},
        date, fields, fleet, number, percent,
    },
    terminal::plain,
    wait::nobody,
};
use crate::clock::ms_of;

/// Changes shown.
const CHANGES: u32 = 5;
/// Reasons, proxies and cells shown one by one, of each so many: more fit no screen.
const REASONS_SHOWN_MAX: usize = 12;
const PROXIES_SHOWN_MAX: usize = 10;
const CELLS_SHOWN_MAX: usize = 20;
const INDENT: &str = "  ";

/// What the daemon says of the fleet.
#[derive(Debug)]
pub struct Status {
    /// The answers of the API.
    table: Value,
    proxies: Value,
    cells: Value,
    changes: Value,
    read: Answers,
    verdict: Verdict,
}

/// The same, as far as they are shown; the worst first.
#[derive(Debug)]
struct Answers {
    table: Table,
    proxies: Vec<Proxy>,
    cells: Vec<Cell>,
    changes: Audit,
}

/// Asks for all of it.
pub async fn ask(client: &Client) -> Result<Status, Failure> {
    let table = client.json(&Call::get(&["table"])).await?;
    let proxies = client.json(&Call::get(&["proxies"])).await?;
    let cells = client.json(&Call::get(&["cells"])).await?;
    let changes = Call::get(&["audit"]).with("limit", &CHANGES);
    let changes = client.json(&changes).await?;
    Status::of(table, proxies, cells, changes).map_err(|error| client.odd(error.to_string()))
}

impl Status {
    fn of(
        table: Value,
        proxies: Value,
        cells: Value,
        changes: Value,
    ) -> Result<Self, serde_json::Error> {
        let mut read = Answers {
            table: Table::deserialize(&table)?,
            proxies: Proxies::deserialize(&proxies)?.proxies,
            cells: Cells::deserialize(&cells)?.cells,
            changes: Audit::deserialize(&changes)?,
        };
        // Stable: what is equally bad keeps the order of its names.
        read.proxies.sort_by_key(severity_of_proxy);
        read.cells.sort_by_key(severity_of_cell);
        let verdict = judge(&read.table, &read.proxies, &read.cells);
        Ok(Self {
            table,
            proxies,
            cells,
            changes,
            read,
            verdict,
        })
    }

    pub fn needs_attention(&self) -> bool {
        !self.verdict.reasons.is_empty()
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

    /// The screen, of lines that are no longer than `columns`.
    pub fn text(&self, columns: u16) -> String {
        let columns = usize::from(columns);
        let read = &self.read;
        let now_ms = ms_of(&read.table.now);
        let mut text = verdict_text(&self.verdict, columns);
        table_text(&mut text, &read.table, columns);
        proxies_text(&mut text, &read.proxies, now_ms, columns);
        cells_text(&mut text, &read.cells, now_ms, columns);
        changes_text(&mut text, &read.changes, now_ms, columns);
        text
    }
}

fn verdict_text(verdict: &Verdict, columns: usize) -> String {
    match &verdict.reasons[..] {
        [] => "OK\n".to_owned(),
        [one] => wrapped(&format!("ATTENTION: {one}"), "", columns),
        many => {
            let mut text = format!("ATTENTION: {} things\n", many.len());
            for reason in many.iter().take(REASONS_SHOWN_MAX) {
                text.push_str(&wrapped(&format!("- {reason}"), INDENT, columns));
            }
            if many.len() > REASONS_SHOWN_MAX {
                let more = many.len() - REASONS_SHOWN_MAX;
                let more = format!("… and {more} more: `cellctl status -o json` has all");
                text.push_str(&wrapped(&more, INDENT, columns));
            }
            text
        }
    }
}

/// Text in lines that fit the screen; what follows the first one is indented further.
fn wrapped(text: &str, indent: &str, columns: usize) -> String {
    let text = plain(text);
    let width = columns - indent.len();
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

fn table_text(text: &mut String, table: &Table, columns: usize) {
    let generation = match table.generation {
        Some(generation) => format!("generation {generation}"),
        None => "none published".to_owned(),
    };
    let how = match (&table.blocked, table.current) {
        (Some(_), _) => "BLOCKED".to_owned(),
        (None, false) => "a change waits to be published".to_owned(),
        (None, true) => format!("published; {}", confirmation(table)),
    };
    let line = format!("TABLE  {generation}; {how}; revision {}", table.revision);
    // Two spaces, as behind the headings below.
    let line = wrapped(&line, "", columns - 1).replacen("TABLE", "TABLE ", 1);
    let _ = write!(text, "\n{line}");
    if let Some(because) = &table.blocked_because {
        let since = date(table.blocked_since.as_deref().unwrap_or_default());
        let line = format!("since {since}: {because}");
        text.push_str(&wrapped(&line, INDENT, columns));
    }
    if let Some(hint) = &table.hint {
        text.push_str(&wrapped(&format!("hint: {hint}"), INDENT, columns));
    }
}

fn confirmation(table: &Table) -> String {
    let (confirmed, missing) = (table.confirmed.len(), table.not_confirmed.len());
    match (confirmed, missing) {
        (0, 0) => nobody(table).to_owned(),
        (_, 0) => format!("confirmed by {confirmed} of {confirmed} proxies"),
        _ => format!(
            "not confirmed by {missing} of {} proxies",
            confirmed + missing
        ),
    }
}

fn proxies_text(text: &mut String, proxies: &[Proxy], now_ms: Option<i64>, columns: usize) {
    let mut rows = Fitted::new(
        ["PROXY", "STATE", "SINCE", "READY", "GENERATION", "NOTE"],
        &["NOTE", "SINCE"],
    );
    for proxy in proxies.iter().take(PROXIES_SHOWN_MAX) {
        rows.row([
            proxy.name.clone(),
            if proxy.forgotten {
                "forgotten".to_owned()
            } else {
                proxy.state.clone()
            },
            age(&proxy.state_since, now_ms),
            if proxy.ready { "yes" } else { "no" }.to_owned(),
            proxy
                .generation
                .map(|it| it.to_string())
                .unwrap_or_default(),
            fleet::note(proxy),
        ]);
    }
    text.push_str("\nPROXIES\n");
    if rows.is_empty() {
        text.push_str("  the daemon's configuration lists none\n");
    }
    text.push_str(&rows.text(INDENT, columns));
    rest(text, proxies.len(), PROXIES_SHOWN_MAX, "proxies");
}

fn cells_text(text: &mut String, cells: &[Cell], now_ms: Option<i64>, columns: usize) {
    let mut rows = Fitted::new(
        [
            "CELL", "STATE", "SINCE", "REQ/S", "ERRORS", "HEALTHY", "TENANTS", "SLOTS", "FULLEST",
            "NOTE",
        ],
        &["SLOTS", "FULLEST", "NOTE", "TENANTS", "SINCE"],
    );
    for cell in cells.iter().take(CELLS_SHOWN_MAX) {
        let since = match &cell.degraded {
            Some(degraded) => &degraded.since,
            None => &cell.state_since,
        };
        rows.row([
            cell.id.clone(),
            state(cell),
            age(since, now_ms),
            number(cell.health.requests_per_second),
            percent(cell.health.error_share),
            healthy(cell),
            cell.tenants.to_string(),
            cell.slots.to_string(),
            fullest(cell),
            note(cell),
        ]);
    }
    text.push_str("\nCELLS\n");
    if rows.is_empty() {
        text.push_str("  no cell yet; `cellctl cell add --help` says how to add one\n");
    }
    text.push_str(&rows.text(INDENT, columns));
    rest(text, cells.len(), CELLS_SHOWN_MAX, "cell list");
}

/// How many are not shown, and which command shows them.
fn rest(text: &mut String, count: usize, shown_max: usize, command: &str) {
    if count > shown_max {
        let more = count - shown_max;
        let _ = writeln!(
            text,
            "{INDENT}… and {more} more, none worse: `cellctl {command}`"
        );
    }
}

fn changes_text(text: &mut String, changes: &Audit, now_ms: Option<i64>, columns: usize) {
    let mut rows = Fitted::new(
        ["SUBJECT", "ACTION", "AGO", "ACTOR", "REASON OR DETAIL"],
        &["REASON OR DETAIL"],
    );
    for entry in &changes.entries {
        rows.row([
            entry.subject.clone(),
            entry.action.clone(),
            age(&entry.at, now_ms),
            entry.actor.clone(),
            entry
                .reason
                .clone()
                .unwrap_or_else(|| fields(&entry.detail)),
        ]);
    }
    text.push_str("\nLAST CHANGES\n");
    text.push_str(&rows.text(INDENT, columns));
}

#[cfg(test)]
mod tests;
