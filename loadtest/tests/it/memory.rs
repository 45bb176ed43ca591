//! What requests hold on to while the table changes.

use std::{thread, time::Duration};

use crate::support::{
    gauges::wait_for_in_flight,
    heavy::{alone, figure, is_acceptance},
    origin::{Origin, Visit},
    proxy::{ONLY, Proxy, TENANT},
    table::TableText,
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(open_answers_keep_no_table);

/// How much more memory open answers may cost, in percent of what the same changes cost without them.
const MORE_PERCENT_MAX: f64 = 10.0;

/// The allocator would keep what was freed for some time, and how much of it differs from run to run.
const GIVE_BACK_AT_ONCE: (&str, &str) = ("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");

/// What is in use when the last table is in force differs too. The least of several rounds counts: a request that keeps
/// its table does so in every round.
const ROUNDS_MAX: usize = 3;

const SAMPLES: usize = 15;
const BETWEEN_SAMPLES: Duration = Duration::from_millis(100);

/// A large table takes a while to be read.
const TABLE_LIMIT: Duration = Duration::from_secs(120);

/// How many tables follow each other, and how many names each has.
fn amounts() -> (usize, usize) {
    if is_acceptance() {
        (12, 200_000)
    } else {
        (4, 50_000)
    }
}

/// Begins an answer and does not end it.
fn stream_on(visit: &mut Visit) {
    visit.head();
    visit.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    while visit.send("1\r\nx\r\n") {
        thread::sleep(Duration::from_millis(500));
    }
}

/// A table whose names no other one has.
fn table(cell: &Origin, number: usize, names: usize) -> TableText {
    let table = TableText::new([(ONLY, vec![cell.address()])]);
    (0..names).fold(table, |table, name| {
        table.pin(&format!("tenant-{name}-of-table-{number}"), ONLY)
    })
}

/// What the proxy holds after all tables. Under each of them an answer begins, and so many of these are still open.
#[track_caller]
fn resident_after_changes(open_max: usize) -> u64 {
    let (tables, names) = amounts();
    let cell = Origin::start(stream_on);
    let proxy = Proxy::plan()
        .environment(GIVE_BACK_AT_ONCE)
        .table(table(&cell, 0, names))
        .start();
    let mut open = Vec::new();
    for number in 1..=tables {
        let mut connection = Connection::open(proxy.address());
        let tenant = format!("tenant-1-of-table-{}", number - 1);
        let request = Request::get("/x").header(TENANT, tenant);
        connection.send(request.bytes()).expect("the proxy listens");
        assert_eq!(connection.interim().expect("it begins"), 200);
        if open.len() < open_max {
            open.push(connection);
        }
        proxy.write_table(table(&cell, number, names));
        let generation = number as u64 + 1;
        wait_until("the next table is in force", TABLE_LIMIT, || {
            proxy.generation() == generation
        });
    }
    wait_for_in_flight(&proxy, open.len() as u64);
    // A table is in force a moment before what reading it took is given back.
    let samples = (0..SAMPLES).map(|_| {
        thread::sleep(BETWEEN_SAMPLES);
        proxy.resident_bytes()
    });
    samples.min().expect("there is at least one")
}

/// A request under way keeps what it needs of its cell, not the table that it began with.
fn open_answers_keep_no_table() {
    let _alone = alone();
    let (tables, names) = amounts();
    let (mut without, mut with) = (u64::MAX, u64::MAX);
    let mut rounds = 0;
    let more_percent = loop {
        without = without.min(resident_after_changes(0));
        with = with.min(resident_after_changes(tables));
        rounds += 1;
        let more_percent = (mib(with) / mib(without) - 1.0) * 100.0;
        let is_enough = more_percent < MORE_PERCENT_MAX && !is_acceptance();
        if is_enough || rounds == ROUNDS_MAX {
            break more_percent;
        }
    };
    figure(format!(
        "after {tables} tables of {names} names {:.1} MiB, with an answer of each still open {:.1} MiB: {more_percent:+.1} % \
         (the least of {rounds} rounds)",
        mib(without),
        mib(with),
    ));
    assert!(more_percent < MORE_PERCENT_MAX, "{more_percent:+.1} %");
}

fn mib(bytes: u64) -> f64 {
    let kib = u32::try_from(bytes >> 10).expect("it holds less than a few terabytes");
    f64::from(kib) / 1024.0
}
