//! How clients see the end of a proxy: not at all, if they ask within the time for idle connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    process::Signal,
    proxy::{Plan, Proxy, TENANT},
    wait_until,
    ways::both_ways,
    wire::{Answer, Connection, Request},
};

both_ways!(
    clients_that_keep_asking_lose_no_request,
    idle_connections_may_ask_once_more,
    what_stays_idle_is_closed_in_time,
    whoever_waits_in_the_queue_is_served,
);

/// Much longer than any of these clients is idle.
const LONG_MS: u32 = 15_000;

fn plan(fleet: &Fleet, drain_idle_ms: u32) -> Plan {
    Proxy::plan()
        .set("timeouts", &format!("{{ drain_idle_ms: {drain_idle_ms} }}"))
        .table(fleet.table())
}

fn request() -> Request {
    Request::get("/").header(TENANT, "acme")
}

fn closes(answer: &Answer) -> bool {
    answer.header("connection") == Some("close")
}

fn listener_is_closed(proxy: &Proxy) {
    wait_until("the listener is closed", PATIENCE, || {
        Connection::try_open(proxy.address()).is_err()
    });
}

/// Clients that post on kept connections, and go where they are sent once an answer ends theirs.
struct Posting {
    shared: Arc<Shared>,
    clients: Vec<thread::JoinHandle<()>>,
}

struct Shared {
    /// Held while a client connects, so that nobody connects to the old address once there is a new one.
    address: RwLock<SocketAddr>,
    is_over: AtomicBool,
    answered: AtomicUsize,
    moved: AtomicUsize,
}

impl Posting {
    fn start(address: SocketAddr, count: u64) -> Self {
        let shared = Arc::new(Shared {
            address: RwLock::new(address),
            is_over: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
        });
        let clients = (0..count).map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || post_on(&shared, number))
        });
        Self {
            clients: clients.collect(),
            shared,
        }
    }

    fn move_to(&self, address: SocketAddr) {
        *self
            .shared
            .address
            .write()
            .unwrap_or_else(PoisonError::into_inner) = address;
    }

    fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many answers there were, and how many connections ended; panics if a request failed.
    #[track_caller]
    fn stop(self) -> (usize, usize) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("no request fails");
        }
        let moved = self.shared.moved.load(Ordering::Relaxed);
        (self.shared.answered.load(Ordering::Relaxed), moved)
    }
}

fn post_on(shared: &Shared, number: u64) {
    let body = format!("body of client {number}");
    let request = Request::new("POST", "/echo/x")
        .header(TENANT, format!("tenant-{number}"))
        .body(body.clone());
    let mut random = fastrand::Rng::with_seed(number);
    let mut connection = None;
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut open = connection.take().unwrap_or_else(|| {
            let address = shared.address.read().expect("no client panics there");
            Connection::open(*address)
        });
        let answer = open.exchange(&request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.text(), body);
        shared.answered.fetch_add(1, Ordering::Relaxed);
        if closes(&answer) {
            shared.moved.fetch_add(1, Ordering::Relaxed);
        } else {
            connection = Some(open);
        }
        thread::sleep(Duration::from_millis(random.u64(..30)));
    }
}

fn clients_that_keep_asking_lose_no_request() {
    const CLIENTS: usize = 48;
    const RESTARTS: usize = 4;
    let fleet = Fleet::start(2);
    let mut proxy = plan(&fleet, LONG_MS).start();
    let posting = Posting::start(proxy.address(), CLIENTS as u64);
    for _ in 0..RESTARTS {
        let before = posting.answered();
        wait_until("all clients ask", PATIENCE, || {
            posting.answered() > before + 4 * CLIENTS
        });
        let next = plan(&fleet, LONG_MS).start();
        posting.move_to(next.address());
        let began = Instant::now();
        proxy.signal(Signal::TERM);
        let status = proxy.wait(PATIENCE);
        assert_eq!(status.code(), Some(0), "{status}");
        // It does not wait for clients that are gone.
        assert!(began.elapsed() < Duration::from_millis(LONG_MS.into()));
        assert_eq!(proxy.count_in_log("requests in flight are cut"), 0);
        proxy = next;
    }
    let (answered, moved) = posting.stop();
    eprintln!("{answered} answers, none failed; {moved} connections were ended by an answer");
    assert_eq!(moved, RESTARTS * CLIENTS);
    proxy.stop();
}

fn idle_connections_may_ask_once_more() {
    let fleet = Fleet::start(2);
    let mut proxy = plan(&fleet, LONG_MS).start();
    let mut used = Connection::open(proxy.address());
    assert!(!closes(&used.exchange(&request())));
    let mut fresh = Connection::open(proxy.address());
    let mut refused = Connection::open(proxy.address());
    wait_until("all are open", PATIENCE, || {
        proxy.metric("client_connections", &[]) == Some(3.0)
    });
    let began = Instant::now();
    proxy.signal(Signal::TERM);
    listener_is_closed(&proxy);
    for connection in [&mut used, &mut fresh] {
        let answer = connection.exchange(&request());
        assert_eq!(answer.status, 200);
        assert!(closes(&answer), "{answer:?}");
        assert_eq!(connection.rest().unwrap(), b"");
    }
    // The proxy's own answers say so too.
    let answer = refused.exchange(&Request::get("/"));
    assert_eq!(answer.status, 400);
    assert!(closes(&answer), "{answer:?}");
    assert_eq!(refused.rest().unwrap(), b"");

    let status = proxy.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{status}");
    let limit = Duration::from_millis(LONG_MS.into());
    assert!(began.elapsed() < limit, "it ends with the last connection");
}

fn what_stays_idle_is_closed_in_time() {
    // The shorter one of the two ends it.
    for (timeouts, limit_ms) in [
        ("{ drain_idle_ms: 600 }", 600),
        ("{ drain_idle_ms: 60000, shutdown_ms: 600 }", 600),
    ] {
        let fleet = Fleet::start(1);
        let plan = Proxy::plan().set("timeouts", timeouts);
        let mut proxy = plan.table(fleet.table()).start();
        let mut used = Connection::open(proxy.address());
        assert!(!closes(&used.exchange(&request())));
        let mut fresh = Connection::open(proxy.address());
        wait_until("both are open", PATIENCE, || {
            proxy.metric("client_connections", &[]) == Some(2.0)
        });
        let began = Instant::now();
        proxy.signal(Signal::TERM);
        assert_eq!(used.rest().unwrap(), b"");
        assert_eq!(fresh.rest().unwrap(), b"");
        let status = proxy.wait(PATIENCE);
        assert_eq!(status.code(), Some(0), "{status}");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(limit_ms), "{took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

/// Connections that the kernel has made and the proxy has not yet taken when it is asked to end.
fn whoever_waits_in_the_queue_is_served() {
    const COUNT: usize = 100;
    let fleet = Fleet::start(1);
    let mut proxy = plan(&fleet, 2_000).start();
    proxy.signal(Signal::STOP);
    let mut waiting: Vec<Connection> = (0..COUNT)
        .map(|_| Connection::open(proxy.address()))
        .collect();
    for connection in waiting.iter_mut().step_by(2) {
        connection.send(request().bytes()).unwrap();
    }
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    for (place, connection) in waiting.iter_mut().enumerate() {
        // The others ask only now.
        if place % 2 == 1 {
            connection.send(request().bytes()).unwrap();
        }
        let answer = connection
            .answer("GET")
            .unwrap_or_else(|error| panic!("connection {place}: {error}"));
        assert_eq!(answer.status, 200, "connection {place}");
    }
    let status = proxy.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{status}");
}
