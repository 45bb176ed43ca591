//! Waiting until a change has taken effect. What an answer means is decided apart from asking for it.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    answers::{Cell, Operation, Proxies, Table, Unconfirmed},
    call::Call,
    client::Client,
    failure::Failure,
    output::Progress,
};

/// From one poll to the next.
const POLL_PERIOD: Duration = Duration::from_millis(200);
/// The first poll may take at least so long, however short the limit is.
const FIRST_POLL_MIN: Duration = Duration::from_secs(1);
/// A table that was blocked before a change may be reported as blocked for so long after it.
const BLOCKED_GRACE: Duration = Duration::from_secs(3);

/// What there is to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    None,
    /// The table that says so is published, and the proxies were seen with it.
    Table,
    /// The cell is in this state; then the table.
    Cell {
        id: String,
        state: &'static str,
    },
}

/// Whose table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every listed proxy has to have been seen with it.
    Listed,
    /// Every proxy that answers has to have it, and one has to answer.
    Reachable,
}

/// What was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub words: String,
    /// A proxy has confirmed that the table is in force; or there is no table.
    pub is_confirmed: bool,
}

/// What a poll found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Reached(Reached),
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

/// Waits for it, and shows how far it is.
pub async fn reach(
    client: &Client,
    goal: &Goal,
    scope: Scope,
    limit: Duration,
) -> Result<Reached, Failure> {
    let mut progress = Progress::default();
    let begin = Instant::now();
    let mut words = Vec::new();
    if let Goal::Cell { id, state } = goal {
        let of_cell = Call::get(&["cells", id]);
        let reached = until(begin, limit, &mut progress, async || {
            let cell: Cell = read(client, &of_cell).await?;
            Ok(judge_cell(&cell, state))
        });
        words.push(reached.await?.words);
    }
    // Before the first table there is nothing to wait for: one cell alone makes no table.
    let may_be_none = matches!(goal, Goal::Cell { .. });
    let reached = until(begin, limit, &mut progress, async || {
        let proxies: Proxies = read(client, &Call::get(&["proxies"])).await?;
        let table: Table = read(client, &Call::get(&["table"])).await?;
        Ok(judge_table(
            &table,
            &proxies,
            scope,
            begin.elapsed(),
            may_be_none,
        ))
    });
    let reached = reached.await?;
    words.push(reached.words);
    words.retain(|words| !words.is_empty());
    Ok(Reached {
        words: words.join("; "),
        is_confirmed: reached.is_confirmed,
    })
}

async fn until(
    begin: Instant,
    limit: Duration,
    progress: &mut Progress,
    poll: impl AsyncFn() -> Result<Found, Failure>,
) -> Result<Reached, Failure> {
    let end = (begin + limit).max(Instant::now() + FIRST_POLL_MIN);
    let mut last = "the daemon does not answer".to_owned();
    loop {
        // A daemon that hangs must not hold up whoever waits.
        let waiting = match timeout_at(end, poll()).await {
            Ok(Ok(Found::Reached(reached))) => return Ok(reached),
            Ok(Ok(Found::Hopeless(why))) => return Err(Failure::NotReached(why)),
            Ok(Ok(Found::Waiting(what))) => what,
            // The daemon may be restarted meanwhile.
            Ok(Err(failure)) if failure.is_unreachable() => failure.to_string(),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => last,
        };
        if Instant::now() + POLL_PERIOD >= end {
            let seconds = limit.as_secs();
            return Err(Failure::NotReached(format!(
                "after {seconds} seconds: {waiting}"
            )));
        }
        progress.say(&waiting);
        last = format!("the daemon has stopped answering; before that: {waiting}");
        sleep(POLL_PERIOD).await;
    }
}

async fn read<T: DeserializeOwned>(client: &Client, call: &Call) -> Result<T, Failure> {
    let answer: Value = client.json(call).await?;
    T::deserialize(&answer).map_err(|error| client.odd(error.to_string()))
}

fn judge_cell(cell: &Cell, wanted: &str) -> Found {
    let now = format!("cell {} is {}", cell.id, cell.state);
    if cell.state == wanted {
        return Found::Reached(Reached {
            words: now,
            is_confirmed: true,
        });
    }
    let reason = cell.waiting_for.as_deref().or(cell.state_reason.as_deref());
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
                return Found::Hopeless(format!("{now}: {}", said(operation)));
            }
            _ => true,
        },
    };
    if is_on_its_way {
        return Found::Waiting(match wanted {
            "drained" => format!(
                "{now}, and owns {} slots and {} tenants",
                cell.slots, cell.tenants
            ),
            _ => with_reason(),
        });
    }
    Found::Hopeless(match cell.operations.first() {
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

fn judge_table(
    table: &Table,
    proxies: &Proxies,
    scope: Scope,
    elapsed: Duration,
    may_be_none: bool,
) -> Found {
    if let Some(blocked) = &table.blocked {
        let because = table.blocked_because.as_deref().unwrap_or(&blocked.code);
        let hint = table.hint.as_deref().unwrap_or_default();
        return match blocked.code.as_str() {
            "no_table" if may_be_none => Found::Reached(Reached {
                words: String::new(),
                is_confirmed: true,
            }),
            // These may pass without anybody's doing.
            "no_table" | "write" | "storage" | "unreadable" => {
                Found::Waiting(format!("no table is published: {because}"))
            }
            _ if elapsed < BLOCKED_GRACE => {
                Found::Waiting(format!("no table is published: {because}"))
            }
            _ => Found::Hopeless(format!("no table is published: {because}; {hint}")),
        };
    }
    let Some(generation) = table.generation.filter(|_| table.current) else {
        return Found::Waiting("the table is about to be published".to_owned());
    };
    if table.confirmed.is_empty() && table.not_confirmed.is_empty() {
        return Found::Reached(Reached {
            words: format!("table {generation} is published; {}", nobody(table)),
            is_confirmed: false,
        });
    }
    judge_proxies(generation, table, proxies, scope)
}

/// Why there is no proxy that could confirm a table.
pub fn nobody(table: &Table) -> &'static str {
    if table.forgotten.is_empty() {
        "no proxies are listed in the daemon's configuration, so nobody confirmed it"
    } else {
        "every listed proxy was forgotten, so nobody confirmed it"
    }
}

fn judge_proxies(generation: u64, table: &Table, proxies: &Proxies, scope: Scope) -> Found {
    let is_reachable = |name: &str| {
        let mut listed = proxies.proxies.iter();
        listed.any(|it| it.name == name && it.state == "reachable")
    };
    let listed = table.confirmed.len() + table.not_confirmed.len();
    let (confirmed, missing): (usize, Vec<&Unconfirmed>) = match scope {
        Scope::Listed => (table.confirmed.len(), table.not_confirmed.iter().collect()),
        Scope::Reachable => {
            let confirmed = table.confirmed.iter().filter(|it| is_reachable(it)).count();
            let missing = table.not_confirmed.iter();
            let missing = missing.filter(|it| it.state == "reachable").collect();
            (confirmed, missing)
        }
    };
    // What a dead proxy was seen with once serves nobody.
    let anyone_serves = table.confirmed.iter().any(|it| is_reachable(it));
    if missing.is_empty() && confirmed > 0 && anyone_serves {
        let mut words =
            format!("table {generation} is in force: confirmed by {confirmed} of {listed} proxies");
        if confirmed < listed {
            words.push_str(", all that can be reached");
        }
        return Found::Reached(Reached {
            words,
            is_confirmed: true,
        });
    }
    let named = if missing.is_empty() {
        let last_seen = match &table.confirmed[..] {
            [] => unconfirmed(&table.not_confirmed),
            seen => format!("{} had it when last seen", seen.join(", ")),
        };
        format!("no proxy can be reached; {last_seen}")
    } else {
        unconfirmed(missing)
    };
    let mut listed = proxies.proxies.iter();
    let refusal = listed.find_map(|it| {
        let refusal = it.refusal.as_deref().filter(|_| it.state == "reachable")?;
        Some(format!("; {} refused it: {refusal}", it.name))
    });
    Found::Waiting(format!(
        "table {generation} is published; {named}{}",
        refusal.unwrap_or_default(),
    ))
}

/// Who has not been seen with the table, and what each may have in its place.
pub fn unconfirmed<'u>(missing: impl IntoIterator<Item = &'u Unconfirmed>) -> String {
    let one = |it: &Unconfirmed| {
        let state = match it.state.as_str() {
            "reachable" => "",
            "unknown" => "not asked yet, ",
            _ => "unreachable, ",
        };
        let has = match (it.generation, it.state.as_str()) {
            (None, _) => "never seen with a table".to_owned(),
            (Some(generation), "reachable") => format!("has generation {generation}"),
            (Some(generation), _) => format!("may still have generation {generation}"),
        };
        format!("{} ({state}{has})", it.proxy)
    };
    let all: Vec<String> = missing.into_iter().map(one).collect();
    if all.is_empty() {
        return "every listed proxy was seen with it".to_owned();
    }
    format!("not confirmed by {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_hangs_does_not_hold_up_the_wait() {
        let polls = std::cell::Cell::new(0);
        let poll = async || {
            polls.set(polls.get() + 1);
            if polls.get() > 2 {
                std::future::pending::<()>().await;
            }
            Ok(Found::Waiting("the cell is warming".to_owned()))
        };
        let begin = Instant::now();
        let limit = Duration::from_secs(5);
        let mut progress = Progress::default();
        let waited = until(begin, limit, &mut progress, poll);
        let failure = waited.await.unwrap_err().to_string();
        assert!(begin.elapsed() < limit + Duration::from_secs(1));
        let expected =
            "after 5 seconds: the daemon has stopped answering; before that: the cell is warming";
        assert!(failure.contains(expected), "{failure}");
    }

    fn cell(state: &str, operations: &Value) -> Cell {
        let cell = json!({
            "id": "a", "state": state, "state_reason": null, "state_since": "", "may_become": [], "provider": "p",
            "params": {}, "endpoints": [], "max_in_flight": 1, "tunnels_max": 1, "connections_max": 1, "labels": {}, "stateless": true, "capacity": {}, "usage": {},
            "tenants": 2, "slots": 3, "operations": operations,
            "health": { "endpoints": [], "suspicion": [], "proxies": {}, "requests_per_second": 0.0, "error_share": 0.0 },
        });
        Cell::deserialize(&cell).unwrap()
    }

    fn confirmed(words: &str) -> Found {
        Found::Reached(Reached {
            words: words.to_owned(),
            is_confirmed: true,
        })
    }

    fn operation(verb: &str, state: &str) -> Value {
        json!([{ "id": "o", "verb": verb, "state": state, "asked": "", "attempts": 1, "output": "no room\n", "error": "exit 3" }])
    }

    #[test]
    fn a_cell_is_waited_for_while_it_may_still_come() {
        let check = |state: &str, wanted: &str, operations: Value, expected: &Found| {
            let found = judge_cell(&cell(state, &operations), wanted);
            assert_eq!(found, *expected, "{state} -> {wanted}");
        };
        let reached = |text: &str| confirmed(text);
        let waiting = |text: &str| Found::Waiting(text.to_owned());
        let hopeless = |text: &str| Found::Hopeless(text.to_owned());
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
        let mut table = json!({ "revision": 7, "generation": 7, "path": "", "current": true, "everywhere": false,
            "confirmed": [], "not_confirmed": [], "forgotten": [], "now": "" });
        for (name, value) in more.as_object().unwrap() {
            table[name] = value.clone();
        }
        Table::deserialize(&table).unwrap()
    }

    fn proxies(states: &[(&str, &str)]) -> Proxies {
        let proxy = |(name, state): &(&str, &str)| json!({ "name": name, "admin": "", "state": state, "state_since": "", "ready": true, "forgotten": false });
        let proxies: Vec<Value> = states.iter().map(proxy).collect();
        Proxies::deserialize(&json!({ "proxies": proxies })).unwrap()
    }

    fn missing(name: &str, state: &str, generation: Option<u64>) -> Value {
        json!({ "proxy": name, "state": state, "generation": generation })
    }

    #[test]
    fn a_table_is_in_force_only_if_proxies_say_so() {
        let check = |scope: Scope, more: Value, states: &[(&str, &str)], expected: &Found| {
            let found = judge_table(
                &table(&more),
                &proxies(states),
                scope,
                Duration::ZERO,
                false,
            );
            assert_eq!(found, *expected, "{scope:?} {more}");
        };
        let waiting = |text: &str| Found::Waiting(text.to_owned());
        let both = [("a", "reachable"), ("b", "unreachable")];
        check(
            Scope::Listed,
            json!({ "confirmed": ["a", "b"] }),
            &both,
            &confirmed("table 7 is in force: confirmed by 2 of 2 proxies"),
        );
        check(
            Scope::Listed,
            json!({ "current": false, "confirmed": ["a", "b"] }),
            &both,
            &waiting("the table is about to be published"),
        );
        let one =
            json!({ "confirmed": ["a"], "not_confirmed": [missing("b", "unreachable", Some(6))] });
        let text =
            "table 7 is published; not confirmed by b (unreachable, may still have generation 6)";
        check(Scope::Listed, one.clone(), &both, &waiting(text));
        check(
            Scope::Reachable,
            one,
            &both,
            &confirmed("table 7 is in force: confirmed by 1 of 2 proxies, all that can be reached"),
        );
        let dead = [("a", "unreachable"), ("b", "unreachable")];
        let none = json!({ "not_confirmed": [missing("a", "unreachable", None), missing("b", "unreachable", Some(6))] });
        let named = "not confirmed by a (unreachable, never seen with a table), b (unreachable, may still have generation 6)";
        let text = format!("table 7 is published; {named}");
        check(Scope::Listed, none.clone(), &dead, &waiting(&text));
        let text = format!("table 7 is published; no proxy can be reached; {named}");
        check(Scope::Reachable, none, &dead, &waiting(&text));
        // Seen with it before they died: that is not an answer of one that can be reached.
        let text = "table 7 is published; no proxy can be reached; a, b had it when last seen";
        for scope in [Scope::Listed, Scope::Reachable] {
            let seen = json!({ "confirmed": ["a", "b"] });
            check(scope, seen, &dead, &waiting(text));
        }
    }

    #[test]
    fn without_proxies_nobody_confirms() {
        let check = |more: Value, expected: &str| {
            let found = judge_table(
                &table(&more),
                &proxies(&[]),
                Scope::Listed,
                Duration::ZERO,
                false,
            );
            let words = format!("table 7 is published; {expected}");
            let is_confirmed = false;
            assert_eq!(
                found,
                Found::Reached(Reached {
                    words,
                    is_confirmed
                })
            );
        };
        check(
            json!({}),
            "no proxies are listed in the daemon's configuration, so nobody confirmed it",
        );
        check(
            json!({ "forgotten": ["a"] }),
            "every listed proxy was forgotten, so nobody confirmed it",
        );
    }

    #[test]
    fn a_blocked_table_is_given_up_soon() {
        let blocked = |code: &str| {
            let blocked = json!({ "current": false, "blocked": { "code": code }, "blocked_because": "it is so", "hint": "do this" });
            table(&blocked)
        };
        let check = |code: &str, seconds: u64, may_be_none: bool, expected: &Found| {
            let elapsed = Duration::from_secs(seconds);
            let found = judge_table(
                &blocked(code),
                &proxies(&[]),
                Scope::Listed,
                elapsed,
                may_be_none,
            );
            assert_eq!(found, *expected, "{code} after {seconds}");
        };
        let waiting = Found::Waiting("no table is published: it is so".to_owned());
        let hopeless = Found::Hopeless("no table is published: it is so; do this".to_owned());
        check("moves_too_much", 1, false, &waiting);
        check("moves_too_much", 4, false, &hopeless);
        check("foreign_table", 4, true, &hopeless);
        check("write", 4, false, &waiting);
        check("no_table", 4, false, &waiting);
        check("no_table", 4, true, &confirmed(""));
    }
}
