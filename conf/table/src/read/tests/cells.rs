use super::*;

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
        "max_in_flight: 2000",
        "connections_max: 1000001",
        &[
            "9:22: cells.eu-1.connections_max: is 1000001, out of range; write a whole number from 0 to 1000000",
        ],
    );
    check_good_but(
        "max_in_flight: 2000",
        "tunnels_max: 1000001",
        &[
            "9:18: cells.eu-1.tunnels_max: is 1000001, out of range; write a whole number from 0 to 1000000",
        ],
    );
    check_good_but(
        "max_in_flight: 2000",
        "share: tenants",
        &[
            "9:12: cells.eu-1.share: is `tenants`, which is not known here; did you mean `tenant`? known are `cell`, `tenant`",
        ],
    );
}

#[test]
fn a_health_check() {
    check_good_but(
        "{ type: http, path: /healthz }",
        "{ type: https }",
        &[
            "10:27: cells.eu-1.health_check.type: is `https`, which is not known here; HTTP/2 does not work in this version yet: known are `http`, `tcp`; for TLS, give the listener or the cell the key `tls`",
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
        let reported = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(
            reported.starts_with(&message) && reported.lines().count() == 1,
            "{reported}"
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
fn hosts_of_a_health_check() {
    for (host, is_good) in [
        ("shop.example.com", true),
        ("shop.example.com:8000", true),
        ("a_b", true),
        ("10.0.0.7", true),
        ("\"[::1]:80\"", true),
        ("\"\"", false),
        ("\"a b\"", false),
        ("http://a", false),
        ("a:0", false),
        ("a:99999", false),
        ("\"[a]\"", false),
        ("\"a\\r\\nb: c\"", false),
    ] {
        let text = good_but("path: /healthz", &format!("host: {host}"));
        let said = parse(text.as_bytes())
            .err()
            .map(|problems| problems.to_string());
        assert_eq!(said.is_none(), is_good, "{said:?}");
        if let Some(said) = said {
            assert!(
                said.starts_with("10:39: cells.eu-1.health_check.host: "),
                "{said}"
            );
            assert!(
                said.contains(" is not a host; write what belongs into the `Host`"),
                "{said}"
            );
        }
    }
}

#[test]
fn addresses() {
    let check_address = |address: &str, expected: &str| {
        let from = "\"127.0.0.1:9003\"";
        let place = "12:28: cells.us-west-2.endpoints[0].address: ";
        check_good_but(from, address, &[&format!("{place}{expected}")]);
    };
    // The rest is in `address`.
    check_address(
        "http://10.0.0.7:8080",
        "`http://10.0.0.7:8080` is a URL, not an IP address with a port; write `10.0.0.7:8080` alone",
    );
    check_address(
        "10.0.0.7:65536",
        "`10.0.0.7:65536` has port 65536, and the largest is 65535; write a port from 1 to 65535, such as 10.0.0.7:8080",
    );
    check_address(
        "10.0.0.7:0",
        "`10.0.0.7:0` has port 0; write a port from 1 to 65535",
    );
    check_address(
        "239.1.2.3:80",
        "`239.1.2.3:80` is a multicast address, which TCP does not have; write the address of one machine",
    );
    check_address("8080", "is the number 8080, not text; put it in quotes");
}

#[test]
fn cells() {
    check_good_but(
        "[::1]:9002",
        "127.0.0.1:9001",
        &[
            "8:20: cells.eu-1.endpoints[1].address: 127.0.0.1:9001 is duplicated in this cell; remove one of them; for a larger share of the requests raise its `weight`",
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
    // The slots of a cell that does not exist are not reported again as unassigned.
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
