//! Why a request was refused: the one place that knows each reason's status, code and sentence.

use std::fmt;

macro_rules! refusals {
    ($($variant:ident = $status:literal, $code:literal, $sentence:literal;)*) => {
        /// Why the gate refused. After any of these the connection has to be closed: where the next request would
        /// begin is not known.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $(#[doc = $sentence] $variant,)*
        }

        impl Refusal {
            /// Every reason, for documentation and for metric labels that are bound before they are needed.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            const fn facts(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$variant => ($status, $code, $sentence),)*
                }
            }
        }
    };
}

refusals! {
    // The head as a whole.
    HeadTooLarge = 431, "head_too_large", "the request head is larger than this proxy accepts";
    TooManyHeaders = 431, "too_many_headers", "the request has more header fields than this proxy accepts";
    MalformedHead = 400, "malformed_head", "the bytes are not exactly one request head";
    BareCr = 400, "bare_cr", "a carriage return is not followed by a line feed";
    BareLf = 400, "bare_lf", "a line feed is not preceded by a carriage return";
    ControlByte = 400, "control_byte", "the request head contains a control byte";

    // The request line.
    EmptyRequestLine = 400, "empty_request_line", "there is more than one empty line before the request line";
    BadRequestLine = 400, "bad_request_line", "the request line is not a method, a target and a version with one space between them";
    BadMethod = 400, "bad_method", "the method is not a token, or a standard method not written in capitals";
    MethodTooLong = 501, "method_too_long", "the method is longer than any this proxy knows";
    ConnectMethod = 405, "connect", "this proxy does not open tunnels";
    BadVersion = 400, "bad_version", "the request line does not end with a version of http";
    UnsupportedVersion = 505, "unsupported_version", "this port speaks http/1.0 and http/1.1 only";
    Http2Preface = 505, "http2_preface", "this port does not speak http/2 without negotiation";
    TargetTooLong = 414, "target_too_long", "the request target is longer than this proxy accepts";
    BadTarget = 400, "bad_target", "the request target has none of the forms that http allows for the method";
    BadTargetByte = 400, "bad_target_byte", "the request target contains a byte that has to be percent-encoded";

    // Fields in general.
    LineFolding = 400, "line_folding", "a header field is continued on a second line";
    SpaceInName = 400, "space_in_name", "there is white space in a header field name or before its colon";
    MissingColon = 400, "missing_colon", "a header line has no colon";
    EmptyName = 400, "empty_name", "a header field has no name";
    BadName = 400, "bad_name", "a header field name contains a byte that is not allowed there";
    LookalikeName = 400, "lookalike_name", "a header field name resembles one that frames or routes the message";

    // Whom it is for.
    MissingHost = 400, "missing_host", "the request has no host field";
    EmptyHost = 400, "empty_host", "the host field is empty";
    RepeatedHost = 400, "repeated_host", "the request has more than one host field";
    BadHost = 400, "bad_host", "the host is not one host name or address with an optional port";
    HostMismatch = 400, "host_mismatch", "the host field differs from the authority in the request target";

    // Where it ends.
    BadContentLength = 400, "bad_content_length", "the content-length is not one plain decimal number";
    RepeatedContentLength = 400, "repeated_content_length", "the request has more than one content-length field";
    LengthAndEncoding = 400, "length_and_encoding", "the request has both content-length and transfer-encoding";
    BadTransferEncoding = 400, "bad_transfer_encoding", "the transfer-encoding is not a list of codings with one final chunked";
    UnknownTransferCoding = 501, "unknown_transfer_coding", "the transfer-encoding names a coding that this proxy does not know";
    EncodingInHttp10 = 400, "encoding_in_http_1_0", "transfer-encoding does not exist in http/1.0";
    TraceWithBody = 400, "trace_with_body", "a trace request has a body";
    UpgradeWithBody = 400, "upgrade_with_body", "a request for another protocol has a body";
    ConnectionNamesFraming = 400, "connection_names_framing", "the connection field names a field that frames or routes the message";
    BytesBeforeSwitch = 400, "bytes_before_switch", "bytes follow a request for another protocol before it was granted";
    BadExpectation = 417, "bad_expectation", "the expectation is not one 100-continue";

    // The body.
    BodyTooLarge = 413, "body_too_large", "the request body is larger than this proxy accepts";
    BadChunkSize = 400, "bad_chunk_size", "a chunk size is not a plain hexadecimal number";
    BadChunkExtension = 400, "bad_chunk_extension", "a chunk extension is malformed";
    ChunkExtensionsTooLarge = 400, "chunk_extensions_too_large", "the chunk extensions are longer than this proxy accepts";
    BadChunkEnd = 400, "bad_chunk_end", "a chunk does not end where its size says";
    BadTrailer = 400, "bad_trailer", "the trailer section is malformed";
    ForbiddenTrailer = 400, "forbidden_trailer", "a trailer field frames or routes the message";
    TrailersTooLarge = 431, "trailers_too_large", "the trailer section is larger than this proxy accepts";
}

impl Refusal {
    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.facts().0
    }

    /// The reason for machines: stable, lower case, fit for a metric label.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().1
    }
}

/// The sentence for the caller. It repeats nothing of what was sent.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().2)
    }
}

impl std::error::Error for Refusal {}
