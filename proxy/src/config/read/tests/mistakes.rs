//! Files that are refused, and what is reported of them.

use super::*;

/// `to` in the place of `from` (or after everything) is the one mistake, and is reported in these words.
#[track_caller]
fn check_mistake(from: &str, to: &str, expected: &str) {
    assert!(LEAST.contains(from) || from.is_empty(), "{from}");
    let text = if from.is_empty() {
        format!("{LEAST}{to}")
    } else {
        LEAST.replace(from, to)
    };
    let found = problem(&text);
    assert!(found.contains(expected), "{to}: {found}");
}

#[test]
fn five_mistakes_are_five_problems() {
    let problems = read(
        "listeners:\n\
         \x20 - { name: edge, address: localhost:8080 }\n\
         tenant_key:\n\
         \x20 - heder: x-tenant-id\n\
         table:\n\
         \x20 max_moved_percent: 250\n\
         \x20 path: table.yaml\n\
         limits: { headers_max: many }\n\
         tresholds: 5\n",
    )
    .unwrap_err();
    let found: Vec<(u32, u32, &str)> = problems
        .problems
        .iter()
        .map(|p| (p.line.unwrap(), p.column.unwrap(), p.path.as_str()))
        .collect();
    let expected = [
        (2, 28, "listeners[0].address"),
        (4, 5, "tenant_key[0].heder"),
        (4, 5, "tenant_key[0]"),
        (6, 22, "table.max_moved_percent"),
        (8, 24, "limits.headers_max"),
        (9, 1, "tresholds"),
    ];
    // The misspelt rule is a key that is not known, and leaves a rule without a place to look.
    assert_eq!(found, expected, "{problems}");
}

#[test]
fn headers_that_cannot_be_trusted() {
    let check = |list: &str, expected: &str| {
        let found = problem(&format!("{LEAST}trusted_headers: [{list}]\n"));
        assert!(found.contains(expected), "{list}: {found}");
    };
    check("x y", "`x y` is not a header name");
    check("x_forwarded_for", "`x_forwarded_for` holds `_`");
    for other in ["x-request-id", "x-cellgate-tenant", "x-forwarded-", "host"] {
        check(
            other,
            "is not a forwarding header; name one that is dropped otherwise",
        );
    }
    check("x-real-ip, X-Real-IP", "`X-Real-IP` is duplicated");
    let many = "a, ".repeat(33);
    check(&many, "has 33 entries; list at most 32 headers");
    assert_eq!(
        good(&format!("{LEAST}trusted_headers: []\n")).trust.headers,
        TrustedHeaders::none()
    );
}

#[test]
fn protocols_that_cannot_be_asked_for() {
    let check = |upgrades: &str, expected: &str| {
        check_mistake(
            "",
            &format!("limits: {{ upgrades: [{upgrades}] }}"),
            expected,
        );
    };
    let unfit = "`web socket` is not the name of a protocol";
    check("websocket, web socket", unfit);
    check(&"a, ".repeat(17), "has more than 16 protocols");
    for never in ["h2c", "HTTP/2.0", "http", "tls/1.2", "TLS"] {
        let expected = "can never be allowed: requests inside it would pass unchecked";
        check(never, expected);
    }
}

#[test]
fn what_is_wrong_is_reported_with_what_to_do() {
    let check = check_mistake;
    let more = |to: &str, expected: &str| check("", to, expected);
    more("timeouts: { head_mss: 5 }", "did you mean `head_ms`?");
    more("thread: 5", "did you mean `threads`?");
    more("state_dir:", "is blank");
    more("state_dir: \"\"", "is empty");
    more(
        "admin: { address: \"127.0.0.1\" }",
        "not an IP address with a port",
    );
    more("threads: 0", "from 1 to 1024");
    more("direct: maybe", "`on`");
    more(
        "trusted_proxies: [10.0.0.1/8]",
        "has bits set beyond its prefix length",
    );
    more("limits: { connections_max: 0 }", "from 1 to 10000000");
    more("timeouts: { connect_ms: 86400001 }", "from 1 to 86400000");
    more("timeouts: { connect_ms: 1.5 }", "not a whole number");
    more("upstream: { retries: 4 }", "from 0 to 3");
    more(
        "upstream: { ejection: { percent_max: 101 } }",
        "from 0 to 100",
    );
    more(
        "access_log: { queue_lines_max: 5 }",
        "the key `path` is missing",
    );
    more("log: { format: xml }", "known are `text`, `json`");
    more("unknown_tenants: no", "`no`");
    more("table: { path: x }", "is duplicated");
    check(
        "listeners: [{ name: edge, address: \"127.0.0.1:8080\" }]\n",
        "",
        "`listeners` is missing",
    );
    check("{ path: table.yaml }", "{}", "`path` is missing");
    check("[{ header: x-tenant-id }]", "[]", "has 0 rules");
    check(
        "[{ name: edge, address: \"127.0.0.1:8080\" }]",
        "[]",
        "has 0 entries",
    );
}

#[test]
fn what_is_wrong_with_listeners() {
    let check = check_mistake;
    check(
        "edge, address",
        "edge, protocol: udp, address",
        "known are `http`, `tcp`",
    );
    check(
        "edge, address",
        "edge, protocol: tcp, tenant_key: [{ source_ip: true }], health_path: /healthz, address",
        "`health_path` is for listeners that speak HTTP",
    );
    check(
        "edge, address",
        "edge, protocol: tcp, tenant_key: [{ host: \"{tenant}.example\" }], address",
        "only a request can answer this rule",
    );
    check(
        "edge, address",
        "edge, starttls: postgresql, address",
        "`starttls` is for TCP listeners",
    );
    check(
        "edge, address",
        "edge, tcp: { idle_ms: 5 }, address",
        "`idle_ms` is for TCP listeners",
    );
    check(
        "[{ name: edge,",
        "[{ name: edge, address: \"127.0.0.1:1\" }, { name: edge,",
        "the name `edge` is duplicated",
    );
    check(
        "[{ name: edge,",
        "[{ name: other, address: \"127.0.0.1:8080\" }, { name: edge,",
        "127.0.0.1:8080 is duplicated",
    );
}

#[test]
fn what_is_wrong_with_a_rule() {
    let rule = |to: &str, expected: &str| check_mistake("{ header: x-tenant-id }", to, expected);
    rule(
        "{ jwt: x }",
        "the rule `jwt` does not work in this version yet",
    );
    rule("{}", "names no place to look for the tenant");
    rule(
        "{ header: a, query: b }",
        "names several places: header, query",
    );
    rule("{ header: x_tenant }", "holds `_`");
    rule("{ header: \"x tenant\" }", "is not a header name");
    rule("{ header: x-cellgate-tenant }", "is taken");
    rule("{ header: Host }", "is taken");
    rule("{ host: example.com }", "`{tenant}` exactly once");
    rule("{ path: \"t/{tenant}\" }", "start with `/`");
    rule("{ query: \"a b\" }", "not a name that can be looked for");
    rule("{ cookie: \"\" }", "not a name that can be looked for");
    rule("{ source_ip: false }", "is `false`");
    rule(
        "{ source_ip: true, pattern: \"{tenant}\" }",
        "does not go with this rule",
    );
    rule("{ header: x-t, pattern: tenant }", "is not a pattern");
    rule("source_ip", "not a mapping");
}

#[test]
fn what_is_not_a_configuration() {
    let check = |bytes: &[u8]| {
        let problems = parse(bytes, Path::new("")).unwrap_err();
        assert!(
            !problems.is_empty(),
            "{:?}",
            bytes.escape_ascii().to_string()
        );
    };
    check(b"");
    check(b"# nothing\n");
    check(b"\xff\xfe");
    check(b"[]");
    check(b"a: b: c");
    let folder = tempfile::TempDir::new().unwrap();
    let missing = load(&folder.path().join("proxy.yaml"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("proxy.yaml: cannot be read"), "{missing}");
    let directory = load(folder.path()).unwrap_err().to_string();
    assert!(directory.contains("cannot be read"), "{directory}");
    let large = folder.path().join("large.yaml");
    fs::write(&large, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    let large = load(&large).unwrap_err().to_string();
    assert!(
        large.contains("has 1048577 bytes, more than 1048576"),
        "{large}"
    );
}
