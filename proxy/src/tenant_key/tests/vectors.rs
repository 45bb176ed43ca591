//! The examples that are shared with everybody who computes keys.

use super::*;

/// The rule that the first column of the file stands for, and a request with `raw` in its place.
fn scene(kind: &str, raw: &'static str) -> (KeyRules, Request) {
    let name = HeaderName::from_static("x-tenant-id");
    let host = Pattern::parse("{tenant}.example.com").unwrap();
    let path = PathPattern::parse("/t/{tenant}/").unwrap();
    let all = request();
    match kind {
        "header" => (
            rule(Source::Header(name)),
            all.header("x-tenant-id", raw.as_bytes()),
        ),
        "host" => (rule(Source::Host(host)), Request { host: raw, ..all }),
        "path" => (rule(Source::Path(path)), Request { path: raw, ..all }),
        "query" => {
            let query = Some(raw);
            let rules = rule(Source::Query(b"tenant"[..].into()));
            (rules, Request { query, ..all })
        }
        "cookie" => (
            rule(Source::Cookie(b"tenant"[..].into())),
            all.header("cookie", raw.as_bytes()),
        ),
        other => panic!("no such rule: {other}"),
    }
}

#[test]
fn shared_vectors() {
    let vectors = include_str!("../../../../conf/table/vectors/keys.tsv");
    let mut count = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, raw, expected] = fields[..] else {
            panic!("not three fields: {line:?}");
        };
        let (rules, request) = scene(kind, raw);
        let found = match key_of(&rules, &request) {
            Ok(key) => key,
            Err(KeyError::Missing) => "400 no_tenant_key".to_owned(),
            Err(_) => "400 bad_tenant_key".to_owned(),
        };
        assert_eq!(found, expected, "{line:?}");
        count += 1;
    }
    assert!(count >= 90, "only {count} vectors were read");
}
