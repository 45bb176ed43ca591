//! The parts of `proxy.yaml` that say how a request or a connection names its tenant: a list for all listeners, and lists
//! of single ones in its place.

mod rule;
mod warnings;

use std::sync::Arc;

use cellgate_table::yaml::{Fields, Findings, Node, Value};

use crate::tenant_key::{KeyRule, KeyRules, Source};

pub(super) use warnings::warn_of_listener;

pub(super) const KEY: &str = "tenant_key";
const RULES_MAX: usize = 32;

/// What a listener takes, and so what can name a tenant there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    Requests,
    Connections,
}

/// The list for listeners without one of their own.
#[derive(Debug, Default)]
pub(super) struct Common {
    requests: Arc<KeyRules>,
    /// Without those that only a request can answer.
    connections: Arc<KeyRules>,
}

/// It may be left out where every listener has its own.
pub(super) fn read_common(
    fields: &Fields<'_>,
    findings: &mut Findings,
    warnings: &mut Findings,
) -> Option<Common> {
    let listeners = fields.optional("listeners");
    let all_have_own = listeners.is_some_and(|value| match value.node() {
        Node::Sequence(items) => !items.is_empty() && items.iter().all(has_own),
        _ => false,
    });
    if all_have_own && fields.optional(KEY).is_none() {
        return Some(Common::default());
    }
    let value = fields.required(KEY, findings)?;
    let rules = read_list(&value, findings, |item, rule, findings| {
        if matches!(rule.source, Source::Tenant(_)) {
            let hint =
                "put it into the `tenant_key` of a listener; here it would be for all of them";
            item.refuse(findings, "a fixed tenant is for a single listener", hint);
        }
    })?;
    warnings::warn_of_order(&value, &rules, warnings);
    let of = |carries| {
        let fitting = rules.iter().filter(|rule| fits(rule, carries));
        Arc::new(KeyRules::new(fitting.cloned().collect()))
    };
    Some(Common {
        requests: of(Carries::Requests),
        connections: of(Carries::Connections),
    })
}

fn has_own(listener: &Node) -> bool {
    let Node::Mapping(entries) = listener else {
        return false;
    };
    entries.iter().any(|(name, _)| &**name == KEY)
}

/// The rules of one listener.
pub(super) fn read_of_listener(
    item: &Value<'_>,
    fields: &Fields<'_>,
    carries: Carries,
    common: Option<&Common>,
    findings: &mut Findings,
    warnings: &mut Findings,
) -> Option<Arc<KeyRules>> {
    let Some(value) = fields.optional(KEY) else {
        let common = common?;
        let (rules, message, hint) = match carries {
            Carries::Requests => (
                &common.requests,
                "no rule under `tenant_key` can be answered by a request",
                "add one that can, such as `header`; or give the listener a `tenant_key` of its own",
            ),
            Carries::Connections => (
                &common.connections,
                "no rule under `tenant_key` can be answered by a connection that carries anything but HTTP",
                "give the listener a `tenant_key` of its own, with `sni`, `client_cert`, `proxy_tlv`, `source_ip`, \
                 `source_network` or `tenant`",
            ),
        };
        if rules.rules().is_empty() {
            item.refuse(findings, message, hint);
            return None;
        }
        return Some(Arc::clone(rules));
    };
    let rules = read_list(&value, findings, |item, rule, findings| {
        if fits(rule, carries) {
            return;
        }
        let (message, hint) = match carries {
            Carries::Requests => (
                "`sni` says nothing of whom a request is for",
                "use `host`: requests for several names may come by one connection",
            ),
            Carries::Connections => (
                "only a request can answer this rule, and the listener takes connections",
                "use `sni`, `client_cert`, `proxy_tlv`, `source_ip`, `source_network` or `tenant`",
            ),
        };
        item.refuse(findings, message, hint);
    })?;
    warnings::warn_of_order(&value, &rules, warnings);
    Some(Arc::new(KeyRules::new(rules)))
}

fn fits(rule: &KeyRule, carries: Carries) -> bool {
    match rule.source {
        Source::Header(_)
        | Source::Host(_)
        | Source::Path(_)
        | Source::Query(_)
        | Source::Cookie(_) => carries == Carries::Requests,
        Source::Sni(_) => carries == Carries::Connections,
        Source::SourceIp
        | Source::SourceNetwork(_)
        | Source::ClientCert(_)
        | Source::ProxyTlv(_)
        | Source::Tenant(_) => true,
    }
}

/// Reads a list, and has each good rule judged.
fn read_list(
    value: &Value<'_>,
    findings: &mut Findings,
    judge: impl Fn(&Value<'_>, &KeyRule, &mut Findings),
) -> Option<Vec<KeyRule>> {
    let items = value.sequence(findings)?;
    if items.len() == 0 || items.len() > RULES_MAX {
        let message = format!("has {} rules", items.len());
        let hint = format!("list 1 to {RULES_MAX} rules, such as `- header: x-tenant-id`");
        value.refuse_key(findings, message, hint);
        return None;
    }
    let (count, mut rules) = (items.len(), Vec::new());
    for item in items {
        if let Some(rule) = rule::read(&item, findings) {
            judge(&item, &rule, findings);
            rules.push(rule);
        }
    }
    (rules.len() == count).then_some(rules)
}
