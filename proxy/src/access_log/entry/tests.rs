//! The bytes of a line: what stands in it, in which order, and what is left out.

use std::{net::IpAddr, time::UNIX_EPOCH};

use super::*;
use crate::{config::Listener, exchange::Scheme};

fn connection() -> Connection {
    let edge = Listener::new("edge", ([127, 0, 0, 1], 8080).into());
    Connection::new(IpAddr::from([192, 0, 2, 1]), edge.into(), Scheme::Http)
}

fn line(entry: &Entry<'_>) -> String {
    // What is there already stays.
    let mut out = b"before\n".to_vec();
    entry.render_json(&mut DateWriter::default(), &mut out);
    let text = String::from_utf8(out).unwrap();
    text.strip_prefix("before\n").unwrap().to_owned()
}

fn least(connection: &Connection) -> Entry<'_> {
    let mut entry = Entry::refused_unread(connection, Reason::BadRequest, None);
    entry.time = UNIX_EPOCH + Duration::from_millis(1_772_366_400_120);
    entry
}

fn tls() -> TlsFacts {
    TlsFacts {
        version: "1.3",
        cipher: "TLS13_AES_128_GCM_SHA256",
        server_name: Some("shop.example".into()),
    }
}

fn full(connection: &Connection) -> Entry<'_> {
    Entry {
        tls: Some(Cow::Owned(tls())),
        protocol: Some("HTTP/1.1"),
        user_agent: Some(Cow::Borrowed(b"curl/7.88.1")),
        referer: Some(Cow::Borrowed(b"http://shop.example/")),
        first_byte: Some(Duration::from_micros(9_070)),
        method: Some(Cow::Borrowed(b"POST")),
        host: Some(Cow::Borrowed(b"shop.example:8080")),
        target: Some(Cow::Borrowed(b"/a?b=c")),
        request_id: Some(Cow::Borrowed("id-1")),
        trace_id: Some(Cow::Borrowed(b"4bf92f3577b34da6a3ce929d0e0e4736")),
        answer_refusal: Some(AnswerRefusal::TooManyFields { count: 101 }),
        refusal: Some(Refusal::BareLf),
        took: Duration::from_micros(12_340),
        request_body_bytes: 12,
        response_body_bytes: u64::MAX,
        tenant: Some(Cow::Borrowed(b"acme")),
        cell: Some(Cow::Borrowed("cell-2")),
        endpoint: Some("10.0.0.7:8001".parse().unwrap()),
        generation: Some(7),
        attempts: Some(3),
        ..least(connection)
    }
}

#[test]
fn a_line_with_everything() {
    let refusal = AnswerRefusal::TooManyFields { count: 101 }.to_string();
    let expected = [
        r#"{"time":"2026-03-01T12:00:00.12Z","listener":"edge","client":"192.0.2.1","#,
        r#""tls_version":"1.3","tls_cipher":"TLS13_AES_128_GCM_SHA256","sni":"shop.example","#,
        r#""protocol":"HTTP/1.1","method":"POST","host":"shop.example:8080","target":"/a?b=c","#,
        r#""user_agent":"curl/7.88.1","#,
        r#""request_id":"id-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
        r#""status":400,"reason":"bad_request","answer_refusal":""#,
        &refusal,
        r#"","refusal":"bare_lf","duration_ms":12.34,"upstream_first_byte_ms":9.07,"request_body_bytes":12,"#,
        r#""response_body_bytes":18446744073709551615,"tenant":"acme","cell":"cell-2","#,
        r#""endpoint":"10.0.0.7:8001","generation":7,"attempts":3}"#,
        "\n",
    ];
    assert_eq!(line(&full(&connection())), expected.concat());
}

#[test]
fn what_is_not_known_is_left_out() {
    let connection = connection();
    let mut entry = least(&connection);
    let expected = concat!(
        r#"{"time":"2026-03-01T12:00:00.12Z","listener":"edge","client":"192.0.2.1","status":400,"#,
        r#""reason":"bad_request","duration_ms":0.0,"request_body_bytes":0,"response_body_bytes":0}"#,
        "\n"
    );
    assert_eq!(line(&entry), expected);
    entry.reason = None;
    entry.status = 0;
    let expected = expected.replace(r#"400,"reason":"bad_request""#, "0");
    assert_eq!(line(&entry), expected);
}

/// Bytes of a client stay inside their field and their line, and lose nothing but what is not text.
#[test]
fn odd_bytes_and_long_values() {
    let long = [b"/".as_slice(), &b"x\"\xff\n".repeat(4_000)].concat();
    for odd in [
        b"a\",\"status\":999,\"x\":\"".as_slice(),
        b"\r\n{}\x00\x1f\x7f\\",
        b"\xff\xc3\xa9\xe2\x82",
        b"",
        &long,
    ] {
        let connection = connection();
        let entry = Entry {
            method: Some(Cow::Borrowed(odd)),
            host: Some(Cow::Borrowed(odd)),
            target: Some(Cow::Borrowed(odd)),
            tenant: Some(Cow::Borrowed(odd)),
            user_agent: Some(Cow::Borrowed(odd)),
            ..full(&connection)
        };
        let text = line(&entry);
        assert_eq!(text.find('\n'), Some(text.len() - 1), "one line");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["status"], 400);
        for field in ["method", "host", "target", "tenant", "user_agent"] {
            assert_eq!(read[field], *String::from_utf8_lossy(odd), "{field}");
        }
    }
}

/// However long a user agent is, the line says its beginning; of several fields, the first.
#[test]
fn of_a_head_the_log_has_what_it_needs() {
    let long = "x".repeat(5_000);
    let head = format!(
        "GET /a?b HTTP/1.0\r\nUser-Agent: \t{long} \r\nuser-agent: two\r\nREFERER:r\r\nuser-agents: no\r\n\r\n"
    );
    let parts = HeadParts::of(head.as_bytes());
    assert_eq!((parts.protocol, parts.target), ("HTTP/1.0", &b"/a?b"[..]));
    assert_eq!(parts.user_agent, Some(long.as_bytes()));
    assert_eq!(parts.referer, Some(&b"r"[..]));
    assert_eq!(
        parts.user_agent().as_deref(),
        Some(&long.as_bytes()[..USER_AGENT_BYTES_MAX])
    );
    let parts = HeadParts::of(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((parts.protocol, parts.user_agent), ("HTTP/1.1", None));
}

#[test]
fn an_entry_that_owns_everything_reads_the_same() {
    let connection = connection();
    for entry in [least(&connection), full(&connection)] {
        let owned = entry.clone().into_owned();
        assert_eq!(owned.shard, entry.shard);
        assert_eq!(line(&owned), line(&entry));
    }
}
