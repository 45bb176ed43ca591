//! The part of `proxy.yaml` that says where preflights of CORS go.

use cellgate_table::yaml::{Findings, Value};

use crate::{
    config::Listener,
    tenant_key::{Preflights, RequestKey},
};

pub(super) fn read(
    value: &Value<'_>,
    listeners: Option<&[Listener]>,
    findings: &mut Findings,
) -> Option<Preflights> {
    let fields = value.fields(&["preflight_tenant"], findings)?;
    let value = fields.required("preflight_tenant", findings)?;
    let text = value.text(findings)?;
    let always_match = |listeners: &[Listener]| {
        let mut listeners = listeners.iter();
        listeners.all(|listener| listener.key_rules.always_match())
    };
    if listeners.is_some_and(always_match) {
        let message = "is never used: the rule `source_ip` finds a tenant in every request";
        value.refuse(findings, message, "remove `cors`, or that rule");
        return None;
    }
    match RequestKey::new(text.as_bytes()) {
        Ok(tenant) => Some(Preflights::to(tenant)),
        Err(error) => {
            let hint = "write the key of the tenant whose cell answers preflights";
            value.refuse(findings, format!("cannot be a tenant: {error}"), hint);
            None
        }
    }
}
