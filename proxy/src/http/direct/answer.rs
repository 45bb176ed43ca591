//! What becomes of an answer on the direct way. Pure: the head that the cell sent goes in, the head for the client comes
//! out; and pieces of the body in, framed as the client gets them.
//!
//! [`upstream::answer`](crate::upstream::answer) has read the head: it is the one parser of answers, for both ways.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use pingora::protocols::http::date::get_cached_date;
use smallvec::SmallVec;

use crate::{
    answer::HSTS,
    buffer::{BUFFER_BYTES, Buffer},
    request_id::RequestId,
    upstream::{
        AnswerRefusal,
        answer::{ANSWER_HEAD_BYTES_MAX, AnswerBody, AnswerFraming, AnswerHead, AnswerLine, Known},
    },
};

const USUAL_FIELDS: usize = 24;
/// Fewer bytes are copied behind the head or the piece before: that costs less than sending two pieces.
const LENT_BYTES_MIN: usize = BUFFER_BYTES + 1;

/// An answer's lines, in place.
#[derive(Debug, Default)]
struct Lines<'a> {
    all: SmallVec<[AnswerLine<'a>; USUAL_FIELDS]>,
    is_coded: bool,
    /// A `Connection` line names other fields.
    nominates: bool,
}

/// How a body is framed on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it comes.
    Plain,
    /// In chunks of our own, whatever the cell's were: neither extensions nor trailers are passed on.
    Chunks,
}

/// What the proxy adds to every final answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending<'e> {
    /// The client's connection closes, or is kept.
    pub closes: bool,
    /// The request's name, in the place of whatever the cell calls it.
    pub request_id: Option<&'e RequestId>,
    /// For `strict-transport-security`, where the cell has sent none.
    pub hsts: Option<&'e str>,
}

/// What becomes of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
}

/// Reads exactly one head, and adds the one for the client to `out`.
///
/// # Errors
///
/// What is refused of an answer, whichever way it goes. What is in `out` then is of no use.
pub fn rewrite_head(
    bytes: &[u8],
    is_head_request: bool,
    ending: Ending<'_>,
    out: &mut Buffer,
) -> Result<AnswerHead, AnswerRefusal> {
    let mut lines = Lines::default();
    let head = AnswerHead::read_lines(bytes, is_head_request, |line| lines.note(line))?;
    let rewriting = Rewriting {
        head: &head,
        bytes,
        lines: &lines,
        ending,
    };
    rewriting.write_head(out);
    Ok(head)
}

/// The quicker way for nearly all answers, whose final head came in one piece: its lines are copied in runs while they are
/// read. The answer is the head and where it ends; or nothing, and of no use in `out`, where [`rewrite_head`] has to do it.
pub fn copy_usual_head(
    bytes: &[u8],
    is_head_request: bool,
    ending: Ending<'_>,
    out: &mut Buffer,
) -> Option<(AnswerHead, usize)> {
    let mut run = 0;
    let (mut first, mut end) = (None, 0);
    let (mut is_usual, mut has_date, mut has_framing, mut has_hsts) = (true, false, false, false);
    let read = AnswerHead::read_front(bytes, is_head_request, |line| {
        first.get_or_insert(line.place.start);
        end = line.place.end;
        match line.known {
            None => is_usual &= !line.is_odd,
            Some(Known::Date) => {
                is_usual &= !line.is_odd;
                has_date = true;
            }
            Some(Known::Hsts) => {
                is_usual &= !line.is_odd;
                has_hsts = true;
            }
            Some(Known::ContentLength | Known::TransferEncoding) => {
                is_usual &= !line.is_odd && !has_framing && !line.value.contains(&b',');
                has_framing = true;
            }
            Some(Known::Connection) if !is_usual_connection(line.value) => is_usual = false,
            Some(Known::RequestId) if ending.request_id.is_none() => is_usual &= !line.is_odd,
            Some(known) if known.stays_behind() || known == Known::RequestId => {
                out.extend_from_slice(&bytes[run..line.place.start]);
                run = line.place.end;
            }
            Some(_) => is_usual = false,
        }
    });
    let (head, Some(head_end)) = read.ok()? else {
        return None;
    };
    let status_line = &bytes[..first.unwrap_or_default()];
    let is_usual = is_usual
        && has_framing
        && !head.is_http_10
        && head.status >= 200
        && !matches!(head.status, 204 | 426)
        && status_line.is_ascii()
        && status_line.ends_with(b"\r\n")
        && bytes.get("HTTP/1.1 200".len()) == Some(&b' ');
    if !is_usual || head_end > ANSWER_HEAD_BYTES_MAX {
        return None;
    }
    out.extend_from_slice(&bytes[run..end]);
    ending.without_hsts_if(has_hsts).write(out, has_date);
    Some((head, head_end))
}

impl Ending<'_> {
    /// The cell's own comes first.
    fn without_hsts_if(mut self, has_hsts: bool) -> Self {
        if has_hsts {
            self.hsts = None;
        }
        self
    }

    fn write(self, out: &mut Buffer, has_date: bool) {
        if let Some(id) = self.request_id {
            out.extend_from_slice(id.as_line());
        }
        if let Some(value) = self.hsts {
            for piece in [HSTS, ": ", value, "\r\n"] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
        if !has_date {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(get_cached_date().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(if self.closes {
            b"Connection: close\r\n\r\n"
        } else {
            b"Connection: keep-alive\r\n\r\n"
        });
    }
}

impl<'a> Lines<'a> {
    fn note(&mut self, line: AnswerLine<'a>) {
        match line.known {
            Some(Known::Connection) => self.nominates |= !is_usual_connection(line.value),
            Some(Known::TransferEncoding) => self.is_coded = true,
            _ => {}
        }
        self.all.push(line);
    }
}

/// A head that was read, on its way to the client.
struct Rewriting<'r, 'a> {
    head: &'r AnswerHead,
    bytes: &'a [u8],
    lines: &'r Lines<'a>,
    ending: Ending<'r>,
}

impl Rewriting<'_, '_> {
    fn write_head(&self, out: &mut Buffer) {
        self.write_status_line(out);
        let (has_date, has_hsts) = self.write_fields(out);
        if self.head.is_interim() {
            out.extend_from_slice(b"\r\n");
            return;
        }
        if self.head.framing == AnswerFraming::UntilClose {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        self.ending.without_hsts_if(has_hsts).write(out, has_date);
    }

    /// The version is that of the message's sender, which is the proxy (RFC 9110, section 6.2).
    fn write_status_line(&self, out: &mut Buffer) {
        let end = self
            .lines
            .all
            .first()
            .map_or(self.bytes.len(), |line| line.place.start);
        let line = self.bytes[..end].trim_ascii_end();
        let code_end = "HTTP/1.1 200".len();
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&line["HTTP/1.1 ".len()..code_end]);
        out.extend_from_slice(b" ");
        let reason = line.get(code_end + 1..).unwrap_or_default();
        if reason.is_ascii() {
            out.extend_from_slice(reason);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Lines that go on are copied in runs. Whether one of them is a date, and whether one keeps browsers on HTTPS.
    fn write_fields(&self, out: &mut Buffer) -> (bool, bool) {
        let Some(first) = self.lines.all.first() else {
            return (false, false);
        };
        let mut run = first.place.start;
        let (mut has_length, mut has_date, mut has_hsts) = (false, false, false);
        for line in &self.lines.all {
            let mut fate = self.fate_of(line);
            has_date |= fate == Fate::Kept && line.known == Some(Known::Date);
            has_hsts |= fate == Fate::Kept && line.known == Some(Known::Hsts);
            if fate == Fate::Kept && line.known == Some(Known::ContentLength) {
                // Any other answer has one length, however often the cell has said it (RFC 9110, section 8.6).
                if has_length {
                    fate = Fate::Dropped;
                } else if line.value.contains(&b',') {
                    out.extend_from_slice(&self.bytes[run..line.place.start]);
                    push_length(out, line.value);
                    run = line.place.end;
                    has_length = true;
                    continue;
                }
                has_length = true;
            }
            if fate == Fate::Dropped || line.is_odd {
                out.extend_from_slice(&self.bytes[run..line.place.start]);
                run = line.place.end;
            }
            if fate == Fate::Kept && line.is_odd {
                self.push_unfolded(out, line);
            }
        }
        let end = self.lines.all.last().map_or(run, |line| line.place.end);
        out.extend_from_slice(&self.bytes[run..end]);
        (has_date, has_hsts)
    }

    /// A line as it should have been written: RFC 9112, sections 5.1 and 5.2.
    fn push_unfolded(&self, out: &mut Buffer, line: &AnswerLine<'_>) {
        out.extend_from_slice(line.name);
        out.extend_from_slice(b":");
        let whole = &self.bytes[line.place.clone()];
        let colon = whole.iter().position(|byte| *byte == b':');
        let value = &whole[colon.map_or(whole.len(), |colon| colon + 1)..];
        for piece in value.split(|byte| *byte == b'\n') {
            let piece = piece.trim_ascii();
            if !piece.is_empty() {
                out.extend_from_slice(b" ");
                out.extend_from_slice(piece);
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A cell cannot speak in the proxy's name, nor of the connection to the client (RFC 9110, section 7.6.1). Trailers
    /// are not passed on, so none is announced.
    fn fate_of(&self, line: &AnswerLine<'_>) -> Fate {
        let switches = matches!(self.head.status, 101 | 426);
        let is_dropped = match line.known {
            None | Some(Known::Date | Known::Hsts) => false,
            Some(Known::RequestId) => self.ending.request_id.is_some(),
            Some(Known::Upgrade) => !switches,
            Some(Known::ContentLength) => !self.may_have_length() || self.lines.is_coded,
            Some(Known::TransferEncoding) => !self.may_have_length(),
            Some(known) => known.stays_behind(),
        };
        if is_dropped || (self.lines.nominates && !switches && self.is_nominated(line)) {
            Fate::Dropped
        } else {
            Fate::Kept
        }
    }

    /// Neither an interim answer nor a 204 has any framing.
    fn may_have_length(&self) -> bool {
        self.head.status >= 200 && self.head.status != 204
    }

    /// Whether the answer's `Connection` names the line. What frames the message it cannot name: nobody may have that
    /// removed.
    fn is_nominated(&self, line: &AnswerLine<'_>) -> bool {
        let connections = self
            .lines
            .all
            .iter()
            .filter(|line| line.known == Some(Known::Connection));
        let mut names = connections
            .filter(|line| !is_usual_connection(line.value))
            .flat_map(|line| line.value.split(|byte| *byte == b','));
        names.any(|name| name.trim_ascii().eq_ignore_ascii_case(line.name))
            && !matches!(
                line.known,
                Some(Known::ContentLength | Known::TransferEncoding)
            )
    }
}

/// What cells usually say names no field.
fn is_usual_connection(value: &[u8]) -> bool {
    matches!(value, b"keep-alive" | b"close")
}

fn push_length(out: &mut Buffer, list: &[u8]) {
    let first = list.split(|byte| *byte == b',').next().unwrap_or_default();
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(first.trim_ascii());
    out.extend_from_slice(b"\r\n");
}

impl Coding {
    pub fn of(framing: AnswerFraming) -> Self {
        match framing {
            AnswerFraming::None | AnswerFraming::Length(_) => Self::Plain,
            AnswerFraming::Chunked | AnswerFraming::UntilClose => Self::Chunks,
        }
    }

    /// Takes the next bytes that came of a body and adds what the client gets of them, or lends them: many bytes that go on
    /// as they are need not be copied.
    ///
    /// # Errors
    ///
    /// The rule that the body breaks; nothing was added.
    pub fn encode(
        self,
        body: &mut AnswerBody,
        bytes: &[u8],
        out: &mut Buffer,
    ) -> Result<Encoded, AnswerRefusal> {
        if self == Self::Plain && bytes.len() >= LENT_BYTES_MIN {
            let consumed = body.advance(bytes)?.consumed;
            return Ok(Encoded {
                consumed,
                content: consumed,
                lent: consumed,
            });
        }
        let before = out.len();
        let mut content = 0;
        let progress = body.advance_seeing(bytes, |data| {
            content += data.len();
            match self {
                Self::Plain => out.extend_from_slice(data),
                Self::Chunks => push_chunk(out, data),
            }
        });
        let progress = progress.inspect_err(|_| out.truncate(before))?;
        if progress.complete {
            self.end(out);
        }
        Ok(Encoded {
            consumed: progress.consumed,
            content,
            lent: 0,
        })
    }

    /// What ends the body for the client.
    pub fn end(self, out: &mut Buffer) {
        if self == Self::Chunks {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// How far one call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// How many of the bytes belong to the answer.
    pub consumed: usize,
    /// How many bytes of content they carry.
    pub content: usize,
    /// How many of them are to be sent from where they are, behind what was added.
    pub lent: usize,
}

fn push_chunk(out: &mut Buffer, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    write!(out, "{:X}\r\n", data.len()).expect("writing to memory never fails");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
