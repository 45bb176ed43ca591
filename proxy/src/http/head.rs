//! Heads as Pingora gets them, where that is not as they came, and as the client gets them, where Pingora would write
//! something else. What the gate let through is the rule; this room must not make a request say anything else than it did.

use bytes::{BufMut as _, BytesMut};
use http::HeaderValue;

/// Room for what is longer than before.
const ADDED_BYTES: usize = 128;

/// The same head with another Host. RFC 9112 section 3.2.2: a proxy that gets a target with a host of its own replaces
/// the Host field by that. Pingora compares the two byte by byte, so they have to be the same when it sees them.
///
/// The head has passed the gate: its lines end with CRLF, none is folded, and one of them is Host.
pub(super) fn with_host(head: &[u8], host: &str) -> BytesMut {
    with_values(head, b"host:", &[host.as_bytes()])
}

/// An answer's head, as Pingora writes it, with other dates.
pub(super) fn with_dates(head: &[u8], dates: &[HeaderValue]) -> BytesMut {
    let dates: Vec<_> = dates.iter().map(HeaderValue::as_bytes).collect();
    with_values(head, b"date:", &dates)
}

/// The same head with a line for each of these values in the place of the line that begins with `name`.
fn with_values(head: &[u8], name: &[u8], values: &[&[u8]]) -> BytesMut {
    let mut rewritten = BytesMut::with_capacity(head.len() + ADDED_BYTES);
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        match line.split_at_checked(name.len()) {
            Some((start, _)) if start.eq_ignore_ascii_case(name) => {
                for value in values {
                    for piece in [start, b" ", value, b"\r\n"] {
                        rewritten.put_slice(piece);
                    }
                }
            }
            _ => rewritten.put_slice(line),
        }
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{GateLimits, inspect_head};

    #[test]
    fn only_the_host_changes_and_the_gate_sees_one() {
        for (head, expected) in [
            (
                "GET http://Example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
                "GET http://Example.com/ HTTP/1.1\r\nHost: Example.com\r\n\r\n",
            ),
            (
                "GET http://a:80/host:?x HTTP/1.1\r\nx-host: b\r\nHOST:\t a \t\r\nhosts: host: c\r\n\r\n",
                "GET http://a:80/host:?x HTTP/1.1\r\nx-host: b\r\nHOST: a:80\r\nhosts: host: c\r\n\r\n",
            ),
            (
                "POST https://[::A]: HTTP/1.1\r\nContent-Length: 1\r\nhost:[::a]:443\r\n\r\n",
                "POST https://[::A]: HTTP/1.1\r\nContent-Length: 1\r\nhost: [::A]:\r\n\r\n",
            ),
        ] {
            let limits = GateLimits::default();
            let seen = inspect_head(head.as_bytes(), &limits).expect(head);
            let rewritten = with_host(head.as_bytes(), seen.respelled_host.expect(head));
            assert_eq!(
                rewritten.escape_ascii().to_string(),
                expected.escape_debug().to_string()
            );
            let again = inspect_head(&rewritten, &limits).expect(expected);
            assert_eq!(again.respelled_host, None, "{expected}");
            assert_eq!((again.host, again.body), (seen.host, seen.body));
        }
    }

    #[test]
    fn only_the_date_changes() {
        let head = b"HTTP/1.1 200 OK\r\nX-Date: a\r\nDate: now\r\nUpdate: b\r\n\r\n";
        let dates = ["then", "before"].map(HeaderValue::from_static);
        let expected =
            b"HTTP/1.1 200 OK\r\nX-Date: a\r\nDate: then\r\nDate: before\r\nUpdate: b\r\n\r\n";
        assert_eq!(*with_dates(head, &dates), *expected);
    }
}
