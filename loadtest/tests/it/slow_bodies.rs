//! Clients that send small bodies slowly: they hold no place of their cell while they do.

use std::time::{Duration, Instant};

use crate::support::{
    PATIENCE,
    clients::Clients,
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::{allows_clients, alone, figure, is_acceptance},
    proxy::{Proxy, TENANT},
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    slow_senders_of_small_bodies_hold_no_place_of_their_cell,
    slow_uploads_give_their_places_back,
);

/// Requests that the cell may have in flight.
const MAX_IN_FLIGHT: usize = 20;
/// Clients that send what they have immediately.
const CLIENTS: usize = 8;

/// Of each slow body, which comes a byte at a time.
const BODY_BYTES: usize = 100;
const BETWEEN_BYTES: Duration = Duration::from_secs(1);

/// What the proxy may keep for a slow client: its connection, and the body that it waits for.
const BYTES_PER_SENDER_MAX: u64 = 96 << 10;

fn slow_senders_of_small_bodies_hold_no_place_of_their_cell() {
    let _alone = alone();
    let (senders, time) = if is_acceptance() {
        (2_000, Duration::from_secs(20))
    } else {
        (500, Duration::from_secs(4))
    };
    if !allows_clients(senders) {
        return;
    }
    let fleet = Fleet::start(1);
    let limit = format!("max_in_flight: {MAX_IN_FLIGHT}");
    let proxy = Proxy::plan()
        // As slow as they are, they are to stay.
        .set("limits", "{ body_bytes_per_second_min: 0 }")
        .table(fleet.table().cell_line("cell-1", &limit))
        .start();
    let others = Clients::start(proxy.address(), "other", CLIENTS);
    let before = others.watch(time / 4);
    let memory = proxy.resident_bytes();

    let request = Request::new("POST", "/echo/slow")
        .header(TENANT, "slow")
        .body("x".repeat(BODY_BYTES))
        .bytes();
    let (head, body) = request.split_at(request.len() - BODY_BYTES);
    let mut slow: Vec<Connection> = (0..senders)
        .map(|_| {
            let mut sender = Connection::open(proxy.address());
            sender.send(head).expect("the proxy listens");
            sender
        })
        .collect();
    wait_until("all of them are connected", PATIENCE, || {
        proxy.status()["client_connections"].as_u64() >= Some(senders as u64)
    });
    drop(others.take());
    let (sent, in_flight) = drip(&mut slow, body, time, &proxy);
    let during = others.take();

    let grown = proxy.resident_bytes().saturating_sub(memory) / senders as u64;
    figure(format!(
        "{senders} slow senders of small bodies: {} others refused, {} failed, {in_flight} in \
         flight, {} answered; {grown} bytes of memory for each sender",
        during.refused.len(),
        during.failed.len(),
        during.answered.len()
    ));
    assert_eq!(during.failed, [""; 0]);
    assert_eq!(during.refused.len(), 0);
    assert!(in_flight <= CLIENTS as u64, "{in_flight} in flight");
    assert!(grown < BYTES_PER_SENDER_MAX, "{grown} bytes for each");
    during.answered.are_about_as_good_as(&before.answered);

    // Whoever sends the rest is answered as anybody else.
    for sender in &mut slow[..CLIENTS] {
        sender.send(&body[sent..]).expect("it is still open");
        let answer = sender.answer("POST").expect("it is answered");
        assert_eq!((answer.status, &*answer.body), (200, body));
    }
    drop(slow);
    assert_eq!(others.stop().failed, [""; 0]);
    wait_until_idle(&proxy);
}

/// Uploads too large to be read first, and slower than anybody needs to be.
const SLOW_UPLOADS: usize = 25;
/// Ten seconds of waiting for a client, and some for the machine.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(15);

/// They hold places of their cell, but not for long.
fn slow_uploads_give_their_places_back() {
    let fleet = Fleet::start(1);
    let limit = format!("max_in_flight: {MAX_IN_FLIGHT}");
    let proxy = Proxy::start(fleet.table().cell_line("cell-1", &limit));
    let head = "POST /echo/slow HTTP/1.1\r\nhost: test\r\nx-tenant-id: slow\r\n\
                transfer-encoding: chunked\r\n\r\nffff\r\n";
    let started = Instant::now();
    let mut slow: Vec<Connection> = (0..SLOW_UPLOADS)
        .map(|_| {
            let mut sender = Connection::open(proxy.address());
            sender.send(head).expect("the proxy listens");
            sender
        })
        .collect();
    let in_flight = || proxy.status()["cells"]["cell-1"]["in_flight"].as_u64();
    wait_until("the cell is full", PATIENCE, || {
        in_flight() == Some(MAX_IN_FLIGHT as u64)
    });
    wait_until("its places are free again", GIVEN_UP_WITHIN, || {
        for sender in &mut slow {
            // Whoever was answered already need not hear of it.
            let _ = sender.send("x");
        }
        std::thread::sleep(Duration::from_millis(500));
        in_flight() == Some(0)
    });
    figure(format!(
        "{SLOW_UPLOADS} slow uploads to a cell of {MAX_IN_FLIGHT}: gone after {:.1?}",
        started.elapsed()
    ));
    let mut statuses: Vec<u16> = slow
        .iter_mut()
        .map(|sender| sender.answer("POST").map_or(0, |answer| answer.status))
        .collect();
    statuses.sort_unstable();
    // The cell echoes as it reads, so its answers have begun; their clients see them cut.
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!(refused, SLOW_UPLOADS - MAX_IN_FLIGHT, "{statuses:?}");
    assert!(!statuses.contains(&200), "{statuses:?}");
    assert_eq!(proxy.get("other", "/echo/after").status, 200);
    wait_until_idle(&proxy);
}

/// Sends each of them a byte now and then, for this long. Returns how many, and the most requests
/// that were seen in flight.
#[track_caller]
fn drip(slow: &mut [Connection], body: &[u8], time: Duration, proxy: &Proxy) -> (usize, u64) {
    let started = Instant::now();
    let (mut sent, mut in_flight_max) = (0, 0);
    while started.elapsed() < time && sent + 1 < body.len() {
        for sender in &mut *slow {
            sender.send(&body[sent..=sent]).expect("it is still open");
        }
        sent += 1;
        let in_flight = proxy.status()["cells"]["cell-1"]["in_flight"].as_u64();
        in_flight_max = in_flight_max.max(in_flight.expect("it is counted"));
        let next = BETWEEN_BYTES * u32::try_from(sent).expect("a small number");
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    (sent, in_flight_max)
}
