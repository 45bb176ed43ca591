//! Which key each rule cuts out of a request, and what it refuses to guess.

mod connections;
mod vectors;

use super::*;
use crate::field_lines::FieldLine;
use cellgate_table::id::TenantKeyError;

/// A request, built field by field.
#[derive(Clone)]
struct Request {
    headers: Vec<(&'static str, Vec<u8>)>,
    path: &'static str,
    query: Option<&'static str>,
    host: &'static str,
    client: IpAddr,
}

fn request() -> Request {
    Request {
        headers: Vec::new(),
        path: "/",
        query: None,
        host: "h",
        client: IpAddr::from([192, 0, 2, 1]),
    }
}

impl Request {
    fn header(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.push((name, value.to_vec()));
        self
    }
}

fn key_of(rules: &KeyRules, request: &Request) -> Result<String, KeyError> {
    let lines: Vec<FieldLine<'_>> = request
        .headers
        .iter()
        .map(|(name, value)| FieldLine {
            name: name.as_bytes(),
            value,
        })
        .collect();
    let view = RequestView {
        lines: FieldLines(&lines),
        path: request.path.as_bytes(),
        query: request.query.map(str::as_bytes),
        host: request.host.as_bytes(),
        client: request.client,
        evidence: None,
    };
    rules
        .key_of(&view)
        .map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned())
}

fn rule(source: Source) -> KeyRules {
    rule_with(source, None)
}

fn rule_with(source: Source, pattern: Option<&str>) -> KeyRules {
    let pattern = pattern.map(|text| Pattern::parse(text).unwrap());
    KeyRules::new(vec![KeyRule { source, pattern }])
}

#[track_caller]
fn check(rules: &KeyRules, request: &Request, expected: Result<&str, KeyError>) {
    assert_eq!(key_of(rules, request), expected.map(str::to_owned));
}

const MISSING: Result<&str, KeyError> = Err(KeyError::Missing);
const REPEATED: Result<&str, KeyError> = Err(KeyError::Repeated);
const ESCAPE: Result<&str, KeyError> = Err(KeyError::Escape);
const NO_VALUE: Result<&str, KeyError> = Err(KeyError::NoValue);
const EMPTY: Result<&str, KeyError> = Err(KeyError::Invalid(TenantKeyError::Empty));
const CONTROL: Result<&str, KeyError> = Err(KeyError::Invalid(TenantKeyError::ControlCharacter));
const OUTER_SPACE: Result<&str, KeyError> = Err(KeyError::OuterSpace);
const TOO_LONG: Result<&str, KeyError> = Err(KeyError::Invalid(TenantKeyError::TooLong));

#[test]
fn header() {
    let rules = rule(Source::Header(HeaderName::from_static("x-tenant-id")));
    let with = |value: &[u8]| request().header("x-tenant-id", value);
    check(&rules, &with(b"acme"), Ok("acme"));
    check(&rules, &with(b"Acme Inc"), Ok("Acme Inc"));
    check(&rules, &with(b"a,b"), Ok("a,b"));
    check(&rules, &with("bücher".as_bytes()), Ok("bücher"));
    check(&rules, &request(), MISSING);
    // Nothing is decoded: a field's value says what it means.
    check(&rules, &with(b"a%2Fb+c"), Ok("a%2Fb+c"));
    check(&rules, &with(b"%zz"), Ok("%zz"));
    check(&rules, &with(b""), NO_VALUE);
    check(
        &rules,
        &with(b"acme").header("x-tenant-id", b"acme"),
        REPEATED,
    );
    check(&rules, &with(b"").header("x-tenant-id", b"acme"), REPEATED);
    check(&rules, &with(b"a\tb"), CONTROL);
    check(&rules, &with(b" acme"), OUTER_SPACE);
    check(&rules, &with(b"acme "), OUTER_SPACE);
    check(&rules, &with("acme\u{a0}".as_bytes()), OUTER_SPACE);
    let long = "k".repeat(256);
    check(&rules, &with(long.as_bytes()), Ok(&long));
    let too_long = "k".repeat(257);
    check(&rules, &with(too_long.as_bytes()), TOO_LONG);
}

/// Servers that turn fields into variables read each of these as the tenant's own.
#[test]
fn a_header_in_another_spelling() {
    let rules = rule(Source::Header(HeaderName::from_static("x-tenant-id")));
    for name in ["x_tenant_id", "x-tenant_id", "x_tenant-id"] {
        let look_alike = request().header(name, b"evil");
        check(&rules, &look_alike, Err(KeyError::LookAlike));
        check(
            &rules,
            &look_alike.header("x-tenant-id", b"acme"),
            Err(KeyError::LookAlike),
        );
    }
    for name in ["x-tenant-i", "x-tenant-id2", "xtenantid", "x.tenant.id"] {
        check(&rules, &request().header(name, b"other"), MISSING);
    }
}

#[test]
fn a_pattern_cuts_the_key_out() {
    let rules = rule_with(
        Source::Header(HeaderName::from_static("authority")),
        Some("tenant={tenant};"),
    );
    let with = |value: &[u8]| request().header("authority", value);
    check(&rules, &with(b"tenant=acme;"), Ok("acme"));
    check(&rules, &with(b"tenant=a;b;"), Ok("a;b"));
    check(&rules, &with(b"tenant=acme"), MISSING);
    check(&rules, &with(b"Tenant=acme;"), MISSING);
    check(&rules, &with(b"tenant=;"), EMPTY);
    // Told to the cell in a field of its own, this would be another tenant.
    check(&rules, &with(b"tenant= acme;"), OUTER_SPACE);
    // Without a value it is not just another value.
    check(&rules, &with(b""), NO_VALUE);
}

#[test]
fn host() {
    let of = |pattern: &str, host: &'static str, expected: Result<&str, KeyError>| {
        let rules = rule(Source::Host(Pattern::parse(pattern).unwrap()));
        check(&rules, &Request { host, ..request() }, expected);
    };
    of("{tenant}.example.com", "acme.example.com", Ok("acme"));
    of("{tenant}.example.com", "ACME.Example.COM", Ok("acme"));
    of("{tenant}.example.com", "example.com", MISSING);
    of("{tenant}.example.com", ".example.com", EMPTY);
    of("{tenant}.example.com", "a.b.example.com", MISSING);
    of("{tenant}.example.com", "acme.example.com.evil.com", MISSING);
    of("t-{tenant}.example.com", "t-acme.example.com", Ok("acme"));
    of("{tenant}", "Shop.Acme.Example", Ok("shop.acme.example"));
    of("{tenant}", "[2001:DB8::1]", Ok("[2001:db8::1]"));
    of("{tenant}.example.com", "[2001:db8::1]", MISSING);
    of("{tenant}", "", MISSING);
}

#[test]
fn path() {
    let of = |pattern: &str, path: &'static str, expected: Result<&str, KeyError>| {
        let rules = rule(Source::Path(PathPattern::parse(pattern).unwrap()));
        check(&rules, &Request { path, ..request() }, expected);
    };
    for pattern in [
        "/t/{tenant}",
        "/t/{tenant}/",
        "/t/{tenant}/*",
        "/t/{tenant}/…",
    ] {
        of(pattern, "/t/acme", Ok("acme"));
        of(pattern, "/t/acme/", Ok("acme"));
        of(pattern, "/t/acme/a/b", Ok("acme"));
        of(pattern, "/t/", MISSING);
        of(pattern, "/t//x", MISSING);
        of(pattern, "/T/acme", MISSING);
        of(pattern, "//t/acme", MISSING);
        of(pattern, "", MISSING);
    }
    of("/t/{tenant}/api", "/t/acme/api/x", Ok("acme"));
    of("/t/{tenant}/api", "/t/acme/apix", MISSING);
    of("/t-{tenant}.d/", "/t-acme.d/x", Ok("acme"));
    of("/{tenant}", "/acme", Ok("acme"));
    of("/{tenant}", "*", MISSING);
    // Whatever the spelling, the key is what the cell's framework sees.
    of("/t/{tenant}", "/t/Acme%20Inc", Ok("Acme Inc"));
    of("/t/{tenant}", "/t/%61cme", Ok("acme"));
    of("/t/{tenant}", "/t/acme%2Dx", Ok("acme-x"));
    of("/t/{tenant}", "/t/a%2fb/", Ok("a/b"));
    of("/t/{tenant}", "/t/a%2Fb/", Ok("a/b"));
    of("/t/{tenant}", "/t/b%C3%BCcher", Ok("bücher"));
    of("/t/{tenant}", "/t/a+b", Ok("a+b"));
    of("/t/{tenant}", "/t/a%2561", Ok("a%61"));
    of("/t/{tenant}", "/t/acme/%61", Ok("acme"));
    of("/t/{tenant}", "/t/acme/%zz", Ok("acme"));
    of("/t/{tenant}", "/t/acme%4", ESCAPE);
    of("/t/{tenant}", "/t/acme%", ESCAPE);
    of("/t/{tenant}", "/t/acme%zz", ESCAPE);
    of("/t/{tenant}", "/t/acme%+1", ESCAPE);
    of("/t/{tenant}", "/t/acme%00", CONTROL);
    of("/t/{tenant}", "/t/acme%0d%0ax:%20y", CONTROL);
    of("/t/{tenant}", "/t/acme%7f", CONTROL);
    of("/t/{tenant}", "/t/%20acme", OUTER_SPACE);
    of("/t/{tenant}", "/t/acme%C2%A0", OUTER_SPACE);
    of("/t/{tenant}", "/t/%20", OUTER_SPACE);
}

/// The text around the tenant is compared as the cell's router compares it: decoded.
#[test]
fn path_patterns_are_compared_decoded() {
    let of = |pattern: &str, path: &'static str, expected: Result<&str, KeyError>| {
        let rules = rule(Source::Path(PathPattern::parse(pattern).unwrap()));
        check(&rules, &Request { path, ..request() }, expected);
    };
    of("/t/{tenant}", "/%74/acme", Ok("acme"));
    of("/t/{tenant}/api", "/t/acme/%61pi", Ok("acme"));
    of("/t-{tenant}.d/", "/%74-acme%2ed/x", Ok("acme"));
    of("/t-{tenant}.d/", "/t-a%2Fb.d/x", Ok("a/b"));
    of("/t-{tenant}/", "/t-/x", MISSING);
    of("/a%20b/{tenant}", "/a%20b/acme", Ok("acme"));
    of("/a b/{tenant}", "/a%20b/acme", Ok("acme"));
    // An escaped slash separates nothing.
    of("/t/{tenant}", "/t%2Facme", MISSING);
    of("/t/{tenant}/api", "/t/acme%2Fapi", MISSING);
    // A broken escape where no tenant is matches nothing and harms nobody.
    of("/t/{tenant}", "/%7/acme", MISSING);
    of("/t-{tenant}/", "/100%", MISSING);
    of("/t-{tenant}/", "/t-100%", ESCAPE);
}

/// The limit is that of the key, however long its spelling.
#[test]
fn the_length_of_a_decoded_key() {
    let rules = rule(Source::Path(PathPattern::parse("/t/{tenant}").unwrap()));
    let of = |escapes: usize| {
        let path: &'static str = String::leak(format!("/t/{}", "%6B".repeat(escapes)));
        key_of(&rules, &Request { path, ..request() })
    };
    assert_eq!(of(256), Ok("k".repeat(256)));
    assert_eq!(of(257), TOO_LONG.map(str::to_owned));
}

/// A cell that walks along these segments finds another tenant than the proxy did.
#[test]
fn dot_segments() {
    let rules = rule(Source::Path(PathPattern::parse("/t/{tenant}").unwrap()));
    for path in [
        "/t/acme/../evil",
        "/t/acme/..",
        "/t/acme/.",
        "/t/acme/./x",
        "/t/acme/%2e%2E/evil",
        "/t/acme/.%2e/evil",
        "/t/acme/x\\..\\evil",
        "/t/acme/%2e%2e%2fevil",
        "/t/acme/x%2F..%5Cevil",
        "/t/acme%2f..%2fevil",
        "/t/..",
        "/t/.",
    ] {
        check(
            &rules,
            &Request { path, ..request() },
            Err(KeyError::DotSegments),
        );
    }
    for path in [
        "/t/acme/...",
        "/t/acme/.x",
        "/t/acme/x.",
        "/t/acme/a..b",
        "/t/acme/%2e%2ex",
    ] {
        check(&rules, &Request { path, ..request() }, Ok("acme"));
    }
    // Where the path names no tenant, dots are the cell's business.
    let path = "/x/../t/acme";
    check(&rules, &Request { path, ..request() }, MISSING);
}

#[test]
fn query() {
    let rules = rule(Source::Query(b"tenant"[..].into()));
    let of = |query: &'static str, expected: Result<&str, KeyError>| {
        let query = Some(query);
        check(&rules, &Request { query, ..request() }, expected);
    };
    check(&rules, &request(), MISSING);
    of("", MISSING);
    of("tenant=acme", Ok("acme"));
    of("a=b&tenant=acme&c", Ok("acme"));
    of("tenant=a=b", Ok("a=b"));
    of("tenant=a+b", Ok("a b"));
    of("tenant=a%20b", Ok("a b"));
    of("tenant=a%2Bb", Ok("a+b"));
    of("tenant=a%26b", Ok("a&b"));
    of("tenant=a%3bb", Ok("a;b"));
    of("tenant=%61cm%65", Ok("acme"));
    of("tenant=%ff", Ok("\u{fffd}"));
    of("tenants=acme", MISSING);
    of("Tenant=acme", MISSING);
    of("tenant=", NO_VALUE);
    of("tenant", NO_VALUE);
    of("a&tenant&b", NO_VALUE);
    of("tenant=a&tenant=a", REPEATED);
    of("tenant&tenant=a", REPEATED);
    of("tenant=a&tenant=", REPEATED);
    of("tenant=a%2", ESCAPE);
    of("tenant=%", ESCAPE);
    of("tenant=a%0a", CONTROL);
    of("tenant=+acme", OUTER_SPACE);
    of("tenant=acme%20", OUTER_SPACE);
    // The name in other words, which whoever decodes takes for the same.
    let escaped_name = Err(KeyError::EscapedName);
    of("tenant=acme&t%65nant=evil", escaped_name);
    of("%74enant=evil", escaped_name);
    of("t%zznant=x&tenant=acme", Ok("acme"));
    // Some servers end a parameter here, others do not.
    let semicolon = Err(KeyError::Semicolon);
    of("tenant=acme;x", semicolon);
    of("x;tenant=acme", semicolon);
    of("a=1;tenant=evil&tenant=acme", semicolon);
    of("a=1;t%65nant=evil&tenant=acme", semicolon);
    of("a=1;b=2&tenant=acme", Ok("acme"));
}

/// The pattern is compared with what the value stands for.
#[test]
fn a_pattern_cuts_the_key_out_of_a_decoded_parameter() {
    let rules = rule_with(Source::Query(b"site"[..].into()), Some("c-{tenant} eu"));
    let of = |query: &'static str, expected: Result<&str, KeyError>| {
        let query = Some(query);
        check(&rules, &Request { query, ..request() }, expected);
    };
    of("site=c-acme+eu", Ok("acme"));
    of("site=c%2da%2Fb%20%65u", Ok("a/b"));
    of("site=c-acme", MISSING);
    of("site=c-+eu", EMPTY);
    of("site=c-acme+eu+", MISSING);
    of("site=c-%4+eu", ESCAPE);
    of("site=%4", MISSING);
    of("site=", NO_VALUE);
}

#[test]
fn cookie() {
    let rules = rule(Source::Cookie(b"tenant"[..].into()));
    let of = |cookie: &str, expected: Result<&str, KeyError>| {
        check(
            &rules,
            &request().header("cookie", cookie.as_bytes()),
            expected,
        );
    };
    check(&rules, &request(), MISSING);
    of("tenant=acme", Ok("acme"));
    of("a=b; tenant=acme; c=d", Ok("acme"));
    of("a=b;tenant=acme", Ok("acme"));
    of("tenant=\"acme\"", Ok("acme"));
    of("tenant=\"a b\"", Ok("a b"));
    of("tenant=a=b", Ok("a=b"));
    of("tenant=a%2Fb+c", Ok("a%2Fb+c"));
    of("Tenant=acme", MISSING);
    of("xtenant=acme", MISSING);
    of("a=tenant", MISSING);
    of("tenant", NO_VALUE);
    of("tenant=", NO_VALUE);
    of("tenant= ; a=b", NO_VALUE);
    of("tenant=\"\"", NO_VALUE);
    of("tenant=\" acme\"", OUTER_SPACE);
    of("tenant=a; tenant=a", REPEATED);
    of("tenant =evil; tenant=acme", REPEATED);
    of("tenant; tenant=acme", REPEATED);
    // What some servers take for the end of a cookie or of a value.
    let odd = Err(KeyError::CookieValue);
    of("tenant=acme,evil", odd);
    of("tenant=acme, tenant=evil", odd);
    of("a=b, tenant=evil; tenant=acme", odd);
    of("a=b,c, d=e; tenant=acme", Ok("acme"));
    of("tenant=\"", odd);
    of("tenant=\"acme", odd);
    of("tenant=ac\"me", odd);
    of("tenant=\"ac\"me\"", odd);
    of("tenant=\"a\\143me\"", odd);
    of("a=\"b; tenant=evil\"", odd);
    let two_lines = request()
        .header("cookie", b"tenant=a")
        .header("cookie", b"tenant=b");
    check(&rules, &two_lines, REPEATED);
    let second_line = request()
        .header("cookie", b"a=b")
        .header("cookie", b"tenant=acme");
    check(&rules, &second_line, Ok("acme"));
}

#[test]
fn source_ip() {
    let rules = rule(Source::SourceIp);
    let of = |client: &str, expected: &str| {
        let client = client.parse().unwrap();
        check(
            &rules,
            &Request {
                client,
                ..request()
            },
            Ok(expected),
        );
    };
    of("192.0.2.7", "192.0.2.7");
    // The same client on a dual-stack listener.
    of("::ffff:192.0.2.7", "192.0.2.7");
    of("2001:DB8:0::1", "2001:db8::1");
    of(
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    );
}

#[test]
fn the_first_rule_that_matches_decides() {
    let header = |name| KeyRule {
        source: Source::Header(HeaderName::from_static(name)),
        pattern: None,
    };
    let host = KeyRule {
        source: Source::Host(Pattern::parse("{tenant}.example.com").unwrap()),
        pattern: None,
    };
    let rules = KeyRules::new(vec![header("x-first"), host, header("x-last")]);
    let all = Request {
        host: "host.example.com",
        ..request()
            .header("x-first", b"first")
            .header("x-last", b"last")
    };
    check(&rules, &all, Ok("first"));
    let without_first = Request {
        host: "host.example.com",
        ..request().header("x-last", b"last")
    };
    check(&rules, &without_first, Ok("host"));
    check(&rules, &request().header("x-last", b"last"), Ok("last"));
    // A rule that finds something it cannot use is not passed over: the next one might find another tenant.
    let bad_first = request().header("x-first", b"").header("x-last", b"last");
    check(&rules, &bad_first, NO_VALUE);
}

#[test]
fn patterns() {
    for text in [
        "",
        "x",
        "{tenant",
        "{tenant}{tenant}",
        "{tenant}.{x}",
        "{}",
        "{Tenant}",
        "a}{tenant}",
    ] {
        assert_eq!(Pattern::parse(text), None, "{text}");
    }
    for text in [
        "",
        "x",
        "t/{tenant}",
        "/",
        "/t",
        "/{x}/{tenant}",
        "/t/{tenant}/{tenant}",
        "/*/{tenant}",
        "/%4/{tenant}",
        "/t-%{tenant}",
        "/{tenant}/%zz",
    ] {
        assert_eq!(PathPattern::parse(text), None, "{text}");
    }
    // What is before and after the tenant does not overlap.
    let pattern = Pattern::parse("aba{tenant}aba").unwrap();
    assert_eq!(pattern.cut(b"aba"), None);
    assert_eq!(pattern.cut(b"ababa"), None);
    assert_eq!(pattern.cut(b"abaaba"), Some(&b""[..]));
}

#[test]
fn each_refusal_has_its_own_words() {
    let errors = [
        KeyError::Missing,
        KeyError::Repeated,
        KeyError::LookAlike,
        KeyError::NoValue,
        KeyError::Escape,
        KeyError::EscapedName,
        KeyError::CookieValue,
        KeyError::DotSegments,
        KeyError::Semicolon,
        KeyError::OuterSpace,
        KeyError::Invalid(TenantKeyError::Empty),
    ];
    let texts: std::collections::BTreeSet<String> =
        errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), errors.len());
}
