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
    exchange::{Connection, Destination, Exchange},
    field_lines::is_name,
    gate::Refusal,
    request_id::{RequestId, trace_id},
    upstream::AnswerRefusal,
};

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
    pub method: Option<Cow<'a, [u8]>>,
    pub host: Option<Cow<'a, [u8]>>,
    pub target: Option<Cow<'a, [u8]>>,
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
    /// The value of Host, without the blanks around it.
    pub host: Option<&'a [u8]>,
    /// The value of `traceparent`, if there is exactly one.
    pub traceparent: Option<&'a [u8]>,
}

/// Values of the fields that are looked for in a head.
#[derive(Debug, Default)]
struct Found<'a> {
    host: Option<&'a [u8]>,
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
            host: found.host,
            traceparent: found.traceparent.filter(|_| !found.has_more_traceparents),
        }
    }
}

impl<'a> HeadParts<'a> {
    fn trace_id(&self) -> Option<Cow<'a, [u8]>> {
        trace_id(self.traceparent?).map(Cow::Borrowed)
    }
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
            method: Some(Cow::Borrowed(served.head.method)),
            host: served.head.host.map(Cow::Borrowed),
            target: Some(Cow::Borrowed(served.head.target)),
            request_id: exchange.request_id().map(|id| Cow::Borrowed(id.as_str())),
            trace_id: served.head.trace_id(),
            status: served.status.unwrap_or(0),
            reason: exchange.reason(),
            answer_refusal: exchange.answer_refusal(),
            refusal: exchange.refusal(),
            took: served.took,
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
            method: None,
            host: None,
            target: None,
            request_id: None,
            trace_id: None,
            status: reason.status(),
            reason: Some(reason),
            answer_refusal: None,
            refusal,
            took: Duration::ZERO,
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
            method: owned(self.method),
            host: owned(self.host),
            target: owned(self.target),
            request_id: self.request_id.map(|id| Cow::Owned(id.into_owned())),
            trace_id: owned(self.trace_id),
            status: self.status,
            reason: self.reason,
            answer_refusal: self.answer_refusal,
            refusal: self.refusal,
            took: self.took,
            request_body_bytes: self.request_body_bytes,
            response_body_bytes: self.response_body_bytes,
            tenant: owned(self.tenant),
            cell: self.cell.map(|cell| Cow::Owned(cell.into_owned())),
            endpoint: self.endpoint,
            generation: self.generation,
            attempts: self.attempts,
        }
    }

    /// Appends the line to `out`: one JSON object and a line feed. No other line feed is in it, whatever bytes a client
    /// sent.
    pub fn render(&self, dates: &mut DateWriter, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"time":""#);
        dates.write(self.time, out);
        out.extend_from_slice(br#"","listener":"#);
        push_text(out, self.listener.as_bytes());
        out.extend_from_slice(br#","client":"#);
        push_ip(out, self.client);
        self.render_request(out);
        out.extend_from_slice(br#","status":"#);
        push_number(out, self.status.into());
        self.render_refusals(out);
        out.extend_from_slice(br#","duration_ms":"#);
        push_ms(out, self.took);
        out.extend_from_slice(br#","request_body_bytes":"#);
        push_number(out, self.request_body_bytes);
        out.extend_from_slice(br#","response_body_bytes":"#);
        push_number(out, self.response_body_bytes);
        self.render_way(out);
        out.extend_from_slice(b"}\n");
    }

    fn render_request(&self, out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests;
