//! The differences between the two ways that are allowed, each with the reason. Any other one fails.
//!
//! A difference belongs here only if no correct client and no correct cell can be any the wiser for it.

use super::{
    compare::{Aspect, Difference},
    scenario::{Answer, Exchange, Scenario, Start, Then},
};

/// A difference that is no fault.
pub(super) struct Allowed {
    pub(super) name: &'static str,
    pub(super) reason: &'static str,
    pub(super) is_this: fn(&Difference, &Scenario) -> bool,
}

/// All of them.
pub(super) static ALLOWED: [Allowed; 5] = [
    Allowed {
        name: "white space around a value",
        reason: "it is no part of the value (RFC 9110, section 5.5)",
        is_this: |difference, _| {
            let is_field = matches!(difference.aspect, Aspect::ReplyField | Aspect::RequestField);
            is_field && trimmed(&difference.left) == trimmed(&difference.right)
        },
    },
    Allowed {
        name: "how much of a broken answer had passed",
        reason: "an answer that breaks off, or is refused in its middle, passes as far as it was read by then",
        is_this: |difference, scenario| {
            let is_log = difference.aspect == Aspect::Log
                && difference.left.starts_with("response_body_bytes")
                && difference.what.contains("upstream_error");
            // What comes in one segment and is merely too short passes as far as it came, on both ways.
            let answers = difference
                .exchange
                .and_then(|number| scenario.exchanges.get(number))
                .map(|exchange| &exchange.answers);
            let is_timed = answers.is_some_and(|answers| {
                let is_timed = |answer: &Answer| answer.kept.is_none() || !answer.cuts.is_empty();
                answers.iter().any(is_timed)
            });
            // To a client of HTTP/1.0 an answer that breaks off looks like one that ended.
            let is_until_close = difference.aspect == Aspect::ReplyBody
                && [&difference.left, &difference.right]
                    .iter()
                    .all(|body| body.starts_with("UntilClose"));
            (is_log || is_until_close || difference.aspect == Aspect::CutBody) && is_timed
        },
    },
    Allowed {
        name: "how much of a refused body had been read",
        reason: "a body that comes in pieces is refused at the first piece that shows why",
        is_this: |difference, scenario| {
            let is_refused = ["bad_request", "body_too_large", "head_too_large"]
                .iter()
                .any(|reason| difference.what.ends_with(&format!("reason \"{reason}\"")));
            // One piece is what a proxy reads all at once.
            let has_pieces = |exchange: &Exchange| {
                !exchange.cuts.is_empty() || exchange.request.bytes().len() > 4_000
            };
            // Not each line of a log says whose it is.
            let has_pieces = match difference.exchange {
                Some(number) => scenario.exchanges.get(number).is_some_and(has_pieces),
                None => scenario.exchanges.iter().any(has_pieces),
            };
            difference.aspect == Aspect::Log
                && difference.left.starts_with("request_body_bytes")
                && is_refused
                && has_pieces
        },
    },
    Allowed {
        name: "how often a request was tried",
        reason: "a kept connection that its cell has just closed is tried in vain if nobody has heard of that yet",
        is_this: |difference, scenario| {
            let is_attempts = |text: &str| text.starts_with("attempts: ");
            let mut answers = scenario
                .exchanges
                .iter()
                .flat_map(|exchange| &exchange.answers);
            difference.aspect == Aspect::Log
                && is_attempts(&difference.left)
                && is_attempts(&difference.right)
                && answers.any(|answer| answer.then == Then::Close)
        },
    },
    Allowed {
        name: "how a connection ends on which requests are waiting",
        reason: "whether the system resets it depends on whether the proxy had read them (RFC 9112, section 9.6)",
        is_this: |difference, scenario| {
            let but_for_resets = |text: &str| {
                let text = text.replacen("Reset", "Closed", 1);
                text.replacen(", reset,", ", cut off,", 1)
            };
            let mut others = scenario.exchanges.iter().skip(1);
            matches!(difference.aspect, Aspect::End | Aspect::CutBody)
                && but_for_resets(&difference.left) == but_for_resets(&difference.right)
                && others.any(|exchange| exchange.start == Start::Pipelined)
        },
    },
];

/// Lines of fields without the white space around their values.
fn trimmed(lines: &str) -> Vec<String> {
    let lines = lines.split(" / ").map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        // The lines are escaped.
        let value = value.replace("\\t", "\t");
        format!("{name}:{}", value.trim_matches([' ', '\t']))
    });
    lines.collect()
}

/// The one that a difference is, if it is one of them.
pub(super) fn allowed(difference: &Difference, scenario: &Scenario) -> Option<&'static str> {
    let mut allowed = ALLOWED.iter();
    let found = allowed.find(|allowed| (allowed.is_this)(difference, scenario))?;
    Some(found.name)
}
