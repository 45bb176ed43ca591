//! The options of a listener.

use std::{net::Ipv4Addr, num::NonZeroU32, time::Duration};

use super::{LEAST, good, problem};
use crate::config::{HttpOptions, Listener, ProxyProtocol, RedirectHttps, Tcp};

/// A file whose one listener has these options, besides what it has to have.
pub(super) fn with(options: &str) -> String {
    LEAST.replace("8080\" }", &format!("8080\", {options} }}"))
}

/// The same where it listens on all of IPv6.
fn with_v6(options: &str) -> String {
    with(options).replace("127.0.0.1:8080", "[::]:8080")
}

fn one(text: &str) -> Listener {
    let [listener] = good(text).listeners.try_into().expect("one");
    listener
}

#[test]
fn every_default() {
    let listener = one(LEAST);
    assert_eq!(listener.name, "edge");
    assert!(!listener.ipv6_only);
    assert_eq!((listener.proxy_protocol, listener.allow), (None, None));
    let tcp = Tcp {
        keepalive: Some(Duration::from_secs(60)),
        user_timeout: None,
    };
    assert_eq!(listener.tcp, tcp);
}

#[test]
fn every_option() {
    let listener = one(&with_v6(
        "ipv6_only: true, proxy_protocol: { from: [10.0.0.0/8, \"fd00::/8\"], required: true }, \
         allow: [192.0.2.0/24], tcp: { keepalive_ms: 1500, user_timeout_ms: 30000 }",
    ));
    assert!(listener.ipv6_only);
    let ProxyProtocol { from, required } = listener.proxy_protocol.expect("it is set");
    assert!(from.contain(Ipv4Addr::new(10, 1, 2, 3).into()) && required);
    let allow = listener.allow.expect("it is set");
    assert!(allow.contain(Ipv4Addr::new(192, 0, 2, 9).into()));
    assert!(!allow.contain(Ipv4Addr::new(10, 1, 2, 3).into()));
    let tcp = Tcp {
        keepalive: Some(Duration::from_millis(1_500)),
        user_timeout: Some(Duration::from_secs(30)),
    };
    assert_eq!(listener.tcp, tcp);
}

#[test]
fn zero_switches_off() {
    let tcp = Tcp {
        keepalive: None,
        user_timeout: None,
    };
    let off = one(&with("tcp: { keepalive_ms: 0, user_timeout_ms: 0 }"));
    assert_eq!(off.tcp, tcp);
    let longest = one(&with(
        "tcp: { keepalive_ms: 32767000, user_timeout_ms: 86400000 }",
    ));
    assert_eq!(longest.tcp.keepalive, Some(Duration::from_secs(32_767)));
    let limited = |limit: u32| {
        let limits = format!("limits: {{ connections_per_source_max: {limit} }}\n");
        let config = good(&(LEAST.to_owned() + &limits));
        config.limits.connections_per_source_max
    };
    assert_eq!(limited(0), None);
    assert_eq!(limited(7), NonZeroU32::new(7));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let check = |text: String, expected: &str| {
        let problem = problem(&text);
        assert!(problem.contains(expected), "{problem}");
    };
    check(with("allow: []"), "is empty");
    check(with("proxy_protocol: {}"), "`from` is missing");
    check(with("proxy_protocol: { from: [] }"), "is empty");
    check(
        with("proxy_protocol: { from: [10.0.0.1/8] }"),
        "has bits set beyond",
    );
    check(with("tcp: { keepalive_ms: 999 }"), "999 is too short");
    check(with("tcp: { keepalive_ms: 32767001 }"), "32767000");
    check(with("tcp: { user_timeout_ms: 1 }"), "1 is too short");
    check(
        LEAST.replace("127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"),
        "write `127.0.0.1:8080`",
    );
    check(
        with("ipv6_only: true"),
        "the address of the listener is IPv4",
    );
}

/// Nobody could listen on both.
#[test]
fn ipv4_connections_go_to_one_listener() {
    let two = |first: &str, second: &str| {
        let listeners = format!("[{{ name: a, {first} }}, {{ name: b, {second} }}]");
        LEAST.replace("[{ name: edge, address: \"127.0.0.1:8080\" }]", &listeners)
    };
    let v4 = "address: \"0.0.0.0:80\"";
    let v6 = "address: \"[::]:80\"";
    for text in [two(v4, v6), two(v6, v4)] {
        let problem = problem(&text);
        assert!(
            problem.contains("would both take the IPv4 connections of port 80"),
            "{problem}"
        );
    }
    good(&two(v4, &format!("{v6}, ipv6_only: true")));
    good(&two("address: \"0.0.0.0:81\"", v6));
    good(&two(v4, "address: \"[::1]:80\""));
}

#[test]
fn what_a_listener_answers_by_itself() {
    assert_eq!(one(LEAST).http, HttpOptions::default());
    let http = one(&with(
        "health_path: /healthz, redirect_https: { port: 8443 }, acme: { address: \"127.0.0.1:8402\" }",
    ))
    .http;
    assert_eq!(http.health_path.as_deref(), Some("/healthz"));
    let redirect = RedirectHttps {
        port: 8_443,
        acme: Some(([127, 0, 0, 1], 8_402).into()),
    };
    assert_eq!(http.redirect_https, Some(redirect));
    let http = one(&with("redirect_https: {}")).http;
    let redirect = RedirectHttps {
        port: 443,
        acme: None,
    };
    assert_eq!((http.redirect_https, http.hsts), (Some(redirect), None));
    for (options, value) in [
        ("max_age_s: 300", "max-age=300"),
        (
            "max_age_s: 31536000, include_subdomains: true, preload: true",
            "max-age=31536000; includeSubDomains; preload",
        ),
        (
            "max_age_s: 0, include_subdomains: true",
            "max-age=0; includeSubDomains",
        ),
    ] {
        let http = one(&with(&format!(
            "tls: {{ directory: x }}, hsts: {{ {options} }}"
        )))
        .http;
        assert_eq!(http.hsts.expect("it is set").value(), value);
    }
}

#[test]
fn what_cannot_work_together_is_refused() {
    for (options, expected) in [
        ("health_path: healthz", "`healthz` is not a path"),
        ("health_path: /a?b", "`/a?b` is not a path"),
        ("health_path: \"/a b\"", "`/a b` is not a path"),
        ("redirect_https: { port: 0 }", "1 to 65535"),
        ("redirect_https: true", "mapping"),
        (
            "tls: { directory: x }, redirect_https: {}",
            "at a listener that has `tls`",
        ),
        (
            "acme: { address: \"127.0.0.1:1\" }",
            "without `redirect_https`",
        ),
        ("redirect_https: {}, acme: {}", "`address` is missing"),
        (
            "redirect_https: {}, acme: { address: \"127.0.0.1:0\" }",
            "port 0",
        ),
        (
            "redirect_https: {}, acme: { address: localhost }",
            "localhost",
        ),
        (
            "redirect_https: {}, acme: { address: \"127.0.0.1:8080\" }",
            "`acme` leads to where the listener `edge` listens",
        ),
        ("hsts: { max_age_s: 1 }", "without `tls`"),
        ("tls: { directory: x }, hsts: {}", "`max_age_s` is missing"),
        (
            "tls: { directory: x }, hsts: { max_age_s: 1, include_subdomains: true, preload: true }",
            "preload",
        ),
        (
            "tls: { directory: x }, hsts: { max_age_s: 31536000, preload: true }",
            "preload",
        ),
    ] {
        let found = problem(&with(options));
        assert!(found.contains(expected), "{options}: {found}");
    }
    let acme = |address: &str| format!("redirect_https: {{}}, acme: {{ address: \"{address}\" }}");
    let found = problem(&with_v6(&acme("127.0.0.1:8080")));
    assert!(found.contains("`acme` leads"), "{found}");
    good(&with_v6(&acme("127.0.0.1:8081")));
    good(&with_v6(&acme("192.0.2.7:8080")));
}
