//! `proxy.yaml` from text to configuration, and every way in which it can be wrong.

mod key_rules;
mod listeners;
mod mistakes;
mod schema;
mod tls;

use std::fs;

use cellgate_table::{accept::MoveLimits, yaml::settings::LogFormat};

use super::*;
use crate::{
    config::{Limits, Listener, Timeouts},
    gate::Protocol,
    tenant_key::{KeyRule, KeyRules, PathPattern, Pattern, Source},
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

/// `rule` as the only one looks for the tenant there.
#[track_caller]
fn check_rule(rule: &str, source: Source, pattern: Option<&str>) {
    let text = LEAST.replace("{ header: x-tenant-id }", rule);
    let pattern = pattern.map(|text| Pattern::parse(text).unwrap());
    let expected = KeyRules::new(vec![KeyRule { source, pattern }]);
    assert_eq!(*good(&text).listeners[0].key_rules, expected, "{rule}");
}

#[test]
fn every_rule() {
    let check = check_rule;
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
            "is never used: a rule finds a tenant in every request of every HTTP listener",
        ),
        // What a TCP listener takes are no requests.
        (
            format!(
                "{}cors: {{ preflight_tenant: a }}",
                by_address.replace(
                    "[{ name: edge",
                    "[{ name: names, address: \"127.0.0.1:1\", protocol: tcp, tenant_key: [{ sni: \"{tenant}.example\" }] }, { name: edge"
                )
            ),
            "is never used",
        ),
    ] {
        let found = problem(&text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}
