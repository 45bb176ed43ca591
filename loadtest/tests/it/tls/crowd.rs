//! Many clients of a TLS listener at once: what they cost those who are served meanwhile, and how much memory.

use std::{
    io::Write as _,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use super::{NAME, World};
use crate::support::{
    PATIENCE,
    heavy::{self, figure, is_acceptance},
    latency::Latencies,
    origin::Origin,
    proxy::{Proxy, TENANT},
    tls::client,
    wait_until,
    wire::{Connection, Request},
};

/// How often quiet and crowded times follow each other, and how long each lasts. Half a hello is given up after 10 s.
fn amounts() -> (usize, Duration) {
    if is_acceptance() {
        (5, Duration::from_secs(4))
    } else {
        (1, Duration::from_secs(1))
    }
}

/// The 99th percentile with a crowd, as a multiple of the one in the quiet time before.
const SLOWER_MAX: f64 = 1.2;
/// A tick of the test's own clock, which is no delay of the proxy.
const SLACK: Duration = Duration::from_micros(200);
const FLOOD_PER_SECOND: u32 = 200;

#[test]
fn half_hellos_cost_others_nothing() {
    let count = if is_acceptance() { 5_000 } else { 300 };
    compare("half hellos", count, |proxy, config| {
        let hello = hello(config);
        (0..count)
            .map(|_| {
                let mut socket = TcpStream::connect(proxy.address()).expect("the proxy listens");
                let half = &hello[..hello.len() / 2];
                socket.write_all(half).expect("the connection is open");
                socket
            })
            .collect::<Vec<_>>()
    });
}

#[test]
fn idle_connections_cost_others_nothing() {
    let count = if is_acceptance() {
        heavy::clients_at_most(10_000)
    } else {
        300
    };
    compare("idle connections", count, |proxy, config| {
        (0..count)
            .map(|_| {
                let opened = Connection::try_open_tls(proxy.address(), client(config, NAME));
                opened.expect("the client may come in")
            })
            .collect::<Vec<_>>()
    });
}

#[test]
fn a_flood_of_handshakes_costs_others_little() {
    let what = format!("clients and {FLOOD_PER_SECOND} handshakes a second");
    compare(&what, 0, Flood::start);
}

/// New connections at a steady rate, each given up after its handshake, until it is dropped.
struct Flood {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u32>>,
}

impl Flood {
    fn start(proxy: &Proxy, config: &Arc<ClientConfig>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (address, config, end) = (proxy.address(), Arc::clone(config), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            // Linux does this for the thread alone. What the flood's own clients compute is not what is measured.
            if let Err(error) = rustix::process::nice(19) {
                eprintln!("the flood runs as fast as its victims: {error}");
            }
            let (began, mut done) = (Instant::now(), 0);
            while !end.load(Ordering::Relaxed) {
                let opened = Connection::try_open_tls(address, client(&config, NAME));
                opened.expect("the client may come in");
                done += 1;
                let due = Duration::from_secs(1) * done / FLOOD_PER_SECOND;
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            done
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let done = self.thread.take().expect("it is taken once").join();
        assert!(done.expect("every handshake succeeds") > 0);
    }
}

/// Measures what an honest client waits, without a crowd and with it, in turn.
fn compare<C>(what: &str, count: usize, crowd: impl Fn(&Proxy, &Arc<ClientConfig>) -> C) {
    let _alone = heavy::alone();
    if !heavy::allows_clients(count) {
        return;
    }
    let world = World::new();
    let cell = Origin::well_behaved();
    let proxy = world.plan(cell.address(), "").start();
    let config = world.client();
    // Whatever is made once is made before anything is measured.
    let (rounds, time) = amounts();
    honest(&proxy, &config, time / 10);
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let quiet = honest(&proxy, &config, time);
        let before = proxy.resident_bytes();
        let others = crowd(&proxy, &config);
        wait_until("all of them are connected", PATIENCE, || {
            proxy.status()["client_connections"].as_u64() >= Some(count as u64)
        });
        let after = proxy.resident_bytes();
        let crowded = honest(&proxy, &config, time);
        drop(others);
        let each = after
            .saturating_sub(before)
            .checked_div(count as u64)
            .unwrap_or_default();
        figure(format!(
            "{count} {what}, round {round}: quiet {quiet}, crowded {crowded}; {each} bytes each"
        ));
        let (slow, fast) = (crowded.percentile(99), quiet.percentile(99));
        ratios.push(slow.saturating_sub(SLACK).as_secs_f64() / fast.as_secs_f64());
        if !is_acceptance() {
            crowded.are_about_as_good_as(&quiet);
        }
        wait_until("all of them are gone", PATIENCE, || {
            proxy.status()["client_connections"] == 0
        });
    }
    ratios.sort_by(f64::total_cmp);
    figure(format!("{count} {what}: p99 over quiet p99 {ratios:.2?}"));
    if is_acceptance() {
        assert!(ratios[rounds / 2] <= SLOWER_MAX, "{ratios:?}");
    }
}

/// A client that keeps its connection.
fn honest(proxy: &Proxy, config: &Arc<ClientConfig>, time: Duration) -> Latencies {
    let opened = Connection::try_open_tls(proxy.address(), client(config, NAME));
    let mut connection = opened.expect("the client may come in");
    let request = Request::get("/").header(TENANT, "honest");
    Latencies::of_a_client(&mut connection, &request, time)
}

/// The first bytes of a client.
fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = client(config, NAME).write_tls(&mut bytes);
    written.expect("memory takes everything");
    bytes
}
