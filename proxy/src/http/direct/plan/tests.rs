//! Which requests go the direct way, and what their cell is sent.

use std::sync::Arc;

use http::HeaderName;

use super::*;
use crate::{
    config::Listener,
    exchange::Scheme,
    forwarding::TrustedHeaders,
    net::Networks,
    tenant_key::{KeyRule, KeyRules, Source},
};

const STRANGER: &str = "192.0.2.9";
const TRUSTED: &str = "10.0.0.7";
const END: &str =
    "x-forwarded-for: 192.0.2.9\r\nx-forwarded-proto: http\r\nx-forwarded-host: h:80\r\n";

fn plan_of(head: &str, peer: &str) -> Option<Plan> {
    read(head, peer, false).1
}

fn read(head: &str, peer: &str, names_requests: bool) -> (Option<RequestId>, Option<Plan>) {
    let mut proxies = Networks::default();
    proxies.add("10.0.0.0/8").unwrap();
    let rules = PlanRules {
        preflights: None,
        trust: Trust {
            proxies,
            headers: TrustedHeaders::default(),
        },
        names_requests,
        goes_direct: true,
    };
    let peer = peer.parse().unwrap();
    let mut edge = Listener::new("edge", ([127, 0, 0, 1], 8080).into());
    edge.key_rules = Arc::new(KeyRules::new(vec![KeyRule {
        source: Source::Header(HeaderName::from_static("x-tenant-id")),
        pattern: None,
    }]));
    let connection = Connection::new(peer, edge.into(), Scheme::Http);
    let limits = GateLimits::default();
    let seen = inspect_and_plan(head.as_bytes(), &limits, &rules, &connection, 7);
    let seen = seen.unwrap_or_else(|refusal| panic!("{refusal}: {head}"));
    (seen.request_id, seen.plan)
}

/// What a request is called, and that its cell gets that and nothing else.
#[test]
fn requests_have_one_name() {
    let made = format!("{:032x}", 7);
    let check = |peer, fields: &[&str], expected: &str| {
        let usual = ["Host: h", "x-tenant-id: a"];
        let (id, plan) = read(&head("GET /", &[&usual, fields].concat()), peer, true);
        assert_eq!(id.unwrap().as_str(), expected, "{fields:?}");
        let sent = String::from_utf8(plan.unwrap().head.to_vec()).unwrap();
        let named = |line: &&str| {
            line.to_ascii_lowercase()
                .replace('_', "-")
                .starts_with("x-request-id:")
        };
        let lines: Vec<&str> = sent.lines().filter(named).collect();
        assert_eq!(lines, [format!("x-request-id: {expected}")], "{fields:?}");
    };
    for peer in [STRANGER, TRUSTED] {
        check(peer, &[], &made);
        for bad in ["x-request-id: ", "X-Request-Id: a b", "X_Request_Id: a"] {
            check(peer, &[bad], &made);
        }
        check(peer, &["x-request-id: a", "x-request-id: a"], &made);
    }
    check(STRANGER, &["x-request-id: a"], &made);
    check(TRUSTED, &["X-Request-ID: a"], "a");
    check(
        TRUSTED,
        &["x-request-id:  a.b_c-1\t", "x_request_id: b"],
        "a.b_c-1",
    );
}

fn head(request_line: &str, fields: &[&str]) -> String {
    let mut head = format!("{request_line} HTTP/1.1\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// What the cell is sent of these fields besides Host and the tenant's key, before what the proxy adds.
#[track_caller]
fn check(fields: &[&str], kept: &[&str]) {
    let usual = ["Host: h:80", "X-Tenant-Id: acme"];
    let plan = plan_of(&head("GET /a?b=c", &[&usual, fields].concat()), STRANGER);
    let plan = plan.unwrap_or_else(|| panic!("not direct: {fields:?}"));
    let sent = head("GET /a?b=c", &[&usual, kept].concat());
    let sent = sent.strip_suffix("\r\n").unwrap();
    assert_eq!(
        plan.head.escape_ascii().to_string(),
        format!("{sent}{END}").escape_default().to_string()
    );
    assert_eq!(plan.key.unwrap().as_bytes(), b"acme");
}

#[test]
fn fields_go_on_as_they_came() {
    check(&[], &[]);
    check(
        &["accept:*/*", "A:  b\t", "a: c", "B:"],
        &["accept:*/*", "A:  b\t", "a: c", "B:"],
    );
    check(&["Content-Length: 0"], &["Content-Length: 0"]);
    check(&["Cookie: a=b"; 40], &["Cookie: a=b"; 40]);
}

#[test]
fn hop_by_hop_and_forwarding_fields_stay_behind() {
    for dropped in [
        "Connection: keep-alive",
        "connection: Close",
        "Keep-Alive: 3",
        "TE: trailers",
        "Trailer: x",
        "Proxy-Connection: keep-alive",
        "proxy-authorization: x",
        "Proxy-Authenticate: x",
        "HTTP2-Settings: AAA",
        "x-cellgate-tenant: evil",
        "X_Cellgate_Cell: evil",
        "X-Forwarded-For: 198.51.100.1",
        "x_forwarded-proto: https",
        "Forwarded: for=x",
        "True-Client-IP: x",
    ] {
        check(&[dropped], &[]);
        check(&["a: 1", dropped, "b: 2"], &["a: 1", "b: 2"]);
        check(&[dropped, "a: 1"], &["a: 1"]);
    }
    check(
        &["tee: x", "trailers: x", "x-forwarded: x"],
        &["tee: x", "trailers: x", "x-forwarded: x"],
    );
}

#[test]
fn what_a_trusted_proxy_says_is_kept() {
    let sent = head(
        "GET /",
        &[
            "Host: h",
            "x-tenant-id: a",
            "X-Forwarded-For: 198.51.100.1",
            "X-Forwarded-Proto: https",
            "x-real-ip: 198.51.100.1",
        ],
    );
    let plan = plan_of(&sent, TRUSTED).unwrap();
    assert_eq!(plan.client, "198.51.100.1".parse::<IpAddr>().unwrap());
    assert_eq!(
        String::from_utf8(plan.head.to_vec()).unwrap(),
        "GET / HTTP/1.1\r\nHost: h\r\nx-tenant-id: a\r\nX-Forwarded-Proto: https\r\n\
         x-forwarded-for: 198.51.100.1, 10.0.0.7\r\nx-forwarded-host: h\r\n"
    );
}

#[test]
fn what_is_unusual_goes_the_general_way() {
    let usual = ["Host: h", "x-tenant-id: acme"];
    let check = |request_line: &str, more: &[&str], expected: bool| {
        let head = head(request_line, &[&usual, more].concat());
        assert_eq!(plan_of(&head, STRANGER).is_some(), expected, "{head}");
    };
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        check(&format!("{method} /"), &[], true);
    }
    for method in ["TRACE", "PURGE", "PROPFIND"] {
        check(&format!("{method} /"), &[], false);
    }
    for target in [
        "http://h/",
        "*",
        "/a#b",
        "/a|b",
        "/\u{e9}",
        "/a{b}",
        "/a\"",
        "/a[b]",
    ] {
        check(&format!("OPTIONS {target}"), &[], false);
    }
    for target in [
        "//a",
        "/%zz",
        "/a/../b",
        "/?",
        "/~!$&'()*+,;=:@-._%20?/?a=b",
    ] {
        check(&format!("GET {target}"), &[], true);
    }
    for fields in [
        &["Connection: close, x"][..],
        &["Connection: keep-alive", "Connection: close"],
        &["Connection:"],
        &["Upgrade: websocket"],
        &["Upgrade: websocket", "Connection: upgrade"],
        &["Expect: 100-continue"],
        &["Transfer-Encoding: chunked"],
        &["Content-Length: 3", "Expect: 100-continue"],
    ] {
        check("POST /", fields, false);
    }
    // Whoever reads no body of a GET would take it for the next request.
    check("GET /", &["Content-Length: 3"], false);
    check("GET /", &["Content-Length: 0"], true);
    let without_key = head("GET /", &["Host: h"]);
    assert!(plan_of(&without_key, STRANGER).is_none());
}

#[test]
fn what_the_client_wants_of_its_connection() {
    for (fields, closes) in [
        (&["Host: h", "x-tenant-id: a"][..], false),
        (
            &["Host: h", "x-tenant-id: a", "Connection: Keep-Alive"],
            false,
        ),
        (&["Host: h", "CONNECTION:close", "x-tenant-id: a"], true),
    ] {
        let plan = plan_of(&head("HEAD /", fields), STRANGER).unwrap();
        assert_eq!(plan.closes, closes, "{fields:?}");
        assert!(plan.is_head_request && plan.is_idempotent);
    }
    let post = plan_of(&head("POST /", &["Host: h", "x-tenant-id: a"]), STRANGER).unwrap();
    assert!(!post.is_head_request && !post.is_idempotent);
}
