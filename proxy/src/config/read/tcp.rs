//! What a listener says of its connections as such: the section `tcp`, and what only TCP listeners have.

use std::time::Duration;

use cellgate_table::yaml::{
    Fields, Findings,
    settings::{MS_MAX, section},
};

use super::{http_options, key_rules::Carries};
use crate::config::{ListenerProtocol, Relaying, SendProxy, Starttls, Tcp};

/// The system counts the time before it asks a client in seconds.
const KEEPALIVE_MS_MIN: u32 = 1_000;
/// Linux takes no more than 32,767 seconds.
const KEEPALIVE_MS_MAX: u32 = 32_767_000;
/// A network that is slow for a moment must not look like one that is gone.
const USER_TIMEOUT_MS_MIN: u32 = 1_000;
/// The keys of the section that only TCP listeners have.
const RELAYING_KEYS: [&str; 3] = ["idle_ms", "first_byte_ms", "send_proxy"];
/// The key of a listener that says how TLS begins.
pub(super) const STARTTLS: &str = "starttls";

/// What the listener says that it takes, which is requests unless it says otherwise.
pub(super) fn read_protocol(listener: &Fields<'_>, findings: &mut Findings) -> Option<Carries> {
    let Some(value) = listener.optional("protocol") else {
        return Some(Carries::Requests);
    };
    let choices = [("http", Carries::Requests), ("tcp", Carries::Connections)];
    let carries = value.choice(&choices, findings);
    if carries == Some(Carries::Connections) {
        for key in http_options::KEYS {
            refuse_on_tcp(listener, key, findings);
        }
    }
    carries
}

pub(super) fn read(
    listener: &Fields<'_>,
    carries: Option<Carries>,
    findings: &mut Findings,
) -> Option<(Tcp, ListenerProtocol)> {
    let known = [
        "keepalive_ms",
        "user_timeout_ms",
        "idle_ms",
        "first_byte_ms",
        "send_proxy",
    ];
    let starttls = match listener.optional(STARTTLS) {
        Some(value) => value
            .choice(&[("postgresql", Starttls::PostgreSql)], findings)
            .map(Some),
        None => Some(None),
    };
    if carries == Some(Carries::Requests) {
        refuse_on_http(listener, STARTTLS, findings);
    }
    section(listener, "tcp", &known, findings, |fields, findings| {
        let fields = fields.as_ref();
        if carries == Some(Carries::Requests)
            && let Some(fields) = fields
        {
            for key in RELAYING_KEYS {
                refuse_on_http(fields, key, findings);
            }
        }
        let tcp = read_sockets(fields, findings);
        let relaying = read_relaying(fields, findings);
        let protocol = match carries? {
            Carries::Requests => ListenerProtocol::Http,
            Carries::Connections => ListenerProtocol::Tcp(Relaying {
                starttls: starttls?,
                ..relaying?
            }),
        };
        Some((tcp?, protocol))
    })
}

fn refuse_on_http(fields: &Fields<'_>, key: &str, findings: &mut Findings) {
    if let Some(value) = fields.optional(key) {
        let message = format!("`{key}` is for TCP listeners, and this one speaks HTTP");
        value.refuse_key(findings, message, "remove it, or write `protocol: tcp`");
    }
}

fn refuse_on_tcp(fields: &Fields<'_>, key: &str, findings: &mut Findings) {
    if let Some(value) = fields.optional(key) {
        let message = format!("`{key}` is for listeners that speak HTTP, and this one does not");
        value.refuse_key(findings, message, "remove it, or write `protocol: http`");
    }
}

fn read_sockets(fields: Option<&Fields<'_>>, findings: &mut Findings) -> Option<Tcp> {
    let mut ms = |name, least, most, default| {
        let Some(value) = fields.and_then(|fields| fields.optional(name)) else {
            return Some(default);
        };
        let ms = value.integer(0..=most, findings)?;
        if (1..least).contains(&ms) {
            let hint = format!("write {least} or more, or 0 to switch it off");
            value.refuse(findings, format!("{ms} is too short"), hint);
            return None;
        }
        Some((ms > 0).then(|| Duration::from_millis(ms.into())))
    };
    let default = Tcp::default();
    let keepalive = ms(
        "keepalive_ms",
        KEEPALIVE_MS_MIN,
        KEEPALIVE_MS_MAX,
        default.keepalive,
    );
    let user_timeout = ms(
        "user_timeout_ms",
        USER_TIMEOUT_MS_MIN,
        MS_MAX,
        default.user_timeout,
    );
    Some(Tcp {
        keepalive: keepalive?,
        user_timeout: user_timeout?,
    })
}

fn read_relaying(fields: Option<&Fields<'_>>, findings: &mut Findings) -> Option<Relaying> {
    let field = |name| fields.and_then(|fields| fields.optional(name));
    let default = Relaying::default();
    let idle = match field("idle_ms") {
        Some(value) => value
            .integer(1..=MS_MAX, findings)
            .map(|ms| Duration::from_millis(ms.into())),
        None => Some(default.idle),
    };
    let first_byte = match field("first_byte_ms") {
        Some(value) => value
            .integer(0..=MS_MAX, findings)
            .map(|ms| (ms > 0).then(|| Duration::from_millis(ms.into()))),
        None => Some(default.first_byte),
    };
    let versions = [("v1", SendProxy::V1), ("v2", SendProxy::V2)];
    let send_proxy = match field("send_proxy") {
        Some(value) => value.choice(&versions, findings).map(Some),
        None => Some(None),
    };
    Some(Relaying {
        idle: idle?,
        first_byte: first_byte?,
        send_proxy: send_proxy?,
        starttls: None,
    })
}
