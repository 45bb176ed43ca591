//! The schema says what the reader does.

use std::collections::BTreeSet;

use super::*;
use crate::config::schema;

/// The schema knows the same keys as the reader, mapping by mapping.
#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn the_schema_and_the_reader_agree() {
    let schema = serde_json::to_value(schema()).unwrap();
    // The reader lists its keys when it meets one that resembles none of them.
    let known_to_reader = |text: &str| -> BTreeSet<String> {
        let problems = read(text).unwrap_err();
        let hints = problems.problems.iter().map(|p| p.hint.as_str());
        let lists: Vec<&str> = hints
            .filter_map(|hint| hint.strip_prefix("known here are "))
            .collect();
        assert_eq!(lists.len(), 1, "{text}\n{problems}");
        lists[0].split(", ").map(str::to_owned).collect()
    };
    let known_to_schema = |definition: Option<&str>| -> BTreeSet<String> {
        let object = definition.map_or(&schema, |name| &schema["$defs"][name]);
        assert_eq!(object["additionalProperties"], false, "{definition:?}");
        object["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let odd = "qqqqqqqqqqqqqqqqqqqqqqqq: 1";
    let listener = "{ name: edge, address: \"127.0.0.1:8080\" }";
    let with_tls = |tls: &str| {
        let listener_with = format!("{}, tls: {{ {tls} }} }}", listener.trim_end_matches(" }"));
        LEAST.replace(listener, &listener_with)
    };
    let replaced = |from: &str| LEAST.replace(from, &format!("{{ {odd}, {}", &from[1..]));
    let section = |name: &str| format!("{LEAST}{name}: {{ {odd} }}");
    let cases = [
        (None, format!("{LEAST}{odd}")),
        (Some("ListenerFile"), replaced(listener)),
        (
            Some("TlsSection"),
            with_tls(&format!("directory: x, {odd}")),
        ),
        (
            Some("CertificateFile"),
            with_tls(&format!("certificates: [{{ certificate: x, {odd} }}]")),
        ),
        (
            Some("ClientAuthSection"),
            with_tls(&format!(
                "directory: x, client_auth: {{ mode: optional, ca: x, {odd} }}"
            )),
        ),
        (
            Some("ProxyProtocolSection"),
            listeners::with(&format!("proxy_protocol: {{ from: [\"::1\"], {odd} }}")),
        ),
        (
            Some("RedirectHttpsSection"),
            listeners::with(&format!("redirect_https: {{ {odd} }}")),
        ),
        (
            Some("AcmeSection"),
            listeners::with(&format!(
                "redirect_https: {{}}, acme: {{ address: \"127.0.0.1:1\", {odd} }}"
            )),
        ),
        (
            Some("HstsSection"),
            listeners::with(&format!(
                "tls: {{ directory: x }}, hsts: {{ max_age_s: 1, {odd} }}"
            )),
        ),
        (
            Some("CorsSection"),
            format!("{LEAST}cors: {{ preflight_tenant: x, {odd} }}"),
        ),
        (
            Some("TcpSection"),
            listeners::with(&format!("tcp: {{ {odd} }}")),
        ),
        (
            Some("SourceNetworkSection"),
            key_rules::text(
                "",
                &format!("{{ source_network: {{ ipv4: 24, ipv6: 64, {odd} }} }}"),
            ),
        ),
        (Some("KeyRuleFile"), replaced("{ header: x-tenant-id }")),
        (Some("TableSection"), replaced("{ path: table.yaml }")),
        (Some("AdminSection"), section("admin")),
        (Some("LimitsSection"), section("limits")),
        (Some("TimeoutsSection"), section("timeouts")),
        (Some("UpstreamSection"), section("upstream")),
        (
            Some("EjectionSection"),
            format!("{LEAST}upstream: {{ ejection: {{ {odd} }} }}"),
        ),
        (
            Some("AccessLogSection"),
            format!("{LEAST}access_log: {{ path: x, {odd} }}"),
        ),
        (Some("LogSection"), section("log")),
    ];
    for (definition, text) in &cases {
        assert_eq!(
            known_to_reader(text),
            known_to_schema(*definition),
            "{definition:?}"
        );
    }
    let objects = schema["$defs"].as_object().unwrap().values();
    let objects = objects
        .filter(|definition| definition["type"] == "object")
        .count();
    assert_eq!(
        objects + 1,
        cases.len(),
        "each mapping of the schema is compared"
    );
}

/// A key may be left out, but not be blank; the schema says so too.
#[test]
fn the_schema_takes_no_blanks() {
    let text = serde_json::to_string(&schema()).unwrap();
    assert!(!text.contains("null"), "{text}");
}

/// Each number of the schema has the range that the reader allows.
#[test]
fn the_schema_and_the_reader_agree_on_ranges() {
    let schema = serde_json::to_value(schema()).unwrap();
    let mut compared = 0;
    let mut check = |properties: &serde_json::Value, text_of: &dyn Fn(&str) -> String| {
        for (name, property) in properties.as_object().unwrap() {
            let is_whole = property["type"] == "integer";
            let (Some(low), Some(high)) =
                (property["minimum"].as_i64(), property["maximum"].as_i64())
            else {
                continue;
            };
            let is_good = |value: i64| read(&text_of(&format!("{name}: {value}"))).is_ok();
            assert!(is_good(low) && is_good(high), "{name}: {low} to {high}");
            assert!(
                !is_good(low - 1) && !is_good(high + 1),
                "{name}: {low} to {high}"
            );
            compared += usize::from(is_whole);
        }
    };
    check(&schema["properties"], &|field| format!("{LEAST}{field}"));
    let sections = [
        ("TableSection", "table"),
        ("TcpSection", "tcp"),
        ("RedirectHttpsSection", "redirect_https"),
        ("HstsSection", "hsts"),
        ("LimitsSection", "limits"),
        ("TimeoutsSection", "timeouts"),
        ("UpstreamSection", "upstream"),
        ("EjectionSection", "upstream: { ejection"),
        ("AccessLogSection", "access_log"),
        ("TlsSection", "tls"),
    ];
    for (definition, key) in sections {
        let least = LEAST.replace("table: { path: table.yaml }\n", "");
        let text_of = |field: &str| match definition {
            "TableSection" => format!("{least}table: {{ path: x, {field} }}"),
            "RedirectHttpsSection" => listeners::with(&format!("{key}: {{ {field} }}")),
            "HstsSection" => {
                listeners::with(&format!("tls: {{ directory: x }}, {key}: {{ {field} }}"))
            }
            "TcpSection" => listeners::with(&format!(
                "protocol: tcp, tenant_key: [{{ source_ip: true }}], tcp: {{ {field} }}"
            )),
            "TlsSection" => LEAST.replace(
                "8080\" }",
                &format!("8080\", tls: {{ directory: x, {field} }} }}"),
            ),
            "EjectionSection" => format!("{LEAST}{key}: {{ {field} }} }}"),
            "AccessLogSection" => format!("{LEAST}{key}: {{ path: x, {field} }}"),
            _ => format!("{LEAST}{key}: {{ {field} }}"),
        };
        check(&schema["$defs"][definition]["properties"], &text_of);
    }
    assert!(compared >= 20, "only {compared} ranges in the schema");
}
