//! What a listener answers by itself, without a cell: checks of its health, redirects to HTTPS, and challenges of ACME,
//! which it passes on to whoever asked for the certificate.

use std::{fmt::Write as _, net::SocketAddr};

use super::{
    acme::{self, Challenge},
    headers::origin_form,
    services::Services,
};
use crate::{
    answer::{Extras, Reason, closing_response, date_line},
    config::HttpOptions,
    gate::Head,
    metrics::LocalKind,
    tenant_key::host_name,
};

/// Where certificate authorities look for what they have asked for (RFC 8555, section 8.3).
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";
const TOKEN_BYTES_MAX: usize = 128;
/// The fields of an answer about the health.
const TEXT: &[u8] = b"content-type: text/plain\r\ncache-control: no-store\r\n";

/// A request that is answered here.
#[derive(Debug)]
pub(super) struct Local {
    what: What,
    pub(super) is_head_request: bool,
    /// The connection ends with the answer: its client wants that, or more of the request may come.
    pub(super) closes: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Health,
    Redirect { location: Vec<u8> },
    Acme(SocketAddr, Challenge),
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct LocalAnswer {
    pub(super) bytes: Vec<u8>,
    pub(super) status: u16,
    pub(super) reason: Option<Reason>,
    /// Bytes of content.
    pub(super) content: u64,
    pub(super) closes: bool,
}

impl Local {
    /// `None` for a request that goes to a cell, or that is malformed: one that has to have a Host and has none.
    pub(super) fn of(options: &HttpOptions, head: &Head<'_>, bytes: &[u8]) -> Option<Self> {
        if options.health_path.is_none() && options.redirect_https.is_none() {
            return None;
        }
        let what = what_of(options, head)?;
        Some(Self {
            what,
            is_head_request: head.method == "HEAD",
            closes: !head.is_http_11
                || head.body.has_body()
                || head.upgrade.is_asked()
                || says_close(bytes),
        })
    }

    /// Checks are too many and say too little to be worth their lines.
    pub(super) fn is_logged(&self) -> bool {
        self.what != What::Health
    }

    /// As what its answer is counted.
    pub(super) fn kind(&self) -> LocalKind {
        match self.what {
            What::Health => LocalKind::Health,
            What::Redirect { .. } => LocalKind::RedirectHttps,
            What::Acme(..) => LocalKind::Acme,
        }
    }

    /// Answers it.
    pub(super) async fn answer(&self, services: &Services, extras: Extras<'_>) -> LocalAnswer {
        let answer =
            |status, fields: &[u8], content: &[u8]| self.render(status, fields, content, extras);
        match &self.what {
            What::Health if services.readiness.is_ready() => answer(200, TEXT, b"ok\n"),
            What::Health => answer(503, TEXT, b"not ready\n"),
            What::Redirect { location } => {
                answer(308, &[b"location: ", &**location, b"\r\n"].concat(), b"")
            }
            What::Acme(address, challenge) => {
                let asked = acme::ask(&services.acme_places, *address, challenge);
                match asked.await {
                    Ok(answered) => {
                        let fields = match &answered.content_type {
                            Some(kind) => [b"content-type: ", &**kind, b"\r\n"].concat(),
                            None => Vec::new(),
                        };
                        answer(answered.status, &fields, &answered.content)
                    }
                    Err(reason) => self.refuse(reason, extras),
                }
            }
        }
    }

    fn refuse(&self, reason: Reason, extras: Extras<'_>) -> LocalAnswer {
        let mut bytes = closing_response(reason, None, extras);
        if self.is_head_request
            && let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            bytes.truncate(end + 4);
        }
        LocalAnswer {
            bytes,
            status: reason.status(),
            reason: Some(reason),
            content: 0,
            closes: true,
        }
    }

    fn render(
        &self,
        status: u16,
        fields: &[u8],
        content: &[u8],
        extras: Extras<'_>,
    ) -> LocalAnswer {
        let phrase = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let has_no_content = matches!(status, 204 | 304);
        // How much the ACME client would have sent is not known.
        let is_unknown = self.is_head_request && matches!(self.what, What::Acme(..));
        let mut head = format!("HTTP/1.1 {status} {phrase}\r\n{}", date_line());
        if !has_no_content && !is_unknown {
            let _ = write!(head, "content-length: {}\r\n", content.len());
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(fields);
        if let Some(id) = extras.request_id {
            bytes.extend_from_slice(id.as_line());
        }
        extras.write_hsts(&mut bytes);
        bytes.extend_from_slice(if self.closes {
            b"connection: close\r\n\r\n"
        } else {
            b"connection: keep-alive\r\n\r\n"
        });
        let content = if self.is_head_request || has_no_content {
            b""
        } else {
            content
        };
        bytes.extend_from_slice(content);
        LocalAnswer {
            bytes,
            status,
            reason: None,
            content: content.len() as u64,
            closes: self.closes,
        }
    }
}

fn what_of(options: &HttpOptions, head: &Head<'_>) -> Option<What> {
    let is_read = matches!(head.method, "GET" | "HEAD") && !head.body.has_body();
    if let Some(path) = &options.health_path
        && is_read
        && !head.upgrade.is_asked()
        && head.target == path.as_bytes()
    {
        return Some(What::Health);
    }
    let redirect = options.redirect_https.as_ref()?;
    let host = head.host?;
    if let Some(address) = redirect.acme
        && is_read
        && is_challenge(head.target)
    {
        let challenge = Challenge {
            is_head_request: head.method == "HEAD",
            target: head.target.into(),
            host: host.into(),
        };
        return Some(What::Acme(address, challenge));
    }
    Some(What::Redirect {
        location: location(host, redirect.port, head.target),
    })
}

/// One segment of base64url (RFC 8555, section 8.3), and no query.
fn is_challenge(target: &[u8]) -> bool {
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    target.strip_prefix(CHALLENGES).is_some_and(|token| {
        (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(is_good)
    })
}

/// The same resource on HTTPS. The gate has seen to it that a target with a host of its own names this one.
fn location(host: &[u8], port: u16, target: &[u8]) -> Vec<u8> {
    let mut location = [b"https://", host_name(host)].concat();
    if port != 443 {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    match origin_form(target) {
        path @ [b'/', ..] => location.extend_from_slice(path),
        // A query without a path.
        query @ [b'?', ..] => {
            location.push(b'/');
            location.extend_from_slice(query);
        }
        // `*`: the server as a whole.
        _ => location.push(b'/'),
    }
    location
}

/// Whether a head that the gate let through says that its client wants the connection closed.
fn says_close(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            return false;
        };
        line[..at].eq_ignore_ascii_case(b"connection")
            && line[at + 1..]
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

#[cfg(test)]
mod tests;
