//! On a request's way, finding the tenant and its cell allocates nothing.
//!
//! A binary of its own, because the crate that counts takes the place of the allocator.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use allocation_counter::measure;
use cellgate_proxy::{
    field_lines::{FieldLine, FieldLines},
    metrics::Metrics,
    snapshot::{Accepted, Snapshot, Source as TableSource},
    tenant_key::{KeyRule, KeyRules, PathPattern, Pattern, RequestView, Source},
    tls::CellIdentities,
};
use cellgate_table::{Digest, Generation, parse};
use http::HeaderName;

fn snapshot() -> Snapshot {
    let long = "long-".repeat(40);
    let text = format!(
        "format: 1\nhash: {{ slots: 16 }}\ncells:\n  a: {{ endpoints: [\
         {{ address: \"127.0.0.1:1\" }}, {{ address: \"127.0.0.1:2\", weight: 3 }}] }}\n  \
         b: {{ endpoints: [{{ address: \"127.0.0.1:3\" }}] }}\nslots: {{ a: [\"0-7\"], b: [\"8-15\"] }}\n\
         overrides: {{ acme: a, {long}: b }}\naliases: {{ www.acme.example: acme }}\nrejects: [evil]\n"
    );
    let accepted = Accepted {
        table: parse(text.as_bytes()).expect("the table is good"),
        generation: Generation::new(1).expect("1 is a generation"),
        digest: Digest::of(text.as_bytes()),
        other_digests: Vec::new(),
        source: TableSource::File,
        cell_tls: CellIdentities::default(),
    };
    Snapshot::build(accepted, None, &Metrics::new())
}

/// What happens between a request's head and its endpoint.
fn find_endpoint(snapshot: &Snapshot, rules: &KeyRules, request: &RequestView<'_>) {
    let key = rules.key_of(request).expect("the request names a tenant");
    let route = snapshot.routes.route(key.as_bytes());
    let cell = snapshot.cell(route.cell);
    let in_flight = cell.admit().expect("the cell has room");
    let at = cell
        .choose_endpoint(&[], 0, [7, u32::MAX])
        .expect("an endpoint is usable");
    let used = cell.endpoints[at].state.enter();
    black_box((
        route.tenant,
        route.is_rejected,
        &in_flight,
        used.endpoint().address,
    ));
}

#[test]
fn looking_up_and_routing_allocate_nothing() {
    let pattern = |text| Pattern::parse(text).expect("it is a pattern");
    let sources = [
        (Source::Header(HeaderName::from_static("x-tenant-id")), None),
        (
            Source::Header(HeaderName::from_static("x-account")),
            Some(pattern("tenant={tenant};")),
        ),
        (Source::Host(pattern("{tenant}.example.com")), None),
        (
            Source::Path(PathPattern::parse("/t/{tenant}/").expect("it is a pattern")),
            None,
        ),
        (Source::Query(b"tenant"[..].into()), None),
        (Source::Cookie(b"tenant"[..].into()), None),
        (Source::SourceIp, None),
    ];
    let snapshot = snapshot();
    let client = IpAddr::from([192, 0, 2, 1]);
    for tenant in [
        "acme",
        "www.acme.example",
        "evil",
        "nobody-knows-me",
        &"long-".repeat(40),
    ] {
        let fields = [
            ("X-Tenant-Id", tenant.to_owned()),
            ("x-account", format!("tenant={tenant};")),
            ("Cookie", format!("a=b; tenant=\"{tenant}\"")),
            ("accept", "*/*".to_owned()),
        ];
        let lines = fields.each_ref().map(|(name, value)| FieldLine {
            name: name.as_bytes(),
            value: value.as_bytes(),
        });
        let label = tenant.replace('.', "-");
        let (path, query) = (format!("/t/{tenant}/x"), format!("a=b&tenant={tenant}"));
        let host = format!("{label}.EXAMPLE.com");
        let request = RequestView {
            lines: FieldLines(&lines),
            path: path.as_bytes(),
            query: Some(query.as_bytes()),
            host: host.as_bytes(),
            client,
            evidence: None,
        };
        for (source, pattern) in &sources {
            let rule = KeyRule {
                source: source.clone(),
                pattern: pattern.clone(),
            };
            let rules = KeyRules::new(vec![rule]);
            let used = measure(|| find_endpoint(&snapshot, &rules, &request));
            assert_eq!(used.count_total, 0, "{source:?} {tenant}: {used:?}");
        }
    }
}

/// Nor does a key that has to be decoded.
#[test]
fn decoding_a_key_allocates_nothing() {
    let site = Pattern::parse("s {tenant}/").expect("it is a pattern");
    let rules = [
        (
            Source::Path(PathPattern::parse("/t/{tenant}/x").expect("it is a pattern")),
            None,
        ),
        (Source::Query(b"tenant"[..].into()), None),
        (Source::Query(b"site"[..].into()), Some(site)),
    ];
    let snapshot = snapshot();
    let request = RequestView {
        lines: FieldLines(&[]),
        path: b"/%74/b%C3%BCcher%2F%61/x",
        query: Some("a=%zz&tenant=b%C3%BC+cher%2F%61&site=s+acme%2f".as_bytes()),
        host: b"h",
        client: IpAddr::from([192, 0, 2, 1]),
        evidence: None,
    };
    for (source, pattern) in rules {
        let rules = KeyRules::new(vec![KeyRule { source, pattern }]);
        let used = measure(|| find_endpoint(&snapshot, &rules, &request));
        assert_eq!(used.count_total, 0, "{rules:?}: {used:?}");
    }
}

/// A request that names no tenant, or names it badly, costs no more.
#[test]
fn refusing_a_key_allocates_nothing() {
    let rules = KeyRules::new(vec![KeyRule {
        source: Source::Header(HeaderName::from_static("x-tenant-id")),
        pattern: None,
    }]);
    for (name, value) in [("x-other", "a"), ("x_tenant_id", "a"), ("x-tenant-id", "")] {
        let lines = [FieldLine {
            name: name.as_bytes(),
            value: value.as_bytes(),
        }];
        let request = RequestView {
            lines: FieldLines(&lines),
            path: b"/",
            query: None,
            host: b"h",
            client: IpAddr::from([192, 0, 2, 1]),
            evidence: None,
        };
        let used = measure(|| assert!(rules.key_of(&request).is_err()));
        assert_eq!(used.count_total, 0, "{name}: {value}: {used:?}");
    }
}

/// The counter counts: without this, a test that counts nothing would pass.
#[test]
fn the_counter_works() {
    let snapshot = Arc::new(snapshot());
    let used = measure(|| {
        black_box(snapshot.generation_header.to_str().map(str::to_owned)).ok();
    });
    assert_eq!(used.count_total, 1);
}
