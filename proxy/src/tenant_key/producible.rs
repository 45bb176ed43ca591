//! Which keys the rules can produce at all: for warnings about names in a table that no request can spell.

use std::net::IpAddr;

use super::{
    ExtensionRule, Form, KeyRule, KeyRules, NameKind, Pattern, RequestKey, Source,
    names::is_host_name,
};

impl KeyRules {
    /// Whether some request could name a tenant by this key. False only where that is certain.
    pub fn can_produce(&self, key: &[u8]) -> bool {
        RequestKey::new(key).is_ok() && self.rules.iter().any(|rule| rule.can_produce(key))
    }
}

impl KeyRule {
    fn can_produce(&self, key: &[u8]) -> bool {
        match &self.source {
            // What separates cookies, and what may not be in one.
            Source::Cookie(_) => !key.iter().any(|byte| b";,\"\\".contains(byte)),
            Source::Host(pattern) => host_can(pattern, key),
            // The segment is decoded, so nearly everything can be in it.
            Source::Path(_) => !matches!(key, b"." | b".."),
            Source::SourceIp => is_address(key),
            Source::SourceNetwork(lengths) => lengths.can_be(key),
            Source::Sni(pattern) => proven_host_can(Some(pattern), key),
            Source::ClientCert(rule) if rule.kind == NameKind::Dns => {
                proven_host_can(self.pattern.as_ref(), key)
            }
            Source::Header(_) | Source::Query(_) | Source::ClientCert(_) => true,
            Source::ProxyTlv(ExtensionRule { form, .. }) => match form {
                Form::Text => true,
                Form::Host => proven_host_can(self.pattern.as_ref(), key),
                Form::Hex => {
                    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                    key.len().is_multiple_of(2) && key.iter().all(is_digit)
                }
                Form::NumberLe | Form::NumberBe => is_number(key),
            },
            Source::Tenant(tenant) => **tenant == *key,
        }
    }
}

/// A host name is lower-cased, and a pattern around `{tenant}` stands for one label.
fn host_can(pattern: &Pattern, key: &[u8]) -> bool {
    let is_in_name = |byte: &u8| {
        byte.is_ascii_graphic()
            && !byte.is_ascii_uppercase()
            && !b":/?#@[]\\\"<>^`{|}%".contains(byte)
    };
    if pattern.is_whole() && key.starts_with(b"[") {
        return true;
    }
    key.iter().all(is_in_name) && (pattern.is_whole() || !key.contains(&b'.'))
}

/// The same where nothing but names is taken.
fn proven_host_can(pattern: Option<&Pattern>, key: &[u8]) -> bool {
    let is_whole = pattern.is_none_or(Pattern::is_whole);
    let is_name = if is_whole {
        is_host_name(key)
    } else {
        // A part of a label.
        is_host_name(key) && !key.contains(&b'.')
    };
    is_name && !key.iter().any(u8::is_ascii_uppercase)
}

fn is_number(key: &[u8]) -> bool {
    let number = std::str::from_utf8(key).ok().and_then(|text| {
        let number: u64 = text.parse().ok()?;
        Some(number.to_string() == text)
    });
    number == Some(true)
}

fn is_address(key: &[u8]) -> bool {
    let address = std::str::from_utf8(key).ok().and_then(|text| {
        let address: IpAddr = text.parse().ok()?;
        Some(address.to_canonical().to_string() == text)
    });
    address == Some(true)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::tenant_key::{CertificateRule, Otherwise, PathPattern, PrefixLengths};

    fn rule(source: Source) -> KeyRule {
        KeyRule {
            source,
            pattern: None,
        }
    }

    #[track_caller]
    fn check(rule: KeyRule, good: &[&str], bad: &[&str]) {
        let rules = KeyRules::new(vec![rule]);
        for key in good {
            assert!(rules.can_produce(key.as_bytes()), "{key:?} by {rules:?}");
        }
        for key in bad {
            assert!(!rules.can_produce(key.as_bytes()), "{key:?} by {rules:?}");
        }
    }

    #[test]
    fn keys_that_no_connection_can_spell() {
        let lengths = PrefixLengths { ipv4: 24, ipv6: 64 };
        check(
            rule(Source::SourceNetwork(lengths)),
            &["192.0.2.0/24", "2001:db8::/64"],
            &["192.0.2.7/24", "192.0.2.0/25", "192.0.2.0", "2001:DB8::/64"],
        );
        check(
            rule(Source::Sni(Pattern::parse("{tenant}.example.com").unwrap())),
            &["acme", "a-b_c"],
            &["www.acme", "Acme", "a b"],
        );
        let proof = |kind| {
            rule(Source::ClientCert(CertificateRule {
                kind,
                otherwise: Otherwise::Refuse,
            }))
        };
        check(
            proof(NameKind::Dns),
            &["www.acme.example"],
            &["Acme", "*.acme", "a/b"],
        );
        check(proof(NameKind::Uri), &["spiffe://a/B", "x"], &[" x"]);
        let tlv = |form| {
            rule(Source::ProxyTlv(ExtensionRule {
                kind: 0xe0,
                subtype: None,
                form,
                otherwise: Otherwise::Refuse,
            }))
        };
        check(tlv(Form::Text), &["vpce-08d2", "A b"], &["a "]);
        check(tlv(Form::Host), &["a.example"], &["A.example", "a/b"]);
        check(tlv(Form::Hex), &["00ff"], &["0", "00FF", "acme"]);
        let numbers = ["0", "4294967295", "18446744073709551615"];
        check(
            tlv(Form::NumberBe),
            &numbers,
            &["01", "-1", "acme", "18446744073709551616"],
        );
        check(
            rule(Source::Tenant(b"acme"[..].into())),
            &["acme"],
            &["Acme", "globex"],
        );
    }

    #[test]
    fn keys_that_no_request_can_spell() {
        let host = |text| rule(Source::Host(Pattern::parse(text).unwrap()));
        check(
            host("{tenant}"),
            &["www.acme.example", "acme", "127.0.0.1", "[::1]"],
            &[
                "WWW.Acme.Example",
                "acme corp",
                " acme",
                "bücher",
                "a/b",
                "acme:80",
            ],
        );
        check(
            host("{tenant}.example.com"),
            &["acme", "a-b_c"],
            &["www.acme", "Acme"],
        );
        check(
            rule(Source::Header(HeaderName::from_static("x-tenant-id"))),
            &["WWW.Acme.Example", "acme corp", "a/b"],
            &[" acme", "acme ", "\u{a0}acme"],
        );
        check(
            rule(Source::Path(PathPattern::parse("/t/{tenant}").unwrap())),
            &["Acme", "a/b", "acme corp", "..."],
            &["acme ", ".", ".."],
        );
        check(
            rule(Source::Query(b"t".as_slice().into())),
            &["Acme", "a&b"],
            &[" acme"],
        );
        check(
            rule(Source::Cookie(b"t".as_slice().into())),
            &["Acme", "a=b"],
            &["a,b", "a;b", "a\"b"],
        );
        check(
            rule(Source::SourceIp),
            &["192.0.2.7", "2001:db8::1"],
            &["acme", "2001:DB8::1", "192.0.2.07"],
        );
        let both = KeyRules::new(vec![host("{tenant}"), rule(Source::SourceIp)]);
        assert!(both.can_produce(b"2001:db8::1") && both.can_produce(b"acme"));
        assert!(!both.can_produce(b"Acme"));
    }
}
