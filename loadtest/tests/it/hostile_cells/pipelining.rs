//! Clients that send many requests at once, of two cells in turn, one of them hostile: the other
//! one's answers stay right, and in their places.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::in_front_of;
use crate::support::{
    gauges::wait_until_idle,
    heavy::{amount, figure, is_acceptance},
    origin::{OK, Origin, Visit, ok},
    proxy::{Proxy, TENANT},
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(a_hostile_cell_puts_nothing_into_anothers_answers);

const CLIENTS: usize = 24;
/// Requests that a client sends before it reads the first answer.
const BATCH: usize = 8;

/// What must never be anybody's answer.
const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
/// A body that would be a request, should it be taken for one.
const SMUGGLED: &str = "0123456789GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n";

/// What clients saw of the cell that behaves.
#[derive(Default)]
struct Tally {
    right: usize,
    /// Connections that ended before all was answered, as they may after a hostile answer.
    cut: usize,
    wrong: Vec<String>,
}

/// In the hostile cell, what is wrong with the answer to a request; its id ends in the number.
/// Returns whether the connection goes on.
fn misbehave(visit: &mut Visit, number: u8, id: &str) -> bool {
    let answer = match number {
        // Surplus bytes, whole answers among them.
        0 => [&*ok(id), POISON.as_bytes()].concat(),
        1 => [&*ok(id), b"surplus"].concat(),
        // Shorter and longer than announced. Silence instead of the end would take up all the time.
        2 => {
            visit.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort");
            return false;
        }
        3 => format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx{POISON}").into_bytes(),
        4 => format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n{POISON}"
        )
        .into_bytes(),
        // Once more, a little later.
        5 => {
            visit.send(ok(id));
            thread::sleep(Duration::from_millis(2));
            POISON.into()
        }
        _ => ok(id),
    };
    visit.send(answer)
}

/// Answers uploads before it has read more than their beginning, and takes the rest for a request.
fn hostile_cell() -> Origin {
    Origin::start(|visit| {
        while let Some(head) = visit.head() {
            if head.method() == "POST" && visit.take(10).is_err() {
                return;
            }
            let number = head.id().bytes().last().unwrap_or_default() % 10;
            let id = head.id().to_owned();
            if !misbehave(visit, number, &id) {
                return;
            }
        }
    })
}

/// A request of either cell.
struct Sent {
    is_calm: bool,
    id: String,
    request: Request,
}

fn random_request(random: &mut fastrand::Rng, prefix: &str) -> Sent {
    let id = format!("{prefix}-{}{}", random.u32(..), random.u8(0..10));
    let is_calm = random.bool();
    let is_upload = random.u8(0..4) == 0;
    let method = if is_upload { "POST" } else { "GET" };
    let tenant = if is_calm { "neighbour" } else { "victim" };
    let request = Request::new(method, &format!("{OK}{id}")).header(TENANT, tenant);
    Sent {
        is_calm,
        id,
        request: if is_upload {
            request.body(SMUGGLED)
        } else {
            request
        },
    }
}

/// Sends batches on one connection for as long as it lasts.
fn pipeline(
    proxy: &Proxy,
    random: &mut fastrand::Rng,
    prefix: &str,
    end: Instant,
    tally: &mut Tally,
) -> io::Result<()> {
    let mut connection = Connection::try_open(proxy.address())?;
    while Instant::now() < end {
        let batch: Vec<_> = (0..BATCH).map(|_| random_request(random, prefix)).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|sent| sent.request.bytes()).collect();
        connection.send(bytes)?;
        for sent in &batch {
            // Both methods frame their answers alike.
            let answer = connection.answer("GET")?;
            if !sent.is_calm {
                continue;
            }
            if answer.status == 200 && answer.body == sent.id.as_bytes() {
                tally.right += 1;
            } else {
                tally.wrong.push(format!("{}: {answer:?}", sent.id));
            }
        }
    }
    Ok(())
}

fn a_hostile_cell_puts_nothing_into_anothers_answers() {
    let time = Duration::from_secs(if is_acceptance() { 40 } else { 4 });
    let seed: u64 = amount("CELLGATE_SEED", 1);
    let (hostile, calm) = (hostile_cell(), Origin::well_behaved());
    let proxy = in_front_of(&hostile, &calm);

    let end = Instant::now() + time;
    let client = |number: usize| {
        let mut random = fastrand::Rng::with_seed(seed + number as u64);
        let mut tally = Tally::default();
        while Instant::now() < end {
            let prefix = format!("{number}-{}", tally.cut);
            let whole = pipeline(&proxy, &mut random, &prefix, end, &mut tally);
            tally.cut += usize::from(whole.is_err());
        }
        tally
    };
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        let tallies = clients.into_iter().map(thread::ScopedJoinHandle::join);
        tallies.map(|tally| tally.expect("it only asks")).collect()
    });
    let wrong: Vec<&String> = tallies.iter().flat_map(|tally| &tally.wrong).collect();
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (right, cut) = (sum(|tally| tally.right), sum(|tally| tally.cut));
    figure(format!(
        "{CLIENTS} pipelining clients of two cells, one hostile, for {time:?}: {} wrong and {right} \
         right answers of the other, {cut} connections cut",
        wrong.len()
    ));
    assert!(right >= CLIENTS * BATCH, "only {right} answers");
    assert_eq!(wrong, [""; 0]);
    wait_until_idle(&proxy);
}
