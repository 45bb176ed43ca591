//! Clients of all kinds that go on and on, and note each thing that fails with all that is known about it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::{Shutdown, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, HandshakeKind};

use crate::support::{
    proxy::{Proxy, TENANT},
    tls::client,
    wire::{Answer, Connection, Request},
};

/// What a client does, time and again. The error says what failed.
type Round = Box<dyn FnMut(&mut fastrand::Rng) -> Result<(), String> + Send>;

/// Pauses between two rounds are below this many milliseconds.
const PAUSE_MS: u64 = 10;

/// Clients, until they are stopped.
pub(super) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Shared {
    is_over: AtomicBool,
    began: Instant,
    tally: Mutex<Tally>,
}

/// What clients did.
#[derive(Default)]
pub(super) struct Tally {
    /// Rounds without a failure, by the client's kind.
    pub(super) done: BTreeMap<&'static str, usize>,
    pub(super) failed: Vec<String>,
}

impl Tally {
    #[track_caller]
    pub(super) fn check(&self) {
        let mut text = String::new();
        for failed in &self.failed {
            writeln!(text, "  {failed}").expect("a String takes whatever is written");
        }
        assert!(
            self.failed.is_empty(),
            "{} failed:\n{text}",
            self.failed.len()
        );
        for (kind, done) in &self.done {
            assert!(*done > 0, "{kind} did nothing");
        }
    }

    pub(super) fn total(&self) -> usize {
        self.done.values().sum()
    }
}

impl Clients {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                is_over: AtomicBool::new(false),
                began: Instant::now(),
                tally: Mutex::default(),
            }),
            threads: Vec::new(),
        }
    }

    /// On kept connections, three in four of them, and on fresh ones.
    pub(super) fn start(proxy: &Proxy, count: usize) -> Self {
        let (mut clients, address) = (Self::new(), proxy.address());
        let fresh = count.div_ceil(4);
        clients.add("kept", count - fresh, |number| kept(address, number));
        clients.add("fresh", fresh, |number| fresh_each(address, number));
        clients
    }

    /// Adds clients of a kind, whose number each gets.
    pub(super) fn add(&mut self, kind: &'static str, count: usize, make: impl Fn(usize) -> Round) {
        self.shared.lock().done.insert(kind, 0);
        for number in 0..count {
            let (shared, mut round) = (Arc::clone(&self.shared), make(number));
            self.threads.push(thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                while !shared.is_over.load(Ordering::Relaxed) {
                    let outcome = round(&mut random);
                    shared.note(kind, number, outcome);
                    thread::sleep(Duration::from_millis(random.u64(..PAUSE_MS)));
                }
            }));
        }
    }

    /// Stops them once each has done what it has begun.
    #[track_caller]
    pub(super) fn finish(self) -> Tally {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("clients do not panic");
        }
        std::mem::take(&mut *self.shared.lock())
    }

    /// The same where nothing may have failed; how much they did.
    #[track_caller]
    pub(super) fn stop(self) -> usize {
        let tally = self.finish();
        tally.check();
        tally.total()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, kind: &'static str, number: usize, outcome: Result<(), String>) {
        let mut tally = self.lock();
        match outcome {
            Ok(()) => *tally.done.entry(kind).or_default() += 1,
            Err(what) => {
                let at = self.began.elapsed();
                tally
                    .failed
                    .push(format!("{kind} {number}, {at:.3?} after the start: {what}"));
            }
        }
    }
}

/// A connection, and what has become of it so far.
pub(super) struct Open {
    connection: Connection,
    began: Instant,
    exchanges: usize,
}

impl Open {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, String> {
        let began = Instant::now();
        let connection = Connection::try_open(address)
            .map_err(|error| format!("connecting to {address}: {}", described(&error)))?;
        Ok(Self {
            connection,
            began,
            exchanges: 0,
        })
    }

    fn start_tls(
        mut self,
        config: &Arc<ClientConfig>,
        server: &'static str,
    ) -> Result<Self, String> {
        let before = self.describe();
        let tls = client(config, server);
        self.connection = self
            .connection
            .start_tls(tls)
            .map_err(|error| format!("TLS handshake: {}; {before}", described(&error)))?;
        Ok(self)
    }

    fn describe(&self) -> String {
        let local = self.connection.stream().local_addr();
        let local = local.map_or_else(|_| "an unknown port".to_owned(), |it| it.to_string());
        format!(
            "from {local}, {:.3?} old, after {} exchanges",
            self.began.elapsed(),
            self.exchanges
        )
    }

    fn step<T>(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Connection) -> io::Result<T>,
    ) -> Result<T, String> {
        let began = Instant::now();
        let outcome = act(&mut self.connection);
        outcome.map_err(|error| {
            let took = began.elapsed();
            let connection = self.describe();
            format!(
                "{what}: {} after {took:.3?}; {connection}",
                described(&error)
            )
        })
    }

    /// The answer to a request, which has to be a good one.
    pub(super) fn exchange(&mut self, method: &str, bytes: &[u8]) -> Result<Answer, String> {
        self.step("sending the request", |it| it.send(bytes))?;
        let answer = self.step("waiting for the answer", |it| it.answer(method))?;
        if !matches!(answer.status, 200 | 101) {
            let connection = self.describe();
            return Err(format!("{answer:?}; {connection}"));
        }
        self.exchanges += 1;
        Ok(answer)
    }

    /// Bytes that come back as they are.
    fn echo(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.step("sending bytes", |it| it.send(bytes))?;
        let back = self.step("waiting for bytes", |it| it.take(bytes.len()))?;
        if back != bytes {
            return Err(format!("{} came back", back.escape_ascii()));
        }
        self.exchanges += 1;
        Ok(())
    }

    /// Says that nothing more is sent; nothing may follow but the end.
    fn end(mut self) -> Result<(), String> {
        self.step("ending", |it| it.stream().shutdown(Shutdown::Write))?;
        let rest = self.step("waiting for the end", Connection::rest)?;
        if rest.is_empty() {
            return Ok(());
        }
        Err(format!("{} before the end", rest.escape_ascii()))
    }
}

fn described(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{error} ({:?}, errno {number})", error.kind()),
        None => format!("{error} ({:?})", error.kind()),
    }
}

/// Whether the next request has to be sent elsewhere.
pub(super) fn closes(answer: &Answer) -> bool {
    answer.header("connection") == Some("close")
}

/// A GET or a POST, by chance, of the client of this number.
fn ask(open: &mut Open, number: usize, random: &mut fastrand::Rng) -> Result<Answer, String> {
    let tenant = format!("tenant-{number}");
    if random.bool() {
        let request = Request::get("/").header(TENANT, tenant);
        return open.exchange("GET", &request.bytes());
    }
    post(open, &tenant, number)
}

/// A POST whose body comes back.
pub(super) fn post(open: &mut Open, tenant: &str, number: usize) -> Result<Answer, String> {
    let body = format!("body of client {number}");
    let request = Request::new("POST", "/echo/x")
        .header(TENANT, tenant)
        .body(body.clone());
    let answer = open.exchange("POST", &request.bytes())?;
    if answer.body != body.as_bytes() {
        return Err(format!("a foreign answer: {answer:?}"));
    }
    Ok(answer)
}

pub(super) fn kept(address: SocketAddr, number: usize) -> Round {
    let mut kept = None;
    Box::new(move |random| {
        let mut open = kept.take().map_or_else(|| Open::connect(address), Ok)?;
        let answer = ask(&mut open, number, random)?;
        if !closes(&answer) {
            kept = Some(open);
        }
        Ok(())
    })
}

pub(super) fn fresh_each(address: SocketAddr, number: usize) -> Round {
    Box::new(move |random| {
        let mut open = Open::connect(address)?;
        ask(&mut open, number, random).map(drop)
    })
}

/// Asks on the admin address whether it is ready.
pub(super) fn watching(admin: SocketAddr) -> Round {
    let request = Request::get("/readyz").bytes();
    Box::new(move |_| Open::connect(admin)?.exchange("GET", &request).map(drop))
}

/// Handshakes, each with some requests behind it. Those that resume a session are noted.
pub(super) fn over_tls(
    address: SocketAddr,
    (config, server): (Arc<ClientConfig>, &'static str),
    resumed: Arc<Mutex<Handshakes>>,
    number: usize,
) -> Round {
    Box::new(move |random| {
        let mut open = Open::connect(address)?.start_tls(&config, server)?;
        for _ in 0..random.usize(1..20) {
            if closes(&ask(&mut open, number, random)?) {
                break;
            }
            thread::sleep(Duration::from_millis(random.u64(..PAUSE_MS)));
        }
        let kind = open.connection.tls().handshake_kind();
        let mut handshakes = resumed.lock().unwrap_or_else(PoisonError::into_inner);
        if kind == Some(HandshakeKind::Resumed) {
            handshakes.resumed += 1;
        } else {
            handshakes.full += 1;
        }
        Ok(())
    })
}

/// Of clients with TLS.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    pub(super) full: usize,
    pub(super) resumed: usize,
}

/// How long a stream goes on.
fn life(random: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(random.u64(100..2_500))
}

/// Sends bytes and gets them back for a while, and ends.
fn talk(mut open: Open, bytes: &[u8], random: &mut fastrand::Rng) -> Result<(), String> {
    let (began, life) = (Instant::now(), life(random));
    while began.elapsed() < life {
        open.echo(bytes)?;
        thread::sleep(Duration::from_millis(random.u64(..4 * PAUSE_MS)));
    }
    open.end()
}

/// A text frame with a mask.
const FRAME: &[u8] = b"\x81\x84\x01\x02\x03\x04qkmc";

pub(super) fn websocket(address: SocketAddr, tenant: &'static str) -> Round {
    let upgrade = format!(
        "GET /x HTTP/1.1\r\nhost: test\r\n{TENANT}: {tenant}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    Box::new(move |random| {
        let mut open = Open::connect(address)?;
        open.exchange("GET", upgrade.as_bytes())?;
        talk(open, FRAME, random)
    })
}

pub(super) fn stream(address: SocketAddr) -> Round {
    Box::new(move |random| {
        let bytes = vec![b'x'; random.usize(1..4_000)];
        talk(Open::connect(address)?, &bytes, random)
    })
}
