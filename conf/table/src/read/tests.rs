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
    let told = match parse(bytes) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told, expected, "in:\n{}", String::from_utf8_lossy(bytes));
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
            "8:39: cells.us-west-2.endpoints[0].address: `cell.internal:80` is not an IP address with a port; write an IP address and a port, such as 10.0.0.7:8080; names are not resolved",
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
            "21:1: version: is not a known key; known here are format, generation, allow_move, hash, cells, slots, overrides, aliases, rejects, holds",
        ],
    );
    check_good_but(
        "weight: 1",
        "wieght: 1",
        &["7:38: cells.eu-1.endpoints[0].wieght: is not a known key; did you mean `weight`?"],
    );
    check_with(
        "generation: 43\n",
        &["21:1: generation: stands twice; keep one of them"],
    );
    check_with(
        "overrides: {}\n",
        &["21:1: overrides: stands twice; keep one of them"],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: us-west-2\n  acme: eu-1",
        &["18:3: overrides.acme: stands twice; keep one of them"],
    );
    check_good_but(
        "acme: us-west-2",
        "b: eu-1\n  acme: eu-1\n  b: eu-1\n  \"acme\": eu-1",
        &[
            "19:3: overrides.b: stands twice; keep one of them",
            "20:3: overrides.acme: stands twice; keep one of them",
        ],
    );
    check_good_but(
        "www.acme.example: acme",
        "www.acme.example: acme\n  www.acme.example: b",
        &["20:3: aliases.\"www.acme.example\": stands twice; keep one of them"],
    );
    check_good_but(
        "[evil-corp]",
        "[evil-corp, b, evil-corp]",
        &["20:25: rejects[2]: `evil-corp` stands twice; keep one of them"],
    );
    check_good_but(
        "slots:\n  eu-1: [\"0-3\"]",
        "slots:\n  eu-1: [0-1]\n  eu-1: [2-3]",
        &["15:3: slots.eu-1: stands twice; write all ranges of a cell in one list"],
    );
    check_good_but(
        "  us-west-2:\n    endpoints",
        "  us-west-2: { endpoints: [{ address: \"127.0.0.1:1\" }] }\n  us-west-2:\n    endpoints",
        &["12:3: cells.us-west-2: stands twice; give each cell its own id"],
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
fn numbers_and_words_of_a_cell() {
    check_good_but(
        "weight: 1",
        "weight: 1.5",
        &[
            "7:46: cells.eu-1.endpoints[0].weight: is the number 1.5, not a whole number; write a whole number from 1 to 1000",
        ],
    );
    check_good_but(
        "max_in_flight: 2000",
        "max_in_flight: 1000001",
        &[
            "9:20: cells.eu-1.max_in_flight: is 1000001, out of range; write a whole number from 1 to 1000000",
        ],
    );
    check_good_but(
        "{ type: http, path: /healthz }",
        "{ type: https }",
        &[
            "10:27: cells.eu-1.health_check.type: is `https`, which is not known here; did you mean `http`? known are `http`, `tcp`",
        ],
    );
    check_good_but(
        "{ type: http, path: /healthz }",
        "{ type: tcp, path: / }",
        &[
            "10:32: cells.eu-1.health_check.path: goes with `type: http` only; remove it, or write `type: http`",
        ],
    );
    check_good_but(
        "/healthz",
        "\"/a b\"",
        &[
            "10:39: cells.eu-1.health_check.path: `/a b` is not a path to ask for; write a path that starts with `/`, other characters than a URI's as %-escapes, at most 1024 bytes",
        ],
    );
    for path in ["/a|b", "/a#b", "/a%2", "/a%zz", "healthz", "/a{b}"] {
        let message =
            format!("10:39: cells.eu-1.health_check.path: `{path}` is not a path to ask for");
        let text = good_but("/healthz", &format!("\"{path}\""));
        let told = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(
            told.starts_with(&message) && told.lines().count() == 1,
            "{told}"
        );
    }
    for path in ["/", "/a%20b", "/healthz?deep=1&x=a/b", "/~user/(a)"] {
        check(good_but("/healthz", &format!("\"{path}\"")), &[]);
    }
    check_good_but(
        "path: /healthz",
        "interval_ms: 99, timeout_ms: 600001",
        &[
            "10:46: cells.eu-1.health_check.interval_ms: is 99, out of range; write a whole number from 100 to 600000",
            "10:62: cells.eu-1.health_check.timeout_ms: is 600001, out of range; write a whole number from 10 to 600000",
        ],
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
fn addresses() {
    let check_address = |address: &str, expected: &str| {
        let from = "\"127.0.0.1:9003\"";
        let place = "12:28: cells.us-west-2.endpoints[0].address: ";
        check_good_but(from, address, &[&format!("{place}{expected}")]);
    };
    let no_address = "is not an IP address with a port";
    let names = "write an IP address and a port, such as 10.0.0.7:8080; names are not resolved";
    check_address(
        "localhost:80",
        &format!("`localhost:80` {no_address}; {names}"),
    );
    check_address("localhost", &format!("`localhost` {no_address}; {names}"));
    check_address("\"\"", &format!("`` {no_address}; {names}"));
    check_address(
        "http://10.0.0.7:8080",
        &format!(
            "`http://10.0.0.7:8080` {no_address}; write an IPv6 address in brackets, such as [::1]:8080"
        ),
    );
    check_address(
        "10.0.0.7",
        &format!("`10.0.0.7` {no_address}; add the port, such as 10.0.0.7:8080"),
    );
    check_address(
        "\"::1\"",
        &format!("`::1` {no_address}; add the port, such as [::1]:8080"),
    );
    check_address(
        "10.0.0.7:65536",
        &format!(
            "`10.0.0.7:65536` {no_address}; the port, `65536`, is not a number from 1 to 65535"
        ),
    );
    check_address(
        "\"10.0.0.7:\"",
        &format!("`10.0.0.7:` {no_address}; the port, ``, is not a number from 1 to 65535"),
    );
    check_address(
        "10.0.0.7:0",
        "`10.0.0.7:0` has port 0; write a port from 1 to 65535",
    );
    check_address("8080", "is the number 8080, not text; put it in quotes");
}

#[test]
fn cells() {
    check_good_but(
        "[::1]:9002",
        "127.0.0.1:9001",
        &[
            "8:20: cells.eu-1.endpoints[1].address: 127.0.0.1:9001 stands twice in this cell; remove one of them; for a larger share of the requests raise its `weight`",
        ],
    );
    check_good_but(
        "[{ address: \"127.0.0.1:9003\" }]",
        "[]",
        &[
            "12:5: cells.us-west-2.endpoints: is empty; a cell needs at least one endpoint; else remove the cell",
        ],
    );
    check(
        "format: 1\nhash: { slots: 1 }\ncells: {}\n",
        &["3:1: cells: names no cell; add at least one cell with an endpoint"],
    );
    let hint = "use 1 to 63 letters, digits, `-`, `_` or `.`, the first one a letter or digit";
    for (id, expected) in [
        ("a b", "cells.\"a b\": a cell id holds the character ' '"),
        ("\"\"", "cells.\"\": a cell id is empty"),
        (
            ".a",
            "cells.\".a\": a cell id starts with neither a letter nor a digit",
        ),
        ("ü", "cells.ü: a cell id holds the character 'ü'"),
    ] {
        let cell = format!("  {id}: {{ endpoints: [{{ address: \"127.0.0.1:1\" }}] }}\nslots:");
        check_good_but(
            "slots:\n",
            &format!("{cell}\n"),
            &[&format!("13:3: {expected}; {hint}")],
        );
    }
}

#[test]
fn slots_belong_to_exactly_one_cell() {
    let check_slots = |eu: &str, us: &str, expected: &[&str]| {
        let from = "  eu-1: [\"0-3\"]\n  us-west-2: [\"4-7\"]\n";
        check_good_but(
            from,
            &format!("  eu-1: {eu}\n  us-west-2: {us}\n"),
            expected,
        );
    };
    check_slots("[0, 1, 2-3]", "['4-7']", &[]);
    check_slots("[]", "[0-7]", &[]);
    check_slots(
        "[0-2]",
        "[4-7]",
        &["13:1: slots: slot 3 belongs to no cell; give each slot to exactly one cell"],
    );
    check_slots(
        "[0, 2]",
        "[4, 6]",
        &["13:1: slots: 4 slots belong to no cell: 1, 3, 5, 7; give each slot to exactly one cell"],
    );
    check_slots(
        "[0-5]",
        "[4-7]",
        &[
            "15:15: slots.us-west-2[0]: slots 4-5 already belong to cell `eu-1`; give each slot to exactly one cell",
        ],
    );
    check_slots(
        "[0-3, 3]",
        "[4-7]",
        &[
            "14:15: slots.eu-1[1]: slot 3 already belongs to cell `eu-1`; give each slot to exactly one cell",
        ],
    );
    check_slots(
        "[3-0, 0-8, x, -1, 1.5]",
        "[4-7, 0-3]",
        &[
            "14:10: slots.eu-1[0]: `3-0` is a range that ends before it starts; write `first-last` or one slot, within 0-7",
            "14:15: slots.eu-1[1]: `0-8` goes beyond the last slot, 7; write `first-last` or one slot, within 0-7",
            "14:20: slots.eu-1[2]: `x` is not a range of slots; write `first-last` or one slot, within 0-7",
            "14:23: slots.eu-1[3]: `-1` is not a range of slots; write `first-last` or one slot, within 0-7",
            "14:27: slots.eu-1[4]: is the number 1.5, not text; put it in quotes",
        ],
    );
    // The slots of a cell that does not exist are not told again as unassigned.
    check_good_but(
        "  us-west-2: [\"4-7\"]",
        "  us-west-3: [\"4-7\", 4]",
        &[
            "15:3: slots.us-west-3: there is no cell `us-west-3`; did you mean `us-west-2`?",
            "15:22: slots.us-west-3[1]: slot 4 already belongs to an unknown cell; give each slot to exactly one cell",
        ],
    );
    check_good_but(
        "  us-west-2: [\"4-7\"]",
        "  nowhere: [\"4-7\"]",
        &[
            "15:3: slots.nowhere: there is no cell `nowhere`; add it under `cells`, or name one of eu-1, us-west-2",
        ],
    );
}

#[test]
fn aliases_rejects_and_holds() {
    check_good_but(
        "www.acme.example: acme",
        "a: \" acme\"",
        &[
            "19:6: aliases.a: ` acme` begins or ends with a space; remove the space; no request can name such a tenant",
        ],
    );
    check_good_but(
        "www.acme.example: acme",
        "a: b\n  b: acme",
        &["19:6: aliases.a: `b` is an alias itself; name the tenant, not another of its aliases"],
    );
    check_good_but(
        "www.acme.example: acme",
        "a: a",
        &["19:6: aliases.a: `a` is an alias itself; name the tenant, not another of its aliases"],
    );
    check_good_but(
        "www.acme.example: acme",
        "acme: globex",
        &[
            "19:3: aliases.acme: stands under `overrides` too; an override belongs to the tenant: pin `globex` instead of its alias",
        ],
    );
    check_good_but(
        "www.acme.example: acme",
        "a: \"\"",
        &["19:6: aliases.a: a tenant key is empty; write a key of 1 to 256 bytes"],
    );
    check_good_but(
        "[evil-corp]",
        "[www.acme.example]",
        &["20:11: rejects[0]: `www.acme.example` is an alias; reject the tenant itself, `acme`"],
    );
    check_with("holds: {}\n", &[]);
    check_with(
        "holds:\n  globex: { mode: writes }\n  acme: { mode: reads }\n",
        &[
            "22:3: holds.globex: holds do not work in this version yet; remove the hold; a table that needs it is refused rather than served without it",
            "23:3: holds.acme: holds do not work in this version yet; remove the hold; a table that needs it is refused rather than served without it",
            "23:17: holds.acme.mode: is `reads`, which is not known here; known are `writes`, `all`",
        ],
    );
    check_with(
        "holds: [globex]\n",
        &["21:8: holds: is a list, not a mapping; write a mapping"],
    );
}

#[test]
fn tenant_keys_keep_their_text() {
    check_keys(
        "  007: us-west-2\n  1e3: us-west-2\n  null: us-west-2\n  ~: us-west-2\n  0x10: us-west-2\n  true: us-west-2\n  no: us-west-2\n  1_000: us-west-2\n  -: us-west-2\n",
        &[
            "-", "0x10", "007", "1_000", "1e3", "no", "null", "true", "~",
        ],
    );
    check_keys(
        "  \"a: b\": us-west-2\n  'it''s': us-west-2\n  a b: us-west-2\n  \" a \": us-west-2\n  ünï: us-west-2\n  \"\\U0001F600\": us-west-2\n",
        &["a: b", "it's", "a b", " a ", "ünï", "😀"],
    );
    // The last one is not a comment: no space before it.
    check_keys("  \"#1\": us-west-2\n  a#1: us-west-2\n", &["#1", "a#1"]);
    // YAML 1.1's line ends within double quotes.
    check_keys(
        "  \"a\\Nb\": us-west-2\n  \"a\\Lb\": us-west-2\n",
        &["a\u{85}b", "a\u{2028}b"],
    );
    check_keys("  \"a\u{feff}b\": us-west-2\n", &["a\u{feff}b"]);
    let longest = "k".repeat(limits::TENANT_KEY_BYTES_MAX);
    check_keys(&format!("  {longest}: us-west-2\n"), &[&longest]);

    let too_long = "k".repeat(limits::TENANT_KEY_BYTES_MAX + 1);
    let shown = format!("overrides.{}…", "k".repeat(60));
    check_good_but(
        "acme: us-west-2",
        &format!("{too_long}: eu-1"),
        &[&format!(
            "17:3: {shown}: a tenant key is longer than 256 bytes; name the tenant by 1 to 256 bytes, its id for instance"
        )],
    );
    check_good_but(
        "acme: us-west-2",
        "\"a\\nb\": eu-1",
        &[
            "17:3: overrides.\"a\\nb\": a tenant key holds a control character; remove line breaks, tabs and other control characters",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "\"\": eu-1",
        &["17:3: overrides.\"\": a tenant key is empty; write a key of 1 to 256 bytes"],
    );
}

#[test]
fn places_count_characters() {
    // Behind wide characters a column is still one for each.
    check_good_but(
        "acme: us-west-2",
        "\"日本😀\": eu-9",
        &["17:10: overrides.\"日本😀\": there is no cell `eu-9`; did you mean `eu-1`?"],
    );
    check_good_but(
        "acme: us-west-2",
        "ä: \"\" # ü\n  ö: eu-9 # ü",
        &[
            "17:6: overrides.ä: there is no cell ``; add it under `cells`, or name one of eu-1, us-west-2",
            "18:6: overrides.ö: there is no cell `eu-9`; did you mean `eu-1`?",
        ],
    );
    let problem = "7:46: cells.eu-1.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000";
    let text = good_but("weight: 1", "weight: 0");
    check(format!("\u{feff}{text}"), &[problem]);
    check(text.replace('\n', "\r\n"), &[problem]);
    check(
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        &[problem],
    );
    check(GOOD.replace('\n', "\r\n"), &[]);
    check(format!("\u{feff}{GOOD}"), &[]);
    check(format!("---\n{GOOD}...\n"), &[]);
    check(format!("%YAML 1.2\n---\n{GOOD}"), &[]);
    check_good_but(
        "weight: 1 }",
        "\tweight:\t0\t}\t# a",
        &[
            "7:47: cells.eu-1.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "a\u{feff}b: eu-9",
        &["17:8: overrides.\"a\\u{feff}b\": there is no cell `eu-9`; did you mean `eu-1`?"],
    );
    // Only the problems' own paths are kept, wherever they stand.
    check(
        "- [a, {b: c}]\n",
        &[
            "1:1: the file is a list, not a mapping; check that the right file is named; it has to be a mapping with the keys format, generation, allow_move, hash, cells, slots, overrides, aliases, rejects, holds",
        ],
    );
}

#[test]
fn files_that_are_no_table() {
    let empty =
        "the file is empty; write the whole file, or put a finished one in its place with a rename";
    check("", &[empty]);
    check(" \n\t\r\n", &[empty]);
    check("\u{feff}", &[empty]);
    let nothing = "the file says nothing; all it holds are comments or blanks; write the whole file, or put a finished one in its place with a rename";
    for text in ["# nothing\n", "---\n", "null\n", "--- # a\n...\n"] {
        check(text, &[nothing]);
    }
    let keys = "not a mapping; check that the right file is named; it has to be a mapping with the keys format, generation, allow_move, hash, cells, slots, overrides, aliases, rejects, holds";
    check(
        "hello\n",
        &[&format!("1:1: the file is the text `hello`, {keys}")],
    );
    check(
        "42\n",
        &[&format!("1:1: the file is the number 42, {keys}")],
    );
    check("[]\n", &[&format!("1:1: the file is a list, {keys}")]);
    check(
        "\u{7f}ELF\u{2}\u{1}\0\0",
        &[
            "1:1: holds the control character '\\u{7f}'; remove it; a text between double quotes may say it as an escape such as \"\\x07\"",
        ],
    );
    check(
        "format: 1\nha\0sh",
        &[
            "2:3: holds a NUL byte; this is not a text file, or one in UTF-16, or one whose writing was cut off; save it as UTF-8",
        ],
    );
    check(
        "format: 1\n# ü\u{1b}[0m\n",
        &[
            "2:4: holds the control character '\\u{1b}'; remove it; a text between double quotes may say it as an escape such as \"\\x07\"",
        ],
    );
    check(
        b"format: 1\nrejects: [\xc3\xbc, \xff]\n",
        &[
            "2:14: is not UTF-8 text; save the file as UTF-8; if it is a binary file, check that the right file is named",
        ],
    );
    check(
        b"\xff\xfef\0o\0",
        &[
            "1:1: is not UTF-8 text; save the file as UTF-8; if it is a binary file, check that the right file is named",
        ],
    );
    let too_large = parse(&vec![b' '; limits::FILE_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(
        too_large.to_string(),
        "the file has 134217729 bytes, more than 134217728; a table this large is not one; check what wrote it"
    );
}

#[test]
fn broken_yaml() {
    let else_hint = "mend the YAML here; often the mistake is the indentation, a quote or a bracket just before";
    check_good_but(
        "weight: 1 }",
        "weight: 1",
        &[&format!(
            "8:9: did not find expected ',' or '}}' while parsing a flow mapping that begins on line 7; {else_hint}"
        )],
    );
    check_good_but(
        "  us-west-2:\n",
        "   us-west-2:\n",
        &[&format!(
            "11:4: did not find expected key while parsing a block mapping that begins on line 5; {else_hint}"
        )],
    );
    check_good_but(
        "    max_in_flight",
        "\tmax_in_flight",
        &[
            "9:1: found character that cannot start any token while scanning for the next token; indent with spaces; YAML forbids tabs there",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "@acme: us-west-2",
        &[
            "17:3: found character that cannot start any token while scanning for the next token; put the value in quotes: it begins with a character that YAML keeps for itself",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: a: b",
        &[
            "17:10: mapping values are not allowed in this context; put a value with `: ` in it in quotes, or mend the indentation of this line or the one before",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: *home",
        &[
            "17:9: unknown anchor; put the value in quotes if its `*` is meant as a letter; else define the anchor with `&` first",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "acme: !cell us-west-2",
        &[
            "17:9: overrides.acme: YAML tags are not supported; remove the word that starts with `!`, or put the value in quotes",
        ],
    );
    check_good_but(
        "acme: us-west-2",
        "[a, b]: us-west-2",
        &[
            "17:3: overrides: a sequence, not a key of plain text; write `key: value`, with the key on one line and without brackets",
        ],
    );
}

#[test]
fn documents_and_directives() {
    let else_hint = "mend the YAML here; often the mistake is the indentation, a quote or a bracket just before";
    check(
        format!("{GOOD}---\nformat: 1\n"),
        &[
            "21:1: a second YAML document begins here; remove the `---` line; a file holds one document",
        ],
    );
    check(
        format!("{GOOD}...\n}}\n"),
        &[&format!(
            "22:1: did not find expected <document start>; {else_hint}"
        )],
    );
    check(
        format!("{}\n{GOOD}", "%TAG !a! b\n".repeat(9)),
        &["9:1: more than 8 lines begin with `%`; remove the directives; the file needs none"],
    );
}

#[test]
fn standard_tags_say_what_the_text_says() {
    check_good_but("acme: us-west-2", "acme: !!str us-west-2", &[]);
    check_good_but("[evil-corp]", "[!!str 007]", &[]);
    check_good_but("generation: 42", "generation: !!int \"42\"", &[]);
}

#[test]
fn anchors_and_aliases() {
    let aliased = good_but(
        "{ address: \"127.0.0.1:9003\" }",
        "&a { address: \"127.0.0.1:9003\" }",
    );
    let aliased = aliased.replace("acme: us-west-2", "acme: &home us-west-2\n  globex: *home");
    let table = parse(aliased.as_bytes()).unwrap();
    assert_eq!(table.override_of(b"globex"), table.override_of(b"acme"));
    // A problem inside what an alias repeats is told where the alias stands.
    let text = good_but("max_in_flight: 2000", "max_in_flight: &n 0").replace(
        "    endpoints: [{",
        "    max_in_flight: *n\n    endpoints: [{",
    );
    check(
        text,
        &[
            "9:20: cells.eu-1.max_in_flight: is 0, out of range; write a whole number from 1 to 1000000",
            "12:20: cells.us-west-2.max_in_flight: is 0, out of range; write a whole number from 1 to 1000000",
        ],
    );
    let text = good_but(
        "      - { address: \"127.0.0.1:9001\", weight: 1 }",
        "      - &e { address: \"127.0.0.1:9001\", weight: 0 }",
    )
    .replace("[{ address: \"127.0.0.1:9003\" }]", "[*e]");
    check(
        text,
        &[
            "7:49: cells.eu-1.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000",
            "12:17: cells.us-west-2.endpoints[0].weight: is 0, out of range; write a whole number from 1 to 1000",
        ],
    );
}

/// The parser takes `*a` for what `&d` names when `&a` is defined twice, so `victim` would live in another cell.
#[test]
fn an_anchor_defined_twice_is_refused() {
    let overrides = "a: &a eu-1\n  b: &b eu-1\n  c: &a eu-1\n  d: &d us-west-2\n  victim: *a";
    check_good_but(
        "acme: us-west-2",
        overrides,
        &[
            "19:6: the anchor `&a` is defined twice; give each anchor a name of its own, or write the values out",
        ],
    );
    // Not anchors, or nobody uses them.
    check_keys(
        "  a&b: us-west-2\n  \"&b\": us-west-2\n  \"*b\": us-west-2 # &b\n",
        &["a&b", "&b", "*b"],
    );
    check_keys("  a: &x us-west-2\n  b: &x us-west-2 # *x\n", &["a", "b"]);
}

#[test]
fn problems_beyond_a_hundred_are_counted() {
    let unknown: Vec<String> = (0..250).map(|n| format!("unknown-{n}: 1\n")).collect();
    let text = GOOD.to_owned() + &unknown.concat();
    let problems = parse(text.as_bytes()).unwrap_err();
    assert_eq!(problems.problems.len(), limits::PROBLEMS_TOLD_MAX);
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
