//! Tenants.

use std::fmt::Write as _;

use serde::Deserialize as _;
use serde_json::{Error, Value};

use super::{cut, date};
use crate::ctl::{
    answers::{Explained, Imported, Tenant, TenantDetail, Tenants},
    output::Grid,
    terminal::plain,
};

pub fn list(answer: &Value) -> Result<String, Error> {
    rows(
        answer,
        Grid::new(&["TENANT", "CELL", "PLACED BY", "SINCE", "REJECTED", "WHY"]),
    )
}

/// A page that is not the first one.
pub fn more(answer: &Value) -> Result<String, Error> {
    rows(answer, Grid::bare())
}

fn rows(answer: &Value, mut grid: Grid) -> Result<String, Error> {
    for tenant in Tenants::deserialize(answer)?.tenants {
        grid.row([
            tenant.key,
            tenant.cell,
            tenant.placed_by,
            tenant.since_revision.to_string(),
            if tenant.rejected { "yes" } else { "" }.to_owned(),
            tenant.why,
        ]);
    }
    if grid.is_empty() {
        return Ok("there is no such tenant\n".to_owned());
    }
    Ok(grid.text(""))
}

pub fn detail(answer: &Value) -> Result<String, Error> {
    let detail = TenantDetail::deserialize(answer)?;
    let tenant = &detail.tenant;
    let mut grid = Grid::bare();
    let mut fact = |name: &str, value: String| grid.row([name.to_owned(), value]);
    fact("tenant", tenant.key.clone());
    fact(
        "cell",
        format!("{}, since revision {}", tenant.cell, tenant.since_revision),
    );
    fact("placed by", tenant.placed_by.clone());
    fact("why", tenant.why.clone());
    if let Some(reason) = detail.pin_reason.clone() {
        fact("reason", reason);
    }
    fact(
        "rejected",
        yes_or_no(tenant.rejected, "answered 403 at the edge"),
    );
    fact("aliases", cut(&detail.aliases));
    fact(
        "slot",
        slot(detail.slot, detail.slot_owner.as_deref(), &detail.hash),
    );
    fact("registered", date(&tenant.registered));
    Ok(grid.text(""))
}

pub fn forgotten(answer: &Value) -> Result<String, Error> {
    let tenant = Tenant::deserialize(answer)?;
    Ok(plain(&format!(
        "tenant {} is forgotten; it lived in cell {}, where its data still is\n",
        tenant.key, tenant.cell
    )))
}

/// Why a key leads where it leads; `aliases` are those of the tenant, where it is registered.
pub fn explained(answer: &Value, aliases: &[String]) -> Result<String, Error> {
    let it = Explained::deserialize(answer)?;
    let mut grid = Grid::bare();
    let mut fact = |name: &str, value: String| grid.row([name.to_owned(), value]);
    fact("key", it.key);
    if it.is_alias {
        fact("alias of", it.tenant);
    }
    let cell = match (&it.cell, it.since_revision) {
        (None, _) => "none: no cell owns its slot yet".to_owned(),
        (Some(cell), Some(since)) => format!("{cell}, since revision {since}"),
        (Some(cell), None) => cell.clone(),
    };
    fact("cell", cell);
    let by = match it.placed_by.as_str() {
        "slot" => "its slot",
        "override" => "an override: the planner chose another cell than its slot's",
        "pin" => "a pin: an operator chose, and no plan moves it",
        other => other,
    };
    fact("by", by.to_owned());
    fact("why", it.why);
    if let Some(reason) = it.pin_reason {
        fact("reason", reason);
    }
    fact("registered", yes_or_no(it.registered, ""));
    fact(
        "rejected",
        yes_or_no(it.rejected, "answered 403 at the edge"),
    );
    fact("aliases", cut(aliases));
    fact("slot", slot(it.slot, it.slot_owner.as_deref(), &it.hash));
    Ok(grid.text(""))
}

fn slot(slot: u32, owner: Option<&str>, hash: &str) -> String {
    let owner = owner.map_or_else(
        || "which no cell owns yet".to_owned(),
        |owner| format!("which cell {owner} owns"),
    );
    format!("{slot}, {owner} (hash {hash})")
}

fn yes_or_no(is_so: bool, meaning: &str) -> String {
    match (is_so, meaning) {
        (false, _) => "no".to_owned(),
        (true, "") => "yes".to_owned(),
        (true, meaning) => format!("yes: {meaning}"),
    }
}

pub fn imported(answer: &Value) -> Result<String, Error> {
    let imported = Imported::deserialize(answer)?;
    let mut text = format!(
        "{} tenants imported, {} of them new or with a new alias\n",
        imported.tenants, imported.new
    );
    for (cell, count) in &imported.cells {
        let _ = writeln!(text, "  {count} live in {cell}");
    }
    for warning in &imported.warnings {
        let _ = writeln!(text, "warning: {}", warning.message);
    }
    Ok(plain(&text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_explained() {
        let answer = json!({
            "key": "www.acme.example", "tenant": "acme", "is_alias": true, "registered": true, "rejected": true,
            "hash": "00000000000000ff", "slot": 7, "slot_owner": "eu-2", "placed_by": "pin", "cell": "eu-1",
            "since_revision": 12, "why": "pinned by ops@host", "pin_reason": "a contract"
        });
        let text = explained(&answer, &["www.acme.example".to_owned()]).unwrap();
        let expected = "\
key         www.acme.example
alias of    acme
cell        eu-1, since revision 12
by          a pin: an operator chose, and no plan moves it
why         pinned by ops@host
reason      a contract
registered  yes
rejected    yes: answered 403 at the edge
aliases     www.acme.example
slot        7, which cell eu-2 owns (hash 00000000000000ff)
";
        assert_eq!(text, expected);
        let answer = json!({
            "key": "x", "tenant": "x", "is_alias": false, "registered": false, "rejected": false, "hash": "0",
            "slot": 7, "placed_by": "slot", "why": "not registered: its slot decides"
        });
        let text = explained(&answer, &[]).unwrap();
        assert!(
            text.contains("cell        none: no cell owns its slot yet\n"),
            "{text}"
        );
        assert!(
            text.contains("slot        7, which no cell owns yet"),
            "{text}"
        );
    }

    #[test]
    fn tenants_are_a_line_each() {
        let tenant = json!({
            "key": "a\u{7f}b", "cell": "eu-1", "placed_by": "slot", "rejected": false, "since_revision": 3,
            "why": "asked for", "registered": "2026-03-01T12:00:00Z"
        });
        let text = list(&json!({ "tenants": [tenant], "next": "a" })).unwrap();
        let expected = "TENANT  CELL  PLACED BY  SINCE  REJECTED  WHY\na\u{fffd}b     eu-1  slot       3      -         asked for\n";
        assert_eq!(text, expected);
    }
}
