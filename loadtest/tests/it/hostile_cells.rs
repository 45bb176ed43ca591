//! Cells that break off, lie, babble or say nothing: their client learns of it, nobody else is hurt,
//! and nothing of their answer turns up in another.

mod cases;
mod heads;
mod pipelining;

use std::{
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use cases::{Case, Expected, Then, cases};

use crate::support::{
    gauges::wait_until_idle,
    origin::{OK, Origin, Visit, ok},
    proxy::{Proxy, TENANT},
    table::TableText,
    ways::both_ways,
    wire::{Answer, Connection, Request},
};

both_ways!(
    hostile_answers_hurt_nobody_else,
    an_answer_nobody_asked_for_is_never_given_to_anybody,
    a_cell_that_closes_after_the_accept_is_a_failed_cell,
    an_answer_before_the_body_was_read_does_not_mix_requests_up,
    a_dripping_cell_slows_nobody_else_down,
    a_slow_answer_reaches_the_client_as_it_comes,
);

/// The cell's time to answer, short so that the silent ones take little time.
const READ_MS: u64 = 400;
/// Requests after each hostile answer, each on a connection of its own.
const FOLLOWERS: usize = 2;

/// What came back to the client.
#[derive(Debug)]
enum Seen {
    Answer(Answer),
    /// The connection ended in the middle of the answer, or before it.
    Broken,
}

struct Bench {
    proxy: Proxy,
    hostile: Origin,
    calm: Origin,
    asked: usize,
}

impl Bench {
    fn start(hostile: Origin) -> Self {
        let calm = Origin::well_behaved();
        Self {
            proxy: in_front_of(&hostile, &calm),
            hostile,
            calm,
            asked: 0,
        }
    }

    fn next_id(&mut self) -> String {
        self.asked += 1;
        format!("id-{}", self.asked)
    }

    /// A request that the cell answers as it should must get its own answer.
    #[track_caller]
    fn ask(&mut self, connection: &mut Connection, tenant: &str, after: &str) {
        let id = self.next_id();
        let request = Request::get(&format!("{OK}{id}")).header(TENANT, tenant);
        let answer = connection.exchange(&request);
        assert_eq!(answer.status, 200, "{tenant} after {after}: {answer:?}");
        assert_eq!(
            answer.text(),
            id,
            "{tenant} got another's answer after {after}"
        );
    }

    /// Nobody gets what was meant for, or forged by, somebody else.
    #[track_caller]
    fn nothing_is_mixed_up(&mut self, after: &str) {
        for _ in 0..FOLLOWERS {
            for tenant in ["victim", "neighbour"] {
                let mut connection = Connection::open(self.proxy.address());
                self.ask(&mut connection, tenant, after);
                self.ask(&mut connection, tenant, after);
            }
        }
    }

    #[track_caller]
    fn check(&mut self, number: usize, case: &Case) {
        let name = case.name;
        let mut connection = Connection::open(self.proxy.address());
        // Now there is a connection to the cell to be had from the pool.
        self.ask(&mut connection, "victim", "nothing");

        let request = case.request(number).header(TENANT, "victim");
        let sent = connection.send(request.bytes());
        let seen = match sent.and_then(|()| connection.answer(case.method)) {
            Ok(answer) => Seen::Answer(answer),
            Err(_) => Seen::Broken,
        };
        assert!(
            case.may.iter().any(|expected| expected.is_met_by(&seen)),
            "{name}: expected one of {:?}, got {seen:?}",
            case.may
        );
        // What comes while the next request waits for its answer looks like that answer. So let it
        // come before, and find an idle connection.
        thread::sleep(case.takes() + Duration::from_millis(20));
        if let Seen::Answer(answer) = &seen {
            self.same_connection_is_in_step(&mut connection, answer, case);
        }
        self.nothing_is_mixed_up(name);
    }

    /// After a whole answer the client's connection either closes or answers the next request.
    #[track_caller]
    fn same_connection_is_in_step(
        &mut self,
        connection: &mut Connection,
        answer: &Answer,
        case: &Case,
    ) {
        if !closes(answer, case.method) {
            return self.ask(connection, "victim", case.name);
        }
        let rest = connection.rest();
        assert!(
            matches!(&rest, Ok(rest) if rest.is_empty()),
            "bytes after the last answer, after {}: {rest:?}",
            case.name
        );
    }
}

/// A proxy whose tenant `victim` belongs to the one cell, and `neighbour` to the other.
fn in_front_of(hostile: &Origin, calm: &Origin) -> Proxy {
    let table = TableText::new([
        ("hostile", vec![hostile.address()]),
        ("calm", vec![calm.address()]),
    ])
    .pin("victim", "hostile")
    .pin("neighbour", "calm");
    Proxy::plan()
        .set("timeouts", &format!("{{ upstream_read_ms: {READ_MS} }}"))
        .table(table)
        .start()
}

/// Whether no other answer can follow this one.
fn closes(answer: &Answer, method: &str) -> bool {
    let says_so = answer
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let has_end = method == "HEAD"
        || matches!(answer.status, 204 | 304)
        || answer.header("content-length").is_some()
        || answer.header("transfer-encoding").is_some();
    says_so || !has_end
}

impl Expected {
    fn is_met_by(&self, seen: &Seen) -> bool {
        match (self, seen) {
            (Self::Broken, Seen::Broken) => true,
            (Self::Whole(body), Seen::Answer(answer)) => {
                answer.status == 200 && answer.body == body.as_bytes()
            }
            (Self::Bare(status), Seen::Answer(answer)) => {
                answer.status == *status && answer.body.is_empty()
            }
            (Self::Refused(status, reason), Seen::Answer(answer)) => {
                answer.status == *status && answer.header("x-cellgate-reason") == Some(reason)
            }
            _ => false,
        }
    }
}

/// Answers `/ok/…` as it should, and `/case/N` as case N says.
fn hostile_cell() -> Origin {
    let cases = cases();
    Origin::start(move |visit| {
        while let Some(head) = visit.head() {
            if head.path().starts_with(OK) {
                let _ = visit.body_of(&head);
                visit.send(ok(head.id()));
                continue;
            }
            let case = &cases[head
                .id()
                .parse::<usize>()
                .expect("the path ends in a number")];
            if !play(visit, case) {
                return;
            }
        }
    })
}

/// Whether the connection goes on.
fn play(visit: &mut Visit, case: &Case) -> bool {
    for (pause, bytes) in &case.answer {
        thread::sleep(*pause);
        if !visit.send(bytes) {
            return false;
        }
    }
    match case.then {
        Then::Close => return false,
        Then::Stay => visit.wait_for_end(),
        Then::Next => {}
    }
    case.then == Then::Next
}

fn hostile_answers_hurt_nobody_else() {
    let mut bench = Bench::start(hostile_cell());
    let mut failed = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        // The others are of interest all the same.
        let checked = catch_unwind(AssertUnwindSafe(|| bench.check(number, case)));
        if checked.is_err() {
            failed.push(case.name);
        }
    }
    assert_eq!(failed, [""; 0], "some cases hurt");
    wait_until_idle(&bench.proxy);
    assert!(
        !bench.calm.has_received("/case/"),
        "a request went to another cell"
    );
}

/// The pool must not hand out a connection on which the cell spoke without being asked.
fn an_answer_nobody_asked_for_is_never_given_to_anybody() {
    let cell = Origin::start(|visit| {
        while let Some(head) = visit.head() {
            visit.send(ok(head.id()));
            let pause = head.header("pause").and_then(|text| text.parse().ok());
            thread::sleep(Duration::from_millis(pause.unwrap_or(0)));
            visit.send(ok("poison"));
        }
    });
    let mut bench = Bench::start(cell);
    for pause_ms in [0, 1, 5, 20].repeat(5) {
        let id = bench.next_id();
        let request = Request::get(&format!("{OK}{id}"))
            .header(TENANT, "victim")
            .header("pause", pause_ms.to_string());
        let mut connection = Connection::open(bench.proxy.address());
        assert_eq!(connection.exchange(&request).text(), id);
        // What comes while a request waits for its answer looks like that answer.
        thread::sleep(Duration::from_millis(50));
        follow(&mut connection, &mut bench);
        thread::sleep(Duration::from_millis(50));
    }
    wait_until_idle(&bench.proxy);
}

/// The next answer, if there is one, is the right one.
#[track_caller]
fn follow(connection: &mut Connection, bench: &mut Bench) {
    let id = bench.next_id();
    let request = Request::get(&format!("{OK}{id}")).header(TENANT, "victim");
    let sent = connection.send(request.bytes());
    let Ok(answer) = sent.and_then(|()| connection.answer("GET")) else {
        return;
    };
    if answer.status == 200 {
        assert_eq!(answer.text(), id, "not the answer to this request");
    }
}

fn a_cell_that_closes_after_the_accept_is_a_failed_cell() {
    let mut bench = Bench::start(Origin::start(Visit::close));
    for _ in 0..20 {
        let answer = bench.proxy.get("victim", "/");
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.header("x-cellgate-reason"), Some("upstream_error"));
        let mut connection = Connection::open(bench.proxy.address());
        bench.ask(
            &mut connection,
            "neighbour",
            "a cell that closes immediately",
        );
    }
    drop(bench.next_id());
    wait_until_idle(&bench.proxy);
}

/// The cell answers a large upload immediately: the client gets the answer, and what is left of the
/// upload is nobody's request.
fn an_answer_before_the_body_was_read_does_not_mix_requests_up() {
    for (goes_on, name) in [(false, "and the end"), (true, "and going on")] {
        let cell = Origin::start(move |visit| {
            while let Some(head) = visit.head() {
                visit.send(ok(head.id()));
                if head.method() == "POST" && !goes_on {
                    return visit.close();
                }
                thread::sleep(Duration::from_millis(20));
                let _ = visit.body_of(&head);
            }
        });
        let mut bench = Bench::start(cell);
        for _ in 0..5 {
            upload_in_vain(&mut bench, name);
            // By now the cell has read all that it will ever read of it.
            thread::sleep(Duration::from_millis(100));
            bench.nothing_is_mixed_up(name);
        }
        wait_until_idle(&bench.proxy);
    }
}

#[track_caller]
fn upload_in_vain(bench: &mut Bench, name: &str) {
    let id = bench.next_id();
    // Each piece of it looks like a request.
    let body = format!("GET {OK}smuggled HTTP/1.1\r\nhost: test\r\n\r\n").repeat(20_000);
    let request = Request::new("POST", &format!("{OK}{id}"))
        .header(TENANT, "victim")
        .body(body);
    let mut connection = Connection::open(bench.proxy.address());
    // The cell may be gone before all of it could be sent.
    let _ = connection.send(request.bytes());
    let Ok(answer) = connection.answer("POST") else {
        return;
    };
    assert!(matches!(answer.status, 200 | 502), "{name}: {answer:?}");
    if answer.status == 200 {
        assert_eq!(answer.text(), id, "{name}");
    }
}

/// While one cell drips its answers, another's are as quick as ever.
fn a_dripping_cell_slows_nobody_else_down() {
    let cell = Origin::start(|visit| {
        while visit.head().is_some() {
            if !visit.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n") {
                return;
            }
            while visit.send("1\r\nx\r\n") {
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    let mut bench = Bench::start(cell);
    let mut waiting: Vec<Connection> = (0..200)
        .map(|_| {
            let mut connection = Connection::open(bench.proxy.address());
            let request = Request::get("/drip").header(TENANT, "victim");
            connection.send(request.bytes()).expect("the proxy listens");
            connection
        })
        .collect();
    // All of them are being answered.
    for connection in &mut waiting {
        let mut first = [0; 1];
        connection
            .stream()
            .read_exact(&mut first)
            .expect("an answer begins");
    }
    let started = Instant::now();
    let mut connection = Connection::open(bench.proxy.address());
    for _ in 0..200 {
        bench.ask(&mut connection, "neighbour", "200 drips");
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "200 requests took {took:?}");
    assert!(bench.hostile.connections() >= 200);
    drop((waiting, connection));
    wait_until_idle(&bench.proxy);
}

/// Events, progress and the like: each piece of an answer is passed on when it comes.
fn a_slow_answer_reaches_the_client_as_it_comes() {
    for head in ["content-length: 2000", "transfer-encoding: chunked"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n1\r\na\r\n");
        let cell = Origin::start(move |visit| {
            while visit.head().is_some() && visit.send(&answer) {
                visit.wait_for_end();
            }
        });
        let bench = Bench::start(cell);
        let mut connection = Connection::open(bench.proxy.address());
        let request = Request::get("/").header(TENANT, "victim");
        connection.send(request.bytes()).expect("the proxy listens");
        let started = Instant::now();
        let mut seen = Vec::new();
        while !seen.ends_with(b"1\r\na\r\n") {
            let mut byte = [0; 1];
            connection
                .stream()
                .read_exact(&mut byte)
                .unwrap_or_else(|error| panic!("{head}: {error} after {}", seen.escape_ascii()));
            seen.extend(byte);
        }
        let took = started.elapsed();
        assert!(
            took < Duration::from_millis(READ_MS / 2),
            "{head}: {took:?}"
        );
    }
}
