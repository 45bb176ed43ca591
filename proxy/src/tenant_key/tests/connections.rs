//! Keys of connections: what is asked in which order, and what a proof has to be.

use super::*;

const UNIQUE_ID: u8 = 5;

fn rules(rules: Vec<(Source, Option<&str>)>) -> KeyRules {
    let rules = rules.into_iter().map(|(source, pattern)| KeyRule {
        source,
        pattern: pattern.map(|text| Pattern::parse(text).unwrap()),
    });
    KeyRules::new(rules.collect())
}

fn cert(kind: NameKind, otherwise: Otherwise) -> Source {
    Source::ClientCert(CertificateRule { kind, otherwise })
}

fn tlv(kind: u8, subtype: Option<u8>, form: Form) -> Source {
    Source::ProxyTlv(ExtensionRule {
        kind,
        subtype,
        form,
        otherwise: Otherwise::Refuse,
    })
}

fn sni() -> Source {
    Source::Sni(Pattern::parse("{tenant}.example.com").unwrap())
}

fn names(names: &[(NameKind, &str)]) -> Evidence {
    let mut found = CertificateNames::default();
    for (kind, name) in names {
        found.add(*kind, Some(name.as_bytes()));
    }
    Evidence {
        names: Some(found),
        ..Evidence::default()
    }
}

fn extensions(all: &[(u8, &[u8])]) -> Evidence {
    let mut evidence = Evidence::default();
    for (kind, value) in all {
        evidence.extensions.add(*kind, value);
    }
    evidence
}

/// The key, or `None` when the hello is needed first.
fn read(
    rules: &KeyRules,
    evidence: Option<&Evidence>,
    hello: Hello<'_>,
) -> Result<Option<String>, KeyError> {
    let view = ConnectionView {
        client: IpAddr::from([192, 0, 2, 7]),
        evidence,
        hello,
    };
    let mut key = RequestKey::default();
    Ok(match rules.read_connection_key(&view, &mut key)? {
        Found::Key => Some(String::from_utf8_lossy(key.as_bytes()).into_owned()),
        Found::NeedsHello => None,
    })
}

#[track_caller]
fn check_proof(rules: &KeyRules, evidence: &Evidence, expected: Result<&str, KeyError>) {
    let found = read(rules, Some(evidence), Hello::Unread);
    assert_eq!(found, expected.map(|key| Some(key.to_owned())));
    // A request on it gets the same answer.
    let view = RequestView {
        lines: FieldLines(&[]),
        path: b"/",
        query: None,
        host: b"h",
        client: IpAddr::from([192, 0, 2, 7]),
        evidence: Some(evidence),
    };
    let key = rules.key_of(&view);
    let key = key.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    assert_eq!(key.as_deref().map_err(|error| *error), expected);
}

#[test]
fn a_hello_is_waited_for_only_where_rules_before_it_find_nothing() {
    let by_name = rules(vec![(sni(), None), (Source::SourceIp, None)]);
    assert_eq!(read(&by_name, None, Hello::Unread), Ok(None));
    for (name, expected) in [
        (Some("ACME.example.com"), "acme"),
        (Some("a.b.example.com"), "192.0.2.7"),
        (Some("acme.example.org"), "192.0.2.7"),
        (None, "192.0.2.7"),
    ] {
        let found = read(&by_name, None, Hello::Read(name));
        assert_eq!(found, Ok(Some(expected.to_owned())), "{name:?}");
    }
    let by_address = rules(vec![(Source::SourceIp, None), (sni(), None)]);
    let found = read(&by_address, None, Hello::Unread);
    assert_eq!(found, Ok(Some("192.0.2.7".to_owned())));
    let only = rules(vec![(sni(), None)]);
    assert_eq!(read(&only, None, Hello::Read(None)), Err(KeyError::Missing));
    // What only a request can answer says nothing here.
    let host = Source::Host(Pattern::parse("{tenant}").unwrap());
    let host = rules(vec![(host, None)]);
    assert_eq!(read(&host, None, Hello::Unread), Err(KeyError::Missing));
}

#[test]
fn networks_and_fixed_tenants() {
    let check = |source, client: &str, expected: &str| {
        let rules = rule(source);
        let mut key = RequestKey::default();
        let view = ConnectionView {
            client: client.parse().unwrap(),
            evidence: None,
            hello: Hello::Unread,
        };
        assert_eq!(rules.read_connection_key(&view, &mut key), Ok(Found::Key));
        assert_eq!(key.as_bytes(), expected.as_bytes());
    };
    let network = |ipv4, ipv6| Source::SourceNetwork(PrefixLengths { ipv4, ipv6 });
    check(network(24, 64), "192.0.2.7", "192.0.2.0/24");
    check(network(24, 64), "::ffff:192.0.2.7", "192.0.2.0/24");
    check(network(24, 64), "2001:db8:1:2:3::4", "2001:db8:1:2::/64");
    check(network(32, 128), "192.0.2.7", "192.0.2.7/32");
    check(network(32, 128), "2001:db8::7", "2001:db8::7/128");
    check(network(1, 1), "192.0.2.7", "128.0.0.0/1");
    check(network(1, 1), "2001:db8::7", "::/1");
    check(Source::Tenant(b"acme"[..].into()), "192.0.2.7", "acme");
}

#[test]
fn names_of_certificates() {
    use NameKind::{Cn, Dns, Email, Uri};
    let of = |kind, pattern| rules(vec![(cert(kind, Otherwise::Refuse), pattern)]);
    let spiffe = of(Uri, Some("spiffe://example.com/{tenant}"));
    check_proof(
        &spiffe,
        &names(&[(Uri, "spiffe://example.com/acme")]),
        Ok("acme"),
    );
    let others = [
        (Uri, "spiffe://example.com/acme"),
        (Uri, "https://acme.example"),
        (Dns, "acme.example"),
    ];
    check_proof(&spiffe, &names(&others), Ok("acme"));
    let two = [
        (Uri, "spiffe://example.com/a"),
        (Uri, "spiffe://example.com/b"),
    ];
    check_proof(&spiffe, &names(&two), Err(KeyError::SeveralNames));
    check_proof(
        &spiffe,
        &names(&[(Dns, "acme.example")]),
        Err(KeyError::NoFittingName),
    );
    check_proof(&spiffe, &names(&[(Uri, "spiffe://example.com/")]), EMPTY);
    check_proof(
        &spiffe,
        &names(&[(Uri, "spiffe://example.com/a\0b")]),
        CONTROL,
    );
    check_proof(&spiffe, &Evidence::default(), Err(KeyError::NoCertificate));
    let dns = of(Dns, Some("{tenant}.example.com"));
    check_proof(&dns, &names(&[(Dns, "ACME.Example.com")]), Ok("acme"));
    check_proof(
        &dns,
        &names(&[(Dns, "a.b.example.com")]),
        Err(KeyError::NoFittingName),
    );
    check_proof(
        &dns,
        &names(&[(Dns, "*.example.com")]),
        Err(KeyError::NotAHostName),
    );
    check_proof(
        &of(Email, None),
        &names(&[(Email, "Ops@a.example")]),
        Ok("Ops@a.example"),
    );
    check_proof(&of(Cn, None), &names(&[(Cn, "Acme")]), Ok("Acme"));
    // There is one common name, whichever of them a pattern would choose.
    let two = names(&[(Cn, "t-acme"), (Cn, "other")]);
    check_proof(
        &of(Cn, Some("t-{tenant}")),
        &two,
        Err(KeyError::SeveralNames),
    );
}

#[test]
fn a_proof_that_is_missing_ends_the_search_unless_it_need_not_be_there() {
    let header = Source::Header(HeaderName::from_static("x-tenant-id"));
    let with = |otherwise| {
        rules(vec![
            (cert(NameKind::Uri, otherwise), None),
            (header.clone(), None),
        ])
    };
    let request = request().header("x-tenant-id", b"acme");
    let refused = key_of(&with(Otherwise::Refuse), &request);
    assert_eq!(refused, Err(KeyError::NoCertificate));
    check(&with(Otherwise::NextRule), &request, Ok("acme"));
}

#[test]
fn extensions_of_a_header() {
    let aws = rule(tlv(0xea, Some(1), Form::Text));
    check_proof(
        &aws,
        &extensions(&[(0xea, b"\x01vpce-08d2bf15")]),
        Ok("vpce-08d2bf15"),
    );
    let other = [(0xea, &b"\x02x"[..]), (0xea, b"\x01vpce-1"), (4, b"")];
    check_proof(&aws, &extensions(&other), Ok("vpce-1"));
    let twice = [(0xea, &b"\x01vpce-1"[..]), (0xea, b"\x01vpce-1")];
    check_proof(&aws, &extensions(&twice), REPEATED);
    check_proof(
        &aws,
        &extensions(&[(0xea, b"\x02x")]),
        Err(KeyError::NoExtension),
    );
    check_proof(
        &aws,
        &extensions(&[(0xea, b"")]),
        Err(KeyError::NoExtension),
    );
    check_proof(&aws, &extensions(&[(0xea, b"\x01")]), NO_VALUE);
    check_proof(&aws, &extensions(&[(0xea, b"\x01a\nb")]), CONTROL);
    let azure = rule(tlv(0xee, Some(1), Form::NumberLe));
    check_proof(
        &azure,
        &extensions(&[(0xee, b"\x01\x2a\x01\0\0")]),
        Ok("298"),
    );
    let google = rule(tlv(0xe0, None, Form::NumberBe));
    check_proof(
        &google,
        &extensions(&[(0xe0, b"\0\0\0\0\0\0\x01\x2a")]),
        Ok("298"),
    );
    check_proof(
        &google,
        &extensions(&[(0xe0, b"123456789")]),
        Err(KeyError::NotANumber),
    );
    let authority = rules(vec![(
        tlv(2, None, Form::Host),
        Some("{tenant}.example.com"),
    )]);
    check_proof(
        &authority,
        &extensions(&[(2, b"Acme.example.com.")]),
        Ok("acme"),
    );
    check_proof(
        &authority,
        &extensions(&[(2, b"a/b")]),
        Err(KeyError::NotAHostName),
    );
    check_proof(
        &authority,
        &extensions(&[(2, b"a.example")]),
        Err(KeyError::NoExtension),
    );
    let id = rules(vec![(
        tlv(UNIQUE_ID, None, Form::Text),
        Some("id-{tenant}"),
    )]);
    check_proof(&id, &extensions(&[(UNIQUE_ID, b"id-acme")]), Ok("acme"));
    let hex = rule(tlv(UNIQUE_ID, None, Form::Hex));
    check_proof(&hex, &extensions(&[(UNIQUE_ID, b"\0\xff")]), Ok("00ff"));
}
