//! The table changes under the proxy: when an edit takes effect, what is refused, and what else may
//! stand in the table's place.

mod bad_files;
mod edits;
mod rules;
mod watch;

use std::time::{Duration, Instant};

use crate::support::{
    PATIENCE,
    proxy::{Proxy, TENANT},
    table::TableText,
    wait_until,
    wire::{Connection, Request},
};

/// How long after the last write an edit may be without effect, when file events arrive.
const EFFECT_LIMIT: Duration = Duration::from_millis(250);

/// The edits whose times are taken in a round. Their median counts.
const EDITS: usize = 5;

/// On a busy machine a whole round may be slow.
const ROUNDS: usize = 3;

/// Pins tenant `movable` to the one cell and the other in turn, by `edit`. Its requests have to go there
/// within `limit` after the edit.
#[track_caller]
fn check_effect(
    proxy: &Proxy,
    table: &TableText,
    limit: Duration,
    mut edit: impl FnMut(&Proxy, &str),
) {
    let mut medians = Vec::new();
    for _ in 0..ROUNDS {
        let times = times_to_effect(proxy, table, &mut edit);
        eprintln!("from edit to effect: {times:?}");
        if times[EDITS / 2] <= limit {
            return;
        }
        medians.push(times[EDITS / 2]);
    }
    panic!("edits take too long: {medians:?}\n{}", proxy.log());
}

/// The times of one round, the shortest first.
#[track_caller]
fn times_to_effect(
    proxy: &Proxy,
    table: &TableText,
    mut edit: impl FnMut(&Proxy, &str),
) -> Vec<Duration> {
    let mut connection = Connection::open(proxy.address());
    let request = Request::get("/").header(TENANT, "movable");
    let mut cell_now = || {
        let answer = connection.exchange(&request);
        answer.header("x-cell").map(str::to_owned)
    };
    let mut times = Vec::new();
    for number in 0..EDITS {
        let before = cell_now();
        let cell = if before.as_deref() == Some("cell-1") {
            "cell-2"
        } else {
            "cell-1"
        };
        edit(proxy, &table.clone().pin("movable", cell).to_string());
        let edited = Instant::now();
        wait_until(&format!("edit {number} takes effect"), PATIENCE, || {
            cell_now().as_deref() == Some(cell)
        });
        times.push(edited.elapsed());
    }
    times.sort_unstable();
    times
}
