//! One rule.

use cellgate_table::yaml::{Fields, Findings, Node, Value};

use crate::tenant_key::{
    CertificateRule, ExtensionRule, Form, KeyRule, NameKind, Otherwise, PathPattern, Pattern,
    PrefixLengths, RequestKey, Source,
};

/// Where a rule looks for the tenant.
const SOURCES: [&str; 11] = [
    "header",
    "host",
    "path",
    "query",
    "cookie",
    "sni",
    "client_cert",
    "proxy_tlv",
    "source_ip",
    "source_network",
    "tenant",
];
/// What a rule says besides.
const OPTIONS: [&str; 4] = ["pattern", "required", "subtype", "format"];
const PLANNED: [&str; 1] = ["jwt"];

/// A type of extension that the PROXY protocol names itself.
const UNIQUE_ID: u8 = 0x05;
/// Types that are free for anybody's use (section 2.2 of the protocol).
const FREE_MIN: u8 = 0xe0;
const FREE_MAX: u8 = 0xf7;
/// Azure's private link: with subtype 1, a link's number, the least significant byte first.
const AZURE: (u8, Option<u8>) = (0xee, Some(0x01));
/// Google's private service connect: a connection's number, the most significant byte first.
const GOOGLE: (u8, Option<u8>) = (0xe0, None);

pub(super) fn read(item: &Value<'_>, findings: &mut Findings) -> Option<KeyRule> {
    refuse_planned(item, findings)?;
    let fields = item.fields(&[&SOURCES[..], &OPTIONS[..]].concat(), findings)?;
    let sources: Vec<&str> = SOURCES
        .iter()
        .copied()
        .filter(|name| fields.optional(name).is_some())
        .collect();
    let [source] = sources[..] else {
        let message = match sources.len() {
            0 => "names no place to look for the tenant".to_owned(),
            _ => format!("names several places: {}", sources.join(", ")),
        };
        let hint = "write one rule per place; rules are tried in order";
        item.refuse(findings, message, hint);
        return None;
    };
    refuse_misplaced(source, &fields, findings);
    let value = fields.optional(source)?;
    let source = match source {
        "header" => Source::Header(read_header_name(&value, findings)?),
        "host" => Source::Host(read_pattern(&value, Case::Lower, findings)?),
        "path" => Source::Path(read_path_pattern(&value, findings)?),
        "query" => Source::Query(read_name(&value, findings)?),
        "cookie" => Source::Cookie(read_name(&value, findings)?),
        "sni" => Source::Sni(read_pattern(&value, Case::Lower, findings)?),
        "client_cert" => Source::ClientCert(read_certificate(&value, &fields, findings)?),
        "proxy_tlv" => Source::ProxyTlv(read_extension(&value, &fields, findings)?),
        "source_network" => Source::SourceNetwork(read_lengths(&value, findings)?),
        "tenant" => Source::Tenant(read_tenant(&value, findings)?),
        _ => {
            if value.boolean(findings) == Some(false) {
                value.refuse(
                    findings,
                    "is `false`",
                    "write `source_ip: true`, or remove the rule",
                );
            }
            Source::SourceIp
        }
    };
    let pattern = match fields.optional("pattern") {
        Some(value) => Some(read_own_pattern(&value, &source, findings)?),
        None => None,
    };
    Some(KeyRule { source, pattern })
}

/// Rules of the design that this version cannot follow yet: said plainly instead of "unknown key".
fn refuse_planned(item: &Value<'_>, findings: &mut Findings) -> Option<()> {
    let Node::Mapping(entries) = item.node() else {
        return Some(());
    };
    let planned = entries.iter().find(|(name, _)| PLANNED.contains(&&**name));
    let Some((name, _)) = planned else {
        return Some(());
    };
    let message = format!("the rule `{name}` does not work in this version yet");
    item.refuse(
        findings,
        message,
        format!("use one of {}", SOURCES.join(", ")),
    );
    None
}

fn refuse_misplaced(source: &str, fields: &Fields<'_>, findings: &mut Findings) {
    let goes_with: [(&str, &[&str]); 3] = [
        ("required", &["client_cert", "proxy_tlv"]),
        ("subtype", &["proxy_tlv"]),
        ("format", &["proxy_tlv"]),
    ];
    for (name, sources) in goes_with {
        if let Some(value) = fields.optional(name)
            && !sources.contains(&source)
        {
            let hint = format!("remove it; it goes with {}", sources.join(" and "));
            value.refuse_key(findings, "does not go with this rule", hint);
        }
    }
}

fn read_own_pattern(
    value: &Value<'_>,
    source: &Source,
    findings: &mut Findings,
) -> Option<Pattern> {
    let case = match source {
        Source::ClientCert(rule) if rule.kind == NameKind::Dns => Case::Lower,
        Source::Header(_) | Source::Query(_) | Source::Cookie(_) | Source::ClientCert(_) => {
            Case::Kept
        }
        Source::ProxyTlv(rule) if rule.form == Form::Host => Case::Lower,
        Source::ProxyTlv(rule) if rule.form == Form::Text => Case::Kept,
        _ => {
            let hint = "a pattern goes with `header`, `query`, `cookie`, `client_cert`, and a `proxy_tlv` that is text; \
                        `host`, `sni` and `path` are patterns themselves";
            value.refuse_key(findings, "does not go with this rule", hint);
            return None;
        }
    };
    read_pattern(value, case, findings)
}

fn read_certificate(
    value: &Value<'_>,
    fields: &Fields<'_>,
    findings: &mut Findings,
) -> Option<CertificateRule> {
    let choices = [
        ("uri", NameKind::Uri),
        ("dns", NameKind::Dns),
        ("email", NameKind::Email),
        ("cn", NameKind::Cn),
    ];
    let kind = value.choice(&choices, findings);
    let otherwise = read_otherwise(fields, findings);
    Some(CertificateRule {
        kind: kind?,
        otherwise: otherwise?,
    })
}

fn read_extension(
    value: &Value<'_>,
    fields: &Fields<'_>,
    findings: &mut Findings,
) -> Option<ExtensionRule> {
    let kind = match value.node() {
        Node::Integer(_) => read_free_type(value, findings),
        _ => value.choice(
            &[
                ("authority", ExtensionRule::AUTHORITY),
                ("unique_id", UNIQUE_ID),
            ],
            findings,
        ),
    };
    let subtype = match fields.optional("subtype") {
        Some(value) => value.integer(0..=u8::MAX, findings).map(Some),
        None => Some(None),
    };
    let otherwise = read_otherwise(fields, findings);
    let (kind, subtype) = (kind?, subtype?);
    let form = match fields.optional("format") {
        Some(value) => {
            let choices = [
                ("text", Form::Text),
                ("host", Form::Host),
                ("hex", Form::Hex),
                ("number_le", Form::NumberLe),
                ("number_be", Form::NumberBe),
            ];
            value.choice(&choices, findings)?
        }
        None if kind == ExtensionRule::AUTHORITY => Form::Host,
        None if (kind, subtype) == AZURE => Form::NumberLe,
        None if (kind, subtype) == GOOGLE => Form::NumberBe,
        None => Form::Text,
    };
    Some(ExtensionRule {
        kind,
        subtype,
        form,
        otherwise: otherwise?,
    })
}

/// Types with a meaning of their own are asked for by name.
fn read_free_type(value: &Value<'_>, findings: &mut Findings) -> Option<u8> {
    let kind = value.integer(0..=u8::MAX, findings)?;
    if !(FREE_MIN..=FREE_MAX).contains(&kind) {
        let message = format!("{kind:#04x} is not a type that names tenants");
        let hint = format!(
            "write `authority`, `unique_id`, or a type from {FREE_MIN:#x} to {FREE_MAX:#x}"
        );
        value.refuse(findings, message, hint);
        return None;
    }
    Some(kind)
}

fn read_otherwise(fields: &Fields<'_>, findings: &mut Findings) -> Option<Otherwise> {
    let Some(value) = fields.optional("required") else {
        return Some(Otherwise::Refuse);
    };
    Some(if value.boolean(findings)? {
        Otherwise::Refuse
    } else {
        Otherwise::NextRule
    })
}

fn read_lengths(value: &Value<'_>, findings: &mut Findings) -> Option<PrefixLengths> {
    let fields = value.fields(&["ipv4", "ipv6"], findings)?;
    let mut length = |name, most| {
        let value = fields.required(name, findings)?;
        value.integer(1..=most, findings)
    };
    let (ipv4, ipv6) = (length("ipv4", 32_u8), length("ipv6", 128_u8));
    Some(PrefixLengths {
        ipv4: ipv4?,
        ipv6: ipv6?,
    })
}

fn read_tenant(value: &Value<'_>, findings: &mut Findings) -> Option<Box<[u8]>> {
    let text = value.text(findings)?;
    if let Err(error) = RequestKey::new(text.as_bytes()) {
        let hint = "write a tenant key: 1 to 256 bytes without control characters, and without white space at its ends";
        value.refuse(findings, error.to_string(), hint);
        return None;
    }
    Some(text.as_bytes().into())
}

fn read_header_name(value: &Value<'_>, findings: &mut Findings) -> Option<http::HeaderName> {
    let text = value.text(findings)?;
    let Ok(name) = http::HeaderName::from_bytes(text.as_bytes()) else {
        value.refuse(
            findings,
            format!("`{text}` is not a header name"),
            "use letters, digits and `-`",
        );
        return None;
    };
    if name.as_str().contains('_') {
        let hint = "use `-`: servers behind the proxy may read `_` and `-` as the same";
        value.refuse(findings, format!("`{text}` holds `_`"), hint);
        return None;
    }
    if name.as_str().starts_with("x-cellgate-") || matches!(name.as_str(), "host" | "cookie") {
        let hint = "name a header of your own; for these use the rules `host` and `cookie`";
        value.refuse(findings, format!("`{text}` is taken"), hint);
        return None;
    }
    Some(name)
}

/// The name of a query parameter or cookie.
fn read_name(value: &Value<'_>, findings: &mut Findings) -> Option<Box<[u8]>> {
    let text = value.text(findings)?;
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'));
    if text.is_empty() || !plain {
        let hint = "use letters, digits, `-`, `_`, `.` and `~`";
        value.refuse(
            findings,
            format!("`{text}` is not a name that can be looked for"),
            hint,
        );
        return None;
    }
    Some(text.as_bytes().into())
}

/// Whether a pattern is for values that are lower-cased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Lower,
    Kept,
}

fn read_pattern(value: &Value<'_>, case: Case, findings: &mut Findings) -> Option<Pattern> {
    let text = value.text(findings)?;
    let wanted = match case {
        Case::Lower => text.to_ascii_lowercase(),
        Case::Kept => text.to_owned(),
    };
    let pattern = Pattern::parse(&wanted);
    if pattern.is_none() {
        let hint = "write `{tenant}` exactly once, such as `{tenant}.example.com`";
        value.refuse(findings, format!("`{text}` is not a pattern"), hint);
    }
    pattern
}

fn read_path_pattern(value: &Value<'_>, findings: &mut Findings) -> Option<PathPattern> {
    let text = value.text(findings)?;
    let pattern = PathPattern::parse(text);
    if pattern.is_none() {
        let hint = "start with `/` and write `{tenant}` exactly once, such as `/t/{tenant}/`";
        value.refuse(findings, format!("`{text}` is not a path pattern"), hint);
    }
    pattern
}
