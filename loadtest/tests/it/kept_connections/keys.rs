//! A caller with many tenant keys opens many connections to its cell, and costs the other cells none of theirs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::request;
use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    heavy::{alone, figure, is_acceptance},
    origin::{Origin, ok},
    proxy::Proxy,
    table::TableText,
    wait_until,
    ways::both_ways,
    wire::Connection,
};

both_ways!(a_caller_with_many_keys_costs_other_cells_no_connection);

/// Clients that ask for one new key after the other, and those of the other cell.
const CALLERS: usize = 4;
const PACED: usize = 16;
/// Between an answer and a paced client's next request. Meanwhile the other clients open more connections than may wait
/// in all, so whatever closes the oldest one closes this client's.
const PAUSE: Duration = Duration::from_millis(250);
/// Connections that may wait, in all and for one cell.
const IDLE_TOTAL_MAX: usize = 100;
const IDLE_PER_CELL_MAX: usize = 80;

/// How long the other cell is watched before the keys come.
const BEFORE: Duration = Duration::from_secs(2);

/// How far the rate of reuse may fall.
const FALL_MAX: f64 = 0.05;

/// How many keys, and how long they may take.
fn keys() -> (usize, Duration) {
    if is_acceptance() {
        (1_000_000, Duration::from_secs(900))
    } else {
        (10_000, Duration::from_secs(180))
    }
}

/// The other cell's clients.
struct Paced {
    asked: Arc<AtomicUsize>,
    cell: Origin,
}

impl Paced {
    /// Which share of the requests needed no new connection while `meanwhile` ran.
    fn reuse_during(&self, meanwhile: impl FnOnce()) -> f64 {
        let seen = || (self.asked.load(Ordering::Acquire), self.cell.connections());
        let (asked_before, opened_before) = seen();
        meanwhile();
        let (asked, opened) = seen();
        let number = |count| u32::try_from(count).map_or(f64::INFINITY, f64::from);
        let asked = number(asked - asked_before);
        assert!(asked > 0.0, "nobody asked");
        1.0 - number(opened - opened_before) / asked
    }

    fn ask_on(&self, proxy: &Proxy, stopping: &AtomicBool) {
        let mut connection = Connection::open(proxy.address());
        while !stopping.load(Ordering::Acquire) {
            let answer = connection.exchange(&request("steady", "x"));
            assert_eq!(answer.status, 200, "{answer:?}");
            self.asked.fetch_add(1, Ordering::AcqRel);
            thread::sleep(PAUSE);
        }
    }
}

/// Asks for each of the keys once, as fast as it goes. Returns how many had another answer than 200.
#[track_caller]
fn ask_for_keys(proxy: &Proxy, count: usize, limit: Duration) -> usize {
    let end = Instant::now() + limit;
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut connection = Connection::open(proxy.address());
                loop {
                    let key = next.fetch_add(1, Ordering::AcqRel);
                    if key >= count {
                        return;
                    }
                    assert!(Instant::now() < end, "only {key} keys in {limit:?}");
                    let answer = connection.exchange(&request(&format!("key-{key}"), "x"));
                    if answer.status != 200 {
                        failed.fetch_add(1, Ordering::AcqRel);
                    }
                    if answer.header("connection") == Some("close") {
                        connection = Connection::open(proxy.address());
                    }
                }
            });
        }
    });
    failed.into_inner()
}

fn a_caller_with_many_keys_costs_other_cells_no_connection() {
    let _alone = alone();
    let (count, limit) = keys();
    // It would remember too much.
    let many = Origin::start_without_record(|visit| {
        while let Some(head) = visit.head() {
            visit.send(ok(head.id()));
        }
    });
    let paced = Paced {
        asked: Arc::default(),
        cell: Origin::well_behaved(),
    };
    let table = TableText::new([
        ("many", vec![many.address()]),
        ("calm", vec![paced.cell.address()]),
    ]);
    let proxy = Proxy::plan()
        .set(
            "upstream",
            &format!(
                "{{ share: tenant, idle_connections_max: {IDLE_TOTAL_MAX}, \
                 idle_per_cell_max: {IDLE_PER_CELL_MAX} }}"
            ),
        )
        .table(
            table
                .slots("calm", &[])
                .slots("many", &["0-999"])
                .pin("steady", "calm"),
        )
        .start();
    let stopping = AtomicBool::new(false);
    let (before, during, failed, took) = thread::scope(|scope| {
        for _ in 0..PACED {
            scope.spawn(|| paced.ask_on(&proxy, &stopping));
        }
        wait_until("each of them has its connection", PATIENCE, || {
            paced.asked.load(Ordering::Acquire) >= 2 * PACED
        });
        let before = paced.reuse_during(|| thread::sleep(BEFORE));
        let started = Instant::now();
        let mut failed = 0;
        let during = paced.reuse_during(|| failed = ask_for_keys(&proxy, count, limit));
        stopping.store(true, Ordering::Release);
        (before, during, failed, started.elapsed())
    });
    figure(format!(
        "{count} keys against one cell in {took:.1?}, over {} connections: the other cell's reuse was {:.2} % before, \
         {:.2} % during; {failed} failed",
        many.connections(),
        before * 100.0,
        during * 100.0,
    ));
    assert_eq!(failed, 0);
    assert!(before - during <= FALL_MAX, "{before} fell to {during}");
    wait_until_idle(&proxy);
}
