use super::*;

fn cell(id: &str, more: &Value) -> Value {
    let mut cell = json!({
        "id": id, "state": "active", "state_since": "2026-03-01T12:00:00Z", "may_become": [], "provider": "static", "params": {},
        "endpoints": [], "max_in_flight": 1024, "tunnels_max": 1, "connections_max": 1, "labels": {}, "stateless": false, "capacity": {}, "usage": {}, "tenants": 12,
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
        "generation": 42, "version": "0.1.0", "source": "file", "forgotten": false
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
    let names: Vec<&Value> = proxies.iter().map(|proxy| &proxy["name"]).collect();
    let mut of_table = json!({
        "revision": 42, "generation": 42, "digest": "d", "path": "/t.yaml", "current": true, "everywhere": true,
        "confirmed": names, "not_confirmed": [], "forgotten": [], "now": "2026-03-01T15:00:00Z"
    });
    merge(&mut of_table, table);
    let change = json!({
        "id": 1, "revision": 42, "at": "2026-03-01T14:59:00.25Z", "actor": "ops@bastion", "action": "tenant.pin",
        "subject": "acme", "reason": "a contract that asks for a long reason, which does not fit the line that it begins on",
        "detail": {}
    });
    Status::of(
        of_table,
        json!({ "published_generation": 42, "proxies": proxies }),
        json!({ "cells": cells }),
        json!({ "entries": [change] }),
    )
    .unwrap()
}

fn of_text(columns: u16, cells: &[Value]) -> String {
    let proxies = [
        proxy("edge-1", &json!({})),
        proxy(
            "edge-2",
            &json!({ "state": "unreachable", "error": "connection refused", "ready": false, "generation": 41 }),
        ),
    ];
    let behind = json!([{ "proxy": "edge-2", "state": "unreachable", "generation": 41 }]);
    let table = json!({ "everywhere": false, "confirmed": ["edge-1"], "not_confirmed": behind });
    let text = status(&table, &proxies, cells).text(columns);
    for line in text.lines() {
        assert!(line.chars().count() <= usize::from(columns), "{line}");
    }
    text
}

#[test]
fn a_fleet_that_is_healthy_says_so_in_the_first_line() {
    let status = status(
        &json!({}),
        &[proxy("edge-1", &json!({}))],
        &[cell("eu-1", &json!({}))],
    );
    assert!(!status.needs_attention());
    let expected = "\
OK

TABLE  generation 42; published; confirmed by 1 of 1 proxies; revision 42

PROXIES
  PROXY   STATE      SINCE  READY  GENERATION  NOTE
  edge-1  reachable  3h     yes    42          -

CELLS
  CELL  STATE   SINCE  REQ/S  ERRORS  HEALTHY  TENANTS  SLOTS  FULLEST  NOTE
  eu-1  active  3h     1      0 %     1/1      12       32768  -        -

LAST CHANGES
  SUBJECT  ACTION      AGO  ACTOR        REASON OR DETAIL
  acme     tenant.pin  59s  ops@bastion  a contract that asks for a long reason, which do…
";
    assert_eq!(status.text(100).lines().count(), expected.lines().count());
    let text = status.text(90);
    assert_eq!(text, expected);
    assert_eq!(status.json()["attention"], false);
}

/// Thin screens leave columns out, never the verdict.
#[test]
fn the_worst_comes_first_on_every_width() {
    let mut cells: Vec<Value> = (1..=200)
        .map(|number| cell(&format!("eu-{number:03}"), &json!({})))
        .collect();
    cells[150]["degraded"] = json!({ "reason": "its process ended 9 times within 5 minutes", "since": "2026-03-01T14:50:00Z" });
    cells[120]["state"] = json!("failed");
    cells[120]["state_reason"] = json!("exit 3");
    for columns in [80, 120, 200] {
        let text = of_text(columns, &cells);
        assert!(text.starts_with("ATTENTION: 3 things\n"), "{text}");
        assert!(
            text.contains("… and 180 more, none worse: `cellctl cell list`"),
            "{text}"
        );
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| *line == "CELLS").unwrap();
        assert!(lines[at + 2].starts_with("  eu-121  failed "), "{text}");
        let degraded = lines[at + 3];
        assert!(
            degraded.starts_with("  eu-151  active, degraded  10m "),
            "{text}"
        );
        assert!(lines[at + 4].starts_with("  eu-001  active "), "{text}");
        assert!(lines.len() < 50, "{text}");
        let at = lines.iter().position(|line| *line == "PROXIES").unwrap();
        assert!(lines[at + 2].starts_with("  edge-2  unreachable"), "{text}");
    }
    assert!(of_text(200, &cells).contains("degraded: its process ended 9 times within 5 minutes"));
    assert!(of_text(80, &cells[..3]).lines().count() < 25);
}

/// The reasons of a fleet of one proxy and one cell, which deviate from healthy in this.
fn check(of_table: &Value, of_proxy: &Value, of_cell: &Value, expected: &[&str]) {
    let status = status(of_table, &[proxy("p", of_proxy)], &[cell("c", of_cell)]);
    assert_eq!(status.verdict.reasons, expected);
    let text = status.text(100);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
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
    let healthy = json!({});
    check(&healthy, &healthy, &healthy, &[]);
    let because = "no space left on device, and this goes on for a while so that it has to be wrapped somewhere before \
                   it leaves the screen";
    let blocked = json!({
        "current": false, "blocked": { "code": "write" }, "blocked_because": because, "hint": "look at the disk",
        "blocked_since": "2026-03-01T12:00:00.1Z"
    });
    check(
        &blocked,
        &healthy,
        &healthy,
        &[&format!("no table can be published: {because}")],
    );
    let waiting = json!({ "current": false });
    check(
        &waiting,
        &healthy,
        &healthy,
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
        json!({ "ready": false, "behind_since": "2026-03-01T12:00:00Z", "behind_for_ms": 3_000 }),
        &[
            "proxy p has an old table since 2026-03-01T12:00:00Z",
            "proxy p is not ready",
        ],
    );
    check(
        json!({ "behind_since": "2026-03-01T12:00:00Z", "behind_for_ms": 2_999 }),
        &[],
    );
    check(
        json!({ "state": "unreachable", "ready": false, "forgotten": true }),
        &[],
    );
    check(
        json!({ "refusal": "too much moves", "behind_since": "2026-03-01T12:00:00Z" }),
        &["proxy p refused the table: too much moves"],
    );
}

#[test]
fn a_cell_that_is_unhealthy_or_full_needs_somebody() {
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
            "cell c looks unhealthy: 1 of 1 endpoints fail the daemon's checks",
            "endpoint 10.0.0.7:80 of cell c: refused",
        ],
    );
    check(
        json!({ "degraded": { "reason": "its process keeps ending", "since": "2026-03-01T12:00:00.5Z" } }),
        &["cell c is degraded since 2026-03-01T12:00:00Z: its process keeps ending"],
    );
    check(json!({ "waiting_for": "waits for proxy p" }), &[]);
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
fn a_table_on_its_way_is_no_trouble() {
    let healthy = json!({});
    let on_its_way = json!({ "current": false, "pending_for_ms": 2_999 });
    check(&on_its_way, &healthy, &healthy, &[]);
    let late = json!({ "current": false, "pending_for_ms": 3_000 });
    check(
        &late,
        &healthy,
        &healthy,
        &["a change has not been published yet"],
    );
}
