//! The part of `proxy.yaml` that says what one client may cost.

use std::{num::NonZeroU32, sync::Arc};

use cellgate_table::yaml::{
    Fields, Findings, Value,
    settings::{number, section},
};

use crate::{config::Limits, gate::Protocol};

/// Protocols in `limits.upgrades`: each is compared with each that a client offers.
const UPGRADES_MAX: usize = 16;

pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<Limits> {
    let known = [
        "connections_max",
        "connections_per_source_max",
        "head_bytes_max",
        "headers_max",
        "body_bytes_max",
        "body_buffered_bytes_max",
        "body_buffers_total_bytes_max",
        "body_bytes_per_second_min",
        "upgrades",
    ];
    section(fields, "limits", &known, findings, |fields, findings| {
        let fields = fields.as_ref();
        let body = number(fields, "body_bytes_max", 0..=u64::MAX, 1 << 30, findings);
        let buffers = "body_buffers_total_bytes_max";
        let buffers = number(fields, buffers, 0..=1_u64 << 40, 64 << 20, findings);
        let mut small = |name, range, default| number(fields, name, range, default, findings);
        let connections = small("connections_max", 1..=10_000_000_u32, 20_000);
        let per_source = small("connections_per_source_max", 0..=10_000_000, 0);
        let head = small("head_bytes_max", 1_024..=1_048_576, 32_768);
        // Pingora's own limit is 256.
        let headers = small("headers_max", 1..=256, 100);
        let buffered = small("body_buffered_bytes_max", 0..=1_048_576, 65_536);
        let pace = small("body_bytes_per_second_min", 0..=1_000_000, 100);
        let upgrades = match fields.and_then(|fields| fields.optional("upgrades")) {
            Some(value) => read_upgrades(&value, findings),
            None => Some(Protocol::defaults().into()),
        };
        Some(Limits {
            connections_max: connections? as usize,
            connections_per_source_max: NonZeroU32::new(per_source?),
            head_bytes_max: head? as usize,
            headers_max: headers? as usize,
            body_bytes_max: body?,
            body_buffered_bytes_max: buffered? as usize,
            body_buffers_total_bytes_max: usize::try_from(buffers?).unwrap_or(usize::MAX),
            body_bytes_per_second_min: pace?,
            upgrades: upgrades?,
        })
    })
}

fn read_upgrades(value: &Value<'_>, findings: &mut Findings) -> Option<Arc<[Protocol]>> {
    let items = value.sequence(findings)?;
    let mut protocols = Vec::new();
    for item in items {
        if protocols.len() == UPGRADES_MAX {
            let hint = "name only those that cells speak";
            value.refuse(
                findings,
                format!("has more than {UPGRADES_MAX} protocols"),
                hint,
            );
            return None;
        }
        let Some(text) = item.text(findings) else {
            continue;
        };
        match Protocol::parse(text) {
            Ok(protocol) => protocols.push(protocol),
            Err(error) => {
                let hint = "write a name such as websocket, with a version where it has one";
                item.refuse(findings, format!("`{text}` {error}"), hint);
            }
        }
    }
    Some(protocols.into())
}
