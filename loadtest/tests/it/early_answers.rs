//! Cells that answer before the request was sent whole: what is left of the request is nobody's
//! request, and nobody else gets an answer to it.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{
    gauges::wait_until_idle,
    heavy::figure,
    origin::{OK, Origin, ok},
    proxy::{Proxy, TENANT},
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    the_rest_of_a_small_body_never_becomes_a_request,
    the_rest_of_a_large_body_gets_nobody_an_answer,
    an_early_refusal_arrives_and_its_connection_is_not_used_again,
    a_duplex_echo_comes_back_whole,
);

const ROUNDS: usize = 9;
/// Clients that only want their own answers, in each round.
const OTHERS: usize = 60;
/// Uploads whose rest comes after their answer, in each round.
const UPLOADS: usize = 10;

/// What the cell reads of a body before it answers.
const BEGINNING: &str = "0123456789";
/// The rest of a body, which a cell could take for the next request.
const REST: &str = "GET /smuggled HTTP/1.1\r\nhost: test\r\nx-cellgate-tenant: victim\r\n\r\n";

/// How long an uploader waits for an early answer. A proxy that reads the whole body first gives
/// none before.
const EARLY: Duration = Duration::from_millis(200);

const TOO_LARGE: &str =
    "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";

/// Bytes of the echoed body, and of each chunk.
const ECHO_BYTES: usize = 10 << 20;
const CHUNK_BYTES: usize = 16 << 10;

struct Bench {
    proxy: Proxy,
    /// How many rests of a body the cell took for a request.
    smuggled: Arc<AtomicUsize>,
    // After the proxy, whose connections end first.
    _cell: Origin,
}

/// What the other clients got.
#[derive(Default)]
struct Tally {
    foreign: usize,
    failed: Vec<String>,
}

impl Bench {
    /// Its cell answers uploads early, with these bytes, and keeps their connections. What it has
    /// received of a body by then it drops; what comes later it takes for the next request.
    fn start(early: Vec<u8>) -> Self {
        let smuggled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&smuggled);
        let cell = Origin::start(move |visit| {
            while let Some(head) = visit.head() {
                if head.id() == "smuggled" {
                    counter.fetch_add(1, Ordering::AcqRel);
                }
                if head.method() == "POST" {
                    if visit.take(BEGINNING.len()).is_err() {
                        return;
                    }
                    let length = head
                        .header("content-length")
                        .and_then(|text| text.parse().ok());
                    visit.take_received(length.unwrap_or(0usize).saturating_sub(BEGINNING.len()));
                    visit.send(&early);
                } else {
                    visit.send(ok(head.id()));
                }
            }
        });
        let proxy = Proxy::in_front_of(cell.address()).start();
        Self {
            proxy,
            smuggled,
            _cell: cell,
        }
    }

    /// Uploads bodies of at least `body_bytes` while the other clients ask. Returns how many rests
    /// became requests.
    #[track_caller]
    fn check(&self, name: &str, body_bytes: usize, status: u16) -> usize {
        let mut tally = Tally::default();
        for round in 0..ROUNDS {
            thread::scope(|scope| {
                for _ in 0..UPLOADS {
                    scope.spawn(|| upload(&self.proxy, body_bytes, status));
                }
                let others: Vec<_> = (0..OTHERS)
                    .map(|client| scope.spawn(move || self.ask(&format!("{round}-{client}"))))
                    .collect();
                for other in others {
                    tally.add(other.join().expect("it only asks"));
                }
            });
        }
        let smuggled = self.smuggled.load(Ordering::Acquire);
        figure(format!(
            "{name}: {} of {} other clients got a foreign answer, {} failed; {smuggled} of {} \
             rests became a request",
            tally.foreign,
            ROUNDS * OTHERS,
            tally.failed.len(),
            ROUNDS * UPLOADS
        ));
        assert_eq!(tally.foreign, 0, "{name}");
        assert_eq!(tally.failed, [""; 0], "{name}");
        wait_until_idle(&self.proxy);
        smuggled
    }

    /// Asks a few times, each on a connection of its own, so that the last one comes after the
    /// rests of the uploads.
    fn ask(&self, id: &str) -> Vec<Result<bool, String>> {
        let request = Request::get(&format!("{OK}{id}")).header(TENANT, "other");
        let once = |pause| {
            thread::sleep(pause);
            let mut connection =
                Connection::try_open(self.proxy.address()).map_err(|error| error.to_string())?;
            let sent = connection.send(request.bytes());
            let answer = sent
                .and_then(|()| connection.answer("GET"))
                .map_err(|error| error.to_string())?;
            match answer.status {
                200 => Ok(answer.text() == id),
                _ => Err(format!("{answer:?}")),
            }
        };
        [Duration::ZERO, EARLY, EARLY / 10].map(once).into()
    }
}

impl Tally {
    fn add(&mut self, answers: Vec<Result<bool, String>>) {
        // A client is counted once, however many foreign answers it got.
        self.foreign += usize::from(answers.contains(&Ok(false)));
        self.failed
            .extend(answers.into_iter().filter_map(Result::err));
    }
}

/// The head and the beginning of the body go first, the rest once there is an answer.
#[track_caller]
fn upload(proxy: &Proxy, body_bytes: usize, status: u16) {
    let rest = REST.to_owned() + &"x".repeat(body_bytes.saturating_sub(REST.len()));
    let length = BEGINNING.len() + rest.len();
    let head = format!(
        "POST {OK}upload HTTP/1.1\r\nhost: test\r\nx-tenant-id: uploader\r\n\
         content-length: {length}\r\n\r\n{BEGINNING}"
    );
    let mut connection = Connection::open(proxy.address());
    connection.send(head).expect("the proxy listens");
    wait_for_bytes(connection.stream(), EARLY);
    // It may be refused by now.
    let _ = connection.send(rest);
    let answer = connection.answer("POST").expect("it is answered");
    assert_eq!(answer.status, status, "{answer:?}");
}

/// Waits until something has come, or for this long.
fn wait_for_bytes(stream: &TcpStream, limit: Duration) {
    let patience = stream.read_timeout().expect("the socket is open");
    stream.set_read_timeout(Some(limit)).expect("it is open");
    // A failure is a time-out, which is as good here.
    let _ = stream.peek(&mut [0]);
    stream.set_read_timeout(patience).expect("it is open");
}

fn the_rest_of_a_small_body_never_becomes_a_request() {
    let bench = Bench::start(ok("early"));
    let smuggled = bench.check("small bodies", 0, 200);
    assert_eq!(smuggled, 0);
}

/// Larger ones cannot be kept until they are whole: the cell may have seen part of the rest when it
/// answers, but its answer to that goes to nobody.
fn the_rest_of_a_large_body_gets_nobody_an_answer() {
    let bench = Bench::start(ok("early"));
    bench.check("large bodies", 100_000, 200);
}

fn an_early_refusal_arrives_and_its_connection_is_not_used_again() {
    let bench = Bench::start(TOO_LARGE.into());
    let smuggled = bench.check("small bodies refused with 413", 0, 413);
    assert_eq!(smuggled, 0);
    let bench = Bench::start(TOO_LARGE.into());
    bench.check("large bodies refused with 413", 1_000_000, 413);
}

/// An answer that begins before the request has ended goes on as long as both do.
fn a_duplex_echo_comes_back_whole() {
    let cell = Origin::start(|visit| {
        while visit.head().is_some() {
            visit.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while let Ok(chunk) = visit.chunk() {
                let size = format!("{:x}\r\n", chunk.len());
                visit.send([size.as_bytes(), &chunk, b"\r\n"].concat());
                if chunk.is_empty() {
                    break;
                }
            }
        }
    });
    let proxy = Proxy::in_front_of(cell.address()).start();
    let mut random = fastrand::Rng::with_seed(1);
    let body: Vec<u8> = (0..ECHO_BYTES).map(|_| random.u8(..)).collect();
    let mut connection = Connection::open(proxy.address());
    let head = "POST /echo HTTP/1.1\r\nhost: test\r\nx-tenant-id: a\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let (first, rest) = body.split_at(1);
    connection.send(head).expect("the proxy listens");
    let sent = connection.send([b"1\r\n", first, b"\r\n"].concat());
    sent.expect("it is taken");
    let begun = connection.stream().peek(&mut [0]);
    begun.expect("the answer begins before the request ends");
    let stream = connection.stream().try_clone().expect("it is open");
    let answer = thread::scope(|scope| {
        scope.spawn(|| send_in_chunks(stream, rest));
        connection.answer("POST").expect("it comes back")
    });
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "not the bytes that were sent");
    drop(connection);
    wait_until_idle(&proxy);
}

fn send_in_chunks(mut stream: TcpStream, body: &[u8]) {
    for chunk in body.chunks(CHUNK_BYTES) {
        let size = format!("{:x}\r\n", chunk.len());
        let framed = [size.as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&framed).expect("it is taken");
    }
    stream.write_all(b"0\r\n\r\n").expect("it is taken");
}
