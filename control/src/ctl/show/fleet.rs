//! Proxies, events and the audit log.

use serde::Deserialize as _;
use serde_json::{Error, Value};

use super::{date, fields};
use crate::{
    clock::rfc3339,
    ctl::{
        answers::{Audit, Event, Events, Proxies, Proxy},
        output::Grid,
        terminal::plain,
    },
};

pub fn proxies(answer: &Value) -> Result<String, Error> {
    let list = Proxies::deserialize(answer)?;
    let mut grid = Grid::new(&[
        "PROXY",
        "ADMIN",
        "STATE",
        "SINCE",
        "READY",
        "GENERATION",
        "SOURCE",
        "VERSION",
        "NOTE",
    ]);
    for proxy in &list.proxies {
        grid.row([
            proxy.name.clone(),
            proxy.admin.clone(),
            proxy.state.clone(),
            date(&proxy.state_since),
            if proxy.ready { "yes" } else { "no" }.to_owned(),
            proxy
                .generation
                .map(|it| it.to_string())
                .unwrap_or_default(),
            proxy.source.clone().unwrap_or_default(),
            proxy.version.clone().unwrap_or_default(),
            note(proxy),
        ]);
    }
    let published = match list.published_generation {
        Some(generation) => format!("generation {generation} is published\n"),
        None => "no table is published\n".to_owned(),
    };
    if grid.is_empty() {
        return Ok(format!(
            "the daemon's configuration names no proxy; {published}"
        ));
    }
    Ok(format!("{}{published}", grid.text("")))
}

/// After a proxy was forgotten.
pub fn forgotten(answer: &Value) -> Result<String, Error> {
    let proxy = Proxy::deserialize(answer)?;
    let had = proxy.generation.map_or_else(
        || "it was never seen with a table".to_owned(),
        |generation| format!("it was last seen with generation {generation}"),
    );
    Ok(plain(&format!(
        "proxy {} is forgotten until it answers again; {had}\n",
        proxy.name
    )))
}

/// What is out of the ordinary.
pub fn note(proxy: &Proxy) -> String {
    let mut notes: Vec<String> = Vec::new();
    if proxy.forgotten {
        notes.push("forgotten".to_owned());
    }
    notes.extend(proxy.error.iter().cloned());
    if let Some(since) = &proxy.behind_since {
        let by = proxy
            .behind_by
            .map(|by| format!(" by {by}"))
            .unwrap_or_default();
        notes.push(format!("behind{by} since {}", date(since)));
    }
    if let Some(refusal) = &proxy.refusal {
        notes.push(format!("refused the table: {refusal}"));
    }
    notes.join("; ")
}

pub fn events(answer: &Value) -> Result<String, Error> {
    let events = Events::deserialize(answer)?.events;
    if events.is_empty() {
        return Ok("nothing has happened\n".to_owned());
    }
    Ok(events.iter().map(event).collect())
}

/// An event on a line.
pub fn event(event: &Event) -> String {
    let at = date(&rfc3339(event.at_ms));
    let line = format!(
        "{:>6}  {at}  {:<18}  {}  {}",
        event.id,
        event.kind,
        event.subject,
        fields(&event.detail)
    );
    format!("{}\n", plain(&line).replace('\n', " ").trim_end())
}

pub fn audit(answer: &Value) -> Result<String, Error> {
    let mut grid = Grid::new(&[
        "REVISION", "AT", "ACTOR", "ACTION", "SUBJECT", "REASON", "DETAIL",
    ]);
    for entry in Audit::deserialize(answer)?.entries {
        grid.row([
            entry.revision.to_string(),
            date(&entry.at),
            entry.actor,
            entry.action,
            entry.subject,
            entry.reason.unwrap_or_default(),
            fields(&entry.detail),
        ]);
    }
    if grid.is_empty() {
        return Ok("nothing was changed\n".to_owned());
    }
    Ok(grid.text(""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proxy_that_is_behind_says_why() {
        let answer = json!({ "published_generation": 9, "proxies": [{
            "name": "edge-1", "admin": "10.0.0.1:9600", "state": "reachable", "state_since": "2026-03-01T12:00:00Z",
            "ready": true, "version": "0.1.0", "generation": 7, "source": "last_good", "refusal": "too much",
            "behind_since": "2026-03-01T12:01:00.25Z", "behind_by": 2, "forgotten": false
        }]});
        let text = proxies(&answer).unwrap();
        let note = "behind by 2 since 2026-03-01T12:01:00Z; refused the table: too much\n";
        assert!(text.contains(note), "{text}");
        assert!(text.ends_with("generation 9 is published\n"), "{text}");
        let empty = proxies(&json!({ "proxies": [] })).unwrap();
        assert!(empty.contains("names no proxy; no table"), "{empty}");
    }

    #[test]
    fn an_event_is_a_line() {
        let happened = Event {
            id: 7,
            at_ms: 1_772_366_400_123,
            kind: "cell.drain".to_owned(),
            subject: "eu-1".to_owned(),
            detail: json!({ "actor": "ops", "reason": "two\nlines" }),
        };
        let expected =
            "     7  2026-03-01T12:00:00Z  cell.drain          eu-1  actor=ops reason=two lines\n";
        assert_eq!(event(&happened), expected);
    }

    #[test]
    fn the_audit_log_is_a_line_each() {
        let answer = json!({ "entries": [{
            "id": 3, "revision": 3, "at": "2026-03-01T12:00:00Z", "actor": "ops@host", "action": "cell.drain",
            "subject": "eu-1", "reason": "new machines", "detail": {}
        }]});
        let text = audit(&answer).unwrap();
        assert!(
            text.ends_with("ops@host  cell.drain  eu-1     new machines  -\n"),
            "{text}"
        );
    }
}
