//! What a line of the access log says.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use cellgate_process::lines::Shard;

use super::json::{push_endpoint, push_ip, push_ms, push_number, push_text};
use crate::{
    answer::Reason,
    clock::DateWriter,
    exchange::{Connection, Destination, Exchange, TlsFacts},
    field_lines::is_name,
    gate::Refusal,
    request_id::{RequestId, trace_id},
    upstream::AnswerRefusal,
};

/// Longest part of a user agent that is logged, in bytes.
const USER_AGENT_BYTES_MAX: usize = 256;
/// Longest part of a referrer that is logged, in bytes.
const REFERER_BYTES_MAX: usize = 1_024;

/// One request and its answer. Fields that are not known are left out of the line.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Lines of one connection stay in order.
    pub(super) shard: Shard,
    /// When the answer ended; RFC 3339, UTC.
    pub time: SystemTime,
    /// The listener that took the connection.
    pub listener: Cow<'a, str>,
    pub client: IpAddr,
    /// Of the connection, if its client speaks TLS.
    pub tls: Option<Cow<'a, TlsFacts>>,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub protocol: Option<&'static str>,
    pub method: Option<Cow<'a, [u8]>>,
    pub host: Option<Cow<'a, [u8]>>,
    pub target: Option<Cow<'a, [u8]>>,
    /// Its first 256 bytes.
    pub user_agent: Option<Cow<'a, [u8]>>,
    /// Its first 1,024 bytes; only the combined format has it.
    pub referer: Option<Cow<'a, [u8]>>,
    /// The request's id, unless requests are not named.
    pub request_id: Option<Cow<'a, str>>,
    /// Of `traceparent`, where that has the form that it should have.
    pub trace_id: Option<Cow<'a, [u8]>>,
    /// 0 when nobody was there to be answered.
    pub status: u16,
    /// The proxy's reason, when it answered by itself.
    pub reason: Option<Reason>,
    /// Why the cell's answer was not passed on.
    pub answer_refusal: Option<AnswerRefusal>,
    /// What the gate found wrong with the request's bytes.
    pub refusal: Option<Refusal>,
    pub took: Duration,
    /// From the request's arrival to the first byte of the cell's answer.
    pub first_byte: Option<Duration>,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
    pub tenant: Option<Cow<'a, [u8]>>,
    pub cell: Option<Cow<'a, str>>,
    pub endpoint: Option<SocketAddr>,
    pub generation: Option<u64>,
    /// Endpoints tried.
    pub attempts: Option<usize>,
}

/// What the log says of a request's head.
#[derive(Clone, Copy, Debug)]
pub struct HeadParts<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub protocol: &'static str,
    /// The value of Host, without the blanks around it.
    pub host: Option<&'a [u8]>,
    /// The first `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// The first `Referer`.
    pub referer: Option<&'a [u8]>,
    /// The value of `traceparent`, if there is exactly one.
    pub traceparent: Option<&'a [u8]>,
}

/// Values of the fields that are looked for in a head.
#[derive(Debug, Default)]
struct Found<'a> {
    host: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    has_more_traceparents: bool,
}

impl<'a> Found<'a> {
    fn note(&mut self, line: &'a [u8]) {
        let value_of = |name: &str| {
            let (start, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            is_name(start, name).then(|| value.trim_ascii())
        };
        match line.first() {
            Some(b'h' | b'H') if self.host.is_none() => self.host = value_of("host"),
            Some(b'u' | b'U') if self.user_agent.is_none() => {
                self.user_agent = value_of("user-agent");
            }
            Some(b'r' | b'R') if self.referer.is_none() => self.referer = value_of("referer"),
            Some(b't' | b'T') => {
                if let Some(value) = value_of("traceparent") {
                    self.has_more_traceparents |= self.traceparent.is_some();
                    self.traceparent = Some(value);
                }
            }
            _ => {}
        }
    }
}

impl<'a> HeadParts<'a> {
    /// The parts of a head that the gate let through.
    pub fn of(head: &'a [u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut request_line = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let mut found = Found::default();
        for line in lines {
            found.note(line);
        }
        Self {
            method: request_line.next().unwrap_or_default(),
            target: request_line.next().unwrap_or_default(),
            protocol: match request_line.next() {
                Some(b"HTTP/1.0") => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            host: found.host,
            user_agent: found.user_agent,
            referer: found.referer,
            traceparent: found.traceparent.filter(|_| !found.has_more_traceparents),
        }
    }
}

impl<'a> HeadParts<'a> {
    fn user_agent(&self) -> Option<Cow<'a, [u8]>> {
        self.user_agent
            .map(|it| beginning(it, USER_AGENT_BYTES_MAX))
    }

    fn referer(&self) -> Option<Cow<'a, [u8]>> {
        self.referer.map(|it| beginning(it, REFERER_BYTES_MAX))
    }

    fn trace_id(&self) -> Option<Cow<'a, [u8]>> {
        trace_id(self.traceparent?).map(Cow::Borrowed)
    }
}

fn beginning(value: &[u8], bytes_max: usize) -> Cow<'_, [u8]> {
    Cow::Borrowed(&value[..value.len().min(bytes_max)])
}

/// What only the adapter knows of a request that was answered, or whose client left: the bytes it moved.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    pub head: HeadParts<'a>,
    /// What the client was given, if anything.
    pub status: Option<u16>,
    pub took: Duration,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
}

impl<'a> Entry<'a> {
    /// A request that had a head, at its end.
    pub fn served(served: Served<'a>, connection: &'a Connection, exchange: &'a Exchange) -> Self {
        let destination = exchange.destination();
        Self {
            shard: Shard::of(connection),
            time: SystemTime::now(),
            listener: Cow::Borrowed(&connection.listener.name),
            client: exchange.client(),
            tls: connection.tls.as_ref().map(Cow::Borrowed),
            protocol: Some(served.head.protocol),
            method: Some(Cow::Borrowed(served.head.method)),
            host: served.head.host.map(Cow::Borrowed),
            target: Some(Cow::Borrowed(served.head.target)),
            user_agent: served.head.user_agent(),
            referer: served.head.referer(),
            request_id: exchange.request_id().map(|id| Cow::Borrowed(id.as_str())),
            trace_id: served.head.trace_id(),
            status: served.status.unwrap_or(0),
            reason: exchange.reason(),
            answer_refusal: exchange.answer_refusal(),
            refusal: exchange.refusal(),
            took: served.took,
            first_byte: exchange.first_byte_after(),
            request_body_bytes: served.request_body_bytes,
            response_body_bytes: served.response_body_bytes,
            tenant: exchange.tenant().map(Cow::Borrowed),
            cell: destination.map(|to| Cow::Borrowed(to.cell().state.id.as_str())),
            endpoint: exchange.endpoint_address(),
            generation: destination.map(|to| to.generation().get()),
            attempts: destination.map(Destination::attempts),
        }
    }

    /// A request that was refused before it was read as one.
    pub fn refused_unread(
        connection: &'a Connection,
        reason: Reason,
        refusal: Option<Refusal>,
    ) -> Self {
        Self {
            shard: Shard::of(connection),
            time: SystemTime::now(),
            listener: Cow::Borrowed(&connection.listener.name),
            client: connection.peer,
            tls: connection.tls.as_ref().map(Cow::Borrowed),
            protocol: None,
            method: None,
            host: None,
            target: None,
            user_agent: None,
            referer: None,
            request_id: None,
            trace_id: None,
            status: reason.status(),
            reason: Some(reason),
            answer_refusal: None,
            refusal,
            took: Duration::ZERO,
            first_byte: None,
            request_body_bytes: 0,
            response_body_bytes: 0,
            tenant: None,
            cell: None,
            endpoint: None,
            generation: None,
            attempts: None,
        }
    }

    /// A request whose head was read and whose body never came. `reason` is `None` when its client left.
    pub fn body_unread(
        connection: &'a Connection,
        head: &'a [u8],
        reason: Option<Reason>,
        took: Duration,
    ) -> Self {
        let parts = HeadParts::of(head);
        let HeadParts {
            method,
            target,
            host,
            ..
        } = parts;
        Self {
            protocol: Some(parts.protocol),
            user_agent: parts.user_agent(),
            referer: parts.referer(),
            method: Some(Cow::Borrowed(method)),
            target: Some(Cow::Borrowed(target)),
            host: host.map(Cow::Borrowed),
            trace_id: parts.trace_id(),
            status: reason.map_or(0, Reason::status),
            reason,
            took,
            ..Self::refused_unread(connection, Reason::RequestTimeout, None)
        }
    }

    #[must_use]
    pub fn called(mut self, request_id: Option<&'a RequestId>) -> Self {
        self.request_id = request_id.map(|id| Cow::Borrowed(id.as_str()));
        self
    }

    /// The same, for whoever ends it after all that it was made from: a tunnel.
    pub fn into_owned(self) -> Entry<'static> {
        let owned = |bytes: Option<Cow<'_, [u8]>>| bytes.map(|it| Cow::Owned(it.into_owned()));
        Entry {
            shard: self.shard,
            time: self.time,
            listener: Cow::Owned(self.listener.into_owned()),
            client: self.client,
            tls: self.tls.map(|tls| Cow::Owned(tls.into_owned())),
            protocol: self.protocol,
            method: owned(self.method),
            host: owned(self.host),
            target: owned(self.target),
            user_agent: owned(self.user_agent),
            referer: owned(self.referer),
            request_id: self.request_id.map(|id| Cow::Owned(id.into_owned())),
            trace_id: owned(self.trace_id),
            status: self.status,
            reason: self.reason,
            answer_refusal: self.answer_refusal,
            refusal: self.refusal,
            took: self.took,
            first_byte: self.first_byte,
            request_body_bytes: self.request_body_bytes,
            response_body_bytes: self.response_body_bytes,
            tenant: owned(self.tenant),
            cell: self.cell.map(|cell| Cow::Owned(cell.into_owned())),
            endpoint: self.endpoint,
            generation: self.generation,
            attempts: self.attempts,
        }
    }

    /// Appends the line in JSON to `out`: one object and a line feed. No other line feed is in it, whatever bytes a client
    /// sent.
    pub fn render_json(&self, dates: &mut DateWriter, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"time":""#);
        dates.write(self.time, out);
        out.extend_from_slice(br#"","listener":"#);
        push_text(out, self.listener.as_bytes());
        out.extend_from_slice(br#","client":"#);
        push_ip(out, self.client);
        if let Some(tls) = &self.tls {
            push_tls(out, tls);
        }
        self.render_request(out);
        out.extend_from_slice(br#","status":"#);
        push_number(out, self.status.into());
        self.render_refusals(out);
        out.extend_from_slice(br#","duration_ms":"#);
        push_ms(out, self.took);
        if let Some(first_byte) = self.first_byte {
            out.extend_from_slice(br#","upstream_first_byte_ms":"#);
            push_ms(out, first_byte);
        }
        out.extend_from_slice(br#","request_body_bytes":"#);
        push_number(out, self.request_body_bytes);
        out.extend_from_slice(br#","response_body_bytes":"#);
        push_number(out, self.response_body_bytes);
        self.render_way(out);
        out.extend_from_slice(b"}\n");
    }

    fn render_request(&self, out: &mut Vec<u8>) {
        if let Some(protocol) = self.protocol {
            out.extend_from_slice(br#","protocol":"#);
            push_text(out, protocol.as_bytes());
        }
        if let Some(method) = &self.method {
            out.extend_from_slice(br#","method":"#);
            push_text(out, method);
        }
        if let Some(host) = &self.host {
            out.extend_from_slice(br#","host":"#);
            push_text(out, host);
        }
        if let Some(target) = &self.target {
            out.extend_from_slice(br#","target":"#);
            push_text(out, target);
        }
        if let Some(user_agent) = &self.user_agent {
            out.extend_from_slice(br#","user_agent":"#);
            push_text(out, user_agent);
        }
        if let Some(id) = &self.request_id {
            out.extend_from_slice(br#","request_id":"#);
            push_text(out, id.as_bytes());
        }
        if let Some(id) = &self.trace_id {
            out.extend_from_slice(br#","trace_id":"#);
            push_text(out, id);
        }
    }

    fn render_refusals(&self, out: &mut Vec<u8>) {
        if let Some(reason) = self.reason {
            out.extend_from_slice(br#","reason":"#);
            push_text(out, reason.code().as_bytes());
        }
        if let Some(refusal) = self.answer_refusal {
            out.extend_from_slice(br#","answer_refusal":"#);
            push_text(out, refusal.to_string().as_bytes());
        }
        if let Some(refusal) = self.refusal {
            out.extend_from_slice(br#","refusal":"#);
            push_text(out, refusal.code().as_bytes());
        }
    }

    fn render_way(&self, out: &mut Vec<u8>) {
        if let Some(tenant) = &self.tenant {
            out.extend_from_slice(br#","tenant":"#);
            push_text(out, tenant);
        }
        if let Some(cell) = &self.cell {
            out.extend_from_slice(br#","cell":"#);
            push_text(out, cell.as_bytes());
        }
        if let Some(endpoint) = self.endpoint {
            out.extend_from_slice(br#","endpoint":"#);
            push_endpoint(out, endpoint);
        }
        if let Some(generation) = self.generation {
            out.extend_from_slice(br#","generation":"#);
            push_number(out, generation);
        }
        if let Some(attempts) = self.attempts {
            out.extend_from_slice(br#","attempts":"#);
            push_number(out, attempts as u64);
        }
    }
}

/// What a connection's TLS agreed on, as further fields of a line.
pub(super) fn push_tls(out: &mut Vec<u8>, facts: &TlsFacts) {
    out.extend_from_slice(br#","tls_version":"#);
    push_text(out, facts.version.as_bytes());
    out.extend_from_slice(br#","tls_cipher":"#);
    push_text(out, facts.cipher.as_bytes());
    if let Some(name) = &facts.server_name {
        out.extend_from_slice(br#","sni":"#);
        push_text(out, name.as_bytes());
    }
}

#[cfg(test)]
mod tests;
