mod cells;
mod syntax;
mod tenants;
mod tls;

use super::*;

/// A good table. The cases below change one thing in it.
const GOOD: &str = r#"format: 1
generation: 42
hash: { seed: 0, slots: 8 }
cells:
  eu-1:
    endpoints:
      - { address: "127.0.0.1:9001", weight: 1 }
      - { address: "[::1]:9002" }
    max_in_flight: 2000
    health_check: { type: http, path: /healthz }
  us-west-2:
    endpoints: [{ address: "127.0.0.1:9003" }]
slots:
  eu-1: ["0-3"]
  us-west-2: ["4-7"]
overrides:
  acme: us-west-2
aliases:
  www.acme.example: acme
rejects: [evil-corp]
"#;

/// Parses bytes and compares every problem, as text, one a line.
#[track_caller]
fn check(bytes: impl AsRef<[u8]>, expected: &[&str]) {
    let bytes = bytes.as_ref();
    let reported = match parse(bytes) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    let reported: Vec<&str> = reported.lines().collect();
    assert_eq!(
        reported,
        expected,
        "in:\n{}",
        String::from_utf8_lossy(bytes)
    );
}

/// Replaces a piece of the good table that stands there once.
#[track_caller]
fn good_but(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} is not there once");
    GOOD.replace(from, to)
}

#[track_caller]
fn check_good_but(from: &str, to: &str, expected: &[&str]) {
    check(good_but(from, to), expected);
}

/// The good table with these lines at its end.
#[track_caller]
fn check_with(lines: &str, expected: &[&str]) {
    check(format!("{GOOD}{lines}"), expected);
}

/// A table with these overrides, none of them wrong, leads these keys to the second cell.
#[track_caller]
fn check_keys(overrides: &str, keys: &[&str]) {
    let text = good_but("  acme: us-west-2\n", overrides);
    let table = parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\nin:\n{text}"));
    let mut expected = keys.to_vec();
    expected.sort_unstable();
    let found: Vec<&str> = table
        .overrides()
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(found, expected, "in:\n{text}");
}

#[test]
fn a_good_table() {
    let table = parse(GOOD.as_bytes()).unwrap();
    assert_eq!(table.generation(), Generation::new(42));
    assert!(!table.allow_move());
    assert_eq!(table.hash(), HashSpec::new(0, 8).unwrap());
    let [eu, us] = table.cells() else {
        panic!("not two cells")
    };
    assert_eq!((eu.id().as_str(), eu.in_flight_max()), ("eu-1", 2000));
    let endpoints: Vec<_> = (eu.endpoints().iter())
        .map(|endpoint| (endpoint.address.to_string(), endpoint.weight))
        .collect();
    assert_eq!(
        endpoints,
        [
            ("127.0.0.1:9001".to_owned(), 1),
            ("[::1]:9002".to_owned(), 1)
        ]
    );
    let health = eu.health_check().unwrap();
    assert_eq!((health.interval_ms, health.timeout_ms), (2_000, 1_000));
    assert_eq!((health.unhealthy_after, health.healthy_after), (3, 2));
    assert_eq!((us.id().as_str(), us.in_flight_max()), ("us-west-2", 1_024));
    assert_eq!(us.health_check(), None);
    let owners: Vec<_> = table.slot_owners().iter().map(|cell| cell.get()).collect();
    assert_eq!(owners, [0, 0, 0, 0, 1, 1, 1, 1]);
    let home = table.home_of(b"www.acme.example");
    assert_eq!((home.tenant, home.is_alias), (&b"acme"[..], true));
    assert_eq!(table.cell(home.cell).id().as_str(), "us-west-2");
    assert!(table.is_rejected(b"evil-corp") && !table.is_rejected(b"acme"));
}

#[test]
fn five_mistakes_are_five_problems() {
    let text = r#"format: 1
hash: { seed: 0, slots: 8 }
cells:
  eu-1:
    endpoints:
      - { address: "127.0.0.1:9001", weight: 0 }
    max_in_fligth: 2000
  us-west-2: { endpoints: [{ address: "cell.internal:80" }] }
slots:
  eu-1: ["0-3"]
  us-west-2: ["3-7"]
overrides:
  acme: us-west-1
"#;
    check(
        text,
        &[
            "6:46: cells.eu-1.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000",
            "7:5: cells.eu-1.max_in_fligth: is not a known key; did you mean `max_in_flight`?",
            "8:39: cells.us-west-2.endpoints[0].address: `cell.internal:80` is not an IP address with a port; `cell.internal` is a name, and names are not resolved; write an IP address, such as 10.0.0.7:80",
            "11:15: slots.us-west-2[0]: slot 3 already belongs to cell `eu-1`; give each slot to exactly one cell",
            "13:9: overrides.acme: there is no cell `us-west-1`; did you mean `us-west-2`?",
        ],
    );
    let problems = parse(text.as_bytes()).unwrap_err().in_file("table.yaml");
    assert!(
        problems
            .to_string()
            .starts_with("table.yaml:6:46: cells.eu-1")
    );
    assert!(problems.summary().ends_with("(and 4 more)"));
}

#[test]
fn missing_and_blank_fields() {
    check(
        "{}",
        &[
            "1:1: the key `format` is missing; add `format`",
            "1:1: the key `hash` is missing; add `hash`",
            "1:1: the key `cells` is missing; add `cells`",
        ],
    );
    check_good_but(
        "slots:\n  eu-1: [\"0-3\"]\n  us-west-2: [\"4-7\"]\n",
        "",
        &["1:1: the key `slots` is missing; add `slots`"],
    );
    check_good_but(
        "endpoints: [{ address: \"127.0.0.1:9003\" }]",
        "max_in_flight: 1",
        &["11:3: cells.us-west-2: the key `endpoints` is missing; add `endpoints`"],
    );
    check_good_but(
        "{ address: \"127.0.0.1:9003\" }",
        "{ weight: 1 }",
        &["12:17: cells.us-west-2.endpoints[0]: the key `address` is missing; add `address`"],
    );
    check_good_but(
        "type: http, ",
        "",
        &["10:5: cells.eu-1.health_check: the key `type` is missing; add `type`"],
    );
    check_good_but(
        "{ seed: 0, slots: 8 }",
        "{ seed: 0 }",
        &["3:1: hash: the key `slots` is missing; add `slots`"],
    );
    // A blank is a value that somebody forgot; it is never the default.
    check_good_but(
        "generation: 42",
        "generation:",
        &[
            "2:11: generation: is blank; give a whole number from 1 to 9007199254740991, or remove it",
        ],
    );
    check_good_but(
        "max_in_flight: 2000",
        "max_in_flight: ~",
        &[
            "9:20: cells.eu-1.max_in_flight: is blank; give a whole number from 1 to 1000000, or remove it",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "acme:",
        &["17:7: overrides.acme: is blank; give text, or remove it"],
    );
    check_good_but(
        "overrides:\n  acme: us-west-2\n",
        "overrides:\n",
        &["16:10: overrides: is blank; give a mapping, or remove it"],
    );
    check_good_but(
        "[evil-corp]",
        "[evil-corp, null]",
        &["20:22: rejects[1]: is blank; give text, or remove it"],
    );
    check_good_but(
        "endpoints: [{ address: \"127.0.0.1:9003\" }]",
        "endpoints:",
        &["12:14: cells.us-west-2.endpoints: is blank; give a list, or remove it"],
    );
}

#[test]
fn unknown_and_repeated_keys() {
    check_with(
        "slot: 1\n",
        &["21:1: slot: is not a known key; did you mean `slots`?"],
    );
    check_with(
        "version: 1\n",
        &[
            "21:1: version: is not a known key; known here are format, generation, allow_move, hash, cells, slots, overrides, aliases, rejects, holds, history",
        ],
    );
    check_good_but(
        "weight: 1",
        "wieght: 1",
        &["7:38: cells.eu-1.endpoints[0].wieght: is not a known key; did you mean `weight`?"],
    );
    check_with(
        "generation: 43\n",
        &["21:1: generation: is duplicated; keep one of them"],
    );
    check_with(
        "overrides: {}\n",
        &["21:1: overrides: is duplicated; keep one of them"],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: us-west-2\n  acme: eu-1",
        &["18:3: overrides.acme: is duplicated; keep one of them"],
    );
    check_good_but(
        "acme: us-west-2",
        "b: eu-1\n  acme: eu-1\n  b: eu-1\n  \"acme\": eu-1",
        &[
            "19:3: overrides.b: is duplicated; keep one of them",
            "20:3: overrides.acme: is duplicated; keep one of them",
        ],
    );
    check_good_but(
        "www.acme.example: acme",
        "www.acme.example: acme\n  www.acme.example: b",
        &["20:3: aliases.\"www.acme.example\": is duplicated; keep one of them"],
    );
    check_good_but(
        "[evil-corp]",
        "[evil-corp, b, evil-corp]",
        &["20:25: rejects[2]: `evil-corp` is duplicated; keep one of them"],
    );
    check_good_but(
        "slots:\n  eu-1: [\"0-3\"]",
        "slots:\n  eu-1: [0-1]\n  eu-1: [2-3]",
        &["15:3: slots.eu-1: is duplicated; write all ranges of a cell in one list"],
    );
    check_good_but(
        "  us-west-2:\n    endpoints",
        "  us-west-2: { endpoints: [{ address: \"127.0.0.1:1\" }] }\n  us-west-2:\n    endpoints",
        &["12:3: cells.us-west-2: is duplicated; give each cell its own id"],
    );
    check_good_but(
        "{ type: http, path: /healthz }",
        "{ type: http, <<: {} }",
        &[
            "10:33: cells.eu-1.health_check.\"<<\": merge keys are not supported; write the fields out",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "<<: { acme: us-west-2 }",
        &["17:7: overrides.\"<<\": is a mapping, not text; write text"],
    );
}

#[test]
fn numbers_of_the_file() {
    check_good_but(
        "format: 1",
        "format: 2",
        &[
            "1:9: format: is 2, a format that this version does not know; write `format: 1`, or use a version of cellgate that knows this format",
        ],
    );
    check_good_but(
        "format: 1",
        "format: \"1\"",
        &["1:9: format: is the text `1`, not a whole number; write it without quotes"],
    );
    check_good_but(
        "generation: 42",
        "generation: 0",
        &["2:13: generation: is 0, out of range; write a whole number from 1 to 9007199254740991"],
    );
    check_good_but(
        "generation: 42",
        "generation: 9007199254740992",
        &[
            "2:13: generation: is 9007199254740992, out of range; write a whole number from 1 to 9007199254740991",
        ],
    );
    check_good_but(
        "generation: 42",
        "generation: 340282366920938463463374607431768211455",
        &[
            "2:13: generation: is the number 340282366920938500000000000000000000000, not a whole number; write a whole number from 1 to 9007199254740991",
        ],
    );
    check_good_but(
        "generation: 42",
        "allow_move: yes",
        &["2:13: allow_move: is the text `yes`, not `true` or `false`; write `true` or `false`"],
    );
    check_good_but(
        "seed: 0",
        "seed: -1",
        &[
            "3:15: hash.seed: is -1, out of range; write a whole number from 0 to 18446744073709551615",
        ],
    );
    check_good_but(
        "slots: 8",
        "slots: 1048577",
        &["3:25: hash.slots: is 1048577, out of range; write a whole number from 1 to 1048576"],
    );
}

#[test]
fn wrong_kinds() {
    // Numbers and truth values where a name was meant.
    check_good_but(
        "acme: us-west-2",
        "acme: 7",
        &["17:9: overrides.acme: is the number 7, not text; put it in quotes"],
    );
    check_good_but(
        "[evil-corp]",
        "[true, 1e3]",
        &[
            "20:11: rejects[0]: is the truth value true, not text; put it in quotes",
            "20:17: rejects[1]: is the number 1000, not text; put it in quotes",
        ],
    );
    check_good_but(
        "[evil-corp]",
        "evil-corp",
        &["20:10: rejects: is the text `evil-corp`, not a list; write a list"],
    );
    check_good_but(
        "overrides:\n  acme: us-west-2",
        "overrides: [acme]",
        &["16:12: overrides: is a list, not a mapping; write a mapping"],
    );
    check_good_but(
        "{ address: \"127.0.0.1:9003\" }",
        "\"127.0.0.1:9003\"",
        &[
            "12:17: cells.us-west-2.endpoints[0]: is the text `127.0.0.1:9003`, not a mapping; write a mapping with the keys address, weight",
        ],
    );
}

#[test]
fn problems_beyond_a_hundred_are_counted() {
    let unknown: Vec<String> = (0..250).map(|n| format!("unknown-{n}: 1\n")).collect();
    let text = GOOD.to_owned() + &unknown.concat();
    let problems = parse(text.as_bytes()).unwrap_err();
    assert_eq!(problems.problems.len(), limits::PROBLEMS_REPORTED_MAX);
    assert_eq!((problems.more, problems.count()), (150, 250));
    assert!(problems.to_string().ends_with("\n… and 150 more problems"));
}

#[test]
fn json_of_problems() {
    let problems = parse(good_but("weight: 1", "weight: 0").as_bytes()).unwrap_err();
    let expected = serde_json::json!({
        "file": "table.yaml",
        "problems": [{
            "line": 7,
            "column": 46,
            "path": "cells.eu-1.endpoints[0].weight",
            "message": "is 0, out of range",
            "hint": "write a whole number from 1 to 1000",
        }],
        "more": 0,
    });
    assert_eq!(
        serde_json::to_value(problems.in_file("table.yaml")).unwrap(),
        expected
    );
}
