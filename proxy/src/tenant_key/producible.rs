//! Which keys the rules can produce at all: for warnings about names in a table that no request can spell.

use std::net::IpAddr;

use super::{KeyRule, KeyRules, Pattern, RequestKey, Source};

impl KeyRules {
    /// Whether some request could name a tenant by this key. False only where that is certain.
    pub fn can_produce(&self, key: &[u8]) -> bool {
        RequestKey::new(key).is_ok() && self.rules.iter().any(|rule| rule.can_produce(key))
    }
}

impl KeyRule {
    fn can_produce(&self, key: &[u8]) -> bool {
        match &self.source {
            Source::Header(_) | Source::Query(_) => true,
            // What separates cookies, and what may not be in one.
            Source::Cookie(_) => !key.iter().any(|byte| b";,\"\\".contains(byte)),
            Source::Host(pattern) => host_can(pattern, key),
            // The segment is decoded, so nearly everything can be in it.
            Source::Path(_) => !matches!(key, b"." | b".."),
            Source::SourceIp => is_address(key),
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
    use crate::tenant_key::PathPattern;

    #[test]
    fn keys_that_no_request_can_spell() {
        let rule = |source| KeyRule {
            source,
            pattern: None,
        };
        let host = |text| rule(Source::Host(Pattern::parse(text).unwrap()));
        let check = |rule: KeyRule, good: &[&str], bad: &[&str]| {
            let rules = KeyRules::new(vec![rule]);
            for key in good {
                assert!(rules.can_produce(key.as_bytes()), "{key:?} by {rules:?}");
            }
            for key in bad {
                assert!(!rules.can_produce(key.as_bytes()), "{key:?} by {rules:?}");
            }
        };
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
