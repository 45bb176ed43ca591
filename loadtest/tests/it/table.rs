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

/// The edits whose times are taken. Their median counts, since a busy machine makes one slow now
/// and then.
const TRIES: usize = 5;

/// Pins tenant `movable` to cell 2, to cell 1, and so on, by `edit`, and each time waits until its
/// requests go there. Returns the median of the times between the end of the edit and that.
#[track_caller]
fn time_to_effect(proxy: &Proxy, table: &TableText, edit: impl Fn(&Proxy, &str)) -> Duration {
    let mut connection = Connection::open(proxy.address());
    let request = Request::get("/").header(TENANT, "movable");
    let mut times = Vec::new();
    for number in 0..TRIES {
        let cell = ["cell-2", "cell-1"][number % 2];
        edit(proxy, &table.clone().pin("movable", cell).to_string());
        let edited = Instant::now();
        wait_until(&format!("edit {number} takes effect"), PATIENCE, || {
            connection.exchange(&request).header("x-cell") == Some(cell)
        });
        times.push(edited.elapsed());
    }
    times.sort_unstable();
    eprintln!("from edit to effect: {times:?}");
    times[TRIES / 2]
}
