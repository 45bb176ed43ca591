//! Fields of requests and answers, one function at a time.

use super::*;

fn request(target: &str, fields: &[(&str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
    for (name, value) in fields {
        request.append_header((*name).to_owned(), *value).unwrap();
    }
    request
}

fn fields(request: &RequestHeader) -> Vec<String> {
    let mut fields: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort_unstable();
    fields
}

#[test]
fn what_is_said_of_the_way_is_said_anew() {
    let mut request = request(
        "/",
        &[
            ("X-Forwarded-For", "198.51.100.1"),
            ("x-forwarded-for", "198.51.100.2"),
            ("X_Forwarded_Proto", "https"),
            ("X-Forwarded-Port", "443"),
            ("X-Cellgate-Tenant", "evil"),
            ("X-Other", "kept"),
        ],
    );
    let hop = Hop {
        peer: [10, 0, 0, 7].into(),
        may_vouch: true,
        peer_text: "10.0.0.7",
        lines_before_host: b"",
        proto: "http",
        host: Some(b"shop.example"),
        request_id: None,
    };
    clean(&mut request, &Trust::default(), &hop).unwrap();
    assert_eq!(
        fields(&request),
        [
            "x-forwarded-for: 10.0.0.7",
            "x-forwarded-host: shop.example",
            "x-forwarded-proto: http",
            "x-other: kept",
        ]
    );
}

#[test]
fn origin_forms() {
    let check = |target: &str, expected: &str| {
        let found = origin_form(target.as_bytes());
        assert_eq!(String::from_utf8_lossy(found), expected, "{target}");
    };
    check("/", "/");
    check("/a?b", "/a?b");
    check("/a#b?c", "/a");
    check("*", "*");
    check("http://h/a?b#c", "/a?b");
    check("http://h", "/");
    check("HTTP://h:80?a", "?a");
    check("http://h#/a", "/");
    check("/a?u=http://h/b", "/a?u=http://h/b");
    check("/http://h/a", "/http://h/a");
}

#[test]
fn cells_are_asked_in_origin_form() {
    let check = |target: &str, fields: &[(&str, &str)], expected: &str, host: &str| {
        let mut request = request(target, fields);
        to_origin_form(&mut request).unwrap();
        assert_eq!(
            String::from_utf8_lossy(request.raw_path()),
            expected,
            "{target}"
        );
        let hosts: Vec<&HeaderValue> = request.headers.get_all(header::HOST).iter().collect();
        assert_eq!(hosts, [host], "{target}");
    };
    check("/a?b", &[("host", "h")], "/a?b", "h");
    check("*", &[("host", "h")], "*", "h");
    check("http://h:80/a?b", &[("host", "h:80")], "/a?b", "h:80");
    check("http://h?b", &[("host", "h")], "/?b", "h");
    check("http://h:80/a", &[], "/a", "h:80");
}

#[test]
fn host_names() {
    let check = |host: &str, expected: &str| {
        let request = request("/", &[("host", host)]);
        assert_eq!(
            String::from_utf8_lossy(host_name(host_of(&request))),
            expected,
            "{host}"
        );
    };
    check("shop.example", "shop.example");
    check("shop.example:8080", "shop.example");
    check("Shop.Example.", "Shop.Example");
    check("shop.example.:80", "shop.example");
    check("[2001:db8::1]:8080", "[2001:db8::1]");
    check("[2001:db8::1]", "[2001:db8::1]");
    check("192.0.2.1:80", "192.0.2.1");
    let in_target = request("http://shop.example:80/a", &[]);
    assert_eq!(host_name(host_of(&in_target)), b"shop.example");
    assert_eq!(host_name(host_of(&request("/http://evil/", &[]))), b"");
}

#[test]
fn answers_speak_for_the_cell_only() {
    let check = |status: u16, fields: &[(&'static str, &str)], dropped: &[&str]| {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        clean_response(&mut response, Extras::default()).unwrap();
        for (name, _) in fields {
            let is_there = response.headers.contains_key(*name);
            assert_eq!(
                is_there,
                !dropped.contains(name),
                "{status} {fields:?}: {name}"
            );
        }
    };
    check(
        200,
        &[("x-cellgate-reason", "rejected"), ("x-other", "1")],
        &["x-cellgate-reason"],
    );
    check(
        200,
        &[
            ("keep-alive", "timeout=1"),
            ("proxy-connection", "close"),
            ("te", "x"),
            ("trailer", "x"),
        ],
        &["keep-alive", "proxy-connection", "te", "trailer"],
    );
    check(
        200,
        &[
            ("connection", "close, X-Hop ,,upgrade"),
            ("x-hop", "1"),
            ("upgrade", "h2c"),
            ("x-not", "1"),
        ],
        &["x-hop", "upgrade"],
    );
    // The framing stays, whatever the cell says.
    check(
        200,
        &[
            ("connection", "content-length, transfer-encoding"),
            ("content-length", "2"),
        ],
        &[],
    );
    check(
        200,
        &[
            ("connection", "transfer-encoding"),
            ("transfer-encoding", "chunked"),
        ],
        &[],
    );
    check(
        426,
        &[("connection", "upgrade"), ("upgrade", "websocket")],
        &[],
    );
    check(
        101,
        &[("connection", "upgrade"), ("upgrade", "websocket")],
        &[],
    );
}

#[test]
fn codings_come_in_one_line() {
    let from = request(
        "/",
        &[
            ("Transfer-Encoding", "gzip"),
            ("transfer-encoding", "deflate, chunked"),
        ],
    );
    let mut to = request("/", &[("Transfer-Encoding", "chunked")]);
    restore_codings(&mut to, &from).unwrap();
    assert_eq!(fields(&to), ["transfer-encoding: gzip, deflate, chunked"]);
}
