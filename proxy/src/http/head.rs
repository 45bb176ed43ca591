//! The head as Pingora gets it, where that is not the head as it came. What the gate let through is the rule; this room
//! must not make a request say anything else than it did.

use bytes::{BufMut as _, BytesMut};

/// The same head with another Host. RFC 9112 section 3.2.2: a proxy that gets a target with a host of its own replaces
/// the Host field by that. Pingora compares the two byte by byte, so they have to be the same when it sees them.
///
/// The head has passed the gate: its lines end with CRLF, none is folded, and one of them is Host.
pub(super) fn with_host(head: &[u8], host: &str) -> BytesMut {
    let mut rewritten = BytesMut::with_capacity(head.len() + host.len());
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        let is_host = line
            .split_first_chunk::<5>()
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"host:"));
        if is_host {
            rewritten.put_slice(&line[..b"host:".len()]);
            rewritten.put_slice(b" ");
            rewritten.put_slice(host.as_bytes());
            rewritten.put_slice(b"\r\n");
        } else {
            rewritten.put_slice(line);
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
}
