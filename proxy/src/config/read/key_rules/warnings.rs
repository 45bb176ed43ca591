//! Lists that work, but hardly as they are meant.

use cellgate_table::yaml::{Findings, Value};

use crate::{
    config::Listener,
    tenant_key::{ExtensionRule, KeyRule, Otherwise, Source},
    tls::ClientAuthMode,
};

/// How a rule is written, and what may come of it.
fn name(rule: &KeyRule) -> (&'static str, Nature) {
    match &rule.source {
        Source::Header(_) => ("header", Nature::Chosen(None)),
        Source::Host(_) => ("host", Nature::Chosen(None)),
        Source::Path(_) => ("path", Nature::Chosen(None)),
        Source::Query(_) => ("query", Nature::Chosen(None)),
        Source::Cookie(_) => ("cookie", Nature::Chosen(None)),
        Source::Sni(_) => ("sni", Nature::Chosen(None)),
        Source::ClientCert(rule) => ("client_cert", Nature::Proof(rule.otherwise)),
        Source::ProxyTlv(rule) if rule.kind == ExtensionRule::AUTHORITY => {
            ("proxy_tlv: authority", Nature::Chosen(Some(rule.otherwise)))
        }
        Source::ProxyTlv(rule) => ("proxy_tlv", Nature::Proof(rule.otherwise)),
        Source::SourceIp => ("source_ip", Nature::Always),
        Source::SourceNetwork(_) => ("source_network", Nature::Always),
        Source::Tenant(_) => ("tenant", Nature::Always),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// The client says what it likes, to the proxy or to its load balancer. And what follows from saying nothing, if that can
    /// be chosen.
    Chosen(Option<Otherwise>),
    Proof(Otherwise),
    /// It finds a key every time.
    Always,
}

impl Nature {
    /// Of a rule that says what follows if it finds nothing.
    fn otherwise(self) -> Option<Otherwise> {
        match self {
            Self::Chosen(otherwise) => otherwise,
            Self::Proof(otherwise) => Some(otherwise),
            Self::Always => None,
        }
    }
}

/// Rules that stand before others for which they leave nothing, or from which they take the point.
pub(super) fn warn_of_order(list: &Value<'_>, rules: &[KeyRule], warnings: &mut Findings) {
    let Some(items) = list.sequence(&mut Findings::default()) else {
        return;
    };
    let (mut chosen, mut closing) = (None, None);
    for (item, (name, nature)) in items.zip(rules.iter().map(name)) {
        if let Some(before) = closing {
            let message = format!(
                "is never asked, because `{before}` before it finds a key or refuses, every time"
            );
            item.refuse(warnings, message, "remove it, or put it before that rule");
        }
        match nature {
            Nature::Chosen(_) => chosen = chosen.or(Some(name)),
            Nature::Proof(_) => {
                if let Some(chosen) = chosen {
                    let message = format!(
                        "proves nothing while `{chosen}` stands before it: by that, a client names any tenant it likes"
                    );
                    item.refuse(warnings, message, format!("put `{name}` first"));
                }
            }
            Nature::Always => closing = closing.or(Some(name)),
        }
        if nature.otherwise() == Some(Otherwise::Refuse) {
            closing = closing.or(Some(name));
        }
    }
}

/// Rules that a listener asks in vain.
pub(in crate::config::read) fn warn_of_listener(
    item: &Value<'_>,
    listener: &Listener,
    warnings: &mut Findings,
) {
    let rules = listener.key_rules.rules();
    let otherwise = |is_wanted: fn(&Source) -> bool| {
        let mut wanted = rules.iter().filter(|rule| is_wanted(&rule.source));
        wanted.find_map(|rule| name(rule).1.otherwise())
    };
    let client_auth = listener
        .tls
        .as_ref()
        .and_then(|tls| tls.client_auth.as_ref());
    let of_certificate = otherwise(|source| matches!(source, Source::ClientCert(_)));
    match (of_certificate, client_auth.map(|auth| auth.mode)) {
        (Some(otherwise), None) => {
            let message = format!(
                "the rule `client_cert` finds nothing here, because the listener asks for no client certificates{}",
                outcome(otherwise, "no_certificate")
            );
            let hint = "set `tls.client_auth`, or give the listener a `tenant_key` of its own";
            item.refuse(warnings, message, hint);
        }
        (Some(Otherwise::Refuse), Some(ClientAuthMode::Optional)) => {
            let message = "clients without a certificate get through the handshake, and then the rule `client_cert` \
                           refuses them as `no_certificate`";
            let hint = "set `tls.client_auth.mode: required` to refuse them in the handshake; or set `required: false` \
                        in the rule, so that the next one is asked";
            item.refuse(warnings, message, hint);
        }
        _ => {}
    }
    let of_extension = otherwise(|source| matches!(source, Source::ProxyTlv(_)));
    if let (Some(otherwise), None) = (of_extension, &listener.proxy_protocol) {
        let message = format!(
            "the rule `proxy_tlv` finds nothing here, because the listener takes no PROXY headers{}",
            outcome(otherwise, "no_proxy_tlv")
        );
        let hint = "set `proxy_protocol`, or give the listener a `tenant_key` of its own";
        item.refuse(warnings, message, hint);
    }
}

fn outcome(otherwise: Otherwise, reason: &str) -> String {
    match otherwise {
        Otherwise::Refuse => format!(", and everything is refused as `{reason}`"),
        Otherwise::NextRule => String::new(),
    }
}
