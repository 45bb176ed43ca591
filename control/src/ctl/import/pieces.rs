//! A file of tenants, cut into pieces that one request can hold. What the lines say is for the daemon to judge.

use std::{
    io::{self, BufRead, Read as _},
    path::Path,
};

use crate::ctl::{args::TenantFormat, failure::Failure};

/// Tenants of one piece.
const LINES_MAX: usize = 10_000;
/// Length of one piece; what one line more would exceed begins the next piece.
const BYTES_MAX: usize = 8 * 1024 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Some lines of a file.
#[derive(Debug)]
pub(super) struct Piece {
    pub format: TenantFormat,
    pub bytes: Vec<u8>,
    /// For each line of the piece, which one of the file it is, counted from 1.
    pub lines: Vec<u64>,
}

/// See the module's documentation.
pub(super) struct Pieces<R: BufRead> {
    reader: R,
    format: TenantFormat,
    /// How many lines of the file have been read.
    read: u64,
    /// What every piece of CSV begins with, once it is known.
    header: Option<Line>,
    /// What did not fit into the last piece.
    left: Option<Line>,
    lines_max: usize,
    bytes_max: usize,
}

/// A line with its end.
struct Line {
    /// Counted from 1.
    number: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Pieces<R> {
    pub(super) fn new(reader: R, format: TenantFormat) -> Self {
        Self::of_size(reader, format, LINES_MAX, BYTES_MAX)
    }

    fn of_size(reader: R, format: TenantFormat, lines_max: usize, bytes_max: usize) -> Self {
        Self {
            reader,
            format,
            read: 0,
            header: None,
            left: None,
            lines_max,
            bytes_max,
        }
    }

    /// The next piece; `None` at the end of the file, whose name is for errors.
    pub(super) fn next(&mut self, file: &Path) -> Result<Option<Piece>, Failure> {
        if self.format == TenantFormat::Csv && self.header.is_none() {
            self.header = self.line(file)?;
        }
        let mut piece = Piece {
            format: self.format,
            bytes: Vec::new(),
            lines: Vec::new(),
        };
        if let Some(header) = &self.header {
            piece.bytes.extend_from_slice(&header.text);
            piece.lines.push(header.number);
        }
        let empty = (piece.bytes.len(), piece.lines.len());
        while piece.lines.len() - empty.1 < self.lines_max {
            let next = match self.left.take() {
                Some(left) => Some(left),
                None => self.line(file)?,
            };
            let Some(line) = next else { break };
            if empty.0 + line.text.len() > self.bytes_max {
                return Err(too_long(line.number, self.bytes_max));
            }
            if piece.bytes.len() + line.text.len() > self.bytes_max {
                self.left = Some(line);
                break;
            }
            piece.bytes.extend_from_slice(&line.text);
            piece.lines.push(line.number);
        }
        Ok((piece.lines.len() > empty.1).then_some(piece))
    }

    /// The next line that is not blank.
    fn line(&mut self, file: &Path) -> Result<Option<Line>, Failure> {
        loop {
            self.read += 1;
            let number = self.read;
            let mut text = Vec::new();
            let limit = self.bytes_max as u64 + 1;
            let read = (&mut self.reader).take(limit).read_until(b'\n', &mut text);
            read.map_err(|error| of_io(file, &error))?;
            if text.is_empty() {
                return Ok(None);
            }
            if text.len() > self.bytes_max {
                return Err(too_long(number, self.bytes_max));
            }
            if number == 1 && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            if self.format == TenantFormat::Csv && !is_one_record(&text) {
                let error =
                    "a field holds the end of a line, which no key may; is a quote missing?";
                return Err(Failure::Line {
                    line: number,
                    error: error.to_owned(),
                });
            }
            return Ok(Some(Line { number, text }));
        }
    }
}

/// Whether a line of CSV is whole. Otherwise the daemon's count of lines would be another one than ours.
fn is_one_record(line: &[u8]) -> bool {
    let body = line.strip_suffix(b"\n").unwrap_or(line);
    let body = body.strip_suffix(b"\r").unwrap_or(body);
    if body.contains(&b'\r') {
        return false;
    }
    if !body.contains(&b'"') {
        return true;
    }
    // A quote that does not begin a field stands for itself, so counting them says nothing: whether a second line would be
    // a second record does.
    let two_lines = [line, b"x\n"].concat();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(&two_lines[..]);
    reader.byte_records().count() == 2
}

fn too_long(line: u64, bytes_max: usize) -> Failure {
    Failure::Line {
        line,
        error: format!("has more than {bytes_max} bytes"),
    }
}

fn of_io(file: &Path, error: &io::Error) -> Failure {
    Failure::File {
        path: file.to_owned(),
        error: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces as text, each with the numbers of its lines.
    fn cut(
        text: &[u8],
        format: TenantFormat,
        lines: usize,
        bytes: usize,
    ) -> Vec<(String, Vec<u64>)> {
        let mut pieces = Pieces::of_size(text, format, lines, bytes);
        let mut found = Vec::new();
        while let Some(piece) = pieces.next(Path::new("f")).unwrap() {
            assert!(piece.bytes.len() <= bytes);
            found.push((String::from_utf8(piece.bytes).unwrap(), piece.lines));
        }
        found
    }

    #[test]
    fn lines_of_json_are_cut_by_number_and_by_length() {
        let check = |text: &[u8], lines: usize, bytes: usize, expected: &[(&str, &[u64])]| {
            let found = cut(text, TenantFormat::Ndjson, lines, bytes);
            let found: Vec<_> = found.iter().map(|it| (it.0.as_str(), &it.1[..])).collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
        };
        check(b"", 2, 99, &[]);
        check(b"\n \n", 2, 99, &[]);
        check(
            b"a\n\nb\r\nc",
            2,
            99,
            &[("a\nb\r\n", &[1, 3]), ("c\n", &[4])],
        );
        check(
            b"aaa\nbbb\nc\n",
            9,
            6,
            &[("aaa\n", &[1]), ("bbb\nc\n", &[2, 3])],
        );
        check(b"\xef\xbb\xbfa\n", 2, 99, &[("a\n", &[1])]);
    }

    #[test]
    fn every_piece_of_csv_has_the_header() {
        let check = |text: &[u8], lines: usize, bytes: usize, expected: &[(&str, &[u64])]| {
            let found = cut(text, TenantFormat::Csv, lines, bytes);
            let found: Vec<_> = found.iter().map(|it| (it.0.as_str(), &it.1[..])).collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
        };
        check(b"", 2, 99, &[]);
        check(b"key,cell\n", 2, 99, &[]);
        check(
            b"key,cell\na,x\n\nb,\n\"c \"\"q\"\", d\",y",
            2,
            99,
            &[
                ("key,cell\na,x\nb,\n", &[1, 2, 4]),
                ("key,cell\n\"c \"\"q\"\", d\",y\n", &[1, 5]),
            ],
        );
        check(
            b"key\naaa\nbbb\n",
            9,
            9,
            &[("key\naaa\n", &[1, 2]), ("key\nbbb\n", &[1, 3])],
        );
        check(b"key\na,b,c\n", 9, 99, &[("key\na,b,c\n", &[1, 2])]);
        check(
            b"\xef\xbb\xbfkey\r\na\r\n",
            9,
            99,
            &[("key\r\na\r\n", &[1, 2])],
        );
        check(b"\nkey\n5\" disk\n", 9, 99, &[("key\n5\" disk\n", &[2, 3])]);
    }

    #[test]
    fn what_cannot_be_cut_is_named() {
        let check = |text: &[u8], format: TenantFormat, expected: &str| {
            let mut pieces = Pieces::of_size(text, format, 9, 10);
            let failure = loop {
                match pieces.next(Path::new("f")) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no failure"),
                    Err(failure) => break failure,
                }
            };
            assert_eq!(failure.to_string(), expected);
        };
        check(
            b"a\nbbbbbbbbbbbbb\n",
            TenantFormat::Ndjson,
            "line 2: has more than 10 bytes",
        );
        check(
            b"key\nbbbbbbbbbb\n",
            TenantFormat::Csv,
            "line 2: has more than 10 bytes",
        );
        check(
            b"key\nx\"y,\"b\nc",
            TenantFormat::Csv,
            "line 2: a field holds the end of a line, which no key may; is a quote missing?",
        );
        check(
            b"key\na\n\"b\nc\"\n",
            TenantFormat::Csv,
            "line 3: a field holds the end of a line, which no key may; is a quote missing?",
        );
    }
}
