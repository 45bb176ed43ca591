//! The part of `proxy.yaml` that says how a request names its tenant.

use cellgate_table::yaml::{Findings, Node, Value};

use crate::tenant_key::{KeyRule, KeyRules, PathPattern, Pattern, Source};

const RULES_MAX: usize = 32;
const WORKING: [&str; 7] = [
    "header",
    "host",
    "path",
    "query",
    "cookie",
    "source_ip",
    "pattern",
];
const PLANNED: [&str; 4] = ["jwt", "client_cert", "sni", "proxy_tlv"];

pub(super) fn read(value: &Value<'_>, findings: &mut Findings) -> Option<KeyRules> {
    let items = value.sequence(findings)?;
    if items.len() == 0 || items.len() > RULES_MAX {
        let message = format!("has {} rules", items.len());
        let hint = format!("list 1 to {RULES_MAX} rules, such as `- header: x-tenant-id`");
        value.refuse_key(findings, message, hint);
        return None;
    }
    let rules = items
        .filter_map(|item| read_rule(&item, findings))
        .collect();
    Some(KeyRules::new(rules))
}

fn read_rule(item: &Value<'_>, findings: &mut Findings) -> Option<KeyRule> {
    refuse_planned(item, findings)?;
    let fields = item.fields(&WORKING, findings)?;
    let sources: Vec<&str> = WORKING[..6]
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
    let value = fields.optional(source)?;
    let pattern = fields.optional("pattern");
    let source = match source {
        "header" => Source::Header(read_header_name(&value, findings)?),
        "host" => Source::Host(read_pattern(&value, true, findings)?),
        "path" => Source::Path(read_path_pattern(&value, findings)?),
        "query" => Source::Query(read_name(&value, findings)?),
        "cookie" => Source::Cookie(read_name(&value, findings)?),
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
    let takes_pattern = matches!(
        source,
        Source::Header(_) | Source::Query(_) | Source::Cookie(_)
    );
    let pattern = match pattern {
        Some(value) if takes_pattern => Some(read_pattern(&value, false, findings)?),
        Some(value) => {
            let hint = "a pattern goes with `header`, `query` and `cookie`; `host` and `path` are patterns themselves";
            value.refuse_key(findings, "does not go with this rule", hint);
            None
        }
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
        format!("use one of {}", WORKING[..6].join(", ")),
    );
    None
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

fn read_pattern(value: &Value<'_>, lower_case: bool, findings: &mut Findings) -> Option<Pattern> {
    let text = value.text(findings)?;
    let wanted = if lower_case {
        text.to_ascii_lowercase()
    } else {
        text.to_owned()
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
