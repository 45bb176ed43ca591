//! What hostile cells answer, and what a client may see of it.

mod cut;
mod framing;
mod nonsense;
mod surplus;

use std::time::Duration;

use crate::support::wire::Request;

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    /// Pauses, and what is sent after each.
    pub(super) answer: Vec<(Duration, Vec<u8>)>,
    pub(super) then: Then,
    /// Any of these is right.
    pub(super) may: &'static [Expected],
}

/// What the cell does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Close,
    /// Says no more, and keeps the connection open.
    Stay,
    /// Takes the next request as if nothing had happened.
    Next,
}

#[derive(Debug)]
pub(super) enum Expected {
    /// 200 with this body.
    Whole(&'static str),
    /// This status without a body.
    Bare(u16),
    /// The proxy's own answer.
    Refused(u16, &'static str),
    /// The connection ends before the answer is whole, and the client can tell.
    Broken,
}

impl Case {
    pub(super) fn request(&self, number: usize) -> Request {
        Request::new(self.method, &format!("/case/{number}"))
    }

    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Sends the answer in pieces of one byte, with a pause before each.
    fn dripping(mut self, pause: Duration) -> Self {
        let bytes = self.answer.concat_bytes();
        self.answer = bytes.into_iter().map(|byte| (pause, vec![byte])).collect();
        self
    }

    /// How long the cell goes on sending.
    pub(super) fn takes(&self) -> Duration {
        self.answer.iter().map(|(pause, _)| *pause).sum()
    }

    /// Sends this after a pause.
    fn later(mut self, pause: Duration, bytes: impl Into<Vec<u8>>) -> Self {
        self.answer.push((pause, bytes.into()));
        self
    }
}

trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for Vec<(Duration, Vec<u8>)> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

const BAD_GATEWAY: Expected = Expected::Refused(502, "upstream_error");
const HEAD_TOO_LARGE: Expected = Expected::Refused(502, "upstream_head_too_large");
const TIMEOUT: Expected = Expected::Refused(504, "upstream_timeout");

/// An answer that must never be seen by anybody.
const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

fn case(
    name: &'static str,
    answer: impl Into<Vec<u8>>,
    then: Then,
    may: &'static [Expected],
) -> Case {
    Case {
        name,
        method: "GET",
        answer: vec![(Duration::ZERO, answer.into())],
        then,
        may,
    }
}

pub(super) fn cases() -> Vec<Case> {
    [
        cut::broken_off(),
        framing::lengths(),
        framing::lengths_that_disagree(),
        framing::chunks(),
        framing::codings(),
        nonsense::nonsense(),
        nonsense::bad_fields(),
        cut::silence(),
        surplus::more_than_one(),
        surplus::bodiless(),
        surplus::interim(),
        surplus::orderly(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
