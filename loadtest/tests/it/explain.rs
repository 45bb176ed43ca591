//! What `explain` says is what requests get, for every key and by every rule.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

use serde_json::Value;

use crate::support::{
    fleet::Fleet,
    proxy::{self, Proxy, TENANT},
    table::TableText,
    wire::{Answer, Connection, Request},
};

/// Keys that go through header, admin listener and cell.
const KEYS: usize = 2_000;

/// Of so many of them one is shown to the command too, which takes a process each.
const KEYS_PER_COMMAND: usize = 20;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// Keys that somebody might want to trim, decode, fold or cut short.
fn odd_keys() -> Vec<Vec<u8>> {
    let texts = [
        "a",
        "A",
        "acme",
        "Acme",
        "ACME",
        "acme.example.com",
        "ACME.example.com",
        "acme:8080",
        "%41",
        "%61cme",
        "acme%20corp",
        "acme+corp",
        "acme%",
        "%%",
        "%zz",
        "a/b",
        "../acme",
        "a\\b",
        "a b",
        "a  b",
        "\"acme\"",
        "'acme'",
        "acme;x=1",
        "{acme}",
        "{tenant}",
        "acme?",
        "acme#1",
        "acme&tenant=other",
        "tenant=acme",
        "0",
        "00",
        "-1",
        "1e3",
        "null",
        "true",
        "~",
        "*",
        "é",
        "e\u{301}",
        "Ünïcode",
        "ß",
        "日本語",
        "🦀",
        "\u{feff}acme",
        "acme\u{200b}",
        "[::1]",
    ];
    let mut keys: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    keys.push(b"\xff".to_vec());
    keys.push(b"\xc3".to_vec());
    keys.push(b"latin-1 \xe9".to_vec());
    for length in [31, 32, 33, 63, 64, 65, 255, KEY_BYTES_MAX] {
        keys.push(vec![b'x'; length]);
    }
    keys
}

/// The odd keys and many others, with bytes of all kinds, the same in each run.
fn keys() -> Vec<Vec<u8>> {
    let mut keys = odd_keys();
    // Knuth's generator is random enough for this.
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = usize::try_from(state >> 33).expect("31 bits fit");
        number % below
    };
    while keys.len() < KEYS {
        if keys.len().is_multiple_of(2) {
            keys.push(format!("tenant-{}", keys.len()).into_bytes());
            continue;
        }
        let length = 1 + random(KEY_BYTES_MAX);
        // No control characters, which no key may have, and no blanks, which headers lose at the
        // ends.
        let byte = |number: usize| match u8::try_from(number).expect("a byte") {
            0x7f => b'!',
            byte => byte,
        };
        keys.push(
            (0..length)
                .map(|_| byte(0x21 + random(0xff - 0x20)))
                .collect(),
        );
    }
    keys
}

fn explain_command(proxy: &Proxy, key: &[u8]) -> Command {
    let mut command = proxy::command();
    command.args(["explain", "--output", "json", "--table"]);
    command.arg(proxy.table_path());
    command.arg("--").arg(OsStr::from_bytes(key));
    command
}

/// What the command says, with the generation that it cannot know from a table without one.
#[track_caller]
fn explained(proxy: &Proxy, key: &[u8]) -> Value {
    let output = explain_command(proxy, key).output().unwrap();
    assert!(output.status.success(), "{}", output.stderr.escape_ascii());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_reason(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("x-cellgate-reason"), Some(reason));
    assert_eq!(answer.header("x-cell"), None, "no cell was asked");
}

/// Some of the odd keys are named by the table.
fn table(fleet: &Fleet) -> TableText {
    let table = fleet.table().generation(7);
    table
        .pin("ACME", "cell-3")
        .pin("é", "cell-1")
        .pin("tenant-100", "cell-2")
        .alias("acme.example.com", "ACME")
        .alias("%41", "é")
        .alias("tenant-102", "tenant-104")
}

#[test]
fn explain_and_traffic_agree_for_every_key() {
    let fleet = Fleet::start(3);
    let proxy = Proxy::start(table(&fleet));
    let mut traffic = Connection::open(proxy.address());
    let odd = odd_keys().len();
    let mut requests_by_cell = [0; 3];

    for (number, key) in keys().iter().enumerate() {
        let shown = key.escape_ascii().to_string();
        let explanation = proxy.explain(key);
        let request = Request::get("/whoami").header(TENANT, key);
        let answer = traffic.exchange(&request);
        assert_eq!(answer.status, 200, "{shown}: {}", answer.text());

        let cell = answer.header("x-cell").expect("demo cells name themselves");
        assert_eq!(explanation["cell"], cell, "{shown}: {explanation}");
        let seen = answer.json();
        assert_eq!(seen["generation"], explanation["generation"], "{shown}");
        // The cell shows each byte as a character.
        if explanation["is_alias"] == false {
            let bytes: String = key.iter().copied().map(char::from).collect();
            assert_eq!(seen["tenant"], bytes, "{shown}");
        }
        if number < odd || number % KEYS_PER_COMMAND == 0 {
            // What is open at the moment is not in the table.
            let mut by_table = explanation.clone();
            for open in ["tunnels", "connections"] {
                by_table.as_object_mut().unwrap().remove(open);
            }
            assert_eq!(explained(&proxy, key), by_table, "{shown}");
        }
        let position: usize = cell["cell-".len()..].parse().unwrap();
        requests_by_cell[position - 1] += 1;
    }
    eprintln!("requests by cell: {requests_by_cell:?}");
    assert!(requests_by_cell.iter().all(|count| *count > KEYS / 6));
}

#[test]
fn explain_names_what_decides() {
    let fleet = Fleet::start(3);
    let proxy = Proxy::start(table(&fleet));
    let check = |key: &str, tenant: &str, owner: &str, cell: &str| {
        let explanation = proxy.explain(key);
        assert_eq!(explanation["tenant"], tenant, "{explanation}");
        assert_eq!(explanation["is_alias"], key != tenant, "{explanation}");
        assert_eq!(explanation["owner"], owner, "{explanation}");
        assert_eq!(explanation["cell"], cell, "{explanation}");
        assert_eq!(explanation["generation"], 7, "{explanation}");
        assert_eq!(proxy.cell_of(key), cell);
        assert_eq!(proxy.get(key, "/").header("x-tenant"), Some(tenant));
    };

    check("ACME", "ACME", "override", "cell-3");
    check("acme.example.com", "ACME", "override", "cell-3");
    check("acme", "acme", "slot", "cell-1");
    let slot = proxy.explain("tenant-104");
    check(
        "tenant-102",
        "tenant-104",
        "slot",
        slot["cell"].as_str().unwrap(),
    );

    let text = proxy::command()
        .args(["explain", "--table"])
        .arg(proxy.table_path())
        .arg("acme.example.com")
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    for line in [
        "tenant:    ACME (the key is its alias)",
        "owner:     override",
        "cell:      cell-3",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_key_that_is_none_is_refused_everywhere() {
    let fleet = Fleet::start(1);
    let proxy = Proxy::start(fleet.table());
    for key in [vec![b'x'; KEY_BYTES_MAX + 1], Vec::new()] {
        assert_eq!(
            explain_command(&proxy, &key)
                .output()
                .unwrap()
                .status
                .code(),
            Some(1)
        );
        assert!(proxy.explain(&key)["error"].is_string());
        assert_reason(&proxy.get(&key, "/"), 400, "bad_tenant_key");
    }
}

#[test]
fn rejected_tenants_get_403_under_all_their_names() {
    let fleet = Fleet::start(2);
    let table = fleet.table().reject("evil-corp").reject("pinned");
    let proxy = Proxy::start(
        table
            .pin("pinned", "cell-2")
            .alias("evil.example", "evil-corp"),
    );

    for key in ["evil-corp", "pinned", "evil.example"] {
        assert_eq!(proxy.explain(key)["rejected"], true);
        assert_reason(&proxy.get(key, "/"), 403, "rejected");
    }
    assert_eq!(proxy.explain("Evil-corp")["rejected"], false);
    assert_eq!(proxy.get("Evil-corp", "/").status, 200);

    proxy.write_table(fleet.table());
    proxy.wait_for_generation(2);
    assert_eq!(proxy.get("evil-corp", "/").status, 200);
}

#[test]
fn unknown_tenants_are_refused_if_that_is_wanted() {
    let fleet = Fleet::start(2);
    let table = fleet
        .table()
        .pin("acme", "cell-2")
        .alias("acme-corp", "acme");
    let table = table.alias("slot-alias", "by-slot").reject("evil-corp");
    let proxy = Proxy::plan()
        .set("unknown_tenants", "refuse")
        .table(&table)
        .start();

    assert_eq!(proxy.cell_of("acme"), "cell-2");
    assert_eq!(proxy.cell_of("acme-corp"), "cell-2");
    assert_eq!(
        proxy.cell_of("slot-alias"),
        proxy.explain("by-slot")["cell"]
    );
    for unknown in ["ACME", "acme ltd", "nobody"] {
        assert_reason(&proxy.get(unknown, "/"), 404, "unknown_tenant");
    }
    assert_reason(&proxy.get("evil-corp", "/"), 403, "rejected");
    let labels = [("cell", ""), ("reason", "unknown_tenant")];
    assert_eq!(proxy.metric("rejected_total", &labels), Some(3.0));

    proxy.write_table(table.pin("nobody", "cell-1"));
    proxy.wait_for_generation(2);
    assert_eq!(proxy.cell_of("nobody"), "cell-1");
}
