use proptest::prelude::*;

use super::*;
use crate::{TenantKey, id::has_outer_white_space, parse, testing};

proptest! {
    #[test]
    fn what_is_written_is_read_back(table in testing::any_table()) {
        let text = render(&table);
        let read = parse(text.as_bytes()).map_err(|problems| TestCaseError::fail(format!("{problems}\nin:\n{text}")))?;
        prop_assert_eq!(&read, &table);
        // Canonical: there is one text for each table.
        prop_assert_eq!(render(&read), text);
    }
}

/// Renders a table with these tenants under every heading and reads it back.
#[track_caller]
fn check_keys(keys: &[String]) {
    let text = "{format: 1, hash: {slots: 1}, cells: {a: {endpoints: [{address: '127.0.0.1:1'}]}}, slots: {a: [0]}}";
    let mut table = parse(text.as_bytes()).unwrap();
    let mut keys: Vec<TenantKey> = keys
        .iter()
        .map(|key| TenantKey::new(key).unwrap())
        .collect();
    keys.sort();
    keys.dedup();
    table.overrides = keys
        .iter()
        .map(|key| (key.clone(), CellIndex::new(0)))
        .collect();
    table.rejects.clone_from(&keys);
    check_table(&table);
    // An alias may not have an override, nor be rejected.
    table.overrides.clear();
    table.rejects.clear();
    let tenant = TenantKey::new("the tenant itself").unwrap();
    table.aliases = keys
        .iter()
        .map(|key| (key.clone(), tenant.clone()))
        .collect();
    check_table(&table);
    // The tenant of an alias has no white space at its ends.
    let is_target = |key: &&TenantKey| !has_outer_white_space(key.as_bytes());
    if let Some(target) = keys.iter().find(is_target) {
        table.aliases = vec![(tenant, target.clone())];
        check_table(&table);
    }
}

#[track_caller]
fn check_table(table: &Table) {
    let text = render(table);
    let read = parse(text.as_bytes()).expect("what is written can be read");
    assert!(read == *table, "another table was read back");
    assert!(render(&read) == text, "the table has two texts");
}

#[test]
fn weird_keys_are_read_back() {
    let keys = testing::weird_keys();
    for key in &keys {
        check_keys(std::slice::from_ref(key));
    }
    check_keys(&keys);
}

/// Each character alone, and, up to the symbols, where YAML treats it differently: first, last, doubled, and beside a
/// space, a colon or a quote.
#[test]
fn every_character_is_read_back() {
    let characters: Vec<char> = ('\u{20}'..='\u{ffff}')
        .chain('\u{10000}'..='\u{10100}')
        .chain(['\u{1f600}', '\u{e0001}', '\u{10fffe}', '\u{10ffff}'])
        .filter(|c| !c.is_ascii_control())
        .collect();
    let keys: Vec<String> = characters.iter().map(char::to_string).collect();
    check_keys(&keys);
    let keys: Vec<String> = (characters.iter())
        .filter(|c| matches!(c, '\0'..='\u{2ff}' | '\u{2000}'..='\u{20ff}' | '\u{fe00}'..))
        .flat_map(|c| {
            ["@a", "a@b", "a @", "@: a", "'@", "a@ #b", "@@"]
                .map(|form| form.replace('@', &c.to_string()))
        })
        .collect();
    check_keys(&keys);
}

#[test]
fn canonical_text() {
    let text = r#"
rejects: [z, a]
aliases: { www.acme.example: acme }
overrides: { globex: eu-2, acme: eu-1, "007": eu-1 }
slots: { eu-2: [7, "4-5", 6, 2], eu-1: ["0-0", 3, 1] }
cells:
  eu-2: { endpoints: [{ address: "[::1]:9003" }], tls: { server_name: "::1", ca: ca.pem, client_cert: { certificate: p.pem } } }
  eu-1:
    health_check: { type: http }
    endpoints: [{ weight: 2, address: "127.0.0.1:9001" }]
hash: { slots: 8 }
generation: 42
format: 1
"#;
    let expected = "\
format: 1
generation: 42
hash:
  seed: 0
  slots: 8
cells:
  eu-1:
    endpoints:
    - address: '127.0.0.1:9001'
      weight: 2
    max_in_flight: 1024
    health_check:
      type: http
      path: /healthz
      interval_ms: 2000
      timeout_ms: 1000
      unhealthy_after: 3
      healthy_after: 2
  eu-2:
    endpoints:
    - address: '[::1]:9003'
      weight: 1
    max_in_flight: 1024
    tls:
      server_name: '::1'
      ca: ca.pem
      client_cert:
        certificate: p.pem
        key: p.pem
slots:
  eu-1:
  - '0-1'
  - '3'
  eu-2:
  - '2'
  - '4-7'
overrides:
  '007': eu-1
  acme: eu-1
  globex: eu-2
aliases:
  www.acme.example: acme
rejects:
- a
- z
";
    assert_eq!(render(&parse(text.as_bytes()).unwrap()), expected);
}
