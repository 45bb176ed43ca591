//! What one client does and what its cells answer: the case that both proxies get.

use std::fmt;

/// The field by which a cell knows which request it has before it.
pub(super) const ID: &str = "x-fuzz";

/// What stands in the place of the lane and the set in the name of a tenant: `tn-a-000`. It has the length of what is put
/// there when the scenario is played, so no length changes.
const PLACE: &[u8] = b"-000";

/// Where a scenario is played: names of tenants differ by it, nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) lane: usize,
    pub(super) set: usize,
}

/// The cells of a place.
pub(super) const LETTERS: [&str; 3] = ["a", "b", "c"];

impl Place {
    /// A tenant of this place, and the cell that it lives in.
    pub(super) fn name(self, letter: &str) -> String {
        format!("tn-{letter}{}", self.digits())
    }

    fn digits(self) -> String {
        format!("-{:02}{}", self.lane, self.set)
    }

    /// Puts the names of this place into a message.
    fn fill(self, mut bytes: Vec<u8>) -> Vec<u8> {
        let digits = self.digits();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(4).position(|window| window == PLACE) {
            let start = at + found;
            let is_name = start > 1 && matches!(bytes[start - 1], b'a'..=b'c' | b'A'..=b'C');
            if is_name && bytes[start - 2] == b'-' {
                bytes[start..start + 4].copy_from_slice(digits.as_bytes());
            }
            at = start + 4;
        }
        bytes
    }
}

/// A message to be: any of its parts may hold bytes that do not belong there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) line: Vec<u8>,
    pub(super) fields: Vec<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

impl Text {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.line.clone();
        for field in &self.fields {
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(field);
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// Which one it is of its seed; the client's address and the ids of its requests are made of it.
    pub(super) number: usize,
    pub(super) exchanges: Vec<Exchange>,
}

/// One request, and what its cell says to it.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) request: Text,
    /// Where the request is split into segments.
    pub(super) cuts: Vec<usize>,
    pub(super) start: Start,
    /// So many bytes of the body are sent, and the rest later.
    pub(super) held_body: Option<(usize, Until)>,
    pub(super) leave: Option<Leave>,
    /// One for each time that the request comes to the cell; the last one for all further times.
    pub(super) answers: Vec<Answer>,
}

/// When a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Right behind the one before.
    Pipelined,
    /// After the answer to the one before.
    Answered,
    /// The same, and the proxy has noticed what the cell did with its connection afterwards.
    Settled,
    /// On a connection of its own while the one before is held by its cell.
    Aside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// An answer has begun, an interim one or the final one.
    Begun,
    Answered,
}

/// How a client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Closes after so many bytes of its request.
    Early(usize),
    /// Says that it sends no more after so many bytes of its request, and reads on.
    HalfEarly(usize),
    /// Resets its connection while the cell works on the request.
    Reset,
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Whole heads, sent before.
    pub(super) interim: Vec<Vec<u8>>,
    pub(super) text: Text,
    /// So many bytes of all of it are sent.
    pub(super) kept: Option<usize>,
    /// Where it is split into segments.
    pub(super) cuts: Vec<usize>,
    pub(super) when: When,
    pub(super) then: Then,
}

/// When a cell answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Once it has the whole request.
    Read,
    /// Once it has the head. The body is read afterwards.
    Head,
    /// It says 100 once it has the head, and the rest once it has the body.
    Continued,
    /// Once another client has tried in vain.
    Released,
}

/// What a cell does with its connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Next,
    Close,
    /// Keeps it open and says no more.
    Silence,
    /// Speaks another protocol: sends some bytes, and returns what it gets.
    Tunnel,
}

impl Scenario {
    pub(super) fn id(&self, exchange: usize) -> String {
        format!("{}-{exchange}", self.number)
    }

    /// Which cells it has to do with.
    pub(super) fn letters(&self) -> impl Iterator<Item = &'static str> + '_ {
        LETTERS.into_iter().filter(|letter| {
            let name = format!("-{letter}-000");
            let mut requests = self.exchanges.iter().map(|exchange| &exchange.request);
            requests.any(|request| {
                let mut lines = request.fields.iter().chain([&request.line]);
                lines.any(|line| contains(line, name.as_bytes()))
            })
        })
    }

    /// Whether a cell has closed its connection after the last answer.
    pub(super) fn ends_with_a_close(&self) -> bool {
        self.exchanges.last().is_some_and(Exchange::is_closed_after)
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    // Long lines are filling at their end.
    let line = &line[..line.len().min(400)];
    let mut windows = line.windows(part.len());
    windows.any(|window| window.eq_ignore_ascii_case(part))
}

impl Exchange {
    pub(super) fn is_head(&self) -> bool {
        self.request.line.trim_ascii_start().starts_with(b"HEAD ")
    }

    /// Whether its cell closes the connection without having said so.
    pub(super) fn is_closed_after(&self) -> bool {
        self.answers.iter().any(|answer| {
            let says_so = answer
                .text
                .fields
                .iter()
                .any(|field| field.eq_ignore_ascii_case(b"connection: close"));
            answer.then == Then::Close && !says_so
        })
    }

    /// The bytes of the request, with its id.
    pub(super) fn bytes(&self, id: &str, place: Place) -> Vec<u8> {
        let mut request = self.request.clone();
        let field = format!("{ID}: {id}").into_bytes();
        // Before the rest: what comes at the end may be a broken line.
        request.fields.insert(0, field);
        request.line = place.fill(request.line);
        for field in &mut request.fields {
            *field = place.fill(std::mem::take(field));
        }
        request.bytes()
    }
}

impl Answer {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.interim.concat();
        if self.text != Text::default() {
            bytes.extend(self.text.bytes());
        }
        if let Some(kept) = self.kept {
            bytes.truncate(kept);
        }
        bytes
    }
}

/// The pieces of some bytes that are cut at these places.
pub(super) fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut start = 0;
    let piece = |end: usize| &bytes[std::mem::replace(&mut start, end)..end];
    let pieces = cuts.into_iter().map(piece);
    pieces.filter(|piece| !piece.is_empty()).collect()
}

/// The bytes that reproduce it.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place { lane: 0, set: 0 };
        for (number, exchange) in self.exchanges.iter().enumerate() {
            let Exchange {
                cuts,
                start,
                held_body,
                leave,
                answers,
                ..
            } = exchange;
            let bytes = exchange.bytes(&self.id(number), place);
            writeln!(f, "request {number}, sent {start:?}, cut at {cuts:?}:")?;
            writeln!(f, "    \"{}\"", shortened(&bytes))?;
            if let Some((bytes, until)) = held_body {
                writeln!(f, "  of its body {bytes} bytes, the rest after {until:?}")?;
            }
            if let Some(leave) = leave {
                writeln!(f, "  the client leaves: {leave:?}")?;
            }
            for answer in answers {
                let Answer {
                    cuts, when, then, ..
                } = answer;
                writeln!(f, "  answer when {when:?}, cut at {cuts:?}, then {then:?}:")?;
                writeln!(f, "    \"{}\"", shortened(&answer.bytes()))?;
            }
        }
        Ok(())
    }
}

/// Long runs of a message say nothing.
fn shortened(bytes: &[u8]) -> String {
    const HALF: usize = 1_500;
    if bytes.len() <= 2 * HALF {
        return bytes.escape_ascii().to_string();
    }
    let (start, end) = (&bytes[..HALF], &bytes[bytes.len() - HALF..]);
    format!(
        "{}\" … {} bytes … \"{}",
        start.escape_ascii(),
        bytes.len() - 2 * HALF,
        end.escape_ascii()
    )
}
