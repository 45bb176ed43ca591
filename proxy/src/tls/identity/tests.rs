//! What is read out of certificates, and what is not.

use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::tenant_key::{
    CertificateRule, Evidence, Hello, KeyError, KeyRule, KeyRules, Otherwise, RequestKey, Source,
};

fn certificate(names: Vec<SanType>, common: &[DnValue]) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for common in common {
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, common.clone());
    }
    params.subject_alt_names = names;
    params.self_signed(&key).unwrap().der().clone()
}

fn key_of(certificate: &CertificateDer<'_>, kind: NameKind) -> Result<String, KeyError> {
    let otherwise = Otherwise::Refuse;
    let source = Source::ClientCert(CertificateRule { kind, otherwise });
    let rules = KeyRules::new(vec![KeyRule {
        source,
        pattern: None,
    }]);
    let evidence = Evidence {
        names: Some(names_of(certificate, rules.wanted_names())),
        ..Evidence::default()
    };
    let view = crate::tenant_key::ConnectionView {
        client: [192, 0, 2, 1].into(),
        evidence: Some(&evidence),
        hello: Hello::Unread,
    };
    let mut key = RequestKey::default();
    rules.read_connection_key(&view, &mut key)?;
    Ok(String::from_utf8(key.as_bytes().to_vec()).unwrap())
}

#[test]
fn names_are_of_their_kind() {
    let names = vec![
        SanType::DnsName("WWW.Acme.example".try_into().unwrap()),
        SanType::Rfc822Name("Ops@acme.example".try_into().unwrap()),
        SanType::URI("spiffe://example.com/Acme".try_into().unwrap()),
    ];
    let all = certificate(names, &[DnValue::Utf8String("Acme Inc".to_owned())]);
    for (kind, expected) in [
        (NameKind::Dns, "www.acme.example"),
        (NameKind::Email, "Ops@acme.example"),
        (NameKind::Uri, "spiffe://example.com/Acme"),
        (NameKind::Cn, "Acme Inc"),
    ] {
        assert_eq!(key_of(&all, kind).as_deref(), Ok(expected));
    }
    let none = certificate(Vec::new(), &[]);
    for kind in [NameKind::Dns, NameKind::Email, NameKind::Uri, NameKind::Cn] {
        assert_eq!(key_of(&none, kind), Err(KeyError::NoFittingName));
    }
}

#[test]
fn what_cannot_be_read_or_chosen_is_refused() {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let two = certificate(vec![uri("a:b"), uri("a:c")], &[]);
    assert_eq!(key_of(&two, NameKind::Uri), Err(KeyError::SeveralNames));
    let wild = certificate(
        vec![SanType::DnsName("*.acme.example".try_into().unwrap())],
        &[],
    );
    assert_eq!(key_of(&wild, NameKind::Dns), Err(KeyError::NotAHostName));
    let control = certificate(Vec::new(), &[DnValue::Utf8String("a\0b".to_owned())]);
    assert!(matches!(
        key_of(&control, NameKind::Cn),
        Err(KeyError::Invalid(_))
    ));
    let wide = DnValue::BmpString("acme".try_into().unwrap());
    let wide = certificate(Vec::new(), &[wide]);
    assert_eq!(key_of(&wide, NameKind::Cn), Err(KeyError::UnreadableName));
    let many = (0..=NAMES_MAX).map(|number| uri(&format!("a:{number}")));
    let many = certificate(many.collect(), &[]);
    assert_eq!(key_of(&many, NameKind::Uri), Err(KeyError::UnreadableName));
}
