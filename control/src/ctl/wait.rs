//! Waiting until a change has taken effect. What an answer means is decided apart from asking for it.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    answers::{Cell, Operation, Proxies, Table},
    call::Call,
    client::Client,
    failure::Failure,
    output::Progress,
};

/// From one look to the next.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// A table that was blocked before a change may be told of as blocked for so long after it.
const BLOCKED_GRACE: Duration = Duration::from_secs(3);

/// What there is to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    None,
    /// The table that says so is published, and every proxy that can be reached has it.
    Table,
    /// The cell is in this state; then the table.
    Cell {
        id: String,
        state: &'static str,
    },
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    /// With the words for it.
    Reached(String),
    Waiting(String),
    /// It will not come by itself.
    Hopeless(String),
}

impl Goal {
    pub fn active(id: &str) -> Self {
        Self::of_cell(id, "active")
    }

    pub fn drained(id: &str) -> Self {
        Self::of_cell(id, "drained")
    }

    pub fn removed(id: &str) -> Self {
        Self::of_cell(id, "removed")
    }

    fn of_cell(id: &str, state: &'static str) -> Self {
        Self::Cell {
            id: id.to_owned(),
            state,
        }
    }
}

/// Waits for it, and tells how far it is. Gives the words for what was reached.
pub async fn reach(client: &Client, goal: &Goal, limit: Duration) -> Result<String, Failure> {
    let mut progress = Progress::default();
    let begin = Instant::now();
    let mut words = Vec::new();
    if let Goal::Cell { id, state } = goal {
        let of_cell = Call::get(&["cells", id]);
        words.push(
            until(begin, limit, &mut progress, async || {
                let cell: Cell = read(client, &of_cell).await?;
                Ok(look_at_cell(&cell, state))
            })
            .await?,
        );
    }
    // Before the first table there is none to wait for: a cell alone makes none.
    let may_be_none = matches!(goal, Goal::Cell { .. });
    words.push(
        until(begin, limit, &mut progress, async || {
            let table: Table = read(client, &Call::get(&["table"])).await?;
            let proxies: Proxies = read(client, &Call::get(&["proxies"])).await?;
            Ok(look_at_table(
                &table,
                &proxies,
                begin.elapsed(),
                may_be_none,
            ))
        })
        .await?,
    );
    words.retain(|words| !words.is_empty());
    Ok(words.join("; "))
}

async fn until(
    begin: Instant,
    limit: Duration,
    progress: &mut Progress,
    look: impl AsyncFn() -> Result<Look, Failure>,
) -> Result<String, Failure> {
    loop {
        let waiting = match look().await {
            Ok(Look::Reached(words)) => return Ok(words),
            Ok(Look::Hopeless(why)) => return Err(Failure::NotReached(why)),
            Ok(Look::Waiting(what)) => what,
            // The daemon may be restarted meanwhile.
            Err(failure) if failure.is_unreachable() => failure.to_string(),
            Err(failure) => return Err(failure),
        };
        if begin.elapsed() >= limit {
            let seconds = limit.as_secs();
            return Err(Failure::NotReached(format!(
                "after {seconds} seconds: {waiting}"
            )));
        }
        progress.say(&waiting);
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

async fn read<T: DeserializeOwned>(client: &Client, call: &Call) -> Result<T, Failure> {
    let answer: Value = client.json(call).await?;
    T::deserialize(&answer).map_err(|error| client.odd(error.to_string()))
}

fn look_at_cell(cell: &Cell, wanted: &str) -> Look {
    let now = format!("cell {} is {}", cell.id, cell.state);
    if cell.state == wanted {
        return Look::Reached(now);
    }
    let reason = cell.state_reason.as_deref();
    let with_reason = || match reason {
        Some(reason) => format!("{now}: {reason}"),
        None => now.clone(),
    };
    let is_on_its_way = match wanted {
        "active" => matches!(cell.state.as_str(), "provisioning" | "warming"),
        "drained" => cell.state == "draining",
        // A provider takes it down; in which state it stays meanwhile says nothing.
        _ => match cell.operations.first() {
            Some(operation) if operation.verb == "remove" && operation.state == "failed" => {
                return Look::Hopeless(format!("{now}: {}", said(operation)));
            }
            _ => true,
        },
    };
    if is_on_its_way {
        return Look::Waiting(match wanted {
            "drained" => format!(
                "{now}, and owns {} slots and {} tenants",
                cell.slots, cell.tenants
            ),
            _ => with_reason(),
        });
    }
    Look::Hopeless(match cell.operations.first() {
        Some(operation) if operation.state == "failed" => {
            format!("{now}: {}", said(operation))
        }
        _ => with_reason(),
    })
}

/// What an operation said when it failed.
fn said(operation: &Operation) -> String {
    let error = operation.error.as_deref().unwrap_or("the provider failed");
    let output = operation.output.trim_end();
    if output.is_empty() {
        return error.to_owned();
    }
    format!("{error}\n{output}")
}

fn look_at_table(table: &Table, proxies: &Proxies, elapsed: Duration, may_be_none: bool) -> Look {
    if let Some(blocked) = &table.blocked {
        let because = table.blocked_because.as_deref().unwrap_or(&blocked.code);
        let hint = table.hint.as_deref().unwrap_or_default();
        return match blocked.code.as_str() {
            "no_table" if may_be_none => Look::Reached(String::new()),
            // These may pass without anybody's doing.
            "no_table" | "write" | "storage" | "unreadable" => {
                Look::Waiting(format!("no table is published: {because}"))
            }
            _ if elapsed < BLOCKED_GRACE => {
                Look::Waiting(format!("no table is published: {because}"))
            }
            _ => Look::Hopeless(format!("no table is published: {because}; {hint}")),
        };
    }
    let Some(generation) = table.generation.filter(|_| table.current) else {
        return Look::Waiting("the table is about to be published".to_owned());
    };
    let reachable = || proxies.proxies.iter().filter(|it| it.state == "reachable");
    let late: Vec<&str> = reachable()
        .filter(|it| it.generation < Some(generation))
        .map(|it| it.name.as_str())
        .collect();
    if table.everywhere && late.is_empty() {
        return Look::Reached(format!("table {generation} is in force"));
    }
    let refusal = reachable().find_map(|it| {
        let refusal = it.refusal.as_deref()?;
        Some(format!("; {} refused it: {refusal}", it.name))
    });
    Look::Waiting(format!(
        "table {generation} is published; {} of {} proxies have yet to take it: {}{}",
        late.len(),
        reachable().count(),
        late.join(", "),
        refusal.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;

    fn cell(state: &str, operations: &Value) -> Cell {
        let cell = json!({
            "id": "a", "state": state, "state_reason": null, "state_since": "", "may_become": [], "provider": "p",
            "params": {}, "endpoints": [], "max_in_flight": 1, "tunnels_max": 1, "labels": {}, "stateless": true, "capacity": {}, "usage": {},
            "tenants": 2, "slots": 3, "operations": operations,
            "health": { "endpoints": [], "suspicion": [], "proxies": {}, "requests_per_second": 0.0, "error_share": 0.0 },
        });
        Cell::deserialize(&cell).unwrap()
    }

    fn operation(verb: &str, state: &str) -> Value {
        json!([{ "id": "o", "verb": verb, "state": state, "asked": "", "attempts": 1, "output": "no room\n", "error": "exit 3" }])
    }

    #[test]
    fn a_cell_is_waited_for_while_it_may_still_come() {
        let check = |state: &str, wanted: &str, operations: Value, expected: &Look| {
            let found = look_at_cell(&cell(state, &operations), wanted);
            assert_eq!(found, *expected, "{state} -> {wanted}");
        };
        let reached = |text: &str| Look::Reached(text.to_owned());
        let waiting = |text: &str| Look::Waiting(text.to_owned());
        let hopeless = |text: &str| Look::Hopeless(text.to_owned());
        check("active", "active", json!([]), &reached("cell a is active"));
        check(
            "warming",
            "active",
            json!([]),
            &waiting("cell a is warming"),
        );
        check(
            "failed",
            "active",
            operation("provision", "failed"),
            &hopeless("cell a is failed: exit 3\nno room"),
        );
        check(
            "draining",
            "active",
            json!([]),
            &hopeless("cell a is draining"),
        );
        let left = "cell a is draining, and owns 3 slots and 2 tenants";
        check("draining", "drained", json!([]), &waiting(left));
        check(
            "active",
            "drained",
            json!([]),
            &hopeless("cell a is active"),
        );
        let running = operation("remove", "running");
        check(
            "drained",
            "removed",
            running.clone(),
            &waiting("cell a is drained"),
        );
        check("failed", "removed", running, &waiting("cell a is failed"));
        check(
            "drained",
            "removed",
            operation("remove", "failed"),
            &hopeless("cell a is drained: exit 3\nno room"),
        );
    }

    fn table(more: &Value) -> Table {
        let mut table = json!({ "intent_generation": 7, "generation": 7, "path": "", "current": true, "everywhere": true });
        for (name, value) in more.as_object().unwrap() {
            table[name] = value.clone();
        }
        Table::deserialize(&table).unwrap()
    }

    fn proxies(generations: &[u64]) -> Proxies {
        let proxy = |(at, generation): (usize, &u64)| {
            json!({ "name": format!("edge-{at}"), "admin": "", "state": "reachable", "state_since": "", "ready": true,
                "generation": generation })
        };
        let proxies: Vec<Value> = generations.iter().enumerate().map(proxy).collect();
        Proxies::deserialize(&json!({ "proxies": proxies })).unwrap()
    }

    #[test]
    fn a_table_is_waited_for_until_every_proxy_has_it() {
        let early = Duration::ZERO;
        let found = look_at_table(&table(&json!({})), &proxies(&[7, 8]), early, false);
        assert_eq!(found, Look::Reached("table 7 is in force".to_owned()));
        let found = look_at_table(
            &table(&json!({ "current": false })),
            &proxies(&[7]),
            early,
            false,
        );
        assert!(matches!(found, Look::Waiting(_)), "{found:?}");
        let behind = table(&json!({ "everywhere": false }));
        let found = look_at_table(&behind, &proxies(&[7, 6]), early, false);
        let expected = "table 7 is published; 1 of 2 proxies have yet to take it: edge-1";
        assert_eq!(found, Look::Waiting(expected.to_owned()));
    }

    #[test]
    fn a_blocked_table_is_given_up_soon() {
        let blocked = |code: &str| {
            let blocked = json!({ "current": false, "blocked": { "code": code }, "blocked_because": "it is so", "hint": "do this" });
            table(&blocked)
        };
        let check = |code: &str, seconds: u64, may_be_none: bool, expected: &Look| {
            let elapsed = Duration::from_secs(seconds);
            let found = look_at_table(&blocked(code), &proxies(&[]), elapsed, may_be_none);
            assert_eq!(found, *expected, "{code} after {seconds}");
        };
        let waiting = Look::Waiting("no table is published: it is so".to_owned());
        let hopeless = Look::Hopeless("no table is published: it is so; do this".to_owned());
        check("moves_too_much", 1, false, &waiting);
        check("moves_too_much", 4, false, &hopeless);
        check("foreign_table", 4, true, &hopeless);
        check("write", 4, false, &waiting);
        check("no_table", 4, false, &waiting);
        check("no_table", 4, true, &Look::Reached(String::new()));
    }
}
