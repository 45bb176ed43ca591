//! Answers whose end is not where they say.

use std::time::Duration;

use super::{BAD_GATEWAY, Case, Expected, POISON, Then, case};

pub(super) fn lengths() -> Vec<Case> {
    use Expected::{Broken, Whole};
    use Then::{Next, Stay};
    const HEAD: &str = "HTTP/1.1 200 OK\r\n";
    vec![
        case(
            "a body longer than its length",
            format!("{HEAD}content-length: 4\r\n\r\nhalf and then some"),
            Next,
            &[Whole("half"), Broken],
        ),
        case(
            "a body longer than its length, later",
            format!("{HEAD}content-length: 4\r\n\r\nhalf"),
            Next,
            &[Whole("half")],
        )
        .later(Duration::from_millis(10), " and then some"),
        case(
            "a body shorter than its length",
            format!("{HEAD}content-length: 9\r\n\r\nhalf"),
            Stay,
            &[Broken],
        ),
        case(
            "both length and chunks",
            format!(
                "{HEAD}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n"
            ),
            Next,
            &[Whole("all"), BAD_GATEWAY, Broken],
        ),
        case(
            "both chunks and length, and another answer",
            format!(
                "{HEAD}transfer-encoding: chunked\r\ncontent-length: 90\r\n\r\n3\r\nall\r\n0\r\n\r\n{POISON}"
            ),
            Next,
            &[Whole("all"), BAD_GATEWAY, Broken],
        ),
    ]
}

pub(super) fn lengths_that_disagree() -> Vec<Case> {
    use Then::{Close, Next};
    const HEAD: &str = "HTTP/1.1 200 OK\r\n";
    vec![
        case(
            "two lengths",
            format!("{HEAD}content-length: 4\r\ncontent-length: 9\r\n\r\nhalf{POISON}"),
            Next,
            &[BAD_GATEWAY],
        ),
        case(
            "two lengths, the longer one first",
            format!("{HEAD}content-length: 60\r\ncontent-length: 4\r\n\r\nhalf{POISON}"),
            Next,
            &[BAD_GATEWAY],
        ),
        case(
            "a list of lengths",
            format!("{HEAD}content-length: 4, 9\r\n\r\nhalf{POISON}"),
            Next,
            &[BAD_GATEWAY],
        ),
        case(
            "a negative length",
            format!("{HEAD}content-length: -4\r\n\r\nhalf"),
            Close,
            &[BAD_GATEWAY],
        ),
        case(
            "a length beyond all numbers",
            format!("{HEAD}content-length: 99999999999999999999\r\n\r\nhalf"),
            Close,
            &[BAD_GATEWAY],
        ),
        case(
            "an invalid length",
            format!("{HEAD}content-length: four\r\n\r\nhalf"),
            Close,
            &[BAD_GATEWAY],
        ),
    ]
}

pub(super) fn chunks() -> Vec<Case> {
    use Expected::Broken;
    use Then::{Close, Next, Stay};
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![
        case(
            "an invalid chunk size",
            format!("{HEAD}zz\r\nall\r\n0\r\n\r\n"),
            Next,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "a negative chunk size",
            format!("{HEAD}-3\r\nall\r\n0\r\n\r\n"),
            Next,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "a chunk size beyond all numbers",
            format!("{HEAD}fffffffffffffffff\r\nall\r\n0\r\n\r\n"),
            Next,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "the largest chunk size",
            format!("{HEAD}ffffffffffffffff\r\nall\r\n0\r\n\r\n"),
            Close,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "a chunk longer than its size",
            format!("{HEAD}2\r\nall\r\n0\r\n\r\n"),
            Next,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "a chunk shorter than its size",
            format!("{HEAD}9\r\nall\r\n0\r\n\r\n"),
            Stay,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "an endless chunk extension",
            format!("{HEAD}3;{}", "x".repeat(1 << 20)),
            Close,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "an empty line for the first chunk size",
            format!("{HEAD}\r\n3\r\nall\r\n0\r\n\r\n"),
            Next,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "an empty line for a later chunk size",
            format!("{HEAD}3\r\nall\r\n\r\n{POISON}"),
            Next,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "an empty line for the last chunk size, and the end",
            format!("{HEAD}3\r\nall\r\n\r\n\r\n"),
            Close,
            &[BAD_GATEWAY, Broken],
        ),
    ]
}

/// What is no coding, or none that all programs take for the same.
pub(super) fn codings() -> Vec<Case> {
    use Then::{Close, Next};
    let coded = |name, codings: &str, then| {
        let body = "3\r\nall\r\n0\r\n\r\n";
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {codings}\r\n\r\n{body}");
        case(name, answer, then, &[BAD_GATEWAY])
    };
    vec![
        coded("an obsolete coding", "identity", Close),
        coded("a coding in quotes", "\"chunked\"", Next),
        coded("a coding with a parameter", "chunked;a=b", Next),
        coded("a coding that nobody knows", "xchunked", Next),
        coded(
            "a coding that nobody knows, then chunked",
            "x, chunked",
            Next,
        ),
        coded(
            "chunked that is not the last coding",
            "chunked, gzip",
            Close,
        ),
        coded("chunked twice", "chunked, chunked", Next),
        coded(
            "chunked twice, in two fields",
            "chunked\r\ntransfer-encoding: chunked",
            Next,
        ),
        coded("a coding without chunked", "gzip", Close),
        coded("no coding at all", "", Next),
        coded("a list with nothing in it", ",", Next),
    ]
}
