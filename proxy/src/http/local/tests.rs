//! Which requests are answered here, and where they are sent.

use super::*;
use crate::{
    config::RedirectHttps,
    gate::{GateLimits, inspect_head},
};

fn redirecting(port: u16, acme: bool) -> HttpOptions {
    HttpOptions {
        health_path: Some("/healthz".into()),
        redirect_https: Some(RedirectHttps {
            port,
            acme: acme.then(|| ([127, 0, 0, 1], 8402).into()),
        }),
        hsts: None,
    }
}

#[track_caller]
fn local(options: &HttpOptions, head: &str) -> Option<Local> {
    let limits = GateLimits::default();
    let seen = inspect_head(head.as_bytes(), &limits).expect(head);
    Local::of(options, &seen, head.as_bytes())
}

fn request(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: Shop.example:8080\r\n{fields}\r\n")
}

#[track_caller]
fn goes_to(options: &HttpOptions, head: &str) -> String {
    match local(options, head).expect(head).what {
        What::Redirect { location } => String::from_utf8(location).unwrap(),
        other => panic!("{head}: {other:?}"),
    }
}

#[test]
fn locations() {
    let (usual, other) = (redirecting(443, false), redirecting(8443, false));
    for (line, path) in [
        ("GET /", "/"),
        ("POST /a/b?c=d&e=%2f", "/a/b?c=d&e=%2f"),
        ("GET //evil.example/x", "//evil.example/x"),
        ("GET /a://b", "/a://b"),
        ("OPTIONS *", "/"),
        ("GET http://shop.example:8080/x?y", "/x?y"),
        ("GET http://shop.example:8080?y", "/?y"),
        (
            "GET /.well-known/acme-challenge/a",
            "/.well-known/acme-challenge/a",
        ),
    ] {
        let head = request(line, "").replace("Shop", "shop");
        assert_eq!(
            goes_to(&usual, &head),
            format!("https://shop.example{path}")
        );
        assert_eq!(
            goes_to(&other, &head),
            format!("https://shop.example:8443{path}")
        );
    }
    let head = "GET /x HTTP/1.1\r\nhost: [2001:db8::7]:80\r\n\r\n";
    assert_eq!(goes_to(&usual, head), "https://[2001:db8::7]/x");
    assert_eq!(goes_to(&other, head), "https://[2001:db8::7]:8443/x");
    assert_eq!(local(&usual, "GET / HTTP/1.0\r\n\r\n").map(|_| ()), None);
}

#[test]
fn only_get_and_head_of_the_very_path_ask_for_the_health() {
    let mut options = redirecting(443, false);
    options.redirect_https = None;
    let is_health = |head: &str| {
        let found = local(&options, head);
        assert!(found.iter().all(|local| local.what == What::Health));
        found.is_some()
    };
    assert!(is_health(&request("GET /healthz", "")));
    assert!(is_health(&request("HEAD /healthz", "")));
    assert!(is_health(&request("GET /healthz", "content-length: 0\r\n")));
    assert!(
        is_health("GET /healthz HTTP/1.0\r\n\r\n"),
        "as HAProxy asks"
    );
    for (line, fields) in [
        ("POST /healthz", ""),
        ("OPTIONS /healthz", ""),
        ("GET /healthz?", ""),
        ("GET /healthz/", ""),
        ("GET /Healthz", ""),
        ("GET /%68ealthz", ""),
        ("GET /x/../healthz", ""),
        ("GET /healthz", "content-length: 1\r\n"),
        (
            "GET /healthz",
            "connection: upgrade\r\nupgrade: websocket\r\n",
        ),
    ] {
        assert!(!is_health(&request(line, fields)), "{line} {fields}");
    }
}

#[test]
fn only_challenges_go_to_whoever_waits_for_them() {
    let options = redirecting(443, true);
    let is_challenge = |head: &str| matches!(local(&options, head).unwrap().what, What::Acme(..));
    let longest = "x".repeat(TOKEN_BYTES_MAX);
    for token in ["a", "aB0_-", &longest] {
        for method in ["GET", "HEAD"] {
            let line = format!("{method} /.well-known/acme-challenge/{token}");
            assert!(is_challenge(&request(&line, "cookie: a\r\n")), "{line}");
        }
    }
    let too_long = "x".repeat(TOKEN_BYTES_MAX + 1);
    for token in [
        "", "a/", "a/b", "..", "a.b", "a%2d", "a?", "a?b", "a=", "\u{e9}", &too_long,
    ] {
        let line = format!("GET /.well-known/acme-challenge/{token}");
        assert!(!is_challenge(&request(&line, "")), "{line}");
    }
    let good = "/.well-known/acme-challenge/a";
    for (line, fields) in [
        (format!("POST {good}"), ""),
        (format!("GET {good}"), "content-length: 1\r\n"),
        (format!("GET http://Shop.example:8080{good}"), ""),
        (format!("GET /{good}"), ""),
    ] {
        assert!(!is_challenge(&request(&line, fields)), "{line} {fields}");
    }
}

#[test]
fn a_connection_goes_on_only_where_nothing_more_can_come() {
    let options = redirecting(443, false);
    let closes = |head: &str| local(&options, head).unwrap().closes;
    assert!(!closes(&request("GET /", "")));
    assert!(!closes(&request("GET /", "x-connection: close\r\n")));
    assert!(closes(&request("GET /", "Connection: x, Close\r\n")));
    assert!(closes(&request("POST /", "content-length: 1\r\n")));
    assert!(closes("GET / HTTP/1.0\r\nhost: a\r\n\r\n"));
}
