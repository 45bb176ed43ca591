//! The request line: method, target, version.

use super::*;

#[test]
fn request_lines() {
    check_line("GET  / HTTP/1.1", Err(BadRequestLine));
    check_line("GET /  HTTP/1.1", Err(BadRequestLine));
    check_line("GET / a HTTP/1.1", Err(BadRequestLine));
    check_line("GET /\ta HTTP/1.1", Err(BadRequestLine));
    check_line("GET\t/ HTTP/1.1", Err(BadRequestLine));
    check_line(" GET / HTTP/1.1", Err(BadRequestLine));
    check_line("GET HTTP/1.1", Err(BadRequestLine));
    check_line("GET  HTTP/1.1", Err(BadRequestLine));
    check_line(" HTTP/1.1", Err(BadRequestLine));
    check_line("/ HTTP/1.1", Err(BadMethod));
    check_line("get / HTTP/1.1", Err(BadMethod));
    check_line("Post / HTTP/1.1", Err(BadMethod));
    check_line("G(T / HTTP/1.1", Err(BadMethod));
    check_line("G\u{e9}T / HTTP/1.1", Err(BadMethod));
    check_line(&format!("{} / HTTP/1.1", "M".repeat(32)), Ok(()));
    check_line(
        &format!("{} / HTTP/1.1", "M".repeat(33)),
        Err(MethodTooLong),
    );
    check_line("CONNECT a:443 HTTP/1.1", Err(ConnectMethod));
    check_line("connect a:443 HTTP/1.1", Err(ConnectMethod));
}

#[test]
fn versions() {
    check_line("GET /", Err(BadVersion));
    check_line("GET / HTTP/0.9", Err(UnsupportedVersion));
    check_line("GET / HTTP/1.2", Err(UnsupportedVersion));
    check_line("GET / HTTP/2.0", Err(UnsupportedVersion));
    check_line("GET / http/1.1", Err(BadVersion));
    check_line("GET / HTTP/1.1 ", Err(BadVersion));
    check_line("GET / HTTP/1.1\t", Err(BadVersion));
    check_line("GET / HTTP/01.1", Err(BadVersion));
    check_line("GET / HTTP/1.10", Err(BadVersion));
    check_line("GET / HTTP/11", Err(BadVersion));
    check_line("GET / HTTP/1", Err(BadVersion));
    check_line("GET / HTTPS/1.1", Err(BadVersion));
    check_line("GET / HTTP/x.1", Err(BadVersion));
    check_line("GET / HTTP/1.x", Err(BadVersion));
    check_line("GET /HTTP/1.1", Err(BadVersion));
    check_line("X", Err(BadVersion));
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(Http2Preface));
}

#[test]
fn targets() {
    check_line("GET * HTTP/1.1", Err(BadTarget));
    check_line("OPTIONS ** HTTP/1.1", Err(BadTarget));
    check_line("GET a HTTP/1.1", Err(BadTarget));
    check_line("GET ?a HTTP/1.1", Err(BadTarget));
    check_line("GET a:443 HTTP/1.1", Err(BadTarget));
    check_line("GET http:/a HTTP/1.1", Err(BadTarget));
    check_line("GET http:// HTTP/1.1", Err(BadTarget));
    check_line("GET http:///a HTTP/1.1", Err(BadTarget));
    check_line("GET ftp://a/ HTTP/1.1", Err(BadTarget));
    check_line("GET ://a/ HTTP/1.1", Err(BadTarget));
    check_line("GET http://u@a/ HTTP/1.1", Err(BadHost));
    check_line("GET http://a\\b/ HTTP/1.1", Err(BadHost));
    check_line("GET http://b/ HTTP/1.1", Err(HostMismatch));
    check_line("GET http://a:81/ HTTP/1.1", Err(HostMismatch));
    check_line("GET http://A/ HTTP/1.1", Ok(()));
    check_line("GET http://a:80/ HTTP/1.1", Ok(()));
    check_line("GET /a\\..\\b HTTP/1.1", Err(BadTargetByte));
    check_line("GET http://a/\\b HTTP/1.1", Err(BadTargetByte));
    for target in [
        "/<",
        "/>",
        "/`",
        "/?<",
        "/?>",
        "/?\"",
        "/?a?\"#",
        "http://a/<",
        "http://a?<",
    ] {
        check_line(&format!("GET {target} HTTP/1.1"), Err(BadTargetByte));
    }
    check(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTargetByte));
    check(b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Err(ControlByte));
    check(b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", Err(ControlByte));
    let longest = "a".repeat(8 * 1024 - 1);
    assert!(read_once(&format!("GET /{longest} HTTP/1.1\r\nHost: a\r\n\r\n")).is_ok());
    assert_eq!(
        read_once(&format!("GET /{longest}a HTTP/1.1\r\nHost: a\r\n\r\n")),
        Err(TargetTooLong)
    );
}
