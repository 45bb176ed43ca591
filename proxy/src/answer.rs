//! The one place where a cause becomes an answer of the proxy's own: reason, status, and words for the caller.

use std::{fmt, time::SystemTime};

use serde_json::json;

use crate::{
    gate::Refusal,
    request_id::{REQUEST_ID, RequestId},
};

/// Why the proxy answers by itself. The code stands in `x-cellgate-reason`, in metrics and in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NoTenantKey,
    BadTenantKey,
    BadRequest,
    UnknownTenant,
    Rejected,
    NoCertificate,
    NoProxyTlv,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    TargetTooLong,
    ExpectationFailed,
    HeadTooLarge,
    NotImplemented,
    VersionNotSupported,
    CellOverloaded,
    NoHealthyEndpoint,
    NoTable,
    Overloaded,
    ConnectFailed,
    UpstreamError,
    UpstreamHeadTooLarge,
    UpstreamTimeout,
    AcmeFailed,
    InternalError,
}

impl Reason {
    pub const ALL: [Self; 25] = [
        Self::NoTenantKey,
        Self::BadTenantKey,
        Self::BadRequest,
        Self::UnknownTenant,
        Self::Rejected,
        Self::NoCertificate,
        Self::NoProxyTlv,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::ExpectationFailed,
        Self::HeadTooLarge,
        Self::NotImplemented,
        Self::VersionNotSupported,
        Self::CellOverloaded,
        Self::NoHealthyEndpoint,
        Self::NoTable,
        Self::Overloaded,
        Self::ConnectFailed,
        Self::UpstreamError,
        Self::UpstreamHeadTooLarge,
        Self::UpstreamTimeout,
        Self::AcmeFailed,
        Self::InternalError,
    ];

    /// The stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoTenantKey => "no_tenant_key",
            Self::BadTenantKey => "bad_tenant_key",
            Self::BadRequest => "bad_request",
            Self::UnknownTenant => "unknown_tenant",
            Self::Rejected => "rejected",
            Self::NoCertificate => "no_certificate",
            Self::NoProxyTlv => "no_proxy_tlv",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::ExpectationFailed => "expectation_failed",
            Self::HeadTooLarge => "head_too_large",
            Self::NotImplemented => "not_implemented",
            Self::VersionNotSupported => "version_not_supported",
            Self::CellOverloaded => "cell_overloaded",
            Self::NoHealthyEndpoint => "no_healthy_endpoint",
            Self::NoTable => "no_table",
            Self::Overloaded => "overloaded",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamHeadTooLarge => "upstream_head_too_large",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::AcmeFailed => "acme_failed",
            Self::InternalError => "internal_error",
        }
    }

    pub fn status(self) -> u16 {
        match self {
            Self::NoTenantKey | Self::BadTenantKey | Self::BadRequest => 400,
            Self::Rejected | Self::NoCertificate | Self::NoProxyTlv => 403,
            Self::UnknownTenant => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::ExpectationFailed => 417,
            Self::HeadTooLarge => 431,
            Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::ConnectFailed
            | Self::UpstreamError
            | Self::UpstreamHeadTooLarge
            | Self::AcmeFailed => 502,
            Self::CellOverloaded | Self::NoHealthyEndpoint | Self::NoTable | Self::Overloaded => {
                503
            }
            Self::UpstreamTimeout => 504,
            Self::VersionNotSupported => 505,
        }
    }

    /// Seconds after which the client may come again.
    pub fn retry_after(self) -> Option<u32> {
        (self.status() == 503).then_some(1)
    }

    fn title(self) -> &'static str {
        match self {
            Self::NoTenantKey => "the request names no tenant",
            Self::BadTenantKey => "the request's tenant key cannot be used",
            Self::BadRequest => "the request is malformed",
            Self::UnknownTenant => "there is no such tenant",
            Self::Rejected => "this tenant is not served",
            Self::NoCertificate => "the client's certificate names no tenant",
            Self::NoProxyTlv => "the load balancer in front does not say which tenant it is",
            Self::MethodNotAllowed => "the method is not allowed",
            Self::RequestTimeout => "the request took too long to arrive",
            Self::BodyTooLarge => "the request body is too large",
            Self::TargetTooLong => "the request target is too long",
            Self::ExpectationFailed => "the request expects something that is not offered",
            Self::HeadTooLarge => "the request head is too large",
            Self::NotImplemented => "the request asks for something that is not implemented",
            Self::VersionNotSupported => "the HTTP version is not supported",
            Self::CellOverloaded => "the tenant's cell has as many requests or tunnels as it may",
            Self::NoHealthyEndpoint => "no endpoint of the tenant's cell is healthy",
            Self::NoTable => "the proxy has no table yet",
            Self::Overloaded => "the proxy has too many connections",
            Self::ConnectFailed => "the tenant's cell could not be reached",
            Self::UpstreamError => "the tenant's cell gave no usable answer",
            Self::UpstreamHeadTooLarge => {
                "the head of the cell's answer is larger than this proxy accepts"
            }
            Self::UpstreamTimeout => "the tenant's cell did not answer in time",
            Self::AcmeFailed => "nobody answered the challenge of ACME",
            Self::InternalError => "the proxy failed",
        }
    }
}

/// What the gate's refusals are called outside. Named one by one: a new one has to be given its answer here.
impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ConnectMethod => Self::MethodNotAllowed,
            Refusal::BodyTooLarge => Self::BodyTooLarge,
            Refusal::TargetTooLong => Self::TargetTooLong,
            Refusal::BadExpectation => Self::ExpectationFailed,
            Refusal::HeadTooLarge | Refusal::TooManyHeaders | Refusal::TrailersTooLarge => {
                Self::HeadTooLarge
            }
            Refusal::MethodTooLong | Refusal::UnknownTransferCoding => Self::NotImplemented,
            Refusal::UnsupportedVersion | Refusal::Http2Preface => Self::VersionNotSupported,
            Refusal::MalformedHead
            | Refusal::BareCr
            | Refusal::BareLf
            | Refusal::ControlByte
            | Refusal::EmptyRequestLine
            | Refusal::BadRequestLine
            | Refusal::BadMethod
            | Refusal::BadVersion
            | Refusal::BadTarget
            | Refusal::BadTargetByte
            | Refusal::LineFolding
            | Refusal::SpaceInName
            | Refusal::MissingColon
            | Refusal::EmptyName
            | Refusal::BadName
            | Refusal::LookalikeName
            | Refusal::MissingHost
            | Refusal::EmptyHost
            | Refusal::RepeatedHost
            | Refusal::BadHost
            | Refusal::HostMismatch
            | Refusal::BadContentLength
            | Refusal::RepeatedContentLength
            | Refusal::LengthAndEncoding
            | Refusal::BadTransferEncoding
            | Refusal::EncodingInHttp10
            | Refusal::TraceWithBody
            | Refusal::UpgradeWithBody
            | Refusal::ConnectionNamesFraming
            | Refusal::BytesBeforeSwitch
            | Refusal::BadChunkSize
            | Refusal::BadChunkExtension
            | Refusal::ChunkExtensionsTooLarge
            | Refusal::BadChunkEnd
            | Refusal::BadTrailer
            | Refusal::ForbiddenTrailer => Self::BadRequest,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The body of an answer: `application/problem+json` (RFC 9457). `detail` says what is wrong with this very request.
pub fn problem_body(
    reason: Reason,
    detail: Option<&str>,
    request_id: Option<&RequestId>,
) -> Vec<u8> {
    let mut problem = json!({
        "type": "about:blank",
        "title": reason.title(),
        "status": reason.status(),
        "reason": reason.code(),
    });
    if let Some(detail) = detail {
        problem["detail"] = detail.into();
    }
    if let Some(id) = request_id {
        problem["request_id"] = id.as_str().into();
    }
    problem.to_string().into_bytes()
}

/// What an answer says besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'e> {
    /// The request's name, in the place of whatever else anybody calls it.
    pub request_id: Option<&'e RequestId>,
    /// For `strict-transport-security`, where nobody else has sent one.
    pub hsts: Option<&'e str>,
}

impl Extras<'_> {
    /// The line for HSTS, if there is any.
    pub fn write_hsts(self, out: &mut Vec<u8>) {
        if let Some(value) = self.hsts {
            for piece in [HSTS, ": ", value, "\r\n"] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
    }
}

/// The field that keeps browsers on HTTPS (RFC 6797).
pub const HSTS: &str = "strict-transport-security";

/// The field that says when an answer was made (RFC 9110, section 6.6.1). On the general way Pingora adds it.
pub fn date_line() -> String {
    let now = httpdate::fmt_http_date(SystemTime::now());
    format!("date: {now}\r\n")
}

/// A whole answer as bytes, for a connection that has no HTTP session to answer through. It always closes.
pub fn closing_response(reason: Reason, detail: Option<&str>, extras: Extras<'_>) -> Vec<u8> {
    let body = problem_body(reason, detail, extras.request_id);
    let status =
        http::StatusCode::from_u16(reason.status()).expect("every reason has a real status");
    let phrase = status.canonical_reason().unwrap_or("Refused");
    let retry = match reason.retry_after() {
        Some(seconds) => format!("retry-after: {seconds}\r\n"),
        None => String::new(),
    };
    let id = match extras.request_id {
        Some(id) => format!("{REQUEST_ID}: {}\r\n", id.as_str()),
        None => String::new(),
    };
    let allow = if reason == Reason::MethodNotAllowed {
        "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n"
    } else {
        ""
    };
    let head = format!(
        "HTTP/1.1 {} {phrase}\r\n{}content-type: application/problem+json\r\ncontent-length: {}\r\n\
         x-cellgate-reason: {}\r\n{id}{retry}{allow}",
        status.as_u16(),
        date_line(),
        body.len(),
        reason.code(),
    );
    let mut response = head.into_bytes();
    extras.write_hsts(&mut response);
    response.extend_from_slice(b"connection: close\r\n\r\n");
    response.extend_from_slice(&body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_of_its_own_and_an_error_status() {
        let mut codes = Reason::ALL.map(Reason::code).to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!((400..600).contains(&reason.status()), "{reason}");
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(reason.code().bytes().all(is_plain), "{reason}");
        }
    }

    #[test]
    fn refusals_that_pass_say_when_to_come_again() {
        for reason in Reason::ALL {
            assert_eq!(
                reason.retry_after().is_some(),
                reason.status() == 503,
                "{reason}"
            );
        }
    }

    /// The statuses that RFC 9110 and RFC 6585 have for these mistakes; what has none of its own is a 400.
    #[test]
    fn refusals_of_the_gate_are_answered_by_name() {
        let expected = |refusal| match refusal {
            Refusal::ConnectMethod => 405,
            Refusal::BodyTooLarge => 413,
            Refusal::TargetTooLong => 414,
            Refusal::BadExpectation => 417,
            Refusal::HeadTooLarge | Refusal::TooManyHeaders | Refusal::TrailersTooLarge => 431,
            Refusal::MethodTooLong | Refusal::UnknownTransferCoding => 501,
            Refusal::UnsupportedVersion | Refusal::Http2Preface => 505,
            _ => 400,
        };
        for &refusal in Refusal::ALL {
            let status = Reason::from(refusal).status();
            assert_eq!(status, expected(refusal), "{}", refusal.code());
        }
    }

    #[test]
    fn a_closing_response_is_whole() {
        let id = RequestId::parse(b"id-1");
        let extras = Extras {
            request_id: id.as_ref(),
            hsts: Some("max-age=1"),
        };
        let response = closing_response(Reason::BadRequest, Some("no host"), extras);
        let response = String::from_utf8(response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(head.contains("x-cellgate-reason: bad_request"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["detail"], "no host");
        assert_eq!(problem["request_id"], "id-1");
        assert!(head.contains("x-request-id: id-1\r\n"), "{head}");
        let hsts = "\r\nstrict-transport-security: max-age=1\r\n";
        assert!(head.contains(hsts), "{head}");
    }
}
