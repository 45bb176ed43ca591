use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    history,
    read::{self, cells, tenants, tls},
    render, testing,
};

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(schema().as_value()).expect("the schema is one")
}

fn json_of(yaml: &str) -> Value {
    serde_yaml::from_str(yaml).unwrap()
}

/// The table of the design, with every key.
const EXAMPLE: &str = r#"
format: 1
generation: 42
allow_move: true
hash: { seed: 0, slots: 65536 }
cells:
  eu-1:
    endpoints:
      - { address: "127.0.0.1:9001", weight: 1 }
      - { address: "127.0.0.1:9002" }
    max_in_flight: 2000
    health_check: { type: http, path: /healthz, interval_ms: 2000, timeout_ms: 1000, unhealthy_after: 3, healthy_after: 2 }
  eu-2: { endpoints: [{ address: "127.0.0.1:9003" }], health_check: { type: tcp }, tls: { server_name: eu-2.cells.example, ca: ca.pem } }
  eu-3:
    endpoints: [{ address: "127.0.0.1:9004" }]
    tls: { server_name: "10.0.0.7", ca: ca.pem, client_cert: { certificate: proxy.pem, key: proxy.key } }
slots:
  eu-1: ["0-32766", 32767]
  eu-2: ["32768-65535"]
overrides: { acme: eu-2 }
aliases: { www.acme.example: acme }
rejects: [evil-corp]
holds: { globex: { mode: writes } }
history:
  - { generation: 40, digest: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", moved_slots_percent: 0, moved_overrides: 7 }
"#;

#[test]
fn the_schema_takes_good_tables_and_refuses_others() {
    let validator = validator();
    let check = |yaml: &str, expected: bool| {
        let errors: Vec<String> = validator
            .iter_errors(&json_of(yaml))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors.is_empty(), expected, "{errors:#?} in:\n{yaml}");
    };
    check(EXAMPLE, true);
    let with = |from: &str, to: &str| {
        assert!(EXAMPLE.contains(from), "{from:?} is not there");
        EXAMPLE.replacen(from, to, 1)
    };
    check(&with("generation: 42", ""), true);
    for (from, to) in [
        ("format: 1", "format: 2"),
        ("format: 1", ""),
        ("generation: 42", "generation: 0"),
        ("generation: 42", "generatoin: 42"),
        ("seed: 0", "seed: -1"),
        ("slots: 65536", "slots: 1048577"),
        ("eu-1:\n", "-eu:\n"),
        ("weight: 1", "weight: 1001"),
        ("address: \"127.0.0.1:9002\"", "weight: 1"),
        ("[{ address: \"127.0.0.1:9003\" }]", "[]"),
        ("max_in_flight: 2000", "max_in_flight: 0"),
        ("type: tcp", "type: udp"),
        ("server_name: eu-2.cells.example, ", ""),
        ("server_name: eu-2.cells.example", "server_name: ''"),
        (", ca: ca.pem }", " }"),
        ("certificate: proxy.pem, ", ""),
        (
            "certificate: proxy.pem, ",
            "certificate: proxy.pem, crl: x, ",
        ),
        ("interval_ms: 2000", "interval_ms: 99"),
        ("\"0-32766\"", "x"),
        ("acme: eu-2", "acme: 7"),
        ("[evil-corp]", "evil-corp"),
        ("mode: writes", "mode: reads"),
        ("generation: 40", "generation: 0"),
        ("ba7816bf", "BA7816BF"),
        ("moved_slots_percent: 0", "moved_slots_percent: 101"),
        ("moved_overrides: 7", "moved_overrides: x"),
        (", moved_overrides: 7", ""),
    ] {
        check(&with(from, to), false);
    }
}

proptest! {
    #[test]
    fn the_schema_takes_what_is_rendered(table in testing::any_table()) {
        let text = render(&table);
        prop_assert!(validator().is_valid(&json_of(&text)), "in:\n{}", text);
    }
}

/// The reader's lists of keys and the schema's properties are two statements of one thing.
#[test]
fn the_schema_and_the_reader_know_the_same_keys() {
    let schema = schema();
    let schema = schema.as_value();
    let check = |properties: &Value, known: &[&str]| {
        let mut known = known.to_vec();
        known.sort_unstable();
        let mut found: Vec<&str> = properties
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        found.sort_unstable();
        assert_eq!(found, known);
    };
    check(&schema["properties"], &read::TABLE_KEYS);
    let part = |name: &str| &schema["$defs"][name]["properties"];
    check(part("HashFile"), &read::HASH_KEYS);
    check(part("CellFile"), &cells::CELL_KEYS);
    check(part("EndpointFile"), &cells::ENDPOINT_KEYS);
    check(part("HealthCheckFile"), &cells::HEALTH_CHECK_KEYS);
    check(part("TlsClientFile"), &tls::TLS_KEYS);
    check(part("ClientCertFile"), &tls::CLIENT_CERT_KEYS);
    check(part("HoldFile"), &tenants::HOLD_KEYS);
    check(part("StepFile"), &history::STEP_KEYS);
    let parts: Vec<&String> = schema["$defs"].as_object().unwrap().keys().collect();
    assert_eq!(parts.len(), 12, "a part is not compared: {parts:?}");
}

/// Whatever has a default may be left out, and the schema says which one the reader takes.
#[test]
fn the_schema_tells_what_is_required_and_the_defaults() {
    let schema = schema();
    let schema = schema.as_value();
    assert_eq!(
        schema["required"],
        json!(["format", "hash", "cells", "slots"])
    );
    let required = |name: &str| &schema["$defs"][name]["required"];
    assert_eq!(required("HashFile"), &json!(["slots"]));
    assert_eq!(required("CellFile"), &json!(["endpoints"]));
    assert_eq!(required("EndpointFile"), &json!(["address"]));
    assert_eq!(required("HealthCheckFile"), &json!(["type"]));
    assert_eq!(required("TlsClientFile"), &json!(["server_name", "ca"]));
    assert_eq!(required("ClientCertFile"), &json!(["certificate"]));
    assert_eq!(required("HoldFile"), &json!(["mode"]));
    for (part, key, default) in [
        ("HashFile", "seed", 0),
        ("CellFile", "max_in_flight", 1_024),
        ("EndpointFile", "weight", 1),
        ("HealthCheckFile", "interval_ms", 2_000),
        ("HealthCheckFile", "timeout_ms", 1_000),
        ("HealthCheckFile", "unhealthy_after", 3),
        ("HealthCheckFile", "healthy_after", 2),
    ] {
        let property = &schema["$defs"][part]["properties"][key];
        assert_eq!(property["default"], json!(default), "{part}.{key}");
    }
}
