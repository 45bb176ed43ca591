//! The part of `proxy.yaml` that says where preflights of CORS go.

use cellgate_table::yaml::{Findings, Value};

use crate::tenant_key::{KeyRules, Preflights, RequestKey};

pub(super) fn read(
    value: &Value<'_>,
    rules: Option<&KeyRules>,
    findings: &mut Findings,
) -> Option<Preflights> {
    let fields = value.fields(&["preflight_tenant"], findings)?;
    let value = fields.required("preflight_tenant", findings)?;
    let text = value.text(findings)?;
    if rules.is_some_and(KeyRules::always_match) {
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
