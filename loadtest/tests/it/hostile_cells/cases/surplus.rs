//! More than one answer, answers without a body, and those that are as they should be.

use std::time::Duration;

use super::{BAD_GATEWAY, Case, Expected, POISON, TIMEOUT, Then, case};

pub(super) fn more_than_one() -> Vec<Case> {
    use Expected::{Broken, Whole};
    use Then::{Close, Next};
    const FIRST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nall";
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n";
    vec![
        case(
            "two answers at once",
            format!("{FIRST}{POISON}"),
            Next,
            &[Whole("all"), Broken],
        ),
        case(
            "two chunked answers at once",
            format!("{CHUNKED}{POISON}"),
            Next,
            &[Whole("all"), Broken],
        ),
        case("a second answer soon", FIRST, Next, &[Whole("all")])
            .later(Duration::from_millis(5), POISON),
        case("a second answer later", FIRST, Next, &[Whole("all")])
            .later(Duration::from_millis(50), POISON),
        case(
            "half a second answer",
            format!("{FIRST}HTTP/1.1 2"),
            Next,
            &[Whole("all"), Broken],
        ),
        case(
            "a line too many",
            format!("{FIRST}\r\n"),
            Next,
            &[Whole("all"), Broken],
        ),
        case(
            "two answers and the end",
            format!("{FIRST}{POISON}"),
            Close,
            &[Whole("all"), Broken],
        ),
    ]
}

pub(super) fn bodiless() -> Vec<Case> {
    use Expected::Bare;
    use Then::{Close, Next};
    vec![
        case(
            "204 with a body",
            format!("HTTP/1.1 204 No Content\r\n\r\n{POISON}"),
            Next,
            &[Bare(204)],
        ),
        case(
            "204 with a length",
            format!("HTTP/1.1 204 No Content\r\ncontent-length: 45\r\n\r\n{POISON}"),
            Next,
            &[Bare(204)],
        ),
        case(
            "204 with chunks",
            "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n",
            Next,
            &[Bare(204)],
        ),
        case(
            "304 with a body",
            format!("HTTP/1.1 304 Not Modified\r\n\r\n{POISON}"),
            Next,
            &[Bare(304)],
        ),
        case(
            "304 with a length and a body",
            format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 45\r\n\r\n{POISON}"),
            Next,
            &[Bare(304)],
        ),
        case(
            "HEAD with a body",
            format!("HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n{POISON}"),
            Next,
            &[Bare(200)],
        )
        .method("HEAD"),
        case(
            "HEAD with chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n",
            Next,
            &[Bare(200)],
        )
        .method("HEAD"),
        case(
            "HEAD without a length, and the end",
            "HTTP/1.1 200 OK\r\n\r\n",
            Close,
            &[Bare(200)],
        )
        .method("HEAD"),
    ]
}

pub(super) fn interim() -> Vec<Case> {
    use Expected::{Broken, Whole};
    use Then::{Close, Next, Stay};
    const FINAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nall";
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    vec![
        case("one hint", format!("{HINT}{FINAL}"), Next, &[Whole("all")]),
        case(
            "a continue nobody asked for",
            format!("HTTP/1.1 100 Continue\r\n\r\n{FINAL}"),
            Next,
            &[Whole("all")],
        ),
        case(
            "a thousand hints",
            format!("{}{FINAL}", HINT.repeat(1000)),
            Next,
            &[BAD_GATEWAY],
        ),
        case(
            "hints without an end",
            HINT.repeat(20_000),
            Close,
            &[BAD_GATEWAY, Broken],
        ),
        case(
            "hints and silence",
            HINT.repeat(3),
            Stay,
            &[TIMEOUT, Broken],
        ),
        case(
            "a hint with a body",
            format!("HTTP/1.1 103 Early Hints\r\ncontent-length: 45\r\n\r\n{POISON}"),
            Next,
            &[BAD_GATEWAY, Broken, Whole("poison")],
        ),
        case(
            "a switch of protocols nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
            Stay,
            &[BAD_GATEWAY, Broken],
        ),
    ]
}

pub(super) fn orderly() -> Vec<Case> {
    use Expected::Whole;
    use Then::{Close, Next};
    vec![
        case(
            "an answer and the end",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nall",
            Close,
            &[Whole("all")],
        ),
        case(
            "an announced end",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nall",
            Close,
            &[Whole("all")],
        ),
        case(
            "an announced end that does not come",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[Whole("all")],
        ),
        case(
            "a body until the end",
            "HTTP/1.1 200 OK\r\n\r\nall",
            Close,
            &[Whole("all")],
        ),
        case(
            "a body until the end in http/1.0",
            "HTTP/1.0 200 OK\r\n\r\nall",
            Close,
            &[Whole("all")],
        ),
        case(
            "trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n0\r\nx-sum: 1\r\n\r\n",
            Next,
            &[Whole("all")],
        ),
        case(
            "chunk extensions",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nall\r\n0;c\r\n\r\n",
            Next,
            &[Whole("all")],
        ),
        case(
            "a status without a phrase",
            "HTTP/1.1 200\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[Whole("all")],
        ),
    ]
}
