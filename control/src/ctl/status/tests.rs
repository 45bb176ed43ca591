use super::*;

fn cell(id: &str, more: &Value) -> Value {
    let mut cell = json!({
        "id": id, "state": "active", "state_since": "2026-03-01T12:00:00Z", "may_become": [], "provider": "static", "params": {},
        "endpoints": [], "max_in_flight": 1024, "tunnels_max": 1, "labels": {}, "stateless": false, "capacity": {}, "usage": {}, "tenants": 12,
        "slots": 32768,
        "health": {
            "endpoints": [{ "address": "10.0.0.7:80", "ok": true, "streak": 3, "seen": "2026-03-01T12:00:00Z" }],
            "suspicion": [], "proxies": {}, "requests_per_second": 1.0, "error_share": 0.0
        },
    });
    merge(&mut cell, more);
    cell
}

fn proxy(name: &str, more: &Value) -> Value {
    let mut proxy = json!({
        "name": name, "admin": "10.0.0.1:9600", "state": "reachable", "state_since": "2026-03-01T12:00:00Z", "ready": true,
        "generation": 42, "version": "0.1.0", "source": "file"
    });
    merge(&mut proxy, more);
    proxy
}

fn merge(value: &mut Value, more: &Value) {
    for (name, part) in more.as_object().unwrap() {
        if part.is_object() && value[name].is_object() {
            merge(&mut value[name], part);
        } else {
            value[name] = part.clone();
        }
    }
}

fn status(table: &Value, proxies: &[Value], cells: &[Value]) -> Status {
    let mut of_table = json!({ "intent_generation": 42, "generation": 42, "digest": "d", "path": "/t.yaml", "current": true, "everywhere": true });
    merge(&mut of_table, table);
    let mut status = Status {
        table: of_table,
        proxies: json!({ "published_generation": 42, "proxies": proxies }),
        cells: json!({ "cells": cells }),
        changes: json!({ "entries": [{
            "id": 1, "generation": 42, "at": "2026-03-01T11:59:00.25Z", "actor": "ops@bastion", "action": "tenant.pin",
            "subject": "acme", "reason": "a contract that asks for a long reason, which does not fit the line that it begins on",
            "detail": {}
        }]}),
        verdict: Verdict {
            reasons: Vec::new(),
        },
    };
    status.verdict = judge(
        &Table::deserialize(&status.table).unwrap(),
        &Proxies::deserialize(&status.proxies).unwrap(),
        &Cells::deserialize(&status.cells).unwrap(),
    );
    status
}

#[test]
fn a_fleet_that_is_well_says_so_in_the_first_line() {
    let status = status(
        &json!({}),
        &[proxy("edge-1", &json!({}))],
        &[cell("eu-1", &json!({}))],
    );
    assert!(!status.needs_attention());
    let expected = "\
OK

TABLE  generation 42; published, and every proxy that can be reached has it; last change 42

PROXIES
  PROXY   STATE      READY  GENERATION  NOTE
  edge-1  reachable  yes    42          -

CELLS
  CELL  STATE   TENANTS  SLOTS  FULLEST  HEALTHY  ERRORS  NOTE
  eu-1  active  12       32768  -        1/1      0 %     -

LAST CHANGES
";
    let text = status.text().unwrap();
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains("ops@bastion  tenant.pin  acme     a contract"),
        "{text}"
    );
    assert_eq!(status.json()["attention"], false);
}

/// The reasons of a fleet of one proxy and one cell, which deviate from well in this.
fn check(of_table: &Value, of_proxy: &Value, of_cell: &Value, expected: &[&str]) {
    let status = status(of_table, &[proxy("p", of_proxy)], &[cell("c", of_cell)]);
    assert_eq!(status.verdict.reasons, expected);
    let text = status.text().unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= usize::from(COLUMNS), "{line}");
    }
    let verdict = if expected.is_empty() {
        "OK"
    } else {
        "ATTENTION"
    };
    assert!(text.starts_with(verdict), "{text}");
}

#[test]
fn a_table_that_does_not_come_needs_somebody() {
    let well = json!({});
    check(&well, &well, &well, &[]);
    let because = "no space left on device, and this goes on for a while so that it has to be wrapped somewhere before \
                   it leaves the screen";
    let blocked = json!({
        "current": false, "blocked": { "code": "write" }, "blocked_because": because, "hint": "look at the disk",
        "blocked_since": "2026-03-01T12:00:00.1Z"
    });
    check(
        &blocked,
        &well,
        &well,
        &[&format!("no table can be published: {because}")],
    );
    let waiting = json!({ "current": false });
    check(
        &waiting,
        &well,
        &well,
        &["a change has not been published yet"],
    );
}

#[test]
fn a_proxy_that_is_gone_or_late_needs_somebody() {
    let check =
        |of_proxy: Value, expected: &[&str]| check(&json!({}), &of_proxy, &json!({}), expected);
    check(
        json!({ "state": "unreachable", "error": "connection refused", "ready": false }),
        &["proxy p cannot be reached since 2026-03-01T12:00:00Z: connection refused"],
    );
    check(json!({ "state": "unknown", "ready": false }), &[]);
    check(
        json!({ "ready": false, "behind_since": "2026-03-01T12:00:00Z" }),
        &[
            "proxy p has an old table since 2026-03-01T12:00:00Z",
            "proxy p is not ready",
        ],
    );
    check(
        json!({ "refusal": "too much moves", "behind_since": "2026-03-01T12:00:00Z" }),
        &["proxy p refused the table: too much moves"],
    );
}

#[test]
fn a_cell_that_is_sick_or_full_needs_somebody() {
    let check =
        |of_cell: Value, expected: &[&str]| check(&json!({}), &json!({}), &of_cell, expected);
    check(
        json!({ "state": "failed", "state_reason": "exit 3" }),
        &["cell c is failed: exit 3"],
    );
    let failing = json!([{ "address": "10.0.0.7:80", "ok": false, "error": "refused", "streak": 3, "seen": "" }]);
    let signals = json!([{ "signal": "probe", "failing": 1, "endpoints": 1 }]);
    check(
        json!({ "health": { "endpoints": failing, "suspicion": signals } }),
        &[
            "cell c looks sick: 1 of 1 endpoints fail the daemon's checks",
            "endpoint 10.0.0.7:80 of cell c: refused",
        ],
    );
    check(
        json!({ "state": "warming", "health": { "endpoints": failing } }),
        &[],
    );
    let tight = |share: Value| json!({ "tightest": { "dimension": "tenants", "used": 19.0, "limit": 20.0, "share": share } });
    check(tight(json!(0.95)), &["cell c is 95 % full (tenants)"]);
    check(tight(json!(0.5)), &[]);
    check(tight(json!(null)), &["cell c is 100 % full (tenants)"]);
}

#[test]
fn a_table_on_its_way_is_given_a_moment() {
    let check = |table: Value, of_proxy: Value, expected: bool| {
        let status = status(&table, &[proxy("p", &of_proxy)], &[]);
        let table = Table::deserialize(&status.table).unwrap();
        let proxies = Proxies::deserialize(&status.proxies).unwrap();
        assert_eq!(is_settling(&table, &proxies), expected);
    };
    let behind = json!({ "behind_since": "2026-03-01T12:00:00Z" });
    check(json!({}), json!({}), false);
    check(json!({ "current": false }), json!({}), true);
    check(json!({}), behind.clone(), true);
    let mut silent = behind;
    silent["state"] = json!("unreachable");
    check(json!({}), silent, false);
    let blocked = json!({ "current": false, "blocked": { "code": "write" } });
    check(blocked, json!({}), false);
}
