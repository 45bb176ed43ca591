//! Why a cell's answer is not passed on: the one place that knows each reason's code and sentence.

use std::{error::Error, fmt, io};

use crate::gate::Refusal;

/// One line for each reason: its code and its sentence.
macro_rules! facts {
    ($refusal:expr; $($pattern:pat = $code:expr, $sentence:literal;)*) => {
        match $refusal {
            $($pattern => ($code, $sentence),)*
        }
    };
}

/// Why an answer was refused. The client gets a 502 instead, or a connection that ends early when a part of the answer
/// is on its way already; the connection to the cell is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerRefusal {
    HeadTooLarge,
    TooManyFields {
        count: usize,
    },
    BareCr,
    ControlByte,
    BadStatusLine,
    UnsupportedVersion,
    LeadingSpace,
    FoldedFraming,
    MissingColon,
    BadName,
    BadContentLength,
    DifferingContentLengths,
    BadTransferEncoding,
    UnknownTransferCoding,
    NotChunked,
    EncodingInHttp10,
    BadSwitch,
    UnaskedSwitch,
    OtherProtocol,
    TooManyInterimAnswers,
    /// A rule that chunked bodies have in both directions.
    Body(Refusal),
}

impl AnswerRefusal {
    /// The reason for machines: stable, lower case, fit for a metric label.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().0
    }

    const fn facts(self) -> (&'static str, &'static str) {
        facts! { self;
            Self::HeadTooLarge = "head_too_large", "the answer's head is larger than this proxy accepts (65536 bytes)";
            Self::TooManyFields { .. } = "too_many_fields", "the answer has more header fields than this proxy accepts";
            Self::BareCr = "bare_cr", "a carriage return in the answer's head is not followed by a line feed";
            Self::ControlByte = "control_byte", "the answer's head contains a control byte";
            Self::BadStatusLine = "bad_status_line", "the answer does not begin with a status line";
            Self::UnsupportedVersion = "unsupported_version", "the answer is neither http/1.0 nor http/1.1";
            Self::LeadingSpace = "leading_space", "there is white space before the answer's first header field";
            Self::FoldedFraming = "folded_framing", "a header field that frames the answer is continued on a second line";
            Self::MissingColon = "missing_colon", "a header line of the answer has no colon";
            Self::BadName = "bad_name", "a header field name of the answer is not a token";
            Self::BadContentLength = "bad_content_length", "the answer's content-length is not one plain decimal number";
            Self::DifferingContentLengths = "differing_content_lengths", "the answer has content-lengths that differ";
            Self::BadTransferEncoding = "bad_transfer_encoding", "the answer's transfer-encoding is not a list of codings with one final chunked";
            Self::UnknownTransferCoding = "unknown_transfer_coding", "the answer's transfer-encoding names a coding that this proxy does not know";
            Self::NotChunked = "not_chunked", "the answer's last transfer coding is not chunked";
            Self::EncodingInHttp10 = "encoding_in_http_1_0", "the answer has a transfer-encoding, which does not exist in http/1.0";
            Self::BadSwitch = "bad_switch", "the answer switches protocols without naming one in one upgrade field";
            Self::UnaskedSwitch = "unasked_switch", "the answer switches protocols though the request did not ask for it";
            Self::OtherProtocol = "other_protocol", "the answer switches to another protocol than was offered";
            Self::TooManyInterimAnswers = "too_many_interim_answers", "more interim answers came than this proxy accepts";
            Self::Body(refusal) = refusal.code(), "the answer's body is malformed";
        }
    }
}

impl fmt::Display for AnswerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().1)?;
        match self {
            Self::TooManyFields { count } => write!(f, " ({count})"),
            Self::Body(refusal) => write!(f, ": {refusal}"),
            _ => Ok(()),
        }
    }
}

impl Error for AnswerRefusal {}

impl From<AnswerRefusal> for io::Error {
    fn from(refusal: AnswerRefusal) -> Self {
        Self::new(io::ErrorKind::InvalidData, refusal)
    }
}
