//! What becomes of a request's head on the direct way. Pure: a head that the gate let through goes in; out comes the head
//! for the cell, or nothing when the request is not one for this way.
//!
//! The cell gets what the general way would send it: the same fields, cleaned by the same rules. Whatever would need more
//! than leaving lines out and adding some is left to the general way.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use memchr::memchr;
use smallvec::SmallVec;

use crate::{
    buffer::Buffer,
    exchange::{Connection, Destination},
    field_lines::{FieldLine, FieldLines, OWN_TENANT},
    forwarding::{Rewrite, Trust},
    gate::{BodyFraming, GateLimits, Head, Refusal, Upgrade, inspect_lines},
    request_id::RequestId,
    tenant_key::{KeyError, KeyRules, Preflights, RequestKey, RequestView, host_name},
};

/// Fields for which the line needs no memory of its own.
const USUAL_FIELDS: usize = 24;
/// Room for what is added to a head.
const ADDED_BYTES: usize = 304;

/// The rules by which requests are read, from the configuration.
#[derive(Clone, Debug)]
pub struct PlanRules {
    /// Preflights of CORS that name no tenant go where this says.
    pub preflights: Option<Preflights>,
    pub trust: Trust,
    /// Each request has a name of its own.
    pub names_requests: bool,
    /// Requests that can go the direct way do.
    pub goes_direct: bool,
}

/// A request that goes the direct way.
#[derive(Debug)]
pub struct Plan {
    /// `None` once admission has taken it.
    pub key: Option<Box<RequestKey>>,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// The answer has no body, whatever it says.
    pub is_head_request: bool,
    /// It changes nothing more by being sent a second time (RFC 9110, section 9.2.2).
    pub is_idempotent: bool,
    /// The client wants its connection closed.
    pub closes: bool,
    /// The head for the cell, up to the lines that depend on the table.
    pub head: Buffer,
}

/// What a head says, and the plan for it if it is one for the direct way.
#[derive(Debug)]
pub struct Seen<'h> {
    pub head: Head<'h>,
    pub request_id: Option<RequestId>,
    pub plan: Option<Plan>,
}

/// The lines of a head, and where in it each of them ends.
#[derive(Debug, Default)]
struct Lines<'h> {
    all: SmallVec<[FieldLine<'h>; USUAL_FIELDS]>,
    ends: SmallVec<[usize; USUAL_FIELDS]>,
}

/// What becomes of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
    /// `Connection: close`
    Closes,
    /// Not for this way.
    Unusual,
}

/// Reads a head and plans it, if requests go this way. `random` is for its name, should it need a new one.
///
/// # Errors
///
/// What the gate refuses.
pub fn inspect_and_plan<'h>(
    head: &'h [u8],
    limits: &GateLimits<'h>,
    rules: &PlanRules,
    connection: &Connection,
    random: u128,
) -> Result<Seen<'h>, Refusal> {
    let mut lines = Lines::default();
    let seen = inspect_lines(head, limits, |line, end| {
        lines.all.push(line);
        lines.ends.push(end);
    })?;
    let request_id = rules.names_requests.then(|| {
        let given = connection.request_id(&rules.trust, FieldLines(&lines.all));
        given.unwrap_or_else(|| RequestId::new(random))
    });
    let plan = if rules.goes_direct {
        plan(
            head,
            &seen,
            &lines,
            rules,
            (connection, request_id.as_ref()),
        )
    } else {
        None
    };
    Ok(Seen {
        head: seen,
        request_id,
        plan,
    })
}

impl PlanRules {
    /// Which tenant a request of this method names, with a body or not.
    ///
    /// # Errors
    ///
    /// Why it names none.
    pub fn read_key(
        &self,
        key_rules: &KeyRules,
        view: &RequestView<'_>,
        (method, has_body): (&[u8], bool),
        key: &mut RequestKey,
    ) -> Result<(), KeyError> {
        match (key_rules.read_key(view, key), &self.preflights) {
            // Only where nothing was found: what was found and is refused stays so.
            (Err(KeyError::Missing), Some(preflights)) => {
                let tenant = preflights.tenant_of(method, has_body, view.lines);
                key.clone_from(tenant.ok_or(KeyError::Missing)?);
                Ok(())
            }
            (read, _) => read,
        }
    }

    /// A name for a request that could not be read.
    pub fn new_request_id(&self, random: u128) -> Option<RequestId> {
        self.names_requests.then(|| RequestId::new(random))
    }
}

fn plan(
    head: &[u8],
    seen: &Head<'_>,
    lines: &Lines<'_>,
    rules: &PlanRules,
    (connection, request_id): (&Connection, Option<&RequestId>),
) -> Option<Plan> {
    let is_idempotent = idempotence(seen.method)?;
    let has_fitting_body = matches!(seen.body, BodyFraming::None | BodyFraming::Length(_));
    if !seen.is_http_11
        || !seen.is_plain_target
        || !has_fitting_body
        || seen.has_undefined_body
        || seen.expects_continue
        || seen.upgrade != Upgrade::None
    {
        return None;
    }
    let fields = FieldLines(&lines.all);
    let (path, query) = match memchr(b'?', seen.target) {
        Some(at) => (&seen.target[..at], Some(&seen.target[at + 1..])),
        None => (seen.target, None),
    };
    let host = seen.host?;
    let client = connection.client(&rules.trust, fields);
    let view = RequestView {
        lines: fields,
        path,
        query,
        host: host_name(host),
        client,
        evidence: connection.evidence.as_deref(),
    };
    let mut key = Box::<RequestKey>::default();
    rules
        .read_key(
            &connection.listener.key_rules,
            &view,
            (seen.method.as_bytes(), seen.body.has_body()),
            &mut key,
        )
        .ok()?;
    let rewrite = rules
        .trust
        .rewrite(fields, &connection.hop(Some(host), request_id));
    let request_line = seen.method.len() + seen.target.len() + "  HTTP/1.1\r\n".len();
    let (head, closes) = rewritten(head, request_line, lines, &rewrite)?;
    Some(Plan {
        key: Some(key),
        client,
        is_head_request: seen.method == "HEAD",
        is_idempotent,
        closes,
        head,
    })
}

/// Whether a method may be repeated; `None` for one that is not known here.
fn idempotence(method: &str) -> Option<bool> {
    match method {
        "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" => Some(true),
        "POST" | "PATCH" => Some(false),
        _ => None,
    }
}

/// The head without the lines that stay behind, and with those that are added; and whether the client wants the
/// connection closed. Lines that go on are copied in runs.
fn rewritten(
    head: &[u8],
    request_line: usize,
    lines: &Lines<'_>,
    rewrite: &Rewrite<'_>,
) -> Option<(Buffer, bool)> {
    let mut out = Buffer::new();
    out.reserve(head.len() + ADDED_BYTES);
    let (mut closes, mut has_connection) = (false, false);
    let mut reserved = rewrite.dropped.iter().peekable();
    let mut run = 0;
    let mut start = request_line;
    for (place, (line, end)) in lines.all.iter().zip(&lines.ends).enumerate() {
        let mut fate = fate_of(line);
        if reserved.next_if_eq(&&place).is_some() {
            fate = Fate::Dropped;
        }
        match fate {
            Fate::Unusual => return None,
            Fate::Kept => {}
            Fate::Dropped | Fate::Closes => {
                out.extend_from_slice(&head[run..start]);
                run = *end;
            }
        }
        if line.name.len() == CONNECTION.len() && line.is(CONNECTION) {
            if has_connection {
                return None;
            }
            has_connection = true;
            closes = fate == Fate::Closes;
        }
        start = *end;
    }
    out.extend_from_slice(&head[run..start]);
    rewrite.write_added(&mut out);
    Some((out, closes))
}

const CONNECTION: &str = "connection";

/// Hop-by-hop fields (RFC 9110, section 7.6.1) stay behind. A `Connection` that says more than whether it stays open, and
/// whatever else the general way knows better, is unusual.
fn fate_of(line: &FieldLine<'_>) -> Fate {
    let is = |name: &str| line.is(name);
    let dropped = |is_dropped: bool| {
        if is_dropped {
            Fate::Dropped
        } else {
            Fate::Kept
        }
    };
    match line.name.len() {
        2 => dropped(is("te")),
        6 if is("expect") => Fate::Unusual,
        7 if is("upgrade") => Fate::Unusual,
        7 => dropped(is("trailer")),
        10 if is(CONNECTION) && line.value.eq_ignore_ascii_case(b"keep-alive") => Fate::Dropped,
        10 if is(CONNECTION) && line.value.eq_ignore_ascii_case(b"close") => Fate::Closes,
        10 if is(CONNECTION) => Fate::Unusual,
        10 => dropped(is("keep-alive")),
        14 => dropped(is("http2-settings")),
        16 => dropped(is("proxy-connection")),
        17 if is("transfer-encoding") => Fate::Unusual,
        18 => dropped(is("proxy-authenticate")),
        19 => dropped(is("proxy-authorization")),
        _ => Fate::Kept,
    }
}

impl Plan {
    /// Ends the head with whom it is for and by which table it came.
    pub fn identify(&mut self, tenant: &[u8], destination: &Destination) {
        for piece in [OWN_TENANT.as_bytes(), b": ", tenant] {
            self.head.extend_from_slice(piece);
        }
        self.head.extend_from_slice(destination.head_end());
    }
}
