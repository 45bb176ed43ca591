//! Scenarios out of a seed: the same seed and number make the same scenario.
//!
//! What happens at the same time must end in one way only, or nothing could be compared. So a request that follows a
//! connection that its cell closes unannounced waits until the proxy has noticed, and a client goes away only when it is
//! known how far its request has come. Within that anything goes.

mod answers;
mod requests;

use fastrand::Rng;

use super::{
    profile::Profile,
    scenario::{Answer, Exchange, Leave, Scenario, Start, Text, Then, Until, When},
};

/// Requests of a scenario, at most.
const REQUESTS_MAX: usize = 4;

/// What a scenario is made with.
struct Maker<'m> {
    rng: Rng,
    profile: &'m Profile,
    number: usize,
}

/// The scenario of this number.
pub(super) fn scenario(profile: &Profile, seed: u64, number: usize) -> Scenario {
    let mixed = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(number as u64);
    let mut maker = Maker {
        rng: Rng::with_seed(mixed),
        profile,
        number,
    };
    let mut exchanges = maker.exchanges();
    keep_in_order(&mut exchanges);
    Scenario { number, exchanges }
}

/// Makes sure that each step waits for what decides it.
pub(super) fn keep_in_order(exchanges: &mut [Exchange]) {
    let has_interim = exchanges.iter().any(|exchange| {
        let mut answers = exchange.answers.iter();
        answers.any(|answer| !answer.interim.is_empty() || answer.when == When::Continued)
    });
    for at in 0..exchanges.len() {
        if has_interim {
            // Whether the next request was there already decides what becomes of the connection.
            exchanges[at].cuts.clear();
        }
        let Some(before) = at.checked_sub(1) else {
            exchanges[at].start = Start::Pipelined;
            continue;
        };
        let before = &exchanges[before];
        let is_closed = before.is_closed_after();
        let is_held = before.held_body.is_some();
        let exchange = &mut exchanges[at];
        exchange.start = match exchange.start {
            Start::Aside => Start::Aside,
            _ if is_closed => Start::Settled,
            Start::Pipelined if is_held || exchange.leave.is_some() => Start::Answered,
            start => start,
        };
    }
}

impl Maker<'_> {
    fn one_in(&mut self, count: usize) -> bool {
        self.rng.usize(..count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    fn exchanges(&mut self) -> Vec<Exchange> {
        if self.profile.has_silence && self.one_in(3) {
            return self.silence();
        }
        let count = 1 + self.rng.usize(..REQUESTS_MAX);
        let mut exchanges: Vec<Exchange> = (0..count).map(|at| self.exchange(at)).collect();
        match self.rng.usize(..100) {
            0..6 => self.end_with_leaving(&mut exchanges),
            6..10 => exchanges = self.overload(),
            10..18 => self.meet_stale(&mut exchanges),
            18..23 => self.answer_early(&mut exchanges),
            23..28 => self.expect(&mut exchanges),
            28..32 => self.end_with_upgrade(&mut exchanges),
            _ => {}
        }
        exchanges
    }

    /// A request of any kind and an answer of any kind.
    fn exchange(&mut self, at: usize) -> Exchange {
        let request = self.request(at);
        let answer = self.answer(request.line.trim_ascii_start().starts_with(b"HEAD "));
        // Control bytes are found when they come, other faults when the whole head is there: which one is named, if there
        // are two, depends on how much of the head comes in the first piece.
        let has_control = request.fields.iter().any(|field| {
            let is_control = |byte: &u8| *byte < b' ' && *byte != b'\t';
            field.iter().any(is_control)
        });
        let cuts = if has_control {
            Vec::new()
        } else {
            self.cuts(request.bytes().len() + 20)
        };
        Exchange {
            cuts,
            request,
            start: self.pick(&[Start::Pipelined, Start::Pipelined, Start::Answered]),
            held_body: None,
            leave: None,
            answers: vec![answer],
        }
    }

    /// A good request with a body of so many bytes, or none, and a plain answer.
    fn good(&mut self, at: usize, letter: &str, body_bytes: usize) -> Exchange {
        let id = format!("{}-{at}", self.number);
        let mut exchange = self.profile.probe(&id, letter);
        if body_bytes > 0 {
            let method = self.pick(&["POST", "PUT", "PATCH"]);
            exchange.request.line = format!("{method} /~{id} HTTP/1.1").into_bytes();
            let length = format!("Content-Length: {body_bytes}");
            exchange.request.fields.push(length.into_bytes());
            exchange.request.body = requests::filling(body_bytes);
        }
        exchange.start = Start::Answered;
        exchange.answers = vec![Answer::ok("good")];
        exchange
    }

    /// Where bytes are cut into segments: mostly nowhere.
    fn cuts(&mut self, length: usize) -> Vec<usize> {
        if !self.one_in(5) || length == 0 {
            return Vec::new();
        }
        let count = 1 + self.rng.usize(..4);
        (0..count).map(|_| self.rng.usize(..length)).collect()
    }

    fn silence(&mut self) -> Vec<Exchange> {
        let body_bytes = self.pick(&[0, 100, 3_000]);
        let mut exchange = self.good(0, "a", body_bytes);
        let mut answer = Answer::ok("a part of it only");
        answer.kept = Some(self.pick(&[0, 5, 20, answer.bytes().len() - 3]));
        answer.then = Then::Silence;
        exchange.answers = vec![answer];
        vec![exchange]
    }

    /// While one request holds the cell's only place, another one comes.
    fn overload(&mut self) -> Vec<Exchange> {
        let mut held = self.good(0, "c", 0);
        held.answers[0].when = When::Released;
        let body_bytes = self.pick(&[0, 0, 50, 3_000]);
        let mut other = self.good(1, "c", body_bytes);
        if self.one_in(4) {
            other.request.line = [b"HEAD", &other.request.line[3..]].concat();
        }
        other.start = Start::Aside;
        let after = self.good(2, "c", 0);
        vec![held, other, after]
    }

    /// The cell closes a kept connection at the very moment at which the next request comes.
    fn meet_stale(&mut self, exchanges: &mut Vec<Exchange>) {
        exchanges.truncate(1);
        let first = exchanges.len();
        let before = self.good(first, "a", 0);
        let body_bytes = self.pick(&[0, 0, 0, 20, 1_000, 5_000]);
        let mut stale = self.good(first + 1, "a", body_bytes);
        if self.one_in(4) {
            let method = self.pick(&["DELETE", "OPTIONS", "HEAD", "BREW"]);
            let target = &stale.request.line[stale
                .request
                .line
                .iter()
                .position(|b| *b == b' ')
                .unwrap_or(0)..];
            stale.request.line = [method.as_bytes(), target].concat();
        }
        let mut nothing = Answer::ok("");
        nothing.kept = Some(self.pick(&[0, 0, 0, 5]));
        nothing.then = Then::Close;
        stale.answers = vec![nothing.clone(), Answer::ok("again")];
        if self.one_in(4) {
            stale.answers.insert(1, nothing);
        }
        exchanges.extend([before, stale]);
        let after = exchanges.len();
        exchanges.push(self.good(after, "a", 0));
    }

    /// The cell answers before it has the body, most of which the client keeps back until then.
    fn answer_early(&mut self, exchanges: &mut Vec<Exchange>) {
        exchanges.truncate(1);
        let at = exchanges.len();
        let limit = self.profile.body_buffered_bytes_max;
        let mut early = self.good(at, "a", limit + 500);
        early.held_body = Some((self.rng.usize(..400), Until::Answered));
        let mut answer = if self.one_in(2) {
            self.answer(false)
        } else {
            Answer::ok("early")
        };
        answer.when = When::Head;
        answer.interim.clear();
        if answer.then == Then::Next && self.one_in(3) {
            answer.then = Then::Close;
        }
        early.answers = vec![answer];
        exchanges.push(early);
    }

    /// A client that waits for a 100, or says so and does not.
    fn expect(&mut self, exchanges: &mut Vec<Exchange>) {
        exchanges.truncate(2);
        let at = exchanges.len();
        let body_bytes = self.pick(&[1, 40, 3_000]);
        let mut asking = self.good(at, "a", body_bytes);
        let field = self.pick(&["Expect: 100-continue", "expect: 100-Continue"]);
        asking.request.fields.push(field.as_bytes().to_vec());
        if self.one_in(5) {
            let line = String::from_utf8_lossy(&asking.request.line).replace("1.1", "1.0");
            asking.request.line = line.into_bytes();
        }
        let waits = !asking.request.line.ends_with(b"0") && self.one_in(2);
        let mut answer = self.answer(false);
        answer.interim.clear();
        if waits {
            answer.when = self.pick(&[When::Continued, When::Continued, When::Head]);
            // What comes while the final answer does may still be read or not.
            let until = if answer.when == When::Head {
                Until::Answered
            } else {
                Until::Begun
            };
            asking.held_body = Some((0, until));
        } else {
            answer.when = self.pick(&[When::Continued, When::Read]);
        }
        asking.answers = vec![answer];
        exchanges.push(asking);
    }

    fn end_with_upgrade(&mut self, exchanges: &mut Vec<Exchange>) {
        exchanges.truncate(1);
        let at = exchanges.len();
        let mut asking = self.good(at, "a", 0);
        let protocol = self.pick(&["websocket", "WebSocket", "foo/2, websocket", "h2c", "foo"]);
        let fields = [
            format!("Upgrade: {protocol}"),
            "Connection: Upgrade".to_owned(),
        ];
        asking.request.fields.extend(fields.map(String::into_bytes));
        asking.answers = vec![match self.rng.usize(..4) {
            0 => self.answer(false),
            1 => Answer {
                text: Text {
                    line: b"HTTP/1.1 426 Upgrade Required".to_vec(),
                    fields: vec![
                        b"Upgrade: websocket".to_vec(),
                        b"Connection: upgrade".to_vec(),
                        b"Content-Length: 0".to_vec(),
                    ],
                    body: Vec::new(),
                },
                ..Answer::ok("")
            },
            _ => Answer {
                text: Text {
                    line: b"HTTP/1.1 101 Switching Protocols".to_vec(),
                    fields: vec![
                        b"Upgrade: websocket".to_vec(),
                        b"Connection: Upgrade".to_vec(),
                    ],
                    body: Vec::new(),
                },
                then: Then::Tunnel,
                ..Answer::ok("")
            },
        }];
        exchanges.push(asking);
    }

    fn end_with_leaving(&mut self, exchanges: &mut Vec<Exchange>) {
        exchanges.truncate(1);
        let at = exchanges.len();
        let body_bytes = self.pick(&[0, 200, 1_500]);
        let mut last = self.good(at, "a", body_bytes);
        let length = last.request.bytes().len();
        let head = length - body_bytes;
        let is_buffered = body_bytes <= self.profile.body_buffered_bytes_max;
        // None that says so after the whole request: whether a client is answered that has said all is not promised.
        last.leave = Some(match self.rng.usize(..3) {
            0 => Leave::Early(self.rng.usize(..head)),
            1 => Leave::HalfEarly(self.rng.usize(..if is_buffered { length } else { head })),
            _ => Leave::Reset,
        });
        if last.leave == Some(Leave::Reset) {
            last.answers[0].kept = Some(0);
            last.answers[0].then = Then::Silence;
        }
        exchanges.push(last);
    }
}
