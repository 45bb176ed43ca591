//! What a line of the access log says.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};

use crate::{answer::Reason, clock, exchange::Connection, gate::Refusal};

/// One request and its answer. Fields that are not known are left out.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// When the answer ended; RFC 3339, UTC.
    #[serde(serialize_with = "as_date")]
    pub time: SystemTime,
    /// The listener that took the connection.
    pub listener: String,
    pub client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// 0 when nobody was there to be answered.
    pub status: u16,
    /// The proxy's reason, when it answered by itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_code")]
    pub reason: Option<Reason>,
    /// Why the cell's answer was not passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_refusal: Option<String>,
    /// What the gate found wrong with the request's bytes.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_refusal_code"
    )]
    pub refusal: Option<Refusal>,
    #[serde(rename = "duration_ms", serialize_with = "as_ms")]
    pub took: Duration,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Endpoints tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<usize>,
}

impl Entry {
    /// A request that was refused before it was read as one.
    pub fn refused_unread(
        connection: &Connection,
        reason: Reason,
        refusal: Option<Refusal>,
    ) -> Self {
        Self {
            time: SystemTime::now(),
            listener: connection.listener.to_string(),
            client: connection.peer,
            method: None,
            host: None,
            target: None,
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
            tries: None,
        }
    }

    /// A request whose head was read and whose body never came. `reason` is `None` when its client left.
    pub fn body_unread(
        connection: &Connection,
        head: &[u8],
        reason: Option<Reason>,
        took: Duration,
    ) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut request_line = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let host = lines.find_map(|line| {
            let (name, value) = line.split_first_chunk::<5>()?;
            name.eq_ignore_ascii_case(b"host:")
                .then(|| text(value.trim_ascii()))
        });
        Self {
            method: request_line.next().map(text),
            target: request_line.next().map(text),
            host,
            status: reason.map_or(0, Reason::status),
            reason,
            took,
            ..Self::refused_unread(connection, Reason::RequestTimeout, None)
        }
    }
}

fn as_date<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&clock::rfc3339(*time))
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn as_code<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.map_or("", Reason::code))
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn as_refusal_code<S: Serializer>(
    refusal: &Option<Refusal>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(refusal.map_or("", Refusal::code))
}

fn as_ms<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}
