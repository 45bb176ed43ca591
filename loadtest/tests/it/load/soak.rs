//! A steady load for a long time leaves nothing behind: no memory, no connection that a cell has closed, no count.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    fleet::Fleet,
    gauges::wait_until_idle,
    heavy::{alone, amount, figure},
    proxy::{Proxy, TENANT},
    wait_until,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(a_steady_load_leaves_nothing_behind);

const CLIENTS: u32 = 20;
const REQUESTS_PER_SECOND: u32 = 1_000;
/// A client begins a new connection after so many requests, as clients do.
const REQUESTS_PER_CONNECTION: u32 = 500;
/// How much more memory the end may need than the first quarter of the time.
const MORE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Kept connections to cells live this long: the sweep has to work during the load.
const IDLE: &str = "{ idle_ms: 2000 }";

#[track_caller]
fn a_steady_load_leaves_nothing_behind() {
    let _alone = alone();
    let time = Duration::from_secs(amount("CELLGATE_SOAK_SECONDS", 6));
    let fleet = Fleet::start(4);
    let proxy = Proxy::plan()
        .set("upstream", IDLE)
        .table(fleet.table())
        .start();
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut first, mut most, mut half_closed_most) = (0, 0, 0);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (proxy, is_over, answered) = (&proxy, &is_over, &answered);
            scope.spawn(move || run_client(proxy, client, is_over, answered));
        }
        let start = Instant::now();
        while start.elapsed() < time {
            thread::sleep(time / 40);
            let bytes = proxy.resident_bytes();
            if start.elapsed() < time / 4 {
                first = first.max(bytes);
            }
            most = most.max(bytes);
            half_closed_most = half_closed_most.max(half_closed(&proxy));
        }
        is_over.store(true, Ordering::Release);
    });
    wait_until_idle(&proxy);
    wait_until(
        "no connection to a cell is left",
        Duration::from_secs(10),
        || proxy.metric("upstream_idle_connections", &[]) == Some(0.0) && half_closed(&proxy) == 0,
    );
    let answered = answered.into_inner();
    let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024);
    figure(format_args!(
        "{} s, {answered} answers, memory at most {} in the first quarter and {} later, at most {half_closed_most} \
         half-closed connections at a time, none afterwards",
        time.as_secs(),
        mib(first),
        mib(most),
    ));
    let expected = u64::from(REQUESTS_PER_SECOND) * time.as_secs();
    assert!(
        answered * 10 >= expected * 8,
        "only {answered} of {expected}"
    );
    assert!(
        most <= first + MORE_BYTES_MAX,
        "memory grows from {first} to {most}"
    );
}

/// Sends its share of the requests, evenly over time, and checks each answer.
fn run_client(proxy: &Proxy, client: u32, is_over: &AtomicBool, answered: &AtomicU64) {
    let pause = Duration::from_secs(1) * CLIENTS / REQUESTS_PER_SECOND;
    let mut due = Instant::now();
    let mut connection = Connection::open(proxy.address());
    for number in 0.. {
        if is_over.load(Ordering::Acquire) {
            return;
        }
        if number % REQUESTS_PER_CONNECTION == REQUESTS_PER_CONNECTION - 1 {
            connection = Connection::open(proxy.address());
        }
        let tenant = format!("tenant-{}", (client * 7 + number) % 1_000);
        let request = if number % 4 == 0 {
            Request::new("POST", "/echo/x").body("0123456789abcdef")
        } else {
            Request::get("/")
        };
        let answer = connection.exchange(&request.header(TENANT, tenant));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answered.fetch_add(1, Ordering::Relaxed);
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Connections of the proxy whose other side has closed them, and which it has not (`CLOSE_WAIT`). The ones of the whole
/// machine that have one of the proxy's open sockets.
fn half_closed(proxy: &Proxy) -> usize {
    const CLOSE_WAIT: &str = "08";
    let links = fs::read_dir(format!("/proc/{}/fd", proxy.id())).expect("the proxy runs");
    let sockets: Vec<String> = links
        .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
        .filter_map(|target| {
            let target = target.to_string_lossy();
            Some(
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let connections = fs::read_to_string("/proc/net/tcp").expect("Linux lists its connections");
    let is_half_closed = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let inode = fields.get(9).map(|inode| (*inode).to_owned());
        fields.get(3) == Some(&CLOSE_WAIT) && inode.is_some_and(|inode| sockets.contains(&inode))
    };
    connections.lines().filter(is_half_closed).count()
}
