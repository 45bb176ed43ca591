//! `proxy.yaml` from text to configuration, and every way in which it can be wrong.

mod key_rules;
mod listeners;
mod tls;

use std::{collections::BTreeSet, fs};

use cellgate_table::{accept::MoveLimits, yaml::settings::LogFormat};

use super::*;
use crate::{
    config::{Limits, Listener, Timeouts, schema},
    gate::Protocol,
    tenant_key::{KeyRule, PathPattern, Pattern, Source},
};

/// All that has to be there.
const LEAST: &str = "listeners: [{ name: edge, address: \"127.0.0.1:8080\" }]\n\
    tenant_key: [{ header: x-tenant-id }]\ntable: { path: table.yaml }\n";

fn read(text: &str) -> Result<Config, Problems> {
    parse(text.as_bytes(), Path::new("/etc/cellgate"))
}

#[track_caller]
fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The one problem that `text` has, as a line of text.
#[track_caller]
fn problem(text: &str) -> String {
    let problems = read(text)
        .err()
        .unwrap_or_else(|| panic!("it is good:\n{text}"));
    assert_eq!(problems.count(), 1, "{text}\n{problems}");
    problems.to_string()
}

#[test]
fn every_default() {
    let config = good(LEAST);
    let ms = Duration::from_millis;
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let mut listener = Listener::new("edge", address("127.0.0.1:8080"));
    listener.key_rules = std::sync::Arc::clone(&config.listeners[0].key_rules);
    assert_eq!(config.listeners, [listener]);
    assert_eq!(config.unknown_tenants, UnknownTenants::Hash);
    let table = TableConfig {
        path: PathBuf::from("/etc/cellgate/table.yaml"),
        move_limits: MoveLimits {
            moved_percent_max: 25.0,
            moved_overrides_max: 1_000,
            moved_total_percent_max: 50.0,
        },
        unready_when_behind: false,
        poll_interval: ms(1_000),
    };
    assert_eq!(config.table, table);
    assert_eq!(config.state_dir, Path::new("/var/lib/cellgate"));
    assert_eq!(config.admin, address("127.0.0.1:9600"));
    assert_eq!(config.threads, available_parallelism().unwrap());
    assert!(config.direct && config.names_requests);
    assert_eq!(config.trust, Trust::default());
    let limits = Limits {
        connections_max: 20_000,
        connections_per_source_max: None,
        head_bytes_max: 32_768,
        headers_max: 100,
        body_bytes_max: 1_073_741_824,
        body_buffered_bytes_max: 65_536,
        body_buffers_total_bytes_max: 67_108_864,
        body_bytes_per_second_min: 100,
        upgrades: Protocol::defaults().into(),
    };
    assert_eq!(config.limits, limits);
    let timeouts = Timeouts {
        head: ms(10_000),
        keepalive: ms(75_000),
        client_idle: ms(60_000),
        connect: ms(1_000),
        upstream_read: ms(30_000),
        upstream_write: ms(30_000),
        upgrade_idle: ms(3_600_000),
        shutdown_delay: ms(0),
        shutdown: ms(30_000),
        drain_idle: ms(75_000),
        upgrade: Duration::from_secs(60),
    };
    assert_eq!(config.timeouts, timeouts);
    let upstream = Upstream {
        retries: 1,
        idle_connections_max: 4_096,
        idle_per_cell_max: 256,
        idle: ms(30_000),
        requests_per_connection_max: 0,
        share: Share::Cell,
        interim_answers: InterimAnswers::Guarded,
        ejection: Ejection {
            after_failures: 5,
            base: ms(10_000),
            max: ms(300_000),
            percent_max: 50,
        },
    };
    assert_eq!(config.upstream, upstream);
    let text = format!("{LEAST}timeouts: {{ keepalive_ms: 400 }}\n");
    assert_eq!(good(&text).timeouts.drain_idle, ms(400));
    assert_eq!(config.access_log, None);
    assert_eq!(config.log_format, LogFormat::Text);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a flat list: one key after the other"
)]
fn every_key() {
    let config = good(
        "listeners:\n  - { name: a, address: \"[::]:80\", protocol: http }\n  - { name: b, address: \"0.0.0.0:0\" }\n\
         \x20 - { name: c, address: \"0.0.0.0:0\" }\n\
         tenant_key: [{ source_ip: true }]\nunknown_tenants: refuse\n\
         table: { path: /t.yaml, max_moved_percent: 0.5, max_moved_overrides: 0, poll_interval_ms: 50 }\n\
         state_dir: state\nadmin: { address: \"[::1]:1\" }\nthreads: 3\ndirect: off\ntrusted_proxies: [10.0.0.0/8]\n\
         trusted_headers: [Forwarded, x-forwarded-prefix]\n\
         limits: { connections_max: 1, head_bytes_max: 2000, headers_max: 3, body_bytes_max: 0,\n\
         \x20 body_buffered_bytes_max: 4, body_buffers_total_bytes_max: 5, body_bytes_per_second_min: 6,\n\
         \x20 upgrades: [foo/2, WebSocket] }\n\
         timeouts: { head_ms: 11, keepalive_ms: 12, client_idle_ms: 13, connect_ms: 4, upstream_read_ms: 5,\n\
         \x20 upstream_write_ms: 6, upgrade_idle_ms: 7, shutdown_delay_ms: 8, shutdown_ms: 9 }\n\
         upstream: { retries: 0, idle_connections_max: 2, idle_ms: 3, idle_per_cell_max: 9,\n\
         \x20 requests_per_connection_max: 10, share: tenant, interim_answers: forwarded,\n\
         \x20 ejection: { after_failures: 4, base_ms: 5, max_ms: 6, percent_max: 7 } }\n\
         access_log: { path: a.log, format: combined, queue_lines_max: 8 }\nlog: { format: json }\n",
    );
    let ms = Duration::from_millis;
    assert_eq!(config.listeners.len(), 3);
    assert_eq!(config.unknown_tenants, UnknownTenants::Refuse);
    assert_eq!(config.table.path, Path::new("/t.yaml"));
    assert!((config.table.move_limits.moved_percent_max - 0.5).abs() < f64::EPSILON);
    assert_eq!(config.table.move_limits.moved_overrides_max, 0);
    assert_eq!(config.table.poll_interval, ms(50));
    assert_eq!(config.state_dir, Path::new("/etc/cellgate/state"));
    assert_eq!(config.threads.get(), 3);
    assert!(!config.direct);
    assert!(config.trust.proxies.contain([10, 1, 2, 3].into()));
    let mut headers = TrustedHeaders::none();
    headers.add("forwarded").unwrap();
    headers.add("x-forwarded-prefix").unwrap();
    assert_eq!(config.trust.headers, headers);
    assert_eq!(config.limits.body_bytes_max, 0);
    let upgrades = ["foo/2", "websocket"].map(|name| Protocol::parse(name).unwrap());
    assert_eq!(*config.limits.upgrades, upgrades);
    let t = config.timeouts;
    let all = [
        t.connect,
        t.upstream_read,
        t.upstream_write,
        t.upgrade_idle,
        t.shutdown_delay,
        t.shutdown,
        t.head,
        t.keepalive,
        t.client_idle,
    ];
    assert_eq!(all, [4, 5, 6, 7, 8, 9, 11, 12, 13].map(ms));
    let buffers = (
        config.limits.body_buffered_bytes_max,
        config.limits.body_buffers_total_bytes_max,
        config.limits.body_bytes_per_second_min,
    );
    assert_eq!(buffers, (4, 5, 6));
    let u = config.upstream;
    assert_eq!(
        (u.idle_per_cell_max, u.requests_per_connection_max),
        (9, 10)
    );
    assert_eq!(u.share, Share::Tenant);
    assert_eq!(u.interim_answers, InterimAnswers::Forwarded);
    let ejection = config.upstream.ejection;
    let numbers = (
        ejection.after_failures,
        ejection.base,
        ejection.max,
        ejection.percent_max,
    );
    assert_eq!(numbers, (4, ms(5), ms(6), 7));
    let access_log = AccessLogConfig {
        format: AccessLogFormat::Combined,
        sink: Sink::File("/etc/cellgate/a.log".into()),
        queue_lines_max: 8,
    };
    assert_eq!(config.access_log, Some(access_log));
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn every_rule() {
    let check = |rule: &str, source: Source, pattern: Option<&str>| {
        let text = LEAST.replace("{ header: x-tenant-id }", rule);
        let pattern = pattern.map(|text| Pattern::parse(text).unwrap());
        let expected = crate::tenant_key::KeyRules::new(vec![KeyRule { source, pattern }]);
        assert_eq!(*good(&text).listeners[0].key_rules, expected, "{rule}");
    };
    let header = Source::Header(http::HeaderName::from_static("x-t"));
    check("{ header: X-T }", header.clone(), None);
    check(
        "{ header: x-t, pattern: \"t={tenant}\" }",
        header,
        Some("t={tenant}"),
    );
    let host = |text| Source::Host(Pattern::parse(text).unwrap());
    check(
        "{ host: \"{tenant}.Example.com\" }",
        host("{tenant}.example.com"),
        None,
    );
    let path = Source::Path(PathPattern::parse("/t/{tenant}").unwrap());
    check("{ path: \"/t/{tenant}/…\" }", path, None);
    check(
        "{ query: tenant }",
        Source::Query(b"tenant"[..].into()),
        None,
    );
    check(
        "{ cookie: t, pattern: \"{tenant}!\" }",
        Source::Cookie(b"t"[..].into()),
        Some("{tenant}!"),
    );
    check("{ source_ip: true }", Source::SourceIp, None);
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
fn files_that_are_none() {
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

#[test]
fn paths_are_relative_to_the_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("proxy.yaml");
    fs::write(&path, LEAST).unwrap();
    assert_eq!(
        load(&path).unwrap().table.path,
        folder.path().join("table.yaml")
    );
}

#[test]
fn the_example_is_good() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/proxy.yaml");
    let config = load(&example).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(
        config.table.path.is_file(),
        "it names a table that is there"
    );
}

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

#[test]
fn preflights_have_a_tenant() {
    let config = good(&format!("{LEAST}cors: {{ preflight_tenant: web }}"));
    let preflights = config.preflights.expect("it is set");
    assert_eq!(preflights.tenant(), b"web");
    assert!(good(LEAST).preflights.is_none());
    let long = "x".repeat(257);
    let by_address = LEAST.replace(
        "{ header: x-tenant-id }",
        "{ header: x }, { source_ip: true }",
    );
    for (text, expected) in [
        (
            format!("{LEAST}cors: {{}}"),
            "`preflight_tenant` is missing",
        ),
        (
            format!("{LEAST}cors: {{ preflight_tenant: \" a\" }}"),
            "white space",
        ),
        (
            format!("{LEAST}cors: {{ preflight_tenant: {long} }}"),
            "cannot be a tenant",
        ),
        (
            format!("{by_address}cors: {{ preflight_tenant: a }}"),
            "is never used",
        ),
    ] {
        let found = problem(&text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}
