//! What differs between two outcomes, piece by piece.

use super::{
    cell::Visit,
    client::{End, Reply, Seen},
    pair::Outcome,
    scenario::{ID, LETTERS, Scenario, Start},
    wire::{Body, Broke, Head, name_of},
};

/// Where two outcomes differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aspect {
    /// What a client gets of the head of an answer.
    ReplyLine,
    ReplyField,
    ReplyBody,
    /// How much of an answer that was cut off came through.
    CutBody,
    /// How many answers there are.
    Replies,
    Interim,
    /// What becomes of the client's connection.
    End,
    /// What a cell gets.
    RequestLine,
    RequestField,
    RequestBody,
    /// How many requests come to a cell.
    Visits,
    /// Over which connection a request comes to its cell.
    Connection,
    Log,
    Metric,
}

/// One difference: the same thing as the left and the right proxy have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) aspect: Aspect,
    /// The exchange of the scenario, if it is about one.
    pub(super) exchange: Option<usize>,
    pub(super) what: String,
    pub(super) left: String,
    pub(super) right: String,
}

impl Difference {
    pub(super) fn new(
        aspect: Aspect,
        what: impl Into<String>,
        left: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self {
            aspect,
            exchange: None,
            what: what.into(),
            left: left.into(),
            right: right.into(),
        }
    }

    /// Whether it may be the same one in another scenario.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let word = |text: &str| text.split([':', ' ']).next().map(str::to_ascii_lowercase);
        self.aspect == other.aspect && word(&self.left) == word(&other.left)
    }

    /// What it is about, the same for all scenarios that show the same difference.
    pub(super) fn kind(&self) -> String {
        let words = |text: &str| {
            let letters = text.chars().filter(|character| !character.is_ascii_digit());
            letters.take(60).collect::<String>()
        };
        // Of a line of a log, the reason that it gives.
        let reason = match (self.aspect, self.what.rsplit_once(", reason ")) {
            (Aspect::Log, Some((_, reason))) => reason,
            _ => "",
        };
        format!(
            "{:?}: {} | {} {reason}",
            self.aspect,
            words(&self.left),
            words(&self.right)
        )
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            aspect,
            what,
            left,
            right,
            ..
        } = self;
        writeln!(f, "{aspect:?}: {what}")?;
        writeln!(f, "    left:  {left}")?;
        writeln!(f, "    right: {right}")
    }
}

/// All differences between what the two sides made of a scenario.
pub(super) fn differences(scenario: &Scenario, left: &Outcome, right: &Outcome) -> Vec<Difference> {
    let mut found = Found::default();
    if left == right {
        return found.all;
    }
    match (&left.seen, &right.seen) {
        (Some(left), Some(right)) => found.in_what_the_client_saw(scenario, left, right),
        (left, right) => {
            let say = |seen: &Option<Seen>| {
                if seen.is_some() {
                    "ended"
                } else {
                    "never ended"
                }
            };
            found.note(Aspect::End, "the scenario", say(left), say(right));
        }
    }
    for (letter, (left, right)) in LETTERS.iter().zip(left.visits.iter().zip(&right.visits)) {
        found.in_visits(scenario, letter, left, right);
    }
    found.all
}

#[derive(Default)]
struct Found {
    all: Vec<Difference>,
    /// What is compared.
    exchange: Option<usize>,
}

impl Found {
    fn note(
        &mut self,
        aspect: Aspect,
        what: impl Into<String>,
        left: impl Into<String>,
        right: impl Into<String>,
    ) {
        let mut difference = Difference::new(aspect, what, left, right);
        difference.exchange = self.exchange;
        if difference.left != difference.right {
            self.all.push(difference);
        }
    }

    fn in_what_the_client_saw(&mut self, scenario: &Scenario, left: &Seen, right: &Seen) {
        let count = |seen: &Seen| format!("{} answers", seen.replies.len());
        self.note(Aspect::Replies, "all answers", count(left), count(right));
        let is_answered_in_turn =
            |number: &usize| scenario.exchanges[*number].start != Start::Aside;
        let numbers = (0..scenario.exchanges.len()).filter(is_answered_in_turn);
        for (number, (left, right)) in numbers.zip(left.replies.iter().zip(&right.replies)) {
            self.exchange = Some(number);
            self.in_replies(&format!("answer {number}"), left, right);
        }
        self.exchange = None;
        let asides = |seen: &Seen| seen.asides.iter().flatten().cloned().collect::<Vec<_>>();
        self.in_more_replies("on its own connection", &asides(left), &asides(right));
        let last = |seen: &Seen| seen.last.clone().unwrap_or_default();
        self.in_more_replies("afterwards", &last(left), &last(right));
        if let (End::Open(left), End::Open(right)) = (&left.end, &right.end) {
            self.in_more_replies("to one more request", left, right);
        } else {
            self.note(
                Aspect::End,
                "the connection",
                end(&left.end),
                end(&right.end),
            );
        }
    }

    fn in_more_replies(&mut self, what: &str, left: &[Reply], right: &[Reply]) {
        let count = |replies: &[Reply]| format!("{} answers", replies.len());
        self.note(
            Aspect::Replies,
            format!("answers {what}"),
            count(left),
            count(right),
        );
        for (left, right) in left.iter().zip(right) {
            self.in_replies(&format!("an answer {what}"), left, right);
        }
    }

    fn in_replies(&mut self, what: &str, left: &Reply, right: &Reply) {
        if left == right {
            return;
        }
        let count = |reply: &Reply| format!("{} interim answers", reply.interim.len());
        self.note(Aspect::Interim, what, count(left), count(right));
        for (left, right) in left.interim.iter().zip(&right.interim) {
            let aspects = (Aspect::Interim, Aspect::Interim);
            self.in_heads(aspects, &format!("interim to {what}"), left, right);
        }
        let fields = (Aspect::ReplyLine, Aspect::ReplyField);
        self.in_heads(fields, what, &left.head, &right.head);
        self.in_bodies(Aspect::ReplyBody, what, &left.body, &right.body);
    }

    fn in_heads(&mut self, aspects: (Aspect, Aspect), what: &str, left: &Head, right: &Head) {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        self.note(aspects.0, what, text(&left.line), text(&right.line));
        let mut names: Vec<&[u8]> = left
            .fields
            .iter()
            .chain(&right.fields)
            .map(|field| name_of(field))
            .collect();
        names.sort_by_key(|name| name.to_ascii_lowercase());
        names.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        for name in names {
            let lines = |head: &Head| {
                let named = |field: &&Vec<u8>| name_of(field).eq_ignore_ascii_case(name);
                let lines: Vec<String> = head
                    .fields
                    .iter()
                    .filter(named)
                    .map(|field| text(&undated(field)))
                    .collect();
                lines.join(" / ")
            };
            self.note(
                aspects.1,
                format!("{what}, {}", text(name)),
                lines(left),
                lines(right),
            );
        }
    }

    fn in_bodies(&mut self, aspect: Aspect, what: &str, left: &Body, right: &Body) {
        if left == right {
            return;
        }
        let is_cut = left.broke.is_some() && right.broke.is_some() && left.framing == right.framing;
        let is_same_start =
            left.bytes.starts_with(&right.bytes) || right.bytes.starts_with(&left.bytes);
        let aspect = if is_cut && is_same_start {
            Aspect::CutBody
        } else {
            aspect
        };
        self.note(aspect, format!("{what}, body"), body(left), body(right));
    }

    fn in_visits(&mut self, scenario: &Scenario, letter: &str, left: &[Visit], right: &[Visit]) {
        let count = |visits: &[Visit]| {
            let lines: Vec<String> = visits
                .iter()
                .map(|visit| visit.head.line.escape_ascii().to_string())
                .collect();
            format!("{} requests: {}", visits.len(), lines.join(" / "))
        };
        if left.len() != right.len() {
            return self.note(
                Aspect::Visits,
                format!("cell {letter}"),
                count(left),
                count(right),
            );
        }
        // A client that broke off an upload asks again on another connection, while the first request may still be on its
        // way: which of the two a cell meets first is a matter of time.
        let is_cut = left.iter().chain(right).any(Visit::is_cut);
        let is_timed = is_cut && numbers(left).ne(numbers(right));
        let (left, right) = (in_order(left, is_timed), in_order(right, is_timed));
        for (number, (left, right)) in left.into_iter().zip(right).enumerate() {
            let what = format!(
                "request {number} to cell {letter} of scenario {}",
                scenario.number
            );
            let fields = (Aspect::RequestLine, Aspect::RequestField);
            self.in_heads(fields, &what, &left.head, &right.head);
            // How much had come of a body that its client broke off is a matter of time.
            if left.is_cut() && right.is_cut() {
                continue;
            }
            if let (Some(left), Some(right)) = (&left.body, &right.body) {
                self.in_bodies(Aspect::RequestBody, &what, left, right);
            } else {
                let is_there = |visit: &Visit| visit.body.is_some().to_string();
                self.note(Aspect::RequestBody, &what, is_there(left), is_there(right));
            }
            let place =
                |visit: &Visit| format!("request {} of connection {}", visit.nth, visit.connection);
            if !is_timed {
                self.note(Aspect::Connection, &what, place(left), place(right));
            }
            let through = |visit: &Visit| format!("{:?}", visit.tunnelled);
            self.note(
                Aspect::RequestBody,
                format!("{what}, tunnel"),
                through(left),
                through(right),
            );
        }
    }
}

/// What the generator numbered the requests with.
fn numbers(visits: &[Visit]) -> impl Iterator<Item = Option<&[u8]>> {
    visits.iter().map(|visit| {
        let mut fields = visit.head.fields.iter().map(Vec::as_slice);
        fields.find(|field| name_of(field).eq_ignore_ascii_case(ID.as_bytes()))
    })
}

/// The visits as they came, or in the order of their numbers.
fn in_order(visits: &[Visit], by_number: bool) -> Vec<&Visit> {
    let mut ordered: Vec<(Option<&[u8]>, &Visit)> = numbers(visits).zip(visits).collect();
    if by_number {
        ordered.sort_by_key(|(number, _)| *number);
    }
    ordered.into_iter().map(|(_, visit)| visit).collect()
}

/// The proxy's own date differs by the moment. Cells of scenarios send one of 1970.
fn undated(field: &[u8]) -> Vec<u8> {
    let is_date = name_of(field).eq_ignore_ascii_case(b"date");
    let is_scripted = field.windows(4).any(|window| window == b"1970");
    if is_date && !is_scripted {
        return [name_of(field), b": now"].concat();
    }
    field.to_vec()
}

fn end(end: &End) -> String {
    match end {
        End::Open(replies) => {
            let lines: Vec<String> = replies.iter().map(|reply| reply.head.text()).collect();
            format!("open, answers {}", lines.join(" / "))
        }
        End::Over(rest, broke) => format!("{broke:?} after \"{}\"", rest.escape_ascii()),
        End::Cut(exchange, interim, broke) => {
            let heads: Vec<String> = interim.iter().map(Head::text).collect();
            format!("{broke:?} before answer {exchange}, after {heads:?}")
        }
        End::Left => "the client left".to_owned(),
    }
}

fn body(body: &Body) -> String {
    let trailers: Vec<String> = body
        .trailers
        .iter()
        .map(|line| line.escape_ascii().to_string())
        .collect();
    let end = match body.broke {
        None => "whole".to_owned(),
        Some(Broke::Closed) => "cut off".to_owned(),
        Some(Broke::Reset) => "reset".to_owned(),
        Some(Broke::Garbled) => "garbled".to_owned(),
    };
    format!(
        "{:?}, {} bytes, {end}, trailers {trailers:?}: \"{}\"",
        body.framing,
        body.bytes.len(),
        body.bytes[..body.bytes.len().min(400)].escape_ascii()
    )
}
