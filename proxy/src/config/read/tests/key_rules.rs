//! Rules about connections, lists of listeners, and what is warned about.

use super::*;
use crate::tenant_key::{CertificateRule, ExtensionRule, Form, NameKind, Otherwise, PrefixLengths};

const AUTH: &str = "tls: { directory: x, client_auth: { mode: required, ca: ca.pem } }";

/// With these options of the only listener, and this list of the file.
pub(super) fn text(listener: &str, rules: &str) -> String {
    let comma = if listener.is_empty() { "" } else { ", " };
    let common = if rules.is_empty() {
        String::new()
    } else {
        format!("tenant_key: [{rules}]\n")
    };
    format!(
        "listeners: [{{ name: edge, address: \"0.0.0.0:80\"{comma}{listener} }}]\n{common}table: {{ path: t.yaml }}\n"
    )
}

#[test]
fn rules_about_connections() {
    let check = check_rule;
    let cert = |kind, otherwise| Source::ClientCert(CertificateRule { kind, otherwise });
    check(
        "{ client_cert: dns, pattern: \"{tenant}.Example.com\" }",
        cert(NameKind::Dns, Otherwise::Refuse),
        Some("{tenant}.example.com"),
    );
    let optional = cert(NameKind::Cn, Otherwise::NextRule);
    check("{ client_cert: cn, required: false }", optional, None);
    let tlv = |kind, subtype, form| {
        Source::ProxyTlv(ExtensionRule {
            kind,
            subtype,
            form,
            otherwise: Otherwise::Refuse,
        })
    };
    check("{ proxy_tlv: authority }", tlv(2, None, Form::Host), None);
    check("{ proxy_tlv: unique_id }", tlv(5, None, Form::Text), None);
    let aws = tlv(0xea, Some(1), Form::Text);
    check("{ proxy_tlv: 0xEA, subtype: 0x01 }", aws, None);
    let azure = tlv(0xee, Some(1), Form::NumberLe);
    check("{ proxy_tlv: 0xee, subtype: 1 }", azure, None);
    check("{ proxy_tlv: 0xe0 }", tlv(0xe0, None, Form::NumberBe), None);
    check(
        "{ proxy_tlv: 0xe0, format: hex }",
        tlv(0xe0, None, Form::Hex),
        None,
    );
    check(
        "{ source_network: { ipv4: 24, ipv6: 64 } }",
        Source::SourceNetwork(PrefixLengths { ipv4: 24, ipv6: 64 }),
        None,
    );
}

#[test]
fn a_listener_has_its_own_list_or_the_common_one() {
    let own = good(&text("tenant_key: [{ tenant: acme }]", ""));
    let fixed = &own.listeners[0].key_rules.rules()[0].source;
    assert_eq!(*fixed, Source::Tenant(b"acme"[..].into()));
    let common = "{ sni: \"{tenant}.a.example\" }, { host: \"{tenant}.a.example\" }";
    let skipped = good(&text("", common));
    assert_eq!(skipped.listeners[0].key_rules.rules().len(), 1);
}

#[test]
fn rules_that_are_refused() {
    let check = |listener: &str, rules: &str, expected: &str| {
        let problems = read(&text(listener, rules)).unwrap_err().to_string();
        assert!(
            problems.contains(expected),
            "{listener} {rules}: {problems}"
        );
    };
    check("", "", "`tenant_key`");
    check(
        "",
        "{ tenant: acme }",
        "a fixed tenant is for a single listener",
    );
    let sni = "{ sni: \"{tenant}.a.example\" }";
    check(
        "",
        sni,
        "no rule under `tenant_key` can be answered by a request",
    );
    check(&format!("tenant_key: [{sni}]"), "", "use `host`");
    check(
        "tenant_key: [{ tenant: \" a\" }]",
        "",
        "begins or ends with white space",
    );
    let connections = |list: &str| format!("protocol: tcp, tenant_key: [{list}]");
    check(
        &connections("{ header: x-t }"),
        "",
        "only a request can answer this rule",
    );
    check(
        "protocol: tcp",
        "{ header: x-t }",
        "give the listener a `tenant_key` of its own",
    );
    check(
        "",
        "{ header: x-t, required: true }",
        "does not go with this rule",
    );
    check(
        "",
        "{ client_cert: uri, subtype: 1 }",
        "does not go with this rule",
    );
    check(
        "",
        "{ proxy_tlv: 0xe0, pattern: \"{tenant}\" }",
        "does not go with this rule",
    );
    check(
        "",
        "{ proxy_tlv: 0x03 }",
        "0x03 is not a type that names tenants",
    );
    check("", "{ proxy_tlv: autority }", "did you mean `authority`?");
    check("", "{ source_network: { ipv4: 24 } }", "ipv6");
    check(
        "",
        "{ source_network: { ipv4: 0, ipv6: 64 } }",
        "out of range",
    );
    check("", "{ jwt: x }", "does not work in this version yet");
}

#[test]
fn what_works_and_is_hardly_meant_is_warned_about() {
    let check = |listener: &str, rules: &str, expected: Option<&str>| {
        let warnings = good(&text(listener, rules)).warnings.to_string();
        match expected {
            Some(expected) => assert!(warnings.contains(expected), "{rules}: {warnings}"),
            None => assert_eq!(warnings, "", "{rules}"),
        }
    };
    let cert = "{ client_cert: uri }";
    let header = "{ header: x-t }";
    check(AUTH, cert, None);
    check("", &format!("{header}, {{ source_ip: true }}"), None);
    check(
        "",
        cert,
        Some("asks for no client certificates, and everything is refused"),
    );
    let optional = AUTH.replace("required", "optional");
    check(&optional, cert, Some("refuses them as `no_certificate`"));
    let either = "{ client_cert: uri, required: false }, { header: x-t }";
    check(&optional, either, None);
    check(
        AUTH,
        &format!("{header}, {cert}"),
        Some("proves nothing while `header` stands before it"),
    );
    check(
        AUTH,
        &format!("{cert}, {header}"),
        Some("is never asked, because `client_cert`"),
    );
    check(
        "",
        &format!("{{ source_ip: true }}, {header}"),
        Some("because `source_ip`"),
    );
    let tlv = "{ proxy_tlv: authority }";
    check(
        "",
        tlv,
        Some("takes no PROXY headers, and everything is refused as `no_proxy_tlv`"),
    );
    let behind = "proxy_protocol: { from: [10.0.0.1] }";
    check(behind, tlv, None);
    // It is the name that the client asks for.
    let either = "{ proxy_tlv: authority, required: false }, { proxy_tlv: 0xea, subtype: 1 }";
    check(
        behind,
        either,
        Some("proves nothing while `proxy_tlv: authority` stands before it"),
    );
    let either = "{ proxy_tlv: 0xea, subtype: 1, required: false }, { proxy_tlv: authority }";
    check(behind, either, None);
    let own = format!("tenant_key: [{header}, {cert}], {AUTH}");
    check(&own, "", Some("proves nothing while `header`"));
}
