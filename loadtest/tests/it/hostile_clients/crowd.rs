//! A thousand clients that send a byte now and then.

use std::{
    io::Read,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::{self, figure},
    latency::Latencies,
    proxy::{Proxy, TENANT},
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(a_thousand_dripping_clients_are_gone_in_time_and_cost_others_nothing);

const DRIPS: usize = 1_000;
const BETWEEN_BYTES: Duration = Duration::from_secs(2);
/// The time for a head, and what a slow machine may add.
const HEAD_LIMIT: Duration = Duration::from_secs(4);
const HEAD_SLACK: Duration = Duration::from_secs(2);

/// The honest client measures for this long before the others come.
const CALM: Duration = Duration::from_secs(2);

fn a_thousand_dripping_clients_are_gone_in_time_and_cost_others_nothing() {
    let _alone = heavy::alone();
    if !heavy::allows_clients(DRIPS) {
        return;
    }
    let fleet = Fleet::start(1);
    let timeouts = format!("{{ head_ms: {} }}", HEAD_LIMIT.as_millis());
    let proxy = Proxy::plan()
        .set("timeouts", &timeouts)
        .table(fleet.table())
        .start();

    let before = honest(&proxy, CALM);
    let drips: Vec<TcpStream> = (0..DRIPS).map(|_| drip(&proxy)).collect();
    let started = Instant::now();
    wait_until("all of them are connected", PATIENCE, || {
        proxy.status()["client_connections"] == DRIPS
    });
    let watcher = thread::spawn(move || watch(drips, started));
    let during = honest(&proxy, HEAD_LIMIT.saturating_sub(started.elapsed()));
    let gone = watcher.join().expect("each of them is cut off");
    wait_until_idle(&proxy);

    figure(format!(
        "{DRIPS} drip-feeding clients: the first gone after {:.1?}, the last after {:.1?}; \
         honest before {before}, during {during}",
        gone[0],
        gone[DRIPS - 1]
    ));
    assert!(
        gone[0] + HEAD_SLACK > HEAD_LIMIT,
        "cut off too early: {:?}",
        gone[0]
    );
    assert!(
        gone[DRIPS - 1] < HEAD_LIMIT + HEAD_SLACK,
        "{:?}",
        gone[DRIPS - 1]
    );
    during.are_about_as_good_as(&before);
}

fn drip(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
    std::io::Write::write_all(&mut &stream, b"G").expect("the connection is open");
    stream
}

/// Sends a byte to each every few seconds until the proxy has cut all of them off. Returns when,
/// the earliest first.
fn watch(drips: Vec<TcpStream>, started: Instant) -> Vec<Duration> {
    let mut open = drips;
    let mut gone = Vec::new();
    let mut next = BETWEEN_BYTES;
    let mut rest = b"ET / HTTP/1.1".iter();
    while !open.is_empty() {
        if started.elapsed() >= next {
            next += BETWEEN_BYTES;
            let byte = [*rest.next().expect("they are cut off before")];
            for stream in &open {
                // Fails for one that was cut off meanwhile, which is what is waited for.
                let _ = std::io::Write::write_all(&mut &*stream, &byte);
            }
        }
        open.retain(|stream| {
            let open = !is_at_end(stream);
            if !open {
                gone.push(started.elapsed());
            }
            open
        });
        assert!(
            started.elapsed() < HEAD_LIMIT * 2,
            "{} are still there",
            open.len()
        );
        thread::sleep(Duration::from_millis(20));
    }
    gone
}

/// Whether the proxy has said its last word.
fn is_at_end(mut stream: &TcpStream) -> bool {
    let mut buffer = [0; 1024];
    stream.set_nonblocking(true).expect("the socket is open");
    let read = loop {
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            read => break read,
        }
    };
    stream.set_nonblocking(false).expect("the socket is open");
    !matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// A client with nothing to hide, for this long.
fn honest(proxy: &Proxy, time: Duration) -> Latencies {
    let request = Request::get("/").header(TENANT, "honest");
    Latencies::of_a_client(&mut Connection::open(proxy.address()), &request, time)
}
