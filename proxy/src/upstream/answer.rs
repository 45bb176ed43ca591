//! Reading the head of a cell's answer, and following its body to where it ends.
//!
//! On the direct way this is the only reader of an answer, and what goes on to the client is written as it should be. On
//! the general way Pingora parses the answer again and writes it anew. So what matters here is that nobody reads another
//! end of the answer than this room does; what only looks unusual passes. Each leniency, with its reason:
//!
//! - Lines may end with a bare LF (RFC 9112 section 2.2). A CR that no LF follows is refused: some take it for a line's
//!   end and some for a part of the value.
//! - White space between a name and its colon (RFC 9112 section 5.1 has a proxy remove it, and both ways do), but not
//!   before the first field (section 2.2).
//! - A folded field (RFC 9112 section 5.2: both ways put a space in its place), but none that frames the answer.
//! - A status line that ends after the code (RFC 9112 section 4 wants a space there, many servers leave it out). An
//!   empty line before it is refused: only a request may have one (section 2.2).
//! - `Content-Length` several times with one value (RFC 9110 section 8.6).
//! - Names with an underscore are names like any other: no reader of answers is known to change it into a hyphen.
//!
//! Lengths and codings of a 1xx or 204 are taken for absent (RFC 9112 section 6.3, RFC 9110 section 8.6), but a length has to
//! be one. An answer to HEAD and a 304 have no body but say what another one would have (RFC 9112
//! section 6.1), and must say it well.
//!
//! This room is pure and synchronous: no I/O, no clock, no type of Pingora.

mod lines;
mod refusal;
#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::memchr;

use crate::gate::{
    BodyFraming, BodyTracker, Progress,
    bytes::{CR, LF, TOKEN, all, find_control, is_space, trim},
};

pub use lines::{AnswerLine, Known};
pub use refusal::AnswerRefusal;

use lines::{Lines, well_written};

/// Bytes of an answer's head, from its first to the blank line's last.
pub const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Interim answers before the final one. No cell has use for more, and a cell that sends nothing else has to end.
pub const INTERIM_ANSWERS_MAX: usize = 64;
/// Header field lines of an answer. Pingora's parser takes no more.
pub const ANSWER_FIELDS_MAX: usize = 256;

const HTTP_1: &[u8] = b"HTTP/1.";
/// The registered transfer codings besides `chunked`. They go on to the client as they are.
const EXTRA_CODINGS: [&[u8]; 5] = [b"gzip", b"deflate", b"compress", b"x-gzip", b"x-compress"];

/// Finds the end of a head in a growing buffer, without reading a byte twice.
#[derive(Clone, Debug, Default)]
pub struct AnswerScan {
    searched: usize,
    line_start: usize,
    is_past_status_line: bool,
}

/// How the end of an answer's body is known, RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFraming {
    /// There is no body, whatever the fields say.
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// What was learned from a head that may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    pub status: u16,
    pub is_http_10: bool,
    pub framing: AnswerFraming,
    /// The connection cannot be used after this answer: the cell said so, or it is HTTP/1.0 without `keep-alive`, or the
    /// answer's end is the connection's, or it has both a length and a coding (RFC 9112 section 6.3).
    pub closes: bool,
    /// The body went through another coding before `chunked`. A client of HTTP/1.0 would get it undecoded.
    pub extra_codings: bool,
    /// Where in the head a 101 names the protocol that it switches to.
    switches_to: Option<Range<usize>>,
}

/// The place in one answer's body.
#[derive(Clone, Debug)]
pub struct AnswerBody {
    /// `None` when only the end of the connection ends it.
    tracker: Option<BodyTracker>,
}

/// What the fields that matter said.
#[derive(Debug, Default)]
struct Fields {
    length: Option<Result<u64, AnswerRefusal>>,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    upgrade: Option<Range<usize>>,
    upgrade_lines: usize,
}

#[derive(Debug, Default)]
struct Codings {
    is_present: bool,
    is_chunked: bool,
    has_extra: bool,
    refusal: Option<AnswerRefusal>,
}

impl AnswerScan {
    /// Goes on where the last call stopped. `buffer` begins with the bytes that the earlier calls saw. The answer is
    /// where the head ends, or nothing when more bytes are needed.
    ///
    /// # Errors
    /// No further byte can make this a good head.
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>, AnswerRefusal> {
        if !self.is_past_status_line {
            // Something that speaks another protocol may wait for us now; say no before the time is up.
            let start = buffer.len().min(HTTP_1.len());
            if buffer[..start] != HTTP_1[..start] {
                return Err(AnswerRefusal::BadStatusLine);
            }
        }
        let window = &buffer[..buffer.len().min(ANSWER_HEAD_BYTES_MAX)];
        loop {
            let unseen = window.get(self.searched..).unwrap_or_default();
            let at = self.searched + find_control(unseen);
            let next_line = match (window.get(at), window.get(at + 1)) {
                (Some(b'\t'), _) => {
                    self.searched = at + 1;
                    continue;
                }
                (Some(&LF), _) => at + 1,
                (Some(&CR), Some(&LF)) => at + 2,
                (Some(&CR), None) | (None, _) => {
                    self.searched = at;
                    return if buffer.len() > ANSWER_HEAD_BYTES_MAX {
                        Err(AnswerRefusal::HeadTooLarge)
                    } else {
                        Ok(None)
                    };
                }
                (Some(&CR), Some(_)) => return Err(AnswerRefusal::BareCr),
                (Some(_), _) => return Err(AnswerRefusal::ControlByte),
            };
            if at == self.line_start {
                return Ok(Some(next_line));
            }
            self.is_past_status_line = true;
            self.line_start = next_line;
            self.searched = next_line;
        }
    }
}

impl AnswerHead {
    /// Reads exactly the head that [`AnswerScan`] found, and checks each of its bytes.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn read(head: &[u8], is_head_request: bool) -> Result<Self, AnswerRefusal> {
        Self::read_lines(head, is_head_request, |_| {})
    }

    /// The same, and shows each field in passing.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_lines<'a>(
        head: &'a [u8],
        is_head_request: bool,
        see: impl FnMut(AnswerLine<'a>),
    ) -> Result<Self, AnswerRefusal> {
        Self::read_front(head, is_head_request, see).map(|(head, _)| head)
    }

    /// Reads the head that the bytes begin with, and says where it ends: `None` if it is not whole. For bytes that
    /// [`AnswerScan`] has not seen; where this finds a mistake, the scan decides which one it is.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_front<'a>(
        head: &'a [u8],
        is_head_request: bool,
        mut see: impl FnMut(AnswerLine<'a>),
    ) -> Result<(Self, Option<usize>), AnswerRefusal> {
        let mut lines = Lines { head, at: 0 };
        let status_line = lines.read()?.unwrap_or_default();
        let (status, is_http_10) = read_status_line(&head[status_line])?;
        if head.get(lines.at).is_some_and(|byte| is_space(*byte)) {
            return Err(AnswerRefusal::LeadingSpace);
        }
        let mut fields = Fields::default();
        let mut count = 0;
        let mut end = None;
        loop {
            if let Some(line) = well_written(head, lines.at) {
                count += 1;
                lines.at = line.place.end;
                fields.note(
                    line.known,
                    line.value,
                    line.place.start + line.value_offset(),
                );
                see(line);
                continue;
            }
            let Some(line) = lines.read()? else {
                break;
            };
            if line.is_empty() {
                end = Some(lines.at);
                break;
            }
            count += 1;
            let is_folded = lines.skip_folds()?;
            let place = line.start..lines.at;
            let line = fields.take(head, line, place, is_folded)?;
            see(line);
        }
        if count > ANSWER_FIELDS_MAX {
            return Err(AnswerRefusal::TooManyFields { count });
        }
        let head = fields.conclude(status, is_http_10, is_head_request)?;
        Ok((head, end))
    }

    /// The cell has refused the request and reads no further: what is left of it stays unsent.
    #[must_use]
    pub fn stops_reading(&self) -> bool {
        self.closes && self.status >= 400
    }

    /// Whether another answer follows this one, RFC 9110 section 15.2. A 101 is the last one.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.switches_to.is_none()
    }

    /// Where in the head a 101 names the protocol that it switches to. Any other answer switches to none.
    #[must_use]
    pub fn switches_to(&self) -> Option<Range<usize>> {
        self.switches_to.clone()
    }
}

impl AnswerBody {
    #[must_use]
    pub fn new(framing: AnswerFraming) -> Self {
        let framing = match framing {
            AnswerFraming::None => Some(BodyFraming::None),
            AnswerFraming::Length(length) => Some(BodyFraming::Length(length)),
            AnswerFraming::Chunked => Some(BodyFraming::Chunked),
            AnswerFraming::UntilClose => None,
        };
        Self {
            tracker: framing.map(BodyTracker::for_answer),
        }
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tracker.as_ref().is_some_and(BodyTracker::is_complete)
    }

    /// The end of the connection is the end of the body, and not a body cut short.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        self.tracker.is_none()
    }

    /// How many bytes belong to the body, where that is known beforehand.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        self.tracker.as_ref().and_then(BodyTracker::bytes_left)
    }

    /// Takes the next bytes of the connection, as [`BodyTracker::advance`] does.
    ///
    /// # Errors
    /// The rule that the body breaks. None of these bytes may be handed on then.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Progress, AnswerRefusal> {
        self.advance_seeing(bytes, |_| {})
    }

    /// The same, and shows the pieces of the decoded body among the bytes. They were shown in vain when the bytes are
    /// refused.
    ///
    /// # Errors
    /// As for [`advance`](Self::advance).
    pub fn advance_seeing(
        &mut self,
        bytes: &[u8],
        mut see: impl FnMut(&[u8]),
    ) -> Result<Progress, AnswerRefusal> {
        if let Some(tracker) = &mut self.tracker {
            return tracker
                .advance_seeing(bytes, see)
                .map_err(AnswerRefusal::Body);
        }
        see(bytes);
        Ok(Progress {
            consumed: bytes.len(),
            complete: false,
        })
    }
}

fn read_status_line(line: &[u8]) -> Result<(u16, bool), AnswerRefusal> {
    let rest = line
        .strip_prefix(HTTP_1)
        .ok_or(AnswerRefusal::BadStatusLine)?;
    let [minor, b' ', hundreds @ b'1'..=b'9', tens, ones, reason @ ..] = rest else {
        return Err(AnswerRefusal::BadStatusLine);
    };
    let is_http_10 = match minor {
        b'0' => true,
        b'1' => false,
        _ => return Err(AnswerRefusal::UnsupportedVersion),
    };
    let has_end = matches!(reason, [] | [b' ', ..]);
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() || !has_end {
        return Err(AnswerRefusal::BadStatusLine);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    Ok((status, is_http_10))
}

impl Fields {
    /// Takes note of the field whose first line is `line`.
    fn take<'a>(
        &mut self,
        head: &'a [u8],
        line: Range<usize>,
        place: Range<usize>,
        is_folded: bool,
    ) -> Result<AnswerLine<'a>, AnswerRefusal> {
        let bytes = &head[line.clone()];
        let colon = memchr(b':', bytes).ok_or(AnswerRefusal::MissingColon)?;
        let name = trim(&bytes[..colon]);
        if name.is_empty() || !all(name, TOKEN) {
            return Err(AnswerRefusal::BadName);
        }
        let known = Known::of(name);
        let has_crlf = place.end == line.end + b"\r\n".len();
        let line = AnswerLine {
            name,
            known,
            value: trim(&bytes[colon + 1..]),
            is_odd: is_folded || !has_crlf || name.len() < colon,
            place,
        };
        self.note(known, line.value, line.place.start + line.value_offset());
        if is_folded && known.is_some_and(Known::frames) {
            return Err(AnswerRefusal::FoldedFraming);
        }
        Ok(line)
    }

    /// Takes note of what a field says, if it matters.
    #[inline]
    fn note(&mut self, known: Option<Known>, value: &[u8], start: usize) {
        match known {
            Some(Known::Upgrade) => {
                self.upgrade = Some(start..start + value.len());
                self.upgrade_lines += 1;
            }
            Some(Known::Connection) => self.take_connection(value),
            Some(Known::ContentLength) => self.take_length(value),
            Some(Known::TransferEncoding) => self.codings.take_line(value),
            _ => {}
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        if value == b"keep-alive" {
            self.keep_alive = true;
            return;
        }
        for option in value.split(|&byte| byte == b',').map(trim) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9110 section 8.6: a list of equal numbers, or several lines of them, is one length.
    fn take_length(&mut self, value: &[u8]) {
        if self.length.is_none()
            && let Ok(length) = read_length(value)
        {
            self.length = Some(Ok(length));
            return;
        }
        for number in value.split(|&byte| byte == b',').map(trim) {
            let number = read_length(number);
            self.length = Some(match (self.length, number) {
                (Some(Err(refusal)), _) | (_, Err(refusal)) => Err(refusal),
                (Some(Ok(known)), Ok(number)) if known != number => {
                    Err(AnswerRefusal::DifferingContentLengths)
                }
                (_, number) => number,
            });
        }
    }

    fn conclude(
        self,
        status: u16,
        is_http_10: bool,
        is_head_request: bool,
    ) -> Result<AnswerHead, AnswerRefusal> {
        let switches_to = match (self.upgrade, self.upgrade_lines) {
            _ if status != 101 => None,
            // HTTP/1.0 has no 101.
            (Some(value), 1) if !value.is_empty() && !is_http_10 => Some(value),
            _ => return Err(AnswerRefusal::BadSwitch),
        };
        if let (Some(Err(refusal)), false) = (self.length, self.codings.is_present) {
            // Even where it frames nothing: Pingora takes no such answer.
            return Err(refusal);
        }
        let is_framed = status >= 200 && status != 204;
        let framing = if is_framed {
            framing(self.length, &self.codings, is_http_10)?
        } else {
            AnswerFraming::None
        };
        let has_both = is_framed && self.codings.is_present && self.length.is_some();
        let has_body = is_framed && status != 304 && !is_head_request;
        let framing = if has_body {
            framing
        } else {
            AnswerFraming::None
        };
        Ok(AnswerHead {
            status,
            is_http_10,
            framing,
            closes: self.close
                || (is_http_10 && !self.keep_alive)
                || has_both
                || framing == AnswerFraming::UntilClose,
            extra_codings: is_framed && self.codings.has_extra,
            switches_to,
        })
    }
}

impl Codings {
    fn take_line(&mut self, value: &[u8]) {
        self.is_present = true;
        for coding in value.split(|&byte| byte == b',').map(trim) {
            if let Err(refusal) = self.take(coding) {
                self.refusal.get_or_insert(refusal);
            }
        }
    }

    /// RFC 9112 section 6.1: `chunked` once, and last. Section 7: no coding has a parameter, so one with a parameter is
    /// an error. `identity` is gone since RFC 7230, and programs differ in what they take it for.
    fn take(&mut self, coding: &[u8]) -> Result<(), AnswerRefusal> {
        if !all(coding, TOKEN) || coding.is_empty() || self.is_chunked {
            return Err(AnswerRefusal::BadTransferEncoding);
        }
        if coding.eq_ignore_ascii_case(b"chunked") {
            self.is_chunked = true;
            return Ok(());
        }
        if !EXTRA_CODINGS
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
        {
            return Err(AnswerRefusal::UnknownTransferCoding);
        }
        self.has_extra = true;
        Ok(())
    }
}

/// RFC 9112 section 6.3, for an answer that has a body, or would have one.
fn framing(
    length: Option<Result<u64, AnswerRefusal>>,
    codings: &Codings,
    is_http_10: bool,
) -> Result<AnswerFraming, AnswerRefusal> {
    if !codings.is_present {
        return length
            .transpose()
            .map(|length| length.map_or(AnswerFraming::UntilClose, AnswerFraming::Length));
    }
    if let Some(refusal) = codings.refusal {
        return Err(refusal);
    }
    // RFC 9112 section 6.1 has this treated as faulty framing, and the section's other way out, reading until the
    // connection ends, would hand the client the chunk sizes as content.
    if is_http_10 {
        return Err(AnswerRefusal::EncodingInHttp10);
    }
    // Until the connection ends, says section 6.3. But then the client would get a coding and no framing.
    if !codings.is_chunked {
        return Err(AnswerRefusal::NotChunked);
    }
    Ok(AnswerFraming::Chunked)
}

/// `1*DIGIT` that fits into a signed 64-bit number, as the gate wants it of requests.
fn read_length(value: &[u8]) -> Result<u64, AnswerRefusal> {
    if (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit) {
        let digit = |byte: &u8| u64::from(byte - b'0');
        return Ok(value
            .iter()
            .fold(0, |length, byte| length * 10 + digit(byte)));
    }
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|text| text.parse::<i64>().ok())
        .and_then(|length| u64::try_from(length).ok())
        .ok_or(AnswerRefusal::BadContentLength)
}
