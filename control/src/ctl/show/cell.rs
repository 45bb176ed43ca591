//! Cells.

use std::fmt::Write as _;

use serde::Deserialize as _;
use serde_json::{Error, Value};

use super::{date, fields, number, pairs, percent, table};
use crate::ctl::{
    answers::{Cell, Cells, Drained, HealthCheck, Operation, Tls, Updated},
    output::Grid,
    terminal::plain,
};

pub fn list(answer: &Value) -> Result<String, Error> {
    let cells = Cells::deserialize(answer)?.cells;
    let mut grid = Grid::new(&[
        "CELL", "STATE", "PROVIDER", "TENANTS", "SLOTS", "FULLEST", "HEALTHY", "REQ/S", "ERRORS",
        "NOTE",
    ]);
    for cell in &cells {
        grid.row([
            cell.id.clone(),
            state(cell),
            cell.provider.clone(),
            cell.tenants.to_string(),
            cell.slots.to_string(),
            fullest(cell),
            healthy(cell),
            number(cell.health.requests_per_second),
            percent(cell.health.error_share),
            note(cell),
        ]);
    }
    if grid.is_empty() {
        return Ok("there is no such cell\n".to_owned());
    }
    Ok(grid.text(""))
}

/// Its state, and whether it is less healthy than that says.
pub fn state(cell: &Cell) -> String {
    match &cell.degraded {
        Some(_) => format!("{}, degraded", cell.state),
        None => cell.state.clone(),
    }
}

/// One cell, after an update of it: with what it was before.
pub fn updated(answer: &Value) -> Result<String, Error> {
    let updated = Updated::deserialize(answer)?;
    let mut text = brief(answer)?;
    if updated.changed.is_empty() {
        text.push_str("nothing changed: it was so already\n");
    }
    for it in &updated.changed {
        let _ = writeln!(
            text,
            "  {}: {} -> {}",
            it.field,
            shown(&it.from),
            shown(&it.to)
        );
    }
    Ok(plain(&text))
}

/// A value of a field on one line.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Object(map) if map.is_empty() => "none".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Object(_) => fields(value),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            items.join(", ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One cell, after a change of it.
pub fn brief(answer: &Value) -> Result<String, Error> {
    let cell = Cell::deserialize(answer)?;
    let mut text = format!(
        "cell {} is {}: {} tenants, {} slots\n",
        cell.id, cell.state, cell.tenants, cell.slots
    );
    for reason in cell.state_reason.iter().chain(&cell.waiting_for) {
        let _ = writeln!(text, "  {reason}");
    }
    Ok(plain(&text))
}

pub fn drained(answer: &Value) -> Result<String, Error> {
    let drained = Drained::deserialize(answer)?;
    let mut text = brief(&answer["cell"])?;
    text.push_str(&table::moves(&drained.plan, "moved"));
    if drained.cell.state == "draining" && drained.plan.left_alone.is_empty() {
        text.push_str("it is drained once it owns nothing any more\n");
    }
    Ok(text)
}

/// All that is known of a cell.
pub fn detail(answer: &Value) -> Result<String, Error> {
    let cell = Cell::deserialize(answer)?;
    let mut facts = Grid::bare();
    let mut fact = |name: &str, value: String| facts.row([name.to_owned(), value]);
    fact("cell", cell.id.clone());
    fact(
        "state",
        format!("{}, since {}", cell.state, date(&cell.state_since)),
    );
    if let Some(reason) = &cell.state_reason {
        fact("because", reason.clone());
    }
    if let Some(waiting_for) = &cell.waiting_for {
        fact("removal", waiting_for.clone());
    }
    if let Some(degraded) = &cell.degraded {
        fact(
            "degraded",
            format!("since {}: {}", date(&degraded.since), degraded.reason),
        );
    }
    fact("may become", cell.may_become.join(", "));
    fact("provider", cell.provider.clone());
    fact(
        "params",
        match &cell.params {
            Value::Null => "shown only with the token".to_owned(),
            params => fields(params),
        },
    );
    fact("labels", pairs(&cell.labels));
    let data = if cell.stateless {
        "none: the table alone can move its tenants"
    } else {
        "kept in the cell"
    };
    fact("data", data.to_owned());
    fact("tenants", cell.tenants.to_string());
    fact("slots", cell.slots.to_string());
    fact("capacity", pairs(&cell.capacity));
    fact("usage", pairs(&cell.usage));
    fact("fullest", fullest(&cell));
    let of_proxy = |count: u32| format!("{count} from one proxy");
    fact("max in flight", of_proxy(cell.max_in_flight));
    fact("tunnels max", of_proxy(cell.tunnels_max));
    fact("connections max", of_proxy(cell.connections_max));
    if let Some(share) = &cell.share {
        fact("share", share.clone());
    }
    fact("health check", check(cell.health_check.as_ref()));
    if let Some(tls) = &cell.tls {
        fact("TLS", over_tls(tls));
    }
    fact(
        "traffic",
        format!(
            "{} requests/s, {} failed",
            number(cell.health.requests_per_second),
            percent(cell.health.error_share)
        ),
    );
    let against = cell.health.suspicion.iter().map(signal);
    fact("suspicion", against.collect::<Vec<_>>().join("; "));
    let mut text = facts.text("");
    endpoints(&mut text, &cell);
    proxies(&mut text, &cell);
    for operation in &cell.operations {
        one_operation(&mut text, operation);
    }
    Ok(text)
}

fn endpoints(text: &mut String, cell: &Cell) {
    let mut grid = Grid::new(&["ENDPOINT", "WEIGHT", "HEALTH", "CHECKS", "SEEN", "ERROR"]);
    for endpoint in &cell.endpoints {
        let seen = cell.health.endpoints.iter();
        let seen = seen.clone().find(|seen| seen.address == endpoint.address);
        let of_seen = |part: fn(&crate::ctl::answers::EndpointHealth) -> String| {
            seen.map(part).unwrap_or_default()
        };
        grid.row([
            endpoint.address.clone(),
            endpoint.weight.to_string(),
            of_seen(|seen| if seen.ok { "ok" } else { "failing" }.to_owned()),
            of_seen(|seen| seen.streak.to_string()),
            of_seen(|seen| date(&seen.seen)),
            of_seen(|seen| seen.error.clone().unwrap_or_default()),
        ]);
    }
    if !grid.is_empty() {
        let _ = write!(text, "\n{}", grid.text(""));
    }
}

fn proxies(text: &mut String, cell: &Cell) {
    let mut grid = Grid::new(&["PROXY", "HEALTHY", "IN FLIGHT"]);
    for (name, seen) in &cell.health.proxies {
        grid.row([
            name.clone(),
            format!("{}/{}", seen.healthy, seen.endpoints),
            seen.in_flight.to_string(),
        ]);
    }
    if !grid.is_empty() {
        let _ = write!(text, "\n{}", grid.text(""));
    }
}

fn one_operation(text: &mut String, operation: &Operation) {
    let ended = match &operation.ended {
        Some(ended) => format!(", ended {}", date(ended)),
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "\n{} {}: asked {}{ended}, attempts {}, id {}",
        operation.verb,
        operation.state,
        date(&operation.asked),
        operation.attempts,
        operation.id,
    );
    if let Some(error) = &operation.error {
        let _ = writeln!(text, "  error: {}", plain(error));
    }
    for line in plain(&operation.output).lines() {
        let _ = writeln!(text, "  | {line}");
    }
}

fn check(check: Option<&HealthCheck>) -> String {
    let Some(check) = check else {
        return "a TCP connection, by the daemon only".to_owned();
    };
    let what = match &check.path {
        Some(path) => format!("GET {path}"),
        None if check.kind == "http" => "GET /healthz".to_owned(),
        None => "a TCP connection".to_owned(),
    };
    let host = check.host.as_ref().map(|host| format!(" from {host}"));
    let host = host.unwrap_or_default();
    format!(
        "{what}{host} every {} ms, at most {} ms; unhealthy after {}, healthy after {}",
        check.interval_ms, check.timeout_ms, check.unhealthy_after, check.healthy_after
    )
}

fn over_tls(tls: &Tls) -> String {
    let shown = tls.client_cert.as_ref().map(|cert| {
        let key = cert.key.as_deref().filter(|key| *key != cert.certificate);
        let key = key.map(|key| format!(" with key {key}"));
        format!(", shown {}{}", cert.certificate, key.unwrap_or_default())
    });
    format!(
        "as {}, trusted by {}{}",
        tls.server_name,
        tls.ca,
        shown.unwrap_or_default()
    )
}

/// The dimension in which a cell is fullest.
pub fn fullest(cell: &Cell) -> String {
    let Some(tight) = &cell.tightest else {
        return String::new();
    };
    let share = tight.share.map_or_else(|| "full".to_owned(), percent);
    format!(
        "{} {}/{} ({share})",
        tight.dimension,
        number(tight.used),
        number(tight.limit)
    )
}

/// Endpoints that are healthy, by the daemon's own checks.
pub fn healthy(cell: &Cell) -> String {
    if cell.health.endpoints.is_empty() {
        return String::new();
    }
    let healthy = cell.health.endpoints.iter().filter(|seen| seen.ok).count();
    format!("{healthy}/{}", cell.health.endpoints.len())
}

/// What is out of the ordinary.
pub fn note(cell: &Cell) -> String {
    let mut notes: Vec<String> = cell.state_reason.iter().cloned().collect();
    notes.extend(cell.waiting_for.iter().cloned());
    if matches!(cell.state.as_str(), "active" | "draining") {
        let failing = cell.health.endpoints.iter().filter(|it| !it.ok);
        notes.extend(failing.map(|it| {
            let error = it.error.as_deref().unwrap_or("fails its checks");
            format!("{}: {error}", it.address)
        }));
    }
    notes.extend(
        cell.degraded
            .iter()
            .map(|it| format!("degraded: {}", it.reason)),
    );
    if !cell.health.suspicion.is_empty() {
        let signals: Vec<String> = cell.health.suspicion.iter().map(signal).collect();
        notes.push(format!("suspect: {}", signals.join("; ")));
    }
    notes.join("; ")
}

/// One of the things that speak against a cell.
pub fn signal(signal: &Value) -> String {
    let of = |name: &str| signal[name].as_f64().unwrap_or(0.0);
    match signal["signal"].as_str() {
        Some("probe") => format!(
            "{} of {} endpoints fail the daemon's checks",
            number(of("failing")),
            number(of("endpoints"))
        ),
        Some("proxies_see_unhealthy") => format!(
            "{} of {} proxies leave endpoints out",
            number(of("proxies")),
            number(of("of"))
        ),
        Some("error_share") => format!(
            "{} of its requests fail, {} of its siblings'",
            percent(of("share")),
            percent(of("siblings"))
        ),
        _ => fields(signal),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "id": "eu-1", "state": "failed", "state_reason": "no endpoint", "state_since": "2026-03-01T12:00:00.5Z",
            "may_become": ["provisioning", "removed"], "provider": "nomad", "params": { "size": "large" },
            "endpoints": [{ "address": "10.0.0.7:80", "weight": 2 }], "max_in_flight": 7, "tunnels_max": 9, "connections_max": 8,
            "health_check": { "type": "http", "path": "/h", "interval_ms": 1, "timeout_ms": 2, "unhealthy_after": 3, "healthy_after": 4 },
            "tls": { "server_name": "eu-1.example", "ca": "/ca.pem", "client_cert": { "certificate": "/p.crt", "key": "/p.key" } },
            "labels": { "zone": "b" }, "stateless": false, "capacity": { "tenants": 4.0 }, "usage": {}, "tenants": 3, "slots": 9,
            "tightest": { "dimension": "tenants", "used": 3.0, "limit": 4.0, "share": 0.75 },
            "health": {
                "endpoints": [{ "address": "10.0.0.7:80", "ok": false, "error": "refused", "streak": 5, "seen": "2026-03-01T12:00:01Z" }],
                "suspicion": [{ "signal": "probe", "failing": 1, "endpoints": 1 }, { "signal": "error_share", "share": 0.5, "siblings": 0.01 }],
                "proxies": { "edge-1": { "in_flight": 4, "healthy": 0, "endpoints": 1 } },
                "requests_per_second": 12.5, "error_share": 0.5
            },
            "operations": [{ "id": "op1", "verb": "provision", "state": "failed", "asked": "2026-03-01T11:00:00Z",
                "attempts": 2, "output": "one\n\u{1b}[31mtwo\n", "error": "exit 1" }]
        })
    }

    #[test]
    fn a_cell_shows_what_is_wrong_with_it() {
        let text = detail(&sample()).unwrap();
        for part in [
            "state            failed, since 2026-03-01T12:00:00Z\n",
            "because          no endpoint\n",
            "params           size=large\n",
            "fullest          tenants 3/4 (75 %)\n",
            "health check     GET /h every 1 ms, at most 2 ms; unhealthy after 3, healthy after 4\n",
            "TLS              as eu-1.example, trusted by /ca.pem, shown /p.crt with key /p.key\n",
            "suspicion        1 of 1 endpoints fail the daemon's checks; 50 % of its requests fail, 1 % of its siblings'\n",
            "10.0.0.7:80  2       failing  5       2026-03-01T12:00:01Z  refused\n",
            "edge-1  0/1      4\n",
            "provision failed: asked 2026-03-01T11:00:00Z, attempts 2, id op1\n  error: exit 1\n  | one\n  | \u{fffd}[31mtwo\n",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn what_a_removal_waits_for_is_shown_in_every_state() {
        let mut cell = sample();
        cell["waiting_for"] = json!("waits for proxy edge-1");
        cell["degraded"] =
            json!({ "reason": "its process keeps ending", "since": "2026-03-01T12:00:00.5Z" });
        let text = detail(&cell).unwrap();
        for part in [
            "because          no endpoint\nremoval          waits for proxy edge-1\n",
            "degraded         since 2026-03-01T12:00:00Z: its process keeps ending\n",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        let text = list(&json!({ "cells": [cell] })).unwrap();
        assert!(text.contains("eu-1  failed, degraded  nomad"), "{text}");
        let notes =
            "no endpoint; waits for proxy edge-1; degraded: its process keeps ending; suspect: ";
        assert!(text.contains(notes), "{text}");
    }

    #[test]
    fn an_update_says_what_was_before() {
        let mut answer = sample();
        answer["changed"] = json!([
            { "field": "max_in_flight", "from": 1024, "to": 7 },
            { "field": "labels", "from": {}, "to": { "zone": "b" } },
            { "field": "health_check", "from": { "type": "tcp", "interval_ms": 5 }, "to": null },
            { "field": "endpoints", "from": [{ "address": "10.0.0.7:80", "weight": 1 }], "to": [] },
        ]);
        let text = updated(&answer).unwrap();
        let expected = "\
  max_in_flight: 1024 -> 7
  labels: none -> zone=b
  health_check: interval_ms=5 type=tcp -> none
  endpoints: address=10.0.0.7:80 weight=1 -> none
";
        assert!(text.ends_with(expected), "{text}");
        answer["changed"] = json!([]);
        let text = updated(&answer).unwrap();
        assert!(
            text.ends_with("nothing changed: it was so already\n"),
            "{text}"
        );
    }

    #[test]
    fn cells_are_a_line_each() {
        let text = list(&json!({ "cells": [sample()] })).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("CELL  STATE"));
        let line = lines.next().unwrap();
        assert!(line.contains("tenants 3/4 (75 %)  0/1"), "{line}");
        assert!(line.contains("no endpoint; suspect: 1 of 1"), "{line}");
        assert_eq!(
            list(&json!({ "cells": [] })).unwrap(),
            "there is no such cell\n"
        );
    }
}
