//! Slots, plans and tables.

use std::fmt::Write as _;

use serde::Deserialize as _;
use serde_json::{Error, Value};

use super::{SHOWN_MAX, count, cut, date, percent};
use crate::ctl::{
    answers::{Compared, Diff, History, Plan, RolledBack, Slots, Table},
    output::Grid,
    terminal::plain,
    wait::{nobody, unconfirmed},
};

/// Ranges of slots shown for a cell.
const RANGES_SHOWN_MAX: usize = 3;

pub fn slots(answer: &Value) -> Result<String, Error> {
    let slots = Slots::deserialize(answer)?;
    let mut grid = Grid::new(&["CELL", "SLOTS", "SHARE", "EVEN", "RANGES"]);
    let mut owned = 0;
    for share in &slots.cells {
        owned += share.count;
        let mut ranges: Vec<String> = share
            .ranges
            .iter()
            .take(RANGES_SHOWN_MAX)
            .cloned()
            .collect();
        if share.ranges.len() > RANGES_SHOWN_MAX {
            ranges.push(format!(
                "… and {} more",
                share.ranges.len() - RANGES_SHOWN_MAX
            ));
        }
        grid.row([
            share.cell.clone(),
            share.count.to_string(),
            percent(f64::from(share.count) / f64::from(slots.slots.max(1))),
            share.target.to_string(),
            ranges.join(", "),
        ]);
    }
    let mut text = grid.text("");
    let _ = writeln!(text, "{} slots, seed {}", slots.slots, slots.seed);
    if owned == 0 {
        text.push_str(
            "no cell owns them yet; the daemon spreads them once the first cells have settled\n",
        );
    }
    Ok(text)
}

pub fn plan(answer: &Value) -> Result<String, Error> {
    let plan = Plan::deserialize(answer)?;
    let mut text = moves(&plan, "would move");
    if !plan.slot_moves.is_empty() || !plan.tenant_moves.is_empty() {
        text.push_str("`cellctl plan apply` carries it out\n");
    }
    Ok(text)
}

pub fn applied(answer: &Value) -> Result<String, Error> {
    Ok(moves(&Plan::deserialize(answer)?, "moved"))
}

/// What a plan does and what it leaves alone.
pub fn moves(plan: &Plan, verb: &str) -> String {
    let mut text = String::new();
    if plan.slot_moves.is_empty() && plan.tenant_moves.is_empty() {
        let _ = writeln!(text, "nothing {verb}");
    } else {
        let _ = writeln!(text, "{verb}:");
        let mut grid = Grid::bare();
        for it in &plan.slot_moves {
            let what = count(it.count, "slot");
            grid.row([what, format!("{} -> {}", it.from, it.to), it.why.clone()]);
        }
        for it in &plan.tenant_moves {
            let what = count(it.count, "tenant");
            let way = format!("{} -> where there is room", it.from);
            grid.row([what, way, it.why.clone()]);
        }
        text.push_str(&grid.text("  "));
    }
    if !plan.left_alone.is_empty() {
        text.push_str("left alone:\n");
        let mut grid = Grid::bare();
        for it in &plan.left_alone {
            grid.row([it.cell.clone(), it.what.clone(), it.why.clone()]);
        }
        text.push_str(&grid.text("  "));
    }
    text
}

pub fn state(answer: &Value) -> Result<String, Error> {
    let table = Table::deserialize(answer)?;
    let mut grid = Grid::bare();
    let mut fact = |name: &str, value: String| grid.row([name.to_owned(), value]);
    let generation = |it: Option<u64>| it.map_or_else(|| "none".to_owned(), |it| it.to_string());
    fact("generation", generation(table.generation));
    fact("revision", table.revision.to_string());
    let current = if table.current {
        "yes: it says all that is intended"
    } else {
        "no: a change waits to be published"
    };
    fact("current", current.to_owned());
    fact("everywhere", everywhere(&table));
    if !table.forgotten.is_empty() {
        fact("forgotten proxies", table.forgotten.join(", "));
    }
    if let Some(because) = &table.blocked_because {
        fact("blocked", because.clone());
        fact(
            "since",
            date(table.blocked_since.as_deref().unwrap_or_default()),
        );
        fact("hint", table.hint.clone().unwrap_or_default());
    }
    if let Some(at) = table.move_allowed_at {
        fact(
            "may move more",
            format!("until every proxy has generation {at} or newer"),
        );
    }
    fact("file", table.path.clone());
    fact("digest", table.digest.clone().unwrap_or_default());
    Ok(grid.text(""))
}

/// Whether the listed proxies have been seen with the table in force.
fn everywhere(table: &Table) -> String {
    let (confirmed, missing) = (table.confirmed.len(), &table.not_confirmed);
    if confirmed == 0 && missing.is_empty() {
        return format!("not known: {}", nobody(table));
    }
    let listed = confirmed + missing.len();
    if table.everywhere {
        return format!("yes: confirmed by {confirmed} of {listed} proxies");
    }
    format!("no: {}", unconfirmed(missing))
}

pub fn history(answer: &Value) -> Result<String, Error> {
    let mut grid = Grid::new(&[
        "GENERATION",
        "STATE",
        "AT",
        "BYTES",
        "DIGEST",
        "WHO",
        "WHAT",
        "WHY",
    ]);
    for table in History::deserialize(answer)?.tables {
        let newest = table.changes.first();
        let more = table.change_count.saturating_sub(1);
        let what = newest.map_or_else(String::new, |it| format!("{} {}", it.action, it.subject));
        grid.row([
            table.generation.to_string(),
            table.state,
            date(&table.at),
            table.bytes.to_string(),
            table.digest.chars().take(16).collect(),
            newest.map_or_else(String::new, |it| it.actor.clone()),
            match more {
                0 => what,
                more => format!("{what}, and {more} more"),
            },
            newest.and_then(|it| it.reason.clone()).unwrap_or_default(),
        ]);
    }
    if grid.is_empty() {
        return Ok("no table has been published yet\n".to_owned());
    }
    Ok(grid.text(""))
}

pub fn publishing(answer: &Value) -> Result<String, Error> {
    let revision = u64::deserialize(&answer["revision"])?;
    Ok(format!(
        "revision {revision} is to be published; `cellctl table show` says whether it was\n"
    ))
}

pub fn rolled_back(answer: &Value) -> Result<String, Error> {
    let it = RolledBack::deserialize(answer)?;
    Ok(format!(
        "the map of generation {} is restored: {} move, {} move, {} registered since stay\n",
        it.to_generation,
        count(it.moved_slots, "slot"),
        count(it.moved_tenants, "tenant"),
        count(it.kept_tenants, "tenant"),
    ))
}

pub fn diff(answer: &Value) -> Result<String, Error> {
    let compared = Compared::deserialize(answer)?;
    let mut text = format!("from generation {} to {}:\n", compared.from, compared.to);
    slot_moves(&mut text, &compared.diff);
    let diff = &compared.diff;
    let _ = match diff.tenant_moves.len() {
        0 => writeln!(text, "no tenant named in the table moves"),
        named => writeln!(text, "{named} tenants named in the table move:"),
    };
    for it in diff.tenant_moves.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "  {}: {} -> {}", it.tenant, it.from, it.to);
    }
    rest(&mut text, diff.tenant_moves.len());
    for (title, items) in [
        ("cells added", &diff.cells_added),
        ("cells removed", &diff.cells_removed),
        ("cells changed", &diff.cells_changed),
        ("rejects added", &diff.rejects_added),
        ("rejects removed", &diff.rejects_removed),
    ] {
        if !items.is_empty() {
            let _ = writeln!(text, "{title}: {}", cut(items));
        }
    }
    Ok(plain(&text))
}

fn slot_moves(text: &mut String, diff: &Diff) {
    let share = percent(diff.moved_share);
    let slots: u64 = diff.slot_moves.iter().map(|it| it.count).sum();
    let _ = match (diff.rehashed, slots) {
        (true, _) => writeln!(text, "the hash changes: {share} of all keys move"),
        (false, 0) => writeln!(text, "no slot moves"),
        (false, slots) => writeln!(text, "{slots} slots move ({share}):"),
    };
    for it in diff.slot_moves.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "  slots {}: {} -> {}", it.slots, it.from, it.to);
    }
    rest(text, diff.slot_moves.len());
}

fn rest(text: &mut String, count: usize) {
    if count > SHOWN_MAX {
        let more = count - SHOWN_MAX;
        let _ = writeln!(text, "  … and {more} more (all of them with -o json)");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kept_table_says_who_made_it_what_and_why() {
        let change = json!({
            "id": 9, "revision": 7, "at": "", "actor": "ops@host", "action": "tenant.pin", "subject": "acme",
            "reason": "a contract", "detail": {}
        });
        let answer = json!({ "tables": [{
            "generation": 7, "digest": "0123456789abcdef0123", "state": "published", "at": "2026-03-01T12:00:00.5Z",
            "bytes": 812, "change_count": 3, "changes": [change]
        }]});
        let text = history(&answer).unwrap();
        let line = "2026-03-01T12:00:00Z  812    0123456789abcdef  ops@host  tenant.pin acme, and 2 more  a contract\n";
        assert!(text.ends_with(line), "{text}");
    }

    #[test]
    fn a_plan_says_what_it_leaves_alone() {
        let answer = json!({
            "slot_moves": [{ "slots": ["0-9"], "count": 10, "from": "a", "to": "b", "why": "the cell drains" }],
            "tenant_moves": [{ "from": "a", "count": 1, "why": "the cell drains" }],
            "left_alone": [{ "cell": "c", "what": "400 slots", "why": "the cell keeps data" }],
        });
        let expected = "\
would move:
  10 slots  a -> b                    the cell drains
  1 tenant  a -> where there is room  the cell drains
left alone:
  c  400 slots  the cell keeps data
`cellctl plan apply` carries it out
";
        assert_eq!(plan(&answer).unwrap(), expected);
        let nothing = json!({ "slot_moves": [], "tenant_moves": [], "left_alone": [] });
        assert_eq!(plan(&nothing).unwrap(), "nothing would move\n");
        assert_eq!(applied(&nothing).unwrap(), "nothing moved\n");
    }

    #[test]
    fn a_diff_speaks_of_tenants() {
        let answer = json!({ "from": 3, "to": 5, "diff": {
            "moved_share": 0.25, "rehashed": false,
            "slot_moves": [{ "slots": "0-3", "count": 4, "from": "a", "to": "b" }],
            "tenant_moves": [{ "tenant": "acme", "from": "b", "to": "a" }],
            "cells_added": ["b"], "cells_removed": [], "cells_changed": [], "rejects_added": ["evil"], "rejects_removed": [],
        }});
        let expected = "\
from generation 3 to 5:
4 slots move (25 %):
  slots 0-3: a -> b
1 tenants named in the table move:
  acme: b -> a
cells added: b
rejects added: evil
";
        assert_eq!(diff(&answer).unwrap(), expected);
    }

    #[test]
    fn a_blocked_table_says_what_to_do() {
        let answer = json!({
            "revision": 9, "generation": 8, "digest": "d", "path": "/t.yaml", "current": false,
            "blocked": { "code": "moves_too_much", "detail": "x" }, "blocked_because": "9 slots", "hint": "say so",
            "blocked_since": "2026-03-01T12:00:00.1Z", "everywhere": false, "confirmed": ["edge-1"],
            "not_confirmed": [{ "proxy": "edge-2", "state": "unreachable", "generation": 7 }], "forgotten": ["edge-3"],
            "now": ""
        });
        let text = state(&answer).unwrap();
        for part in [
            "current            no: a change waits to be published\n",
            "everywhere         no: not confirmed by edge-2 (unreachable, may still have generation 7)\n",
            "forgotten proxies  edge-3\n",
            "blocked            9 slots\nsince              2026-03-01T12:00:00Z\nhint               say so\n",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
