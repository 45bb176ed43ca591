use super::*;
use crate::gate::Refusal;

fn read(head: &[u8]) -> Result<AnswerHead, AnswerRefusal> {
    read_for(head, false)
}

fn read_for(head: &[u8], is_head_request: bool) -> Result<AnswerHead, AnswerRefusal> {
    let end = AnswerScan::default()
        .scan(head)?
        .expect("the case is a whole head");
    assert_eq!(end, head.len(), "the scan ends where the head does");
    AnswerHead::read(head, is_head_request)
}

fn head(fields: &str) -> Vec<u8> {
    let fields = fields.replace('\n', "\r\n");
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").into_bytes()
}

/// The framing of a 200 to GET with the field lines given.
#[track_caller]
fn check(fields: &str, expected: Result<(AnswerFraming, bool), AnswerRefusal>) {
    let outcome = read(&head(fields)).map(|head| (head.framing, head.closes));
    assert_eq!(outcome, expected, "{fields:?}");
}

/// The framing of the answer with the head given.
#[track_caller]
fn check_head(
    bytes: &str,
    is_head_request: bool,
    expected: Result<(AnswerFraming, bool), AnswerRefusal>,
) {
    let outcome =
        read_for(bytes.as_bytes(), is_head_request).map(|head| (head.framing, head.closes));
    assert_eq!(outcome, expected, "{bytes:?}, HEAD: {is_head_request}");
}

#[test]
fn a_body_ends_where_rfc_9112_section_6_3_says() {
    use AnswerFraming::{Chunked, Length, UntilClose};
    use AnswerRefusal::{
        BadContentLength, BadTransferEncoding, DifferingContentLengths, NotChunked,
        UnknownTransferCoding,
    };
    for (fields, expected) in [
        ("Server: x", Ok((UntilClose, true))),
        ("Content-Length: 5", Ok((Length(5), false))),
        ("content-length:5 \t", Ok((Length(5), false))),
        ("Content-Length: 005", Ok((Length(5), false))),
        ("Content-Length: 5, 5", Ok((Length(5), false))),
        (
            "Content-Length: 5\nContent-Length: 5",
            Ok((Length(5), false)),
        ),
        (
            "Content-Length: 5\nConnection: x, Close",
            Ok((Length(5), true)),
        ),
        ("Content-Length: 5, 6", Err(DifferingContentLengths)),
        (
            "Content-Length: 5\nContent-Length: 6",
            Err(DifferingContentLengths),
        ),
        ("Content-Length: ", Err(BadContentLength)),
        ("Content-Length: +5", Err(BadContentLength)),
        ("Content-Length: 5,", Err(BadContentLength)),
        ("Content-Length: 0x5", Err(BadContentLength)),
        ("Content-Length: 9223372036854775808", Err(BadContentLength)),
        ("Transfer-Encoding: chunked", Ok((Chunked, false))),
        ("Transfer-Encoding: Chunked", Ok((Chunked, false))),
        ("Transfer-Encoding: gzip, chunked", Ok((Chunked, false))),
        (
            "Transfer-Encoding: deflate\nTransfer-Encoding: chunked",
            Ok((Chunked, false)),
        ),
        (
            "Transfer-Encoding: x-gzip , x-compress, compress, chunked",
            Ok((Chunked, false)),
        ),
        (
            "Transfer-Encoding: chunked\nContent-Length: 5",
            Ok((Chunked, true)),
        ),
        (
            "Content-Length: x\nTransfer-Encoding: chunked",
            Ok((Chunked, true)),
        ),
        ("Transfer-Encoding: gzip", Err(NotChunked)),
        ("Transfer-Encoding: identity", Err(UnknownTransferCoding)),
        ("Transfer-Encoding: xchunked", Err(UnknownTransferCoding)),
        ("Transfer-Encoding: \"chunked\"", Err(BadTransferEncoding)),
        ("Transfer-Encoding: chunked;a=b", Err(BadTransferEncoding)),
        ("Transfer-Encoding: chunked, gzip", Err(BadTransferEncoding)),
        (
            "Transfer-Encoding: chunked, chunked",
            Err(BadTransferEncoding),
        ),
        (
            "Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
            Err(BadTransferEncoding),
        ),
        ("Transfer-Encoding: chunked,", Err(BadTransferEncoding)),
        ("Transfer-Encoding:", Err(BadTransferEncoding)),
    ] {
        check(fields, expected);
    }
}

#[test]
fn codings_before_chunked_are_reported() {
    let codings = |value| read(&head(value)).map(|head| head.extra_codings);
    assert_eq!(codings("Transfer-Encoding: gzip, chunked"), Ok(true));
    assert_eq!(codings("Transfer-Encoding: chunked"), Ok(false));
}

#[test]
fn status_version_and_method_decide_whether_there_is_a_body() {
    use AnswerFraming::{Chunked, Length, None, UntilClose};
    for (bytes, is_head_request, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            true,
            Ok((None, false)),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", true, Ok((None, false))),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            false,
            Ok((None, false)),
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            false,
            Ok((None, false)),
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            Ok((None, false)),
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: x\r\n\r\n",
            false,
            Ok((None, false)),
        ),
        (
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            false,
            Ok((Length(0), false)),
        ),
        (
            "HTTP/1.1 599 x\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            Ok((Chunked, false)),
        ),
        ("HTTP/1.0 200 OK\r\n\r\n", false, Ok((UntilClose, true))),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            false,
            Ok((Length(5), true)),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\n",
            false,
            Ok((Length(5), false)),
        ),
    ] {
        check_head(bytes, is_head_request, expected);
    }
}

#[test]
fn faulty_framing_is_refused_whether_or_not_there_is_a_body() {
    for (bytes, is_head_request, expected) in [
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            AnswerRefusal::EncodingInHttp10,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            true,
            AnswerRefusal::DifferingContentLengths,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5,\r\n\r\n",
            false,
            AnswerRefusal::BadContentLength,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 5 5\r\n\r\n",
            false,
            AnswerRefusal::BadContentLength,
        ),
    ] {
        check_head(bytes, is_head_request, Err(expected));
    }
}

#[test]
fn what_servers_send_passes_and_what_two_programs_read_differently_does_not() {
    use AnswerRefusal::{
        BadName, BadStatusLine, BareCr, ControlByte, FoldedFraming, LeadingSpace, MissingColon,
        UnsupportedVersion,
    };
    let cases: [(&[u8], Result<u16, AnswerRefusal>); 29] = [
        (b"HTTP/1.1 200 OK\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 200\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 200 \r\n\r\n", Ok(200)),
        (b"HTTP/1.1 200 Tr\xe8s\tbien\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 200 OK\nA: b\n\n", Ok(200)),
        (b"HTTP/1.1 200 OK\r\nA: b\n\r\n", Ok(200)),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\td\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 200 OK\r\nA:\tb \xff\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 200 OK\r\nContent_Length: 7\r\n\r\n", Ok(200)),
        (b"HTTP/1.1 999 x\r\n\r\n", Ok(999)),
        (b"HTTP/1.2 200 OK\r\n\r\n", Err(UnsupportedVersion)),
        (b"HTTP/2.0 200 OK\r\n\r\n", Err(BadStatusLine)),
        (b"http/1.1 200 OK\r\n\r\n", Err(BadStatusLine)),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Err(BadStatusLine)),
        (b"SSH-2.0", Err(BadStatusLine)),
        (b"HTTP/1.1  200 OK\r\n\r\n", Err(BadStatusLine)),
        (b"HTTP/1.1 2000\r\n\r\n", Err(BadStatusLine)),
        (b"HTTP/1.1 20\r\n\r\n", Err(BadStatusLine)),
        (b"HTTP/1.1 099 x\r\n\r\n", Err(BadStatusLine)),
        (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", Err(LeadingSpace)),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\n",
            Err(FoldedFraming),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked\r\n\r\n",
            Err(FoldedFraming),
        ),
        (
            b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 5\r\n\r\n",
            Err(BareCr),
        ),
        (b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", Err(ControlByte)),
        (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", Err(MissingColon)),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", Err(BadName)),
        (
            b"HTTP/1.1 200 OK\r\nContent Length: 5\r\n\r\n",
            Err(BadName),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length\xa0: 5\r\n\r\n",
            Err(BadName),
        ),
    ];
    for (bytes, expected) in cases {
        let outcome = read(bytes).map(|head| head.status);
        assert_eq!(outcome, expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_switch_names_one_protocol() {
    let upgrade = |fields: &str| {
        let bytes = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
        read(bytes.as_bytes()).map(|head| {
            let value = head.switches_to().expect("a 101 has one");
            assert!(!head.is_interim());
            bytes[value].to_owned()
        })
    };
    assert_eq!(
        upgrade("Upgrade:  websocket \r\n"),
        Ok("websocket".to_owned())
    );
    assert_eq!(
        upgrade("Connection: upgrade\r\n"),
        Err(AnswerRefusal::BadSwitch)
    );
    assert_eq!(upgrade("Upgrade: \r\n"), Err(AnswerRefusal::BadSwitch));
    assert_eq!(
        upgrade("Upgrade: a\r\nUpgrade: b\r\n"),
        Err(AnswerRefusal::BadSwitch)
    );
}

#[test]
fn a_head_that_is_dripped_in_is_found_where_it_ends() {
    let bytes = b"HTTP/1.1 200 OK\r\nA:\tb\nC: d\r\n e\r\n\r\nHTTP";
    let head_end = bytes.len() - 4;
    let mut scan = AnswerScan::default();
    for length in 0..head_end {
        assert_eq!(scan.scan(&bytes[..length]), Ok(None), "{length} bytes");
    }
    assert_eq!(scan.scan(bytes), Ok(Some(head_end)));
}

#[test]
fn a_head_has_a_limit_of_bytes_and_of_fields() {
    let with_fields = |count: usize| {
        let fields = "A: b\r\n".repeat(count);
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes()
    };
    assert!(read(&with_fields(ANSWER_FIELDS_MAX)).is_ok());
    assert_eq!(
        read(&with_fields(257)),
        Err(AnswerRefusal::TooManyFields { count: 257 })
    );

    let with_bytes = |bytes: usize| {
        let frame = "HTTP/1.1 200 OK\r\nA: \r\n\r\n".len();
        let value = "b".repeat(bytes - frame);
        format!("HTTP/1.1 200 OK\r\nA: {value}\r\n\r\n").into_bytes()
    };
    assert!(read(&with_bytes(ANSWER_HEAD_BYTES_MAX)).is_ok());
    for bytes in [ANSWER_HEAD_BYTES_MAX + 1, 65 * 1024] {
        assert_eq!(read(&with_bytes(bytes)), Err(AnswerRefusal::HeadTooLarge));
    }
    let limit = format!("({ANSWER_HEAD_BYTES_MAX} bytes)");
    assert!(AnswerRefusal::HeadTooLarge.to_string().ends_with(&limit));
}

#[test]
fn a_chunked_body_is_followed_to_its_end() {
    type End = Result<Option<usize>, Refusal>;
    let cases: [(&[u8], End); 10] = [
        (b"5\r\nhello\r\n0\r\n\r\nHTTP", Ok(Some(15))),
        (b"5  \r\nhello\r\n0   \r\n\r\nHTTP", Ok(Some(20))),
        (b"5;a=b \r\nhello\r\n0\r\n\r\n", Ok(Some(20))),
        (b"0\r\nX-Sum: 1\r\n\r\nHTTP", Ok(Some(15))),
        (b"5\r\nhel", Ok(None)),
        (b"\r\nhello\r\n0\r\n\r\n", Err(Refusal::BadChunkSize)),
        (b" 5\r\nhello\r\n0\r\n\r\n", Err(Refusal::BadChunkSize)),
        (
            b"5 6\r\nhello\r\n0\r\n\r\n",
            Err(Refusal::BadChunkExtension),
        ),
        (b"5\r\nhello0\r\n\r\n", Err(Refusal::BadChunkEnd)),
        (
            b"0\r\nContent-Length: 5\r\n\r\n",
            Err(Refusal::ForbiddenTrailer),
        ),
    ];
    for (bytes, expected) in cases {
        let outcome = AnswerBody::new(AnswerFraming::Chunked)
            .advance(bytes)
            .map(|progress| progress.complete.then_some(progress.consumed));
        assert_eq!(
            outcome,
            expected.map_err(AnswerRefusal::Body),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn padding_and_extensions_are_limited_by_chunk_and_not_by_answer() {
    let mut body = AnswerBody::new(AnswerFraming::Chunked);
    for _ in 0..10_000 {
        body.advance(b"1;a=b  \r\nx\r\n")
            .expect("a small extension");
    }
    let wide = [b"1".as_slice(), &[b' '; 8 * 1024]].concat();
    assert_eq!(
        body.advance(&wide),
        Err(AnswerRefusal::Body(Refusal::ChunkExtensionsTooLarge))
    );
}

#[test]
fn a_body_of_known_length_or_none_ends_by_itself_and_another_with_the_connection() {
    for (framing, bytes, complete) in [
        (AnswerFraming::None, 0, true),
        (AnswerFraming::Length(3), 3, true),
        (AnswerFraming::UntilClose, 8, false),
    ] {
        let mut body = AnswerBody::new(framing);
        let progress = body.advance(b"12345678").expect("any bytes will do");
        assert_eq!(progress.consumed, bytes, "{framing:?}");
        assert_eq!(body.is_complete(), complete, "{framing:?}");
        assert_eq!(body.ends_with_connection(), !complete, "{framing:?}");
    }
}
