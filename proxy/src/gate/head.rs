//! The inspection of one whole head: request line, then fields, then what they mean together.

use super::bytes::{self, CR, LF, PLAIN_IN_TARGET, TARGET, TOKEN, find_control, is};
use super::fields::Fields;
use super::version::{Version, check_version};
use super::{BodyFraming, GateLimits, Refusal, Upgrade, target};
use crate::field_lines::FieldLine;

/// Longer than every method in the IANA registry (`UPDATEREDIRECTREF` has 17 bytes).
const METHOD_BYTES_MAX: usize = 32;

/// The standard methods, RFC 9110 section 9.3 and RFC 5789. Methods are case-sensitive, but there are programs that
/// capitalise them, so `get` is not let through as a method of its own.
const STANDARD_METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// What the gate learned from a head that it lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a finding of its own"
)]
pub struct Head<'a> {
    pub method: &'a str,
    pub target: &'a [u8],
    pub is_http_11: bool,
    /// The target is a path and possibly a query, of characters that RFC 3986 has there: every program sends it on as it
    /// is.
    pub is_plain_target: bool,
    /// Host and optional port: those of the target if it names any, RFC 9112 section 3.2.2, else those of the Host field.
    /// `None` only on HTTP/1.0, where the field is not required.
    pub host: Option<&'a [u8]>,
    /// The Host field says the same as the target in other bytes: in another case, or with the default port. It has to be
    /// replaced by this, the target's, since a program that compares bytes would see two hosts.
    pub respelled_host: Option<&'a str>,
    pub body: BodyFraming,
    /// A body whose meaning RFC 9110 leaves open (sections 9.3.1, 9.3.2 and 9.3.5). Legal and in use, but there are
    /// servers that do not read it and take it for the next request: do not reuse the upstream connection after it.
    pub has_undefined_body: bool,
    /// The body went through another transfer coding before `chunked`, or Transfer-Encoding came as several lines.
    /// Legal, but what follows such a request upstream should not share a connection with it, and the lines have to be
    /// joined into one, since a program that looks at one line only would see another framing.
    pub extra_codings: bool,
    /// The client waits for `100 Continue` before it sends its body. Never true without a body.
    pub expects_continue: bool,
    pub upgrade: Upgrade,
}

struct RequestLine<'a> {
    method: &'a str,
    target: &'a [u8],
    is_plain_target: bool,
    version: Version,
}

/// Reads a head that [`super::HeadScanner`] cut out: from the request line to the blank line, and nothing after it.
///
/// # Errors
///
/// The first rule that the head breaks, in the order of its bytes, then what its fields mean together.
pub fn inspect_head<'a>(head: &'a [u8], limits: &GateLimits<'a>) -> Result<Head<'a>, Refusal> {
    inspect_lines(head, limits, |_, _| {})
}

/// The same, and shows each field line in passing, with where in the head the next one begins.
///
/// # Errors
///
/// As for [`inspect_head`].
pub fn inspect_lines<'a>(
    head: &'a [u8],
    limits: &GateLimits<'a>,
    mut see: impl FnMut(FieldLine<'a>, usize),
) -> Result<Head<'a>, Refusal> {
    if head.len() > limits.head_bytes_max {
        return Err(Refusal::HeadTooLarge);
    }
    let (line, mut rest) = split_line(head)?;
    let line = request_line(line, limits)?;
    let mut fields = Fields::new(limits.upgrades);
    let mut count = 0;
    while !rest.starts_with(b"\r\n") {
        if count == limits.headers_max {
            return Err(Refusal::TooManyHeaders);
        }
        count += 1;
        let (line, after) = field(rest, &mut fields)?;
        rest = after;
        see(line, head.len() - rest.len());
    }
    if rest.len() != 2 {
        return Err(Refusal::MalformedHead);
    }
    conclude(&line, &fields)
}

/// What is before the first CRLF, and what is after it.
fn split_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let mut at = 0;
    loop {
        at += find_control(bytes.get(at..).unwrap_or_default());
        match bytes.get(at..) {
            Some([b'\t', ..]) => at += 1,
            Some([CR, LF, rest @ ..]) => return Ok((&bytes[..at], rest)),
            Some([] | [CR]) | None => return Err(Refusal::MalformedHead),
            Some([CR, ..]) => return Err(Refusal::BareCr),
            Some([LF, ..]) => return Err(Refusal::BareLf),
            Some(_) => return Err(Refusal::ControlByte),
        }
    }
}

fn request_line<'a>(line: &'a [u8], limits: &GateLimits<'_>) -> Result<RequestLine<'a>, Refusal> {
    let version = check_version(line)?;
    let before_version = &line[..line.len() - " HTTP/1.1".len()];
    let method_end = before_version
        .iter()
        .position(|&byte| !is(byte, TOKEN))
        .ok_or(Refusal::BadRequestLine)?;
    let (method, rest) = before_version.split_at(method_end);
    let [b' ', target @ ..] = rest else {
        return Err(if rest.starts_with(b"\t") {
            Refusal::BadRequestLine
        } else {
            Refusal::BadMethod
        });
    };
    let method = check_method(method)?;
    let classes = bytes::shared_classes(target);
    if classes & TARGET == 0 || target.is_empty() {
        return Err(Refusal::BadRequestLine);
    }
    if target.len() > limits.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    Ok(RequestLine {
        method,
        target,
        is_plain_target: classes & PLAIN_IN_TARGET != 0 && target.starts_with(b"/"),
        version,
    })
}

fn check_method(method: &[u8]) -> Result<&str, Refusal> {
    if method.is_empty() {
        return Err(Refusal::BadRequestLine);
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(Refusal::MethodTooLong);
    }
    match method {
        b"GET" => return Ok("GET"),
        b"POST" => return Ok("POST"),
        _ => {}
    }
    let method = std::str::from_utf8(method).map_err(|_| Refusal::BadMethod)?;
    let standard = STANDARD_METHODS
        .iter()
        .find(|standard| standard.eq_ignore_ascii_case(method));
    match standard {
        Some(&"CONNECT") => Err(Refusal::ConnectMethod),
        Some(&standard) if standard != method => Err(Refusal::BadMethod),
        _ => Ok(method),
    }
}

/// Reads one field line and returns it, and what is after it.
fn field<'a>(
    bytes: &'a [u8],
    fields: &mut Fields<'a>,
) -> Result<(FieldLine<'a>, &'a [u8]), Refusal> {
    let (name, letters) = bytes::token(bytes);
    let rest = &bytes[name.len()..];
    let [b':', rest @ ..] = rest else {
        return Err(name_refusal(name, rest));
    };
    if name.is_empty() {
        return Err(Refusal::EmptyName);
    }
    let (value, rest) = split_line(rest)?;
    let value = bytes::trim(value);
    fields.take(name, letters, value)?;
    Ok((FieldLine { name, value }, rest))
}

/// Why there is no colon after what could be read as a name.
fn name_refusal(name: &[u8], rest: &[u8]) -> Refusal {
    match (name, rest) {
        (_, []) => Refusal::MalformedHead,
        ([], [b' ' | b'\t', ..]) => Refusal::LineFolding,
        (_, [b' ' | b'\t', ..]) => Refusal::SpaceInName,
        (_, [CR, LF, ..]) => Refusal::MissingColon,
        (_, [CR, ..]) => Refusal::BareCr,
        (_, [LF, ..]) => Refusal::BareLf,
        (_, [byte, ..]) if byte.is_ascii_control() => Refusal::ControlByte,
        _ => Refusal::BadName,
    }
}

fn conclude<'a>(line: &RequestLine<'a>, fields: &Fields<'a>) -> Result<Head<'a>, Refusal> {
    let authority = if line.is_plain_target {
        None
    } else {
        let target = std::str::from_utf8(line.target).map_err(|_| Refusal::BadTargetByte)?;
        target::authority(line.method, target)?
    };
    let respelled_host = match (fields.host, &authority) {
        (Some(host), Some(authority)) if !authority.is_same_as(host) => {
            return Err(Refusal::HostMismatch);
        }
        (None, _) if line.version == Version::Http11 => return Err(Refusal::MissingHost),
        (Some(host), Some(authority)) => {
            Some(authority.text).filter(|text| text.as_bytes() != host)
        }
        (_, None) | (None, _) => None,
    };
    let body = fields.framing(line.version)?;
    if line.method == "TRACE" && body.has_body() {
        return Err(Refusal::TraceWithBody);
    }
    let upgrade = fields.upgrade(line.version);
    if upgrade.is_asked() && body.has_body() {
        return Err(Refusal::UpgradeWithBody);
    }
    Ok(Head {
        method: line.method,
        target: line.target,
        is_http_11: line.version == Version::Http11,
        is_plain_target: line.is_plain_target,
        host: authority.map_or(fields.host, |authority| Some(authority.text.as_bytes())),
        respelled_host,
        body,
        has_undefined_body: body.has_body() && matches!(line.method, "GET" | "HEAD" | "DELETE"),
        extra_codings: fields.has_extra_codings(),
        // RFC 9110 section 10.1.1: ignored on HTTP/1.0.
        expects_continue: fields.expects_continue
            && line.version == Version::Http11
            && body.has_body(),
        upgrade,
    })
}
