//! The lines of an answer's head, one by one: which field each is, and whether it is well written.

use std::ops::Range;

use super::AnswerRefusal;
use crate::{
    answer::HSTS,
    field_lines::{OWN_PREFIX, is_name},
    gate::bytes::{CR, LF, find_control, is_space, token, trim},
    request_id::REQUEST_ID,
};

/// A field that matters for an answer's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Connection,
    ContentLength,
    Date,
    KeepAlive,
    ProxyConnection,
    RequestId,
    /// `strict-transport-security`
    Hsts,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    /// A name in which only the proxy speaks.
    Own,
}

impl Known {
    /// A field's name, in any case.
    pub fn of(name: &[u8]) -> Option<Self> {
        let is = |known: &str, field| is_name(name, known).then_some(field);
        let found = match name.len() {
            2 => is("te", Self::Te),
            4 => is("date", Self::Date),
            7 => is("upgrade", Self::Upgrade).or_else(|| is("trailer", Self::Trailer)),
            10 => is("connection", Self::Connection).or_else(|| is("keep-alive", Self::KeepAlive)),
            12 => is(REQUEST_ID, Self::RequestId),
            14 => is("content-length", Self::ContentLength),
            16 => is("proxy-connection", Self::ProxyConnection),
            17 => is("transfer-encoding", Self::TransferEncoding),
            25 => is(HSTS, Self::Hsts),
            _ => None,
        };
        found.or_else(|| {
            let (prefix, _) = name.split_at_checked(OWN_PREFIX.len())?;
            is_name(prefix, OWN_PREFIX).then_some(Self::Own)
        })
    }

    /// It speaks of the cell's connection, or in the proxy's name: no client gets it. Trailers are not passed on, so none is
    /// announced.
    #[must_use]
    pub fn stays_behind(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::Own
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
        )
    }

    /// It says where the answer ends or what becomes of its connection.
    pub(super) fn frames(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::ContentLength | Self::TransferEncoding | Self::Upgrade
        )
    }
}

/// A header field of an answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerLine<'a> {
    pub name: &'a [u8],
    pub known: Option<Known>,
    /// Without white space around it. Of a folded field, its first line only.
    pub value: &'a [u8],
    /// Where in the head it stands, from its name's first byte to its last line's end.
    pub place: Range<usize>,
    /// It is not what a strict program would have written: folded, ended by a bare LF, or with space before the colon.
    pub is_odd: bool,
}

impl AnswerLine<'_> {
    /// How far behind the line's beginning its value begins.
    pub(super) fn value_offset(&self) -> usize {
        self.value.as_ptr().addr() - self.name.as_ptr().addr()
    }
}

/// The places of a head's lines, without what ends them.
pub(super) struct Lines<'a> {
    pub(super) head: &'a [u8],
    pub(super) at: usize,
}

impl Lines<'_> {
    /// The next line, if there is one.
    pub(super) fn read(&mut self) -> Result<Option<Range<usize>>, AnswerRefusal> {
        let (start, mut at) = (self.at, self.at);
        loop {
            at += find_control(&self.head[at..]);
            self.at = match (self.head.get(at), self.head.get(at + 1)) {
                (Some(b'\t'), _) => {
                    at += 1;
                    continue;
                }
                (Some(&CR), Some(&LF)) => at + 2,
                (Some(&LF), _) => at + 1,
                (Some(&CR), _) => return Err(AnswerRefusal::BareCr),
                (Some(_), _) => return Err(AnswerRefusal::ControlByte),
                (None, _) => return Ok(None),
            };
            return Ok(Some(start..at));
        }
    }

    /// Goes past the lines that continue the last one; whether there are any.
    pub(super) fn skip_folds(&mut self) -> Result<bool, AnswerRefusal> {
        let start = self.at;
        while self.head.get(self.at).is_some_and(|byte| is_space(*byte)) && self.read()?.is_some() {
        }
        Ok(self.at > start)
    }
}

/// The line at this place, if it is as it should be: a name, a colon, a value, CRLF, and no fold behind it. Nearly all
/// lines are, and this is their quicker reader; whatever it does not take, the other one judges.
#[inline]
pub(super) fn well_written(head: &[u8], at: usize) -> Option<AnswerLine<'_>> {
    let bytes = head.get(at..)?;
    let (name, _) = token(bytes);
    let [b':', rest @ ..] = &bytes[name.len()..] else {
        return None;
    };
    let end = find_control(rest);
    let [CR, LF, next, ..] = &rest[end..] else {
        return None;
    };
    if name.is_empty() || is_space(*next) {
        return None;
    }
    let length = name.len() + b":".len() + end + b"\r\n".len();
    Some(AnswerLine {
        name,
        known: Known::of(name),
        value: trim(&rest[..end]),
        place: at..at + length,
        is_odd: false,
    })
}
