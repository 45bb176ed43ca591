//! Each rule of the body as data, fed whole, split at each byte, and byte by byte.

use super::*;
use Refusal::*;

const BODY_BYTES_MAX: u64 = 1 << 20;

/// What comes of a body: how many bytes belong to it and whether it is complete.
type Outcome = Result<(usize, bool), Refusal>;

#[track_caller]
fn check(framing: BodyFraming, bytes: &[u8], expected: Outcome) {
    let whole = read(framing, [bytes]);
    assert_eq!(whole, expected, "{}", bytes.escape_ascii());
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        let split = read(framing, [first, second]);
        assert_eq!(split, expected, "{} split at {at}", bytes.escape_ascii());
    }
    let dripped = read(framing, bytes.chunks(1));
    assert_eq!(dripped, expected, "{} dripped", bytes.escape_ascii());
}

fn read<'a>(framing: BodyFraming, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut tracker = BodyTracker::new(framing, BODY_BYTES_MAX)?;
    let mut consumed = 0;
    for part in parts {
        let progress = match tracker.advance(part) {
            Ok(progress) => progress,
            Err(refusal) => {
                assert_eq!(
                    tracker.advance(b"0\r\n\r\n"),
                    Err(refusal),
                    "a refusal stays"
                );
                return Err(refusal);
            }
        };
        consumed += progress.consumed;
        assert_eq!(progress.complete, tracker.is_complete());
        if !progress.complete {
            assert_eq!(progress.consumed, part.len(), "only the end stops short");
        }
    }
    Ok((consumed, tracker.is_complete()))
}

#[track_caller]
fn check_chunked(bytes: &[u8], expected: Outcome) {
    check(BodyFraming::Chunked, bytes, expected);
}

/// A chunk line, between a good chunk and the end of the body.
#[track_caller]
fn check_chunk_line(line: &[u8], expected: Result<(), Refusal>) {
    let bytes = [&b"2\r\nab\r\n"[..], line, b"\r\nabc\r\n0\r\n\r\nGET /"].concat();
    let end = bytes.len() - "GET /".len();
    check_chunked(&bytes, expected.map(|()| (end, true)));
}

#[track_caller]
fn check_trailers(lines: &[u8], expected: Result<(), Refusal>) {
    let bytes = [&b"1\r\na\r\n0\r\n"[..], lines, b"\r\nGET /"].concat();
    let end = bytes.len() - "GET /".len();
    check_chunked(&bytes, expected.map(|()| (end, true)));
}

#[test]
fn bodies_with_a_length() {
    check(BodyFraming::None, b"GET /", Ok((0, true)));
    check(BodyFraming::Length(0), b"GET /", Ok((0, true)));
    check(BodyFraming::Length(3), b"abcGET /", Ok((3, true)));
    check(BodyFraming::Length(3), b"abc", Ok((3, true)));
    check(BodyFraming::Length(4), b"abc", Ok((3, false)));
    check(BodyFraming::Length(3), b"\0\r\nGET", Ok((3, true)));
}

#[test]
fn chunked_bodies() {
    check_chunked(b"0\r\n\r\n", Ok((5, true)));
    check_chunked(b"0\r\n\r\nGET /", Ok((5, true)));
    check_chunked(b"3\r\nabc\r\n0\r\n\r\nG", Ok((13, true)));
    check_chunked(b"3\r\n\r\n0\r\n0\r\n\r\n", Ok((13, true)));
    check_chunked(b"00000000000000000\r\n\r\n", Err(BadChunkSize));
    check_chunked(b"0000000000000000\r\n\r\n", Ok((20, true)));
    check_chunked(b"", Ok((0, false)));
    check_chunked(b"3\r\nab", Ok((5, false)));
    check_chunked(b"0\r\n\r", Ok((4, false)));
}

#[test]
fn chunk_sizes() {
    for line in ["3", "03", "0000000000000003"] {
        check_chunk_line(line.as_bytes(), Ok(()));
    }
    check_chunked(b"A\r\n0123456789\r\n0\r\n\r\n", Ok((20, true)));
    check_chunked(b"10\r\n0123456789abcdef\r\n0\r\n\r\n", Ok((27, true)));
    check_chunked(b"a\r\n0123456789\r\n0\r\n\r\n", Ok((20, true)));
    for line in [
        "",
        " 3",
        "\t3",
        "0x3",
        "+3",
        "-3",
        "3_0",
        "_3",
        "3h",
        "3.",
        "g",
        ";a",
        "\0",
        "3\0",
        "3\"",
        "00000000000000003",
        "\u{663}",
    ] {
        check_chunk_line(line.as_bytes(), Err(BadChunkSize));
    }
    // White space is in the grammar only before a semicolon.
    check_chunk_line(b"3 ", Err(BadChunkExtension));
    check_chunk_line(b"3 3", Err(BadChunkExtension));
    check_chunk_line(b"3\n", Err(BadChunkSize));
    check_chunk_line(b"3\rX", Err(BareCr));
    check_chunk_line(b"3\r", Err(BareCr));
}

#[test]
fn chunk_extensions() {
    for extension in [
        ";a",
        ";a=b",
        ";a=b;c",
        ";a=\"\"",
        ";a=\"b c;d\\\"\\\\e\tf\"",
        " ; a = b ; c",
        "\t;\ta\t=\t\"b\"\t;\tc",
        ";a ;b",
        ";a=\"\u{e9}\"",
        ";!#$%&'*+-.^_`|~0",
    ] {
        check_chunk_line(format!("3{extension}").as_bytes(), Ok(()));
    }
    for extension in [
        ";",
        "; ",
        ";;a",
        ";=b",
        ";a=",
        ";a= ",
        ";a ",
        ";a=b ",
        ";a=\"b\" ",
        ";a=b=c",
        ";a=\"b",
        ";a=\"b\"c",
        ";a b",
        ";a=b c",
        ";a,b",
        ";a=@",
        ";a\0",
        ";a=\"\0\"",
        ";a=\"\\\0\"",
        ";a=\"\x7f\"",
        ";a=\"\r\n\"",
        ";\u{e9}",
        ";a\n",
        ";a=\"\n\"",
        "; \n",
        ";a=\"b\\",
        "=a",
    ] {
        let expected = match extension {
            "=a" => BadChunkSize,
            _ => BadChunkExtension,
        };
        check_chunk_line(format!("3{extension}").as_bytes(), Err(expected));
    }
    check_chunk_line(b"3;a\rb", Err(BareCr));
}

#[test]
fn chunk_extensions_are_bounded_in_total() {
    let chunk = |extension: usize| format!("1;{}\r\na\r\n", "x".repeat(extension));
    // The CR after an extension is the byte that ends it, and counts.
    let fits = chunk(CHUNK_EXTENSION_BYTES_MAX - 1);
    assert!(read(BodyFraming::Chunked, [fits.as_bytes()]).is_ok());
    let too_long = chunk(CHUNK_EXTENSION_BYTES_MAX);
    let refused = Err(ChunkExtensionsTooLarge);
    assert_eq!(read(BodyFraming::Chunked, [too_long.as_bytes()]), refused);
    let many = chunk(7).repeat(CHUNK_EXTENSION_BYTES_MAX / 8);
    assert!(read(BodyFraming::Chunked, [many.as_bytes()]).is_ok());
    let too_many = chunk(7).repeat(CHUNK_EXTENSION_BYTES_MAX / 8 + 1);
    assert_eq!(read(BodyFraming::Chunked, [too_many.as_bytes()]), refused);
}

#[test]
fn chunk_ends() {
    check_chunked(b"3\r\nabcd\r\n0\r\n\r\n", Err(BadChunkEnd));
    check_chunked(b"3\r\nab\r\n0\r\n\r\n", Err(BadChunkEnd));
    check_chunked(b"3\r\nabcd\n0\r\n\r\n", Err(BadChunkEnd));
    check_chunked(b"3\r\nabc\n0\r\n\r\n", Err(BadChunkEnd));
    check_chunked(b"3\r\nabc\r0\r\n\r\n", Err(BadChunkEnd));
    check_chunked(b"3\r\nabc\rX", Err(BadChunkEnd));
    check_chunked(b"0\r\n\n", Err(BareLf));
    check_chunked(b"0\r\n\rX", Err(BareCr));
    check_chunked(b"0\n\n", Err(BadChunkSize));
}

#[test]
fn trailers() {
    check_trailers(b"", Ok(()));
    check_trailers(b"A: b\r\n", Ok(()));
    check_trailers(b"A:\r\nX-Sum: \xe9 b\t\r\nHosts: a\r\n", Ok(()));
    for name in [
        "Content-Length",
        "content_length",
        "Transfer-Encoding",
        "TRANSFERENCODING",
        "Host",
        "-host",
    ] {
        let line = format!("X: y\r\n{name}: 1\r\n");
        check_trailers(line.as_bytes(), Err(ForbiddenTrailer));
    }
    for lines in [
        " a: b\r\n",
        "A: b\r\n c\r\n",
        "A : b\r\n",
        "A\r\n",
        ": b\r\n",
        "A: \0\r\n",
        "A(: b\r\n",
        "\u{e9}: b\r\n",
    ] {
        check_trailers(lines.as_bytes(), Err(BadTrailer));
    }
    check_trailers(b"A: b\nC: d\r\n", Err(BareLf));
    check_trailers(b"A\n", Err(BareLf));
    check_trailers(b"A: b\rC: d\r\n", Err(BareCr));
}

#[test]
fn trailers_are_bounded() {
    let trailer = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "x".repeat(bytes - "A:\r\n".len()));
    let fits = trailer(TRAILER_BYTES_MAX);
    assert_eq!(
        read(BodyFraming::Chunked, [fits.as_bytes()]),
        Ok((fits.len(), true))
    );
    let too_long = trailer(TRAILER_BYTES_MAX + 1);
    assert_eq!(
        read(BodyFraming::Chunked, [too_long.as_bytes()]),
        Err(TrailersTooLarge)
    );
}

#[test]
fn bodies_are_bounded() {
    let outcome = |framing, bytes: &[u8]| {
        let mut tracker = BodyTracker::new(framing, 5)?;
        tracker.advance(bytes).map(|progress| progress.complete)
    };
    assert_eq!(outcome(BodyFraming::Length(5), b"abcde"), Ok(true));
    assert_eq!(outcome(BodyFraming::Length(6), b""), Err(BodyTooLarge));
    let chunked = |bytes| outcome(BodyFraming::Chunked, bytes);
    assert_eq!(chunked(b"5\r\nabcde\r\n0\r\n\r\n"), Ok(true));
    // The framing around the chunks does not count.
    assert_eq!(
        chunked(b"1\r\na\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n0\r\n\r\n"),
        Ok(true)
    );
    assert_eq!(chunked(b"3\r\nabc\r\n3\r\n"), Err(BodyTooLarge));
    assert_eq!(chunked(b"6\r\n"), Err(BodyTooLarge));
    assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(BodyTooLarge));
}
