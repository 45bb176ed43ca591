//! The part of `proxy.yaml` that says where preflights of CORS go.

use cellgate_table::yaml::{Findings, Value};

use crate::{
    config::{Listener, ListenerProtocol},
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
    if listeners.is_some_and(always_match) {
        let message =
            "is never used: a rule finds a tenant in every request of every HTTP listener";
        let hint =
            "remove `cors`, or the rule `source_ip`, `source_network` or `tenant` of a listener";
        value.refuse(findings, message, hint);
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

fn always_match(listeners: &[Listener]) -> bool {
    let mut http = (listeners.iter()).filter(|it| it.protocol == ListenerProtocol::Http);
    http.all(|listener| listener.key_rules.always_match())
}
