//! A table that somebody published becomes the intent, and says the same when it is published again.

use cellgate_control::{
    change::{restore, tenants},
    model::PlacedBy,
};
use cellgate_table::{Table, TenantKey, diff::diff};

use crate::support::{World, id, key};

fn imported(text: &str) -> (World, Table) {
    let world = World::untouched();
    let table = cellgate_table::parse(text.as_bytes()).unwrap();
    world.change(|write| restore::import(write, &table));
    (world, table)
}

/// Whatever a table may say, by name.
const TABLES: [(&str, &str); 6] = [
    (
        "the smallest",
        r#"
format: 1
hash: { seed: 0, slots: 1 }
cells: { a: { endpoints: [{ address: "127.0.0.1:1" }] } }
slots: { a: ["0"] }
"#,
    ),
    (
        "a cell without slots, a seed beyond what the database counts to, checks, weights",
        r#"
format: 1
generation: 9007199254740989
allow_move: true
hash: { seed: 18446744073709551615, slots: 1000 }
cells:
  a: { endpoints: [{ address: "127.0.0.1:1", weight: 7 }, { address: "[::1]:2" }], max_in_flight: 1 }
  b: { endpoints: [{ address: "127.0.0.1:3" }], health_check: { type: http, path: /up, interval_ms: 100 } }
  C.3_x: { endpoints: [{ address: "127.0.0.1:4" }], health_check: { type: tcp }, tls: { server_name: c.example, ca: /ca.pem } }
  d: { endpoints: [{ address: "127.0.0.1:5" }], tls: { server_name: "::1", ca: ca.pem, client_cert: { certificate: p.crt, key: p.key } } }
slots:
  a: ["0-9", "500", "502-999"]
  b: ["10-499", "501"]
"#,
    ),
    (
        "overrides to their slots' own cells and to others",
        r#"
format: 1
generation: 7
hash: { seed: 0, slots: 2 }
cells:
  a: { endpoints: [{ address: "127.0.0.1:1" }] }
  b: { endpoints: [{ address: "127.0.0.1:2" }] }
slots: { a: ["0"], b: ["1"] }
overrides: { k1: a, k2: a, k3: a, k4: a, k5: b, k6: b, k7: b, k8: b }
"#,
    ),
    (
        "aliases to tenants with a line of their own, to rejected ones, and to ones that nothing else names",
        r#"
format: 1
generation: 7
hash: { seed: 5, slots: 16 }
cells:
  a: { endpoints: [{ address: "127.0.0.1:1" }] }
  b: { endpoints: [{ address: "127.0.0.1:2" }] }
slots: { a: ["0-7"], b: ["8-15"] }
overrides: { acme: b, globex: a }
aliases: { www: acme, shop: acme, other: unnamed, more: unnamed, evil.example: evil }
rejects: [evil, globex, "  spaced ", unnamed2]
"#,
    ),
    (
        "keys that YAML would like to read otherwise",
        r#"
format: 1
generation: 7
hash: { seed: 5, slots: 16 }
cells: { "1": { endpoints: [{ address: "127.0.0.1:1" }] }, "null": { endpoints: [{ address: "127.0.0.1:2" }] } }
slots: { "1": ["0-7"], "null": ["8-15"] }
overrides: { "yes": "1", "~": "null", "1e3": "1", "a: b": "null", "é": "1", "e\u0301": "null" }
aliases: { '#': "yes", "''": '"' }
rejects: ["0x10", "- a", "🏢"]
"#,
    ),
    (
        "no generation, as people write it",
        r#"
format: 1
hash: { seed: 0, slots: 65536 }
cells:
  a: { endpoints: [{ address: "127.0.0.1:1" }] }
  b: { endpoints: [{ address: "127.0.0.1:2" }] }
slots: { b: ["0-30000", "40000-65535"], a: ["30001-39999"] }
rejects: [x]
"#,
    ),
];

#[test]
fn a_table_comes_back_as_it_was() {
    for (name, text) in TABLES {
        let (world, table) = imported(text);
        let again = world.published();
        assert_eq!(diff(&table, &again), diff(&table, &table), "{name}");
        assert!(again.same_content(&table), "{name}");
        assert!(again.generation() > table.generation(), "{name}");
        assert!(!again.allow_move(), "{name}");
    }
}

#[test]
fn whom_a_table_names_is_registered() {
    let (world, table) = imported(TABLES[3].1);
    let intent = world.intent();
    let names: Vec<&str> = intent.tenants.keys().map(TenantKey::as_str).collect();
    assert_eq!(
        names,
        ["  spaced ", "acme", "evil", "globex", "unnamed", "unnamed2"]
    );
    for (key, tenant) in &intent.tenants {
        let home = table.home_of(key.as_bytes());
        assert_eq!(&tenant.cell, table.cell(home.cell).id());
        assert_eq!(tenant.is_rejected, home.is_rejected);
        let is_at_home = intent.slot_owner(key) == Some(&tenant.cell);
        let expected = match (table.override_of(key.as_bytes()), is_at_home) {
            (None, _) => PlacedBy::Slot,
            (Some(_), true) => PlacedBy::Pin,
            (Some(_), false) => PlacedBy::Override,
        };
        assert_eq!(tenant.placed_by, expected, "{key}");
    }
    assert_eq!(intent.aliases[&key("other")], key("unnamed"));
}

/// The next tables are those of a daemon that always had this one.
#[test]
fn life_goes_on_after_an_import() {
    let (world, table) = imported(TABLES[2].1);
    let first = world.published();
    let pinned = key("k1");
    let home = world.intent().tenants[&pinned].cell.clone();
    world.change(|write| tenants::remove(write, &pinned, &world.rules).map(drop));
    let next = world.published();
    assert!(next.generation() > first.generation());
    assert_eq!(next.override_of(b"k1"), None);
    assert_eq!(home, id("a"));
    assert_eq!(next.overrides().len(), table.overrides().len() - 1);
}

#[test]
fn only_an_empty_database_takes_a_table() {
    let table = cellgate_table::parse(TABLES[0].1.as_bytes()).unwrap();
    let world = World::of_cells(&["a"]);
    let import = |world: &World| world.reported(|write| restore::import(write, &table));
    let refused =
        "the table cannot be restored: the database holds cells already; start with an empty one";
    assert_eq!(import(&world), refused);
    let (world, _) = imported(TABLES[0].1);
    assert_eq!(import(&world), refused);
}
