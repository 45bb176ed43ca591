//! How a body is framed: the values of Content-Length and Transfer-Encoding, RFC 9112 section 6.

use super::Refusal;
use super::bytes::{self, TOKEN};

/// How the end of a request's body is known. A request is never framed by the end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// Neither field: there is no body.
    None,
    /// This many bytes, possibly 0.
    Length(u64),
    Chunked,
}

impl BodyFraming {
    #[must_use]
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// `1*DIGIT`, RFC 9110 section 8.6, that fits into a signed 64-bit number: there are programs whose lengths are signed.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() {
        return Err(Refusal::BadContentLength);
    }
    let mut length: i64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(Refusal::BadContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(i64::from(byte - b'0')))
            .ok_or(Refusal::BadContentLength)?;
    }
    u64::try_from(length).map_err(|_| Refusal::BadContentLength)
}

/// The registered codings besides `chunked`, and `identity`, which RFC 2616 had.
const KNOWN_CODINGS: [&[u8]; 6] = [
    b"gzip",
    b"deflate",
    b"compress",
    b"x-gzip",
    b"x-compress",
    b"identity",
];

/// The transfer codings of a request, over all lines of the field: a list may be split into lines, RFC 9110 section 5.3.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TransferCodings {
    is_present: bool,
    is_chunked: bool,
    has_extra: bool,
}

impl TransferCodings {
    pub(super) fn take_line(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.is_present = true;
        for coding in value.split(|&byte| byte == b',') {
            self.take(bytes::trim(coding))?;
        }
        Ok(())
    }

    /// RFC 9112 section 6.1: `chunked` once, and last. Section 7: no coding has a parameter, so one with a parameter is
    /// an error, and an empty list member is not worth guessing about.
    fn take(&mut self, coding: &[u8]) -> Result<(), Refusal> {
        if coding.is_empty() || !bytes::all(coding, TOKEN) || self.is_chunked {
            return Err(Refusal::BadTransferEncoding);
        }
        if coding.eq_ignore_ascii_case(b"chunked") {
            self.is_chunked = true;
            return Ok(());
        }
        if !KNOWN_CODINGS
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
        {
            return Err(Refusal::UnknownTransferCoding);
        }
        self.has_extra = true;
        Ok(())
    }

    pub(super) fn is_present(self) -> bool {
        self.is_present
    }

    pub(super) fn is_chunked(self) -> bool {
        self.is_chunked
    }

    /// Whether anything comes before `chunked`. As no line can be empty, several lines imply it.
    pub(super) fn has_extra(self) -> bool {
        self.has_extra
    }
}
