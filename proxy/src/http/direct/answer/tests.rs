//! What a client gets of an answer.

use AnswerFraming::{Chunked, Length, UntilClose};

use super::*;

/// The head for the client. The quicker way, where it takes an answer, has to say the same as the other one.
fn ending(closes: bool) -> Ending<'static> {
    Ending {
        closes,
        request_id: None,
        hsts: None,
    }
}

fn written(head: &str, is_head_request: bool, closes: bool) -> String {
    let mut quick = Buffer::new();
    let behind = format!("{head}HTTP/1.1 body\r\n\r\n");
    let taken = copy_usual_head(
        behind.as_bytes(),
        is_head_request,
        ending(closes),
        &mut quick,
    );
    let (mut lines, mut slow) = (Lines::default(), Buffer::new());
    let read = AnswerHead::read_lines(head.as_bytes(), is_head_request, |line| lines.note(line));
    let read = read.unwrap();
    let rewriting = Rewriting {
        head: &read,
        bytes: head.as_bytes(),
        lines: &lines,
        ending: ending(closes),
    };
    rewriting.write_head(&mut slow);
    if let Some((taken, end)) = taken {
        assert_eq!(
            (taken, end, &*quick),
            (read, head.len(), &*slow),
            "{head:?}"
        );
    }
    let mut out = Buffer::new();
    rewrite_head(head.as_bytes(), is_head_request, ending(closes), &mut out)
        .unwrap_or_else(|refusal| panic!("{refusal}: {head:?}"));
    String::from_utf8(out.to_vec()).expect("the cases are text")
}

/// The fields that the client gets of these, besides those that the proxy adds to every answer.
#[track_caller]
fn check(status_line: &str, fields: &str, expected: &str) {
    let head = format!("{status_line}\r\nDate: d\r\n{fields}\r\n");
    let out = written(&head, false, false);
    let kept = out.strip_prefix("HTTP/1.1 200 OK\r\nDate: d\r\n");
    let kept = kept.and_then(|rest| rest.strip_suffix("Connection: keep-alive\r\n\r\n"));
    assert_eq!(kept, Some(expected), "{fields:?} became {out:?}");
}

const OK: &str = "HTTP/1.1 200 OK";

#[test]
fn fields_go_on_as_they_came() {
    check(OK, "Content-Length: 3\r\n", "Content-Length: 3\r\n");
    check(
        OK,
        "A:b\r\na:  c\r\nContent-Length: 3\r\n",
        "A:b\r\na:  c\r\nContent-Length: 3\r\n",
    );
    check(
        OK,
        "Content-Length: 3\r\nX-Cellgate: x\r\n",
        "Content-Length: 3\r\nX-Cellgate: x\r\n",
    );
    let many = "Set-Cookie: a=b\r\n".repeat(60) + "Content-Length: 0\r\n";
    check(OK, &many, &many);
}

/// The answer then has none, and the proxy says when it passed.
#[test]
fn a_date_that_stays_behind_is_no_date() {
    let head = "HTTP/1.1 200 OK\r\nConnection: date\r\nDate: d\r\nContent-Length: 0\r\n\r\n";
    let out = written(head, false, false);
    let today = format!(
        "Date: {}\r\n",
        String::from_utf8_lossy(get_cached_date().as_bytes())
    );
    assert_eq!(out.matches("Date: ").count(), 1, "{out}");
    assert!(out.contains(&today), "{out}");
}

#[test]
fn what_speaks_of_the_cells_connection_stays_behind() {
    for dropped in [
        "Connection: keep-alive\r\n",
        "connection: Close\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: x\r\n",
        "TE: x\r\n",
        "Trailer: x\r\n",
        "Upgrade: h2c\r\n",
        "X-Cellgate-Cell: evil\r\n",
        "x-cellgate-reason: evil\r\n",
        "Connection: x-a, X-B\r\nX-A: 1\r\nx-b: 2\r\n",
        "x-a: 1\r\nConnection: keep-alive, X-A\r\n",
    ] {
        check(
            OK,
            &format!("a: 1\r\n{dropped}Content-Length: 3\r\n"),
            "a: 1\r\nContent-Length: 3\r\n",
        );
    }
    check(
        OK,
        "Connection: content-length\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\n",
    );
}

#[test]
fn an_answer_has_one_framing() {
    check(
        OK,
        "Content-Length: 3, 3\r\na: b\r\n",
        "Content-Length: 3\r\na: b\r\n",
    );
    check(
        OK,
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\n",
    );
    check(
        OK,
        "Content-Length: 3\r\na: b\r\nContent-Length: 3,3\r\n",
        "Content-Length: 3\r\na: b\r\n",
    );
    for odd in [
        "Content-Length: 3, 3\n",
        "Content-Length : 3,3\r\n",
        "Content-Length: 3\nContent-Length: 3, 3\r\n",
        "Content-Length : 3, 3\r\nContent-Length: 3\n",
    ] {
        check(
            OK,
            &format!("a: b\r\n{odd}c: d\r\n"),
            "a: b\r\nContent-Length: 3\r\nc: d\r\n",
        );
    }
    check(
        OK,
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
    );
    check(OK, "a: b\r\n", "a: b\r\nTransfer-Encoding: chunked\r\n");
    let no_content = written(
        "HTTP/1.1 204 x\r\nDate: d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        false,
        true,
    );
    assert_eq!(
        no_content,
        "HTTP/1.1 204 x\r\nDate: d\r\nConnection: close\r\n\r\n"
    );
    let of_head = written(
        "HTTP/1.1 200 x\r\nDate: d\r\nContent-Length: 3\r\n\r\n",
        true,
        false,
    );
    assert!(of_head.contains("\r\nContent-Length: 3\r\n"), "{of_head}");
}

#[test]
fn odd_lines_are_written_as_they_should_be() {
    check(
        "HTTP/1.0 200 OK",
        "Content-Length: 3\r\n",
        "Content-Length: 3\r\n",
    );
    check(
        OK,
        "A : b\r\nContent-Length: 3\r\n",
        "A: b\r\nContent-Length: 3\r\n",
    );
    check(
        OK,
        "A: b\nC: d\r\nContent-Length: 3\n",
        "A: b\r\nC: d\r\nContent-Length: 3\r\n",
    );
    check(
        OK,
        "A: b\r\n\tc \r\n  d\r\nContent-Length: 3\r\n",
        "A: b c d\r\nContent-Length: 3\r\n",
    );
    check(
        OK,
        "A:\r\n b\r\nB: \r\n \r\nContent-Length: 3\r\n",
        "A: b\r\nB:\r\nContent-Length: 3\r\n",
    );
    check(
        OK,
        "X-Cellgate-A: b\r\n c\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\n",
    );
}

#[test]
fn status_lines() {
    for (sent, expected) in [
        ("HTTP/1.1 404 Not Found", "HTTP/1.1 404 Not Found"),
        ("HTTP/1.1 299", "HTTP/1.1 299 "),
        ("HTTP/1.1 299 ", "HTTP/1.1 299 "),
        ("HTTP/1.1 200 gr\u{fc}n", "HTTP/1.1 200 "),
    ] {
        let out = written(
            &format!("{sent}\r\nContent-Length: 0\r\n\r\n"),
            false,
            false,
        );
        assert_eq!(out.split_once("\r\n").unwrap().0, expected);
    }
}

#[test]
fn an_interim_answer_says_nothing_of_the_connection() {
    let out = written(
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\n",
        false,
        true,
    );
    assert_eq!(out, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
}

#[test]
fn a_missing_date_is_added() {
    let out = written("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, false);
    let date = out.split_once("Date: ").unwrap().1;
    assert!(
        date.split_once("\r\n").unwrap().0.ends_with(" GMT"),
        "{out}"
    );
}

#[test]
fn bodies_are_framed_for_the_client() {
    let check = |framing, pieces: &[&str], expected: &str| {
        let (mut body, coding) = (AnswerBody::new(framing), Coding::of(framing));
        let (mut out, mut content) = (Buffer::new(), 0);
        for piece in pieces {
            content += coding
                .encode(&mut body, piece.as_bytes(), &mut out)
                .unwrap()
                .content;
        }
        if body.ends_with_connection() {
            coding.end(&mut out);
        } else {
            assert!(body.is_complete());
        }
        assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected);
        content
    };
    assert_eq!(check(Length(5), &["abc", "defg"], "abcde"), 5);
    assert_eq!(
        check(UntilClose, &["abc", "d"], "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"),
        4
    );
    let odd = [
        "00",
        "3;a=b\r\nab",
        "c\r\n1 \r\nd\r\n0\r\nTrailer: x\r\n\r\nsurplus",
    ];
    assert_eq!(
        check(Chunked, &odd, "2\r\nab\r\n1\r\nc\r\n1\r\nd\r\n0\r\n\r\n"),
        4
    );
    let long = "x".repeat(300);
    check(
        Chunked,
        &[&format!("12c\r\n{long}\r\n0\r\n\r\n")],
        &format!("12C\r\n{long}\r\n0\r\n\r\n"),
    );
}

#[test]
fn nothing_of_a_malformed_piece_is_passed_on() {
    let mut body = AnswerBody::new(AnswerFraming::Chunked);
    let mut out = buffer_of(b"head");
    Coding::Chunks
        .encode(&mut body, b"3\r\nabc\r\nx", &mut out)
        .unwrap_err();
    assert_eq!(*out, b"head"[..]);
}

#[test]
fn many_bytes_are_lent_as_far_as_they_belong_to_the_answer() {
    let bytes = vec![b'x'; BUFFER_BYTES + 10];
    let encode = |framing, bytes: &[u8]| {
        let mut out = buffer_of(b"head");
        let mut body = AnswerBody::new(framing);
        let encoded = Coding::of(framing).encode(&mut body, bytes, &mut out);
        (encoded.unwrap(), out.len() - b"head".len())
    };
    let check = |framing, bytes: &[u8], content: usize, lent: usize, added: usize| {
        let consumed = content;
        let expected = Encoded {
            consumed,
            content,
            lent,
        };
        assert_eq!(encode(framing, bytes), (expected, added), "{framing:?}");
    };
    let all = bytes.len();
    check(AnswerFraming::Length(1 << 20), &bytes, all, all, 0);
    check(
        AnswerFraming::Length(BUFFER_BYTES as u64),
        &bytes,
        all - 10,
        all - 10,
        0,
    );
    check(AnswerFraming::None, &bytes, 0, 0, 0);
    // Few bytes are copied, and so is what needs chunks around it.
    let few = &bytes[..BUFFER_BYTES];
    check(AnswerFraming::Length(1 << 20), few, few.len(), 0, few.len());
    let framed = "100A\r\n\r\n0\r\n\r\n".len() - "0\r\n\r\n".len();
    check(AnswerFraming::UntilClose, &bytes, all, 0, all + framed);
}

fn buffer_of(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::new();
    buffer.extend_from_slice(bytes);
    buffer
}

/// What the cell calls the request gives way to its name, wherever it stands; without one it is a field like any other.
#[test]
fn the_request_keeps_its_name() {
    let id = RequestId::parse(b"id-1").unwrap();
    for fields in [
        "Content-Length: 0\r\n",
        "X-Request-Id: other\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nx-request-id: other\r\nx-request-id:\r\n",
        "x-request-id : other\r\nContent-Length: 0\r\n",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nDate: d\r\n{fields}\r\n");
        let ending = Ending {
            closes: false,
            request_id: Some(&id),
            hsts: None,
        };
        let expected = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 0\r\nx-request-id: id-1\r\n\
                        Connection: keep-alive\r\n\r\n";
        let mut out = Buffer::new();
        rewrite_head(head.as_bytes(), false, ending, &mut out).unwrap();
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        out.clear();
        if copy_usual_head(head.as_bytes(), false, ending, &mut out).is_some() {
            assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        }
    }
    let head = "HTTP/1.1 200 OK\r\nDate: d\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n";
    let out = written(head, false, false);
    assert!(out.contains("X-Request-Id: theirs\r\n"), "{out}");
}

/// Browsers are kept on HTTPS by the listener, unless the cell says how itself.
#[test]
fn hsts_is_added_where_the_cell_sends_none() {
    const OURS: &str = "strict-transport-security: max-age=7\r\n";
    let written = |fields: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nDate: d\r\n{fields}Content-Length: 0\r\n\r\n");
        let ending = Ending {
            hsts: Some("max-age=7"),
            ..ending(false)
        };
        let mut out = Buffer::new();
        rewrite_head(head.as_bytes(), false, ending, &mut out).unwrap();
        let text = String::from_utf8(out.to_vec()).unwrap();
        out.clear();
        if copy_usual_head(head.as_bytes(), false, ending, &mut out).is_some() {
            assert_eq!(String::from_utf8(out.to_vec()).unwrap(), text);
        }
        text
    };
    for fields in [
        "",
        "X-Strict-Transport: x\r\n",
        // Dropped, and so it is not there.
        "Connection: strict-transport-security\r\nStrict-Transport-Security: max-age=0\r\n",
    ] {
        assert!(written(fields).contains(OURS), "{fields}");
    }
    for theirs in [
        "Strict-Transport-Security: max-age=0\r\n",
        "STRICT-TRANSPORT-SECURITY: a\r\n",
    ] {
        let text = written(theirs);
        assert!(text.contains(theirs) && !text.contains(OURS), "{text}");
    }
}
