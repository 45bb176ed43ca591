//! Why a request was refused: the one place that knows each reason's code and sentence. What status that is, the gate
//! need not know.

use std::fmt;

macro_rules! refusals {
    ($($variant:ident = $code:literal, $sentence:literal;)*) => {
        /// Why the gate refused. After any of these the connection has to be closed: where the next request would
        /// begin is not known.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $(#[doc = $sentence] $variant,)*
        }

        impl Refusal {
            /// Every reason, for documentation and for metric labels that are bound before they are needed.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            const fn facts(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant => ($code, $sentence),)*
                }
            }
        }
    };
}

refusals! {
    // The head as a whole.
    HeadTooLarge = "head_too_large", "the request head is larger than this proxy accepts";
    TooManyHeaders = "too_many_headers", "the request has more header fields than this proxy accepts";
    MalformedHead = "malformed_head", "the bytes are not exactly one request head";
    BareCr = "bare_cr", "a carriage return is not followed by a line feed";
    BareLf = "bare_lf", "a line feed is not preceded by a carriage return";
    ControlByte = "control_byte", "the request head contains a control byte";

    // The request line.
    EmptyRequestLine = "empty_request_line", "there is more than one empty line before the request line";
    BadRequestLine = "bad_request_line", "the request line is not a method, a target and a version with one space between them";
    BadMethod = "bad_method", "the method is not a token, or a standard method not written in capitals";
    MethodTooLong = "method_too_long", "the method is longer than any this proxy knows";
    ConnectMethod = "connect", "this proxy does not open tunnels";
    BadVersion = "bad_version", "the request line does not end with a version of http";
    UnsupportedVersion = "unsupported_version", "this port speaks http/1.0 and http/1.1 only";
    Http2Preface = "http2_preface", "this port does not speak http/2 without negotiation";
    TargetTooLong = "target_too_long", "the request target is longer than this proxy accepts";
    BadTarget = "bad_target", "the request target has none of the forms that http allows for the method";
    BadTargetByte = "bad_target_byte", "the request target contains a byte that has to be percent-encoded";

    // Fields in general.
    LineFolding = "line_folding", "a header field is continued on a second line";
    SpaceInName = "space_in_name", "there is white space in a header field name or before its colon";
    MissingColon = "missing_colon", "a header line has no colon";
    EmptyName = "empty_name", "a header field has no name";
    BadName = "bad_name", "a header field name contains a byte that is not allowed there";
    LookalikeName = "lookalike_name", "a header field name resembles one that frames or routes the message";

    // Whom it is for.
    MissingHost = "missing_host", "the request has no host field";
    EmptyHost = "empty_host", "the host field is empty";
    RepeatedHost = "repeated_host", "the request has more than one host field";
    BadHost = "bad_host", "the host is not one host name or address with an optional port";
    HostMismatch = "host_mismatch", "the host field differs from the authority in the request target";

    // Where it ends.
    BadContentLength = "bad_content_length", "the content-length is not one plain decimal number";
    RepeatedContentLength = "repeated_content_length", "the request has more than one content-length field";
    LengthAndEncoding = "length_and_encoding", "the request has both content-length and transfer-encoding";
    BadTransferEncoding = "bad_transfer_encoding", "the transfer-encoding is not a list of codings with one final chunked";
    UnknownTransferCoding = "unknown_transfer_coding", "the transfer-encoding names a coding that this proxy does not know";
    EncodingInHttp10 = "encoding_in_http_1_0", "transfer-encoding does not exist in http/1.0";
    TraceWithBody = "trace_with_body", "a trace request has a body";
    UpgradeWithBody = "upgrade_with_body", "a request for another protocol has a body";
    ConnectionNamesFraming = "connection_names_framing", "the connection field names a field that frames or routes the message";
    BytesBeforeSwitch = "bytes_before_switch", "bytes follow a request for another protocol before it was granted";
    BadExpectation = "bad_expectation", "the expectation is not one 100-continue";

    // The body.
    BodyTooLarge = "body_too_large", "the request body is larger than this proxy accepts";
    BadChunkSize = "bad_chunk_size", "a chunk size is not a plain hexadecimal number";
    BadChunkExtension = "bad_chunk_extension", "a chunk extension is malformed";
    ChunkExtensionsTooLarge = "chunk_extensions_too_large", "the chunk extensions are longer than this proxy accepts";
    BadChunkEnd = "bad_chunk_end", "a chunk does not end where its size says";
    BadTrailer = "bad_trailer", "the trailer section is malformed";
    ForbiddenTrailer = "forbidden_trailer", "a trailer field frames or routes the message";
    TrailersTooLarge = "trailers_too_large", "the trailer section is larger than this proxy accepts";
}

impl Refusal {
    /// The reason for machines: stable, lower case, fit for a metric label.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().0
    }
}

/// The sentence for the caller. It repeats nothing of what was sent.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().1)
    }
}

impl std::error::Error for Refusal {}
