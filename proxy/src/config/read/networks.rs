//! Lists of networks.

use cellgate_table::yaml::{Findings, Value};

use crate::net::Networks;

pub(super) fn read(value: &Value<'_>, findings: &mut Findings) -> Option<Networks> {
    let mut networks = Networks::default();
    for item in value.sequence(findings)? {
        let Some(text) = item.text(findings) else {
            continue;
        };
        if let Err(error) = networks.add(text) {
            let hint = "write a network such as 10.0.0.0/8 or fd00::/8, or one address";
            item.refuse(findings, format!("`{text}` {error}"), hint);
        }
    }
    Some(networks)
}

/// A list that says nothing if it is empty.
pub(super) fn read_some(value: &Value<'_>, findings: &mut Findings) -> Option<Networks> {
    let networks = read(value, findings)?;
    if value.sequence(findings)?.len() == 0 {
        value.refuse_key(
            findings,
            "is empty",
            "list at least one network, or leave it out",
        );
        return None;
    }
    Some(networks)
}
