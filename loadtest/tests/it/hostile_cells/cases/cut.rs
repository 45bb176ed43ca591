//! Answers that break off, or stop in the middle.

use std::time::Duration;

use super::{BAD_GATEWAY, Case, Expected, POISON, TIMEOUT, Then, case};
use crate::hostile_cells::READ_MS;

pub(super) fn broken_off() -> Vec<Case> {
    use Expected::Broken;
    use Then::Close;
    const HEAD: &str = "HTTP/1.1 200 OK\r\n";
    vec![
        case("an end before the answer", "", Close, &[BAD_GATEWAY]),
        case(
            "an end in the status line",
            "HTTP/1.1 2",
            Close,
            &[BAD_GATEWAY],
        ),
        case(
            "an end in the head",
            format!("{HEAD}content-le"),
            Close,
            &[BAD_GATEWAY],
        ),
        case(
            "an end before the body",
            format!("{HEAD}content-length: 9\r\n\r\n"),
            Close,
            &[Broken],
        ),
        case(
            "an end in the body",
            format!("{HEAD}content-length: 9\r\n\r\nhalf"),
            Close,
            &[Broken],
        ),
        case(
            "an end in a chunk",
            format!("{HEAD}transfer-encoding: chunked\r\n\r\n9\r\nhalf"),
            Close,
            &[Broken],
        ),
        case(
            "an end between chunks",
            format!("{HEAD}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
            Close,
            &[Broken],
        ),
        case(
            "an end in a chunk size",
            format!("{HEAD}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n1"),
            Close,
            &[Broken],
        ),
    ]
}

pub(super) fn silence() -> Vec<Case> {
    use Expected::{Broken, Whole};
    use Then::{Next, Stay};
    let slow = Duration::from_millis(2);
    vec![
        case("no answer", "", Stay, &[TIMEOUT]),
        case("no answer in time", "", Next, &[TIMEOUT])
            .later(Duration::from_millis(READ_MS * 2), POISON),
        case(
            "half a head, then nothing",
            "HTTP/1.1 200 OK\r\ncontent-",
            Stay,
            &[TIMEOUT],
        ),
        case(
            "half a body, then nothing",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            Stay,
            &[Broken],
        ),
        case(
            "half a chunk, then nothing",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
            Stay,
            &[Broken],
        ),
        case(
            "a dripping answer",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[Whole("all")],
        )
        .dripping(slow),
        case(
            "dripping chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nll\r\n0\r\n\r\n",
            Next,
            &[Whole("all")],
        )
        .dripping(slow),
    ]
}
