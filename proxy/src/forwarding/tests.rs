//! Which fields are dropped, kept and set, and whose address is found.

use super::*;

type Sent = Vec<(String, String)>;

fn headers(fields: &[(&str, &str)]) -> Sent {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(owned).collect()
}

fn lines(sent: &Sent) -> Vec<FieldLine<'_>> {
    sent.iter()
        .map(|(name, value)| FieldLine {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
        .collect()
}

/// Proxies in `10.0.0.0/8` and `fd00::/8`, and these headers of theirs.
fn trust(names: &[&str]) -> Trust {
    let mut trust = Trust {
        proxies: Networks::default(),
        headers: TrustedHeaders::none(),
    };
    trust.proxies.add("10.0.0.0/8").unwrap();
    trust.proxies.add("fd00::/8").unwrap();
    for name in names {
        trust.headers.add(name).unwrap();
    }
    trust
}

const DEFAULT: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port"];
const TRUSTED: &str = "10.0.0.7";
const STRANGER: &str = "192.0.2.9";

/// The fields that the cell gets of what `peer` sent, in order of their names.
#[track_caller]
fn check(trust: &Trust, peer: &str, sent: &[(&str, &str)], expected: &[&str]) {
    let hop = Hop {
        peer: peer.parse().unwrap(),
        may_vouch: true,
        peer_text: peer,
        lines_before_host: b"",
        proto: "http",
        host: Some(b"shop.example:8080"),
        request_id: None,
    };
    let sent = headers(sent);
    let lines = lines(&sent);
    let rewrite = trust.rewrite(FieldLines(&lines), &hop);
    let is_kept = |place: &usize| !rewrite.dropped.contains(place);
    let kept = (0..lines.len()).filter(is_kept).map(|place| lines[place]);
    let added = rewrite.added().map(|(name, value)| FieldLine {
        name: name.as_bytes(),
        value,
    });
    let mut found: Vec<String> = kept
        .chain(added)
        .map(|line| {
            let name = String::from_utf8_lossy(line.name).to_ascii_lowercase();
            format!("{name}: {}", String::from_utf8_lossy(line.value))
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, expected, "{sent:?} from {peer}");
}

#[test]
fn names_in_any_spelling() {
    for name in [
        "x-cellgate-tenant",
        "x_cellgate_tenant",
        "x-cellgate_cell",
        "x_cellgate-generation",
        "x.cellgate.tenant",
        "x-cellgate-",
        "x-cellgate-anything-else",
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded_proto",
        "x_forwarded-host",
        "x~forwarded~for",
        "x-forwarded-port",
        "x-forwarded-anything-else",
        "forwarded",
        "x-real-ip",
        "x_real_ip",
        "true-client-ip",
        "true_client-ip",
        "x-client-ip",
        "x-original-url",
        "x_original_url",
        "x-rewrite-url",
    ] {
        assert!(name::is_reserved(name.as_bytes()), "{name}");
    }
    for name in [
        "x-cellgate",
        "cellgate-tenant",
        "x-forwarded",
        "xaforwardedafor",
        "forwarded-for",
        "x-real-ip2",
        "x-real-i",
        "host",
    ] {
        assert!(!name::is_reserved(name.as_bytes()), "{name}");
    }
}

#[test]
fn nothing_that_a_stranger_says_is_kept() {
    let everything = trust(&[
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-original-url",
        "x-rewrite-url",
    ]);
    let sent = [
        ("x-forwarded-for", "198.51.100.1"),
        ("x_forwarded_for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=198.51.100.1"),
        ("x-real-ip", "198.51.100.1"),
        ("true_client_ip", "198.51.100.1"),
        ("x-client-ip", "198.51.100.1"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-cellgate-tenant", "evil"),
        ("x-other", "kept"),
    ];
    let ours = [
        "x-forwarded-for: 192.0.2.9",
        "x-forwarded-host: shop.example:8080",
        "x-forwarded-proto: http",
        "x-other: kept",
    ];
    check(&trust(&DEFAULT), STRANGER, &sent, &ours);
    let element = "forwarded: for=192.0.2.9;host=\"shop.example:8080\";proto=http";
    let with_element = [&[element], &ours[..]].concat();
    check(&everything, STRANGER, &sent, &with_element);
}

#[test]
fn what_is_listed_is_kept_of_a_trusted_proxy() {
    let sent = [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "198.51.100.2,, 10.0.0.9,"),
        ("x_forwarded_for", "evil"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-host", "front.example"),
        ("x-forwarded-prefix", "/app"),
        ("forwarded", "for=198.51.100.1"),
        ("x-real-ip", "198.51.100.1"),
        ("x-cellgate-tenant", "evil"),
        ("x-other", "kept"),
    ];
    check(
        &trust(&DEFAULT),
        TRUSTED,
        &sent,
        &[
            "x-forwarded-for: 198.51.100.1, 198.51.100.2, 10.0.0.9, 10.0.0.7",
            "x-forwarded-host: shop.example:8080",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-other: kept",
        ],
    );
    check(
        &trust(&["x-forwarded-host", "x-forwarded-prefix", "x-real-ip"]),
        TRUSTED,
        &sent,
        &[
            "x-forwarded-for: 10.0.0.7",
            "x-forwarded-host: front.example",
            "x-forwarded-prefix: /app",
            "x-forwarded-proto: http",
            "x-other: kept",
            "x-real-ip: 198.51.100.1",
        ],
    );
    // A trusted peer that says nothing.
    let nothing = [
        "x-forwarded-for: 10.0.0.7",
        "x-forwarded-host: shop.example:8080",
        "x-forwarded-proto: http",
    ];
    check(&trust(&DEFAULT), TRUSTED, &[], &nothing);
    check(&trust(&[]), TRUSTED, &sent[..10], &nothing);
}

#[test]
fn what_makes_no_sense_is_not_kept() {
    let listed = [
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-real-ip",
    ];
    for sent in [
        &[("x-forwarded-proto", "ftp")][..],
        &[("x-forwarded-proto", "https, http")],
        &[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
        ],
        &[("x-forwarded-proto", "")],
        &[("x-forwarded-port", "https")],
        &[("x-forwarded-port", "+443")],
        &[("x-forwarded-port", "65536")],
        &[("x-forwarded-port", "443,80")],
        &[("x-forwarded-port", "")],
        &[("x-forwarded-host", "a.example, b.example")],
        &[("x-forwarded-host", "a.example/path")],
        &[("x-forwarded-host", "")],
        &[("x-real-ip", "unknown")],
        &[("x-real-ip", "192.0.2.1"), ("x-real-ip", "192.0.2.2")],
    ] {
        let ours = [
            "x-forwarded-for: 10.0.0.7",
            "x-forwarded-host: shop.example:8080",
            "x-forwarded-proto: http",
        ];
        check(&trust(&listed), TRUSTED, sent, &ours);
    }
}

/// Only what a proxy can have written is passed on as part of the chain.
#[test]
fn a_chain_begins_behind_the_last_nonsense() {
    let of = |chain: &str, expected: &str| {
        check(
            &trust(&DEFAULT),
            TRUSTED,
            &[("x-forwarded-for", chain)],
            &[
                &format!("x-forwarded-for: {expected}"),
                "x-forwarded-host: shop.example:8080",
                "x-forwarded-proto: http",
            ],
        );
    };
    of(
        "unknown, _hidden, 192.0.2.1:80",
        "unknown, _hidden, 192.0.2.1:80, 10.0.0.7",
    );
    of(
        "\"[2001:db8::1]:47011\"",
        "\"[2001:db8::1]:47011\", 10.0.0.7",
    );
    of("\"evil, 192.0.2.1", "192.0.2.1, 10.0.0.7");
    of("192.0.2.1, a b", "10.0.0.7");
    of(" ,, ", "10.0.0.7");
}

#[test]
fn a_listed_forwarded_gets_our_hop() {
    let of = |peer: &str, sent: &[&str], expected: &str| {
        let lines: Vec<(&str, &str)> = sent.iter().map(|line| ("forwarded", *line)).collect();
        let element = format!("forwarded: {expected};host=\"shop.example:8080\";proto=http");
        let chain = format!("x-forwarded-for: {peer}");
        check(
            &trust(&["forwarded"]),
            peer,
            &lines,
            &[
                &element,
                &chain,
                "x-forwarded-host: shop.example:8080",
                "x-forwarded-proto: http",
            ],
        );
    };
    of(TRUSTED, &[], "for=10.0.0.7");
    of("fd00::7", &[], "for=\"[fd00::7]\"");
    of(
        TRUSTED,
        &["for=192.0.2.1;proto=https,, For=\"[2001:db8::1]:80\" ; by=_x"],
        "for=192.0.2.1;proto=https,, For=\"[2001:db8::1]:80\" ; by=_x, for=10.0.0.7",
    );
    of(
        TRUSTED,
        &["for=192.0.2.1", "for=192.0.2.2:80"],
        "for=192.0.2.1, for=192.0.2.2:80, for=10.0.0.7",
    );
    // Whatever cannot be read in one way would hide or change our hop.
    for nonsense in [
        "for=\"192.0.2.1",
        "for=\"192.0.2.1\\",
        "for=\"a\"b",
        "for=a\"b",
        "for=",
        "for",
        "=a",
        "for=a b",
    ] {
        of(TRUSTED, &[nonsense], "for=10.0.0.7");
        of(TRUSTED, &["for=192.0.2.1", nonsense], "for=10.0.0.7");
    }
}

#[test]
fn hosts_in_an_element() {
    let of = |host: &'static str, expected: &str| {
        let hop = Hop {
            peer: [192, 0, 2, 1].into(),
            may_vouch: true,
            peer_text: "192.0.2.1",
            lines_before_host: b"",
            proto: "https",
            host: Some(host.as_bytes()),
            request_id: None,
        };
        let element = String::from_utf8(list::element(&hop)).unwrap();
        assert_eq!(element, expected);
    };
    of(
        "shop.example",
        "for=192.0.2.1;host=shop.example;proto=https",
    );
    of(
        "[2001:db8::1]:80",
        "for=192.0.2.1;host=\"[2001:db8::1]:80\";proto=https",
    );
    of("", "for=192.0.2.1;host=\"\";proto=https");
    let without_host = Hop {
        peer: [192, 0, 2, 1].into(),
        may_vouch: true,
        peer_text: "192.0.2.1",
        lines_before_host: b"",
        proto: "http",
        host: None,
        request_id: None,
    };
    assert_eq!(list::element(&without_host), b"for=192.0.2.1;proto=http");
}

#[test]
fn addresses_as_load_balancers_write_them() {
    let check = |text: &str, expected: Option<&str>| {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(address::parse(text.as_bytes()), expected, "{text}");
    };
    for text in [
        "203.0.113.7",
        "203.0.113.7:1234",
        "\"203.0.113.7\"",
        "\"203.0.113.7:1234\"",
        "::ffff:203.0.113.7",
        "::ffff:cb00:7107",
        "[::ffff:203.0.113.7]:1234",
    ] {
        check(text, Some("203.0.113.7"));
    }
    for text in [
        "2001:db8::1",
        "2001:DB8:0:0::1",
        "[2001:db8::1]",
        "[2001:db8::1]:1234",
        "\"2001:db8::1\"",
        "\"[2001:db8::1]\"",
        "\"[2001:db8::1]:47011\"",
        "2001:db8::1%eth0",
        "[2001:db8::1%eth0]:80",
        "[2001:db8::1%25en1]",
    ] {
        check(text, Some("2001:db8::1"));
    }
    for text in [
        "",
        "unknown",
        "_hidden",
        "for=203.0.113.7",
        "203.0.113",
        "203.0.113.007",
        "203.0.113.7:",
        "203.0.113.7:+80",
        "203.0.113.7:65536",
        "203.0.113.7:80:80",
        "203.0.113.7%eth0",
        "[203.0.113.7]",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]80",
        "[2001:db8::1]:",
        "2001:db8::1%",
        "\"203.0.113.7",
        "\"\"203.0.113.7\"\"",
        "203.0.113.7 203.0.113.8",
    ] {
        check(text, None);
    }
}

#[test]
fn the_client_behind_our_own_proxies() {
    let check = |peer: &str, chain: &[&str], expected: &str| {
        let sent: Vec<(&str, &str)> = chain
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        let peer = peer.parse().unwrap();
        let sent = headers(&sent);
        let client = trust(&DEFAULT).client_behind(FieldLines(&lines(&sent)), peer);
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(client, expected, "{peer} {chain:?}");
    };
    check("192.0.2.1", &["198.51.100.1"], "192.0.2.1");
    check("10.0.0.1", &[], "10.0.0.1");
    check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
    // From right to left: what the client itself put there stays to the left.
    check("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1");
    check(
        "10.0.0.1",
        &["6.6.6.6, 198.51.100.1,10.0.0.2 , 10.0.0.3"],
        "198.51.100.1",
    );
    check(
        "10.0.0.1",
        &["6.6.6.6", "198.51.100.1", "10.0.0.2"],
        "198.51.100.1",
    );
    check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    check("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2");
    check("10.0.0.1", &["198.51.100.1, _hidden"], "10.0.0.1");
    // Empty members are dropped; here the balancer once became the client.
    check("10.0.0.1", &["203.0.113.7,,10.1.2.3"], "203.0.113.7");
    check(
        "10.0.0.1",
        &[",203.0.113.7, ,\t, 10.1.2.3 ,"],
        "203.0.113.7",
    );
    check("10.0.0.1", &["203.0.113.7", "", ", ,"], "203.0.113.7");
    check("10.0.0.1", &[""], "10.0.0.1");
    check("10.0.0.1", &["198.51.100.1:443"], "198.51.100.1");
    check(
        "fd00::1",
        &["\"[2001:db8::1]:443\", ::ffff:10.0.0.2"],
        "2001:db8::1",
    );
    check("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
    // A client's open quote does not hide what our own proxy wrote behind it.
    check("10.0.0.1", &["\"6.6.6.6, 198.51.100.1"], "198.51.100.1");
}

#[test]
fn the_client_in_whatever_is_trusted() {
    let sent = headers(&[
        ("x-forwarded-for", "198.51.100.1"),
        (
            "forwarded",
            "for=6.6.6.6, for=\"[2001:db8::1]:47011\";proto=https, FOR=10.0.0.2;by=10.0.0.1",
        ),
    ]);
    let check = |names: &[&str], sent: &Sent, expected: &str| {
        let client = trust(names).client_behind(FieldLines(&lines(sent)), [10, 0, 0, 1].into());
        assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{names:?}");
    };
    check(&DEFAULT, &sent, "198.51.100.1");
    check(&["forwarded"], &sent, "2001:db8::1");
    check(&["forwarded", "x-forwarded-for"], &sent, "198.51.100.1");
    check(&["x-forwarded-proto"], &sent, "10.0.0.1");
    check(&[], &sent, "10.0.0.1");
    for unreadable in [
        "for=198.51.100.1, for=unknown",
        "for=198.51.100.1, proto=https",
        "for=198.51.100.1;for=198.51.100.2",
        "for=198.51.100.1;host=\"a, for=6.6.6.6\"",
        "for=198.51.100.1;host=\"a, for=6.6.6.6;x=\"",
        "for=198.51.100.1;host=\"a, for=6.6.6.6;x=\\\"\"",
        "198.51.100.1",
    ] {
        check(
            &["forwarded"],
            &headers(&[("forwarded", unreadable)]),
            "10.0.0.1",
        );
    }
    let nobody = Trust::default();
    let peer = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(nobody.client_behind(FieldLines(&lines(&sent)), peer), peer);
}
