//! A line in the combined format of NCSA's and Apache's servers, for programs that read nothing else. It says less than
//! the JSON.

use super::{
    entry::Entry,
    json::{push_bare_ip, push_number},
};
use crate::clock::DateWriter;

/// What nginx notes of a client that left before it was answered; the format has no other word for it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// `client - - [time] "request line" status bytes "referer" "user agent"`. What is not known is `-`.
pub(super) fn render(entry: &Entry<'_>, dates: &mut DateWriter, out: &mut Vec<u8>) {
    push_bare_ip(out, entry.client);
    out.extend_from_slice(b" - - [");
    dates.write_common(entry.time, out);
    out.extend_from_slice(b"] \"");
    match (&entry.method, &entry.target, entry.protocol) {
        (Some(method), Some(target), Some(protocol)) => {
            push_escaped(out, method);
            out.push(b' ');
            push_escaped(out, target);
            out.push(b' ');
            out.extend_from_slice(protocol.as_bytes());
        }
        _ => out.push(b'-'),
    }
    out.extend_from_slice(b"\" ");
    let status = match entry.status {
        0 => CLIENT_CLOSED_REQUEST,
        status => status,
    };
    push_number(out, status.into());
    out.push(b' ');
    push_number(out, entry.response_body_bytes);
    for value in [&entry.referer, &entry.user_agent] {
        out.extend_from_slice(b" \"");
        match value.as_deref() {
            Some(value) if !value.is_empty() => push_escaped(out, value),
            _ => out.push(b'-'),
        }
        out.push(b'"');
    }
    out.push(b'\n');
}

/// What could end a field or a line, or is not ASCII, is written as `\xXX`, as nginx does.
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
            out.push(byte);
        } else {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
            out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        borrow::Cow,
        net::IpAddr,
        time::{Duration, UNIX_EPOCH},
    };

    use super::*;
    use crate::{
        answer::Reason,
        config::Listener,
        exchange::{Connection, Scheme},
    };

    fn connection(peer: &str) -> Connection {
        let edge = Listener::new("edge", ([127, 0, 0, 1], 8080).into());
        let peer: IpAddr = peer.parse().unwrap();
        Connection::new(peer, edge.into(), Scheme::Http)
    }

    fn line(entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        render(entry, &mut DateWriter::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn entry(connection: &Connection) -> Entry<'_> {
        let mut entry = Entry::refused_unread(connection, Reason::BadRequest, None);
        entry.time = UNIX_EPOCH + Duration::from_millis(1_772_366_400_120);
        entry
    }

    #[test]
    fn a_line_with_everything_and_one_with_nothing() {
        let connection = connection("192.0.2.1");
        let mut entry = entry(&connection);
        assert_eq!(
            line(&entry),
            "192.0.2.1 - - [01/Mar/2026:12:00:00 +0000] \"-\" 400 0 \"-\" \"-\"\n"
        );
        entry.method = Some(Cow::Borrowed(b"GET"));
        entry.target = Some(Cow::Borrowed(b"/a?b=c"));
        entry.protocol = Some("HTTP/1.1");
        entry.status = 200;
        entry.response_body_bytes = 2_326;
        entry.referer = Some(Cow::Borrowed(b"http://example.com/"));
        entry.user_agent = Some(Cow::Borrowed(b"curl/7.88.1"));
        assert_eq!(
            line(&entry),
            "192.0.2.1 - - [01/Mar/2026:12:00:00 +0000] \"GET /a?b=c HTTP/1.1\" 200 2326 \
             \"http://example.com/\" \"curl/7.88.1\"\n"
        );
        entry.status = 0;
        assert!(line(&entry).contains("HTTP/1.1\" 499 2326"));
    }

    #[test]
    fn an_address_of_ipv6() {
        let connection = connection("2001:db8::7");
        assert!(line(&entry(&connection)).starts_with("2001:db8::7 - - ["));
    }

    /// No byte of a client can end its field or its line.
    #[test]
    fn odd_bytes_stay_inside_their_field() {
        let connection = connection("192.0.2.1");
        let every: Vec<u8> = (0..=u8::MAX).collect();
        for odd in [
            b"a\" 200 0 \"-\" \"-\"\n1.2.3.4 - - [x] \"GET / HTTP/1.1".as_slice(),
            b"\xff\\\r\n\x7f",
            &every,
        ] {
            let mut entry = entry(&connection);
            entry.method = Some(Cow::Borrowed(odd));
            entry.target = Some(Cow::Borrowed(odd));
            entry.protocol = Some("HTTP/1.1");
            entry.referer = Some(Cow::Borrowed(odd));
            entry.user_agent = Some(Cow::Borrowed(odd));
            let text = line(&entry);
            assert_eq!(text.find('\n'), Some(text.len() - 1), "{text}");
            assert_eq!(text.matches('"').count(), 6, "{text}");
            let is_plain = |byte: u8| matches!(byte, b' '..=b'~');
            assert!(text.trim_end().bytes().all(is_plain), "{text}");
        }
        let mut out = Vec::new();
        push_escaped(&mut out, b"\"\\\n\x00\xe9~");
        assert_eq!(out, br"\x22\x5C\x0A\x00\xE9~");
    }
}
