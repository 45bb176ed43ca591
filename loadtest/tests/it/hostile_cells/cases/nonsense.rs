//! What is not an answer, or hardly one.

use super::{BAD_GATEWAY, Case, Expected, HEAD_TOO_LARGE, POISON, Then, case};

pub(super) fn nonsense() -> Vec<Case> {
    use Then::{Close, Next};
    vec![
        case(
            "bytes of another protocol",
            &b"\x16\x03\x01\x02\x00\x01\x00"[..],
            Close,
            &[BAD_GATEWAY],
        ),
        case(
            "text of another protocol",
            "SSH-2.0-OpenSSH_9.2\r\n",
            Close,
            &[BAD_GATEWAY],
        ),
        case(
            "a page without a head",
            "<html>hello</html>\r\n\r\n",
            Close,
            &[BAD_GATEWAY],
        ),
        case("zeros", vec![0; 4096], Close, &[BAD_GATEWAY]),
        case(
            "an http/2 status line",
            "HTTP/2 200\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[BAD_GATEWAY],
        ),
        case(
            "a status of four digits",
            "HTTP/1.1 2000 OK\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[BAD_GATEWAY],
        ),
        case(
            "a status below 100",
            "HTTP/1.1 099 OK\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[BAD_GATEWAY],
        ),
    ]
}

pub(super) fn bad_fields() -> Vec<Case> {
    use Expected::{Broken, Whole};
    use Then::{Close, Next};
    let long = "x".repeat(1 << 20);
    vec![
        case(
            "a field without a colon",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            Close,
            &[BAD_GATEWAY],
        ),
        case(
            "a zero in a field",
            "HTTP/1.1 200 OK\r\nx-a: b\0c\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[BAD_GATEWAY],
        ),
        case(
            "a space before a colon",
            format!("HTTP/1.1 200 OK\r\ncontent-length : 3\r\n\r\nall{POISON}"),
            Close,
            &[Whole("all"), BAD_GATEWAY, Broken],
        ),
        case(
            "a head of a megabyte",
            format!("HTTP/1.1 200 OK\r\nx-long: {long}\r\ncontent-length: 3\r\n\r\nall"),
            Next,
            &[HEAD_TOO_LARGE],
        ),
        case(
            "a head of a thousand fields",
            format!(
                "HTTP/1.1 200 OK\r\n{}content-length: 3\r\n\r\nall",
                "x-a: b\r\n".repeat(1000)
            ),
            Next,
            &[HEAD_TOO_LARGE],
        ),
        case(
            "a field name of our own",
            "HTTP/1.1 200 OK\r\nx-cellgate-reason: rejected\r\ncontent-length: 3\r\n\r\nall",
            Next,
            &[Whole("all")],
        ),
    ]
}
