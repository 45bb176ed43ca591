use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{parse, table::Owner, testing};

/// A table out of its hash, its slots as cell and ranges, and its other parts, all in YAML.
#[track_caller]
fn table(hash: &str, slots: &str, rest: &str) -> Table {
    let cell =
        |id, port| format!("  {id}: {{ endpoints: [{{ address: \"127.0.0.1:{port}\" }}] }}\n");
    let cells = [cell("a", 1), cell("b", 2), cell("c", 3)].concat();
    let text = format!("format: 1\nhash: {{{hash}}}\ncells:\n{cells}slots: {{{slots}}}\n{rest}\n");
    parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\nin:\n{text}"))
}

#[test]
fn slots_that_move() {
    #[track_caller]
    fn check(old: &str, new: &str, share: f64, moves: &[(&str, &str, &str)]) {
        let diff = diff(&table("slots: 8", old, ""), &table("slots: 8", new, ""));
        assert!(
            (diff.moved_share - share).abs() < 1e-12,
            "{}",
            diff.moved_share
        );
        let found: Vec<_> = (diff.slot_moves.iter())
            .map(|slot_move| {
                (
                    &*slot_move.slots,
                    slot_move.from.as_str(),
                    slot_move.to.as_str(),
                )
            })
            .collect();
        assert_eq!(found, moves);
        let slots: u32 = diff
            .slot_moves
            .iter()
            .map(|slot_move| slot_move.count)
            .sum();
        assert_eq!(diff.moved_slots(), slots);
        assert!((f64::from(slots) / 8.0 - share).abs() < 1e-12);
        assert!(!diff.rehashed);
    }
    check("a: [0-3], b: [4-7]", "a: [0-3], b: [4-7]", 0.0, &[]);
    check(
        "a: [0-3], b: [4-7]",
        "b: [7, 6, 5, 4], a: [0-1, 2-3]",
        0.0,
        &[],
    );
    check(
        "a: [0-3], b: [4-7]",
        "a: [0-2], b: [3-7]",
        0.125,
        &[("3", "a", "b")],
    );
    check(
        "a: [0-3], b: [4-7]",
        "a: [4-7], b: [0-3]",
        1.0,
        &[("0-3", "a", "b"), ("4-7", "b", "a")],
    );
    // A run ends where either owner changes.
    check(
        "a: [0-3], b: [4-7]",
        "a: [0, 4], b: [1, 7], c: [2-3, 5-6]",
        0.75,
        &[
            ("1", "a", "b"),
            ("2-3", "a", "c"),
            ("4", "b", "a"),
            ("5-6", "b", "c"),
        ],
    );
}

#[test]
fn another_hash() {
    #[track_caller]
    fn check(old: (&str, &str), new: (&str, &str), share: f64) {
        let diff = diff(&table(old.0, old.1, ""), &table(new.0, new.1, ""));
        assert!(
            (diff.moved_share - share).abs() < 1e-12,
            "{}",
            diff.moved_share
        );
        assert!(diff.rehashed);
        assert_eq!((diff.slot_moves.len(), diff.moved_slots()), (0, 0));
    }
    // Another number of slots cuts the same range into other parts.
    let four = ("slots: 4", "a: [0-1], b: [2-3]");
    check(four, ("slots: 6", "a: [0-2], b: [3-5]"), 0.0);
    check(four, ("slots: 6", "a: [0-1], b: [2-5]"), 1.0 / 6.0);
    check(four, ("slots: 6", "a: [3-5], b: [0-2]"), 1.0);
    check(four, ("slots: 3", "a: [0-1], b: [2]"), 1.0 / 6.0);
    check(
        ("slots: 3", "a: [0], b: [1], c: [2]"),
        ("slots: 2", "a: [0], c: [1]"),
        1.0 / 3.0,
    );
    check(
        ("slots: 1", "a: [0]"),
        ("slots: 1048576", "a: [0-1048575]"),
        0.0,
    );
    // Another seed gives every key another, independent slot: who stays does so by chance.
    check(four, ("slots: 4, seed: 1", "a: [0-1], b: [2-3]"), 0.5);
    check(four, ("slots: 4, seed: 1", "a: [0-2], b: [3]"), 0.5);
    check(
        ("slots: 4", "a: [0-2], b: [3]"),
        ("slots: 4, seed: 1", "a: [0-2], b: [3]"),
        0.375,
    );
    check(four, ("slots: 4, seed: 1", "c: [0-3]"), 1.0);
    check(
        ("slots: 4", "a: [0-3]"),
        ("slots: 9, seed: 1", "a: [0-8]"),
        0.0,
    );
}

/// What diff says must be what happens to keys.
#[test]
fn the_moved_share_is_the_share_of_keys_that_move() {
    let old = table("slots: 7", "a: [0-2, 6], b: [3-4], c: [5]", "");
    for (hash, slots) in [
        ("slots: 7", "a: [0-1, 5-6], b: [2-4]"),
        ("slots: 12", "a: [0-3], b: [4-8], c: [9-11]"),
        ("slots: 7, seed: 99", "a: [0-2, 6], b: [3-4], c: [5]"),
        ("slots: 5, seed: 7", "a: [0-2], c: [3-4]"),
    ] {
        let new = table(hash, slots, "");
        let keys = 200_000;
        let moved = (0..keys)
            .map(|number| format!("tenant-{number}"))
            .filter(|key| {
                let (from, to) = (old.home_of(key.as_bytes()), new.home_of(key.as_bytes()));
                old.cell(from.cell).id() != new.cell(to.cell).id()
            })
            .count();
        #[expect(clippy::cast_precision_loss, reason = "compared roughly")]
        let share = moved as f64 / f64::from(keys);
        let reported = diff(&old, &new).moved_share;
        assert!(
            (share - reported).abs() < 0.005,
            "{share} of the keys moved, {reported} is reported"
        );
    }
}

/// Key by key, `from>to`.
fn listed(diff: &Diff) -> Vec<String> {
    (diff.tenant_moves.iter())
        .map(|tenant_move| {
            format!(
                "{} {}>{}",
                tenant_move.tenant, tenant_move.from, tenant_move.to
            )
        })
        .collect()
}

/// All slots belong to cell a, so a key without an override lives there.
#[test]
fn tenants_that_move() {
    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        let all_a = |rest: &str| table("slots: 8", "a: [0-7]", rest);
        assert_eq!(listed(&diff(&all_a(old), &all_a(new))), expected);
    }
    check("overrides: { x: b }", "overrides: { x: b }", &[]);
    check("", "overrides: { x: b }", &["x a>b"]);
    check("overrides: { x: b }", "", &["x b>a"]);
    check("overrides: { x: b }", "overrides: { x: c }", &["x b>c"]);
    // Pinned to where its slot leads, or let go from there: nobody moves.
    check("", "overrides: { x: a }", &[]);
    check("overrides: { x: a }", "", &[]);
    check(
        "overrides: { p: b, q: b, r: b, t: b }",
        "overrides: { o: b, q: b, r: c, s: a, u: c }",
        &["o a>b", "p b>a", "r b>c", "t b>a", "u a>c"],
    );
    // An alias leads where its tenant does, and follows it.
    check(
        "overrides: { x: b }",
        "overrides: { x: b }\naliases: { w: x }",
        &["w a>b"],
    );
    check(
        "overrides: { x: b }\naliases: { w: x }",
        "overrides: { x: b }",
        &["w b>a"],
    );
    check(
        "overrides: { x: b }\naliases: { v: y, w: x }",
        "overrides: { x: c }\naliases: { v: y, w: x }",
        &["w b>c", "x b>c"],
    );
    check(
        "overrides: { x: b, y: c }\naliases: { w: x }",
        "overrides: { x: b, y: c }\naliases: { w: y }",
        &["w b>c"],
    );
    check(
        "overrides: { x: b, y: b }\naliases: { w: x }",
        "overrides: { x: b, y: b }\naliases: { w: y }",
        &[],
    );
    // A tenant becomes an alias, and an alias a tenant.
    check(
        "overrides: { x: b }",
        "overrides: { y: c }\naliases: { x: y }",
        &["x b>c", "y a>c"],
    );
    check("aliases: { x: y }", "overrides: { x: b }", &["x a>b"]);
    check("rejects: [x]", "rejects: [y]", &[]);
}

/// With slots that move, too: who only follows its slot is not listed by name, named or not.
#[test]
fn who_follows_a_slot_is_not_a_named_move() {
    let old = table(
        "slots: 1",
        "a: [0]",
        "overrides: { x: a, y: b }\naliases: { w: z }",
    );
    let new = table(
        "slots: 1",
        "b: [0]",
        "overrides: { y: b }\naliases: { w: z }",
    );
    let diff = diff(&old, &new);
    assert_eq!(listed(&diff), ["x a>b"]);
    assert!((diff.moved_share - 1.0).abs() < f64::EPSILON);
}

#[test]
fn cells_and_rejects() {
    let text = |cells: &str, slots: &str, rest: &str| {
        let text = format!(
            "format: 1\nhash: {{ slots: 2 }}\ncells: {{{cells}}}\nslots: {{{slots}}}\n{rest}\n"
        );
        parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\nin:\n{text}"))
    };
    let cell = |id: &str, port: u16| {
        format!("{id}: {{ endpoints: [{{ address: \"127.0.0.1:{port}\" }}] }}")
    };
    let ids = |ids: &[CellId]| ids.iter().map(CellId::to_string).collect::<Vec<_>>();
    let old = text(
        &[cell("a", 1), cell("b", 2), cell("c", 3)].join(","),
        "a: [0], b: [1]",
        "overrides: { x: a, y: b, z: c }\nrejects: [p, q]",
    );
    let new = text(
        &[cell("a", 1), cell("bb", 2), cell("c", 4)].join(","),
        "a: [0], bb: [1]",
        "overrides: { x: a, y: bb, z: c }\nrejects: [q, r]",
    );
    let diff = diff(&old, &new);
    assert_eq!(ids(&diff.cells_added), ["bb"]);
    assert_eq!(ids(&diff.cells_removed), ["b"]);
    assert_eq!(ids(&diff.cells_changed), ["c"]);
    assert_eq!(diff.rejects_added, [TenantKey::new("r").unwrap()]);
    assert_eq!(diff.rejects_removed, [TenantKey::new("p").unwrap()]);
    // A cell under another name is another cell: whoever lives there moves. `c` has another number only.
    assert_eq!(listed(&diff), ["y b>bb"]);
    assert!((diff.moved_share - 0.5).abs() < f64::EPSILON);
}

#[test]
fn json_of_a_diff() {
    let old = table("slots: 2", "a: [0-1]", "overrides: { x: b }");
    let new = table("slots: 2", "a: [0], b: [1]", "overrides: { x: c }");
    let expected = serde_json::json!({
        "moved_share": 0.5,
        "slot_moves": [{ "slots": "1", "count": 1, "from": "a", "to": "b" }],
        "rehashed": false,
        "tenant_moves": [{ "tenant": "x", "from": "b", "to": "c" }],
        "cells_added": [],
        "cells_removed": [],
        "cells_changed": [],
        "rejects_added": [],
        "rejects_removed": [],
    });
    assert_eq!(serde_json::to_value(diff(&old, &new)).unwrap(), expected);
}

/// What [`Diff::tenant_moves`] promises, by asking both tables for every key that either names.
fn moves_by_asking(old: &Table, new: &Table) -> Vec<String> {
    let named = |table: &Table| -> Vec<TenantKey> {
        let overrides = table.overrides().iter().map(|(key, _)| key);
        let aliases = table
            .aliases()
            .iter()
            .flat_map(|(alias, tenant)| [alias, tenant]);
        overrides.chain(aliases).cloned().collect()
    };
    let keys: BTreeSet<TenantKey> = [named(old), named(new)].concat().into_iter().collect();
    let mut moves = Vec::new();
    for key in keys {
        let (before, after) = (old.home_of(key.as_bytes()), new.home_of(key.as_bytes()));
        let only_by_slot = before.tenant == after.tenant
            && before.owner == Owner::Slot
            && after.owner == Owner::Slot;
        let (from, to) = (old.cell(before.cell).id(), new.cell(after.cell).id());
        if from != to && !only_by_slot {
            moves.push(format!("{key} {from}>{to}"));
        }
    }
    moves
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn diff_agrees_with_asking_for_every_key(old in testing::small_table(), new in testing::small_table()) {
        prop_assert_eq!(listed(&diff(&old, &new)), moves_by_asking(&old, &new));
    }

    #[test]
    fn nobody_moves_without_a_change(table in testing::small_table()) {
        prop_assert_eq!(diff(&table, &table), Diff::default());
    }

    #[test]
    fn the_way_back_moves_as_much(old in testing::small_table(), new in testing::small_table()) {
        let (there, back) = (diff(&old, &new), diff(&new, &old));
        prop_assert!((there.moved_share - back.moved_share).abs() < 1e-9);
        prop_assert_eq!(there.tenant_moves.len(), back.tenant_moves.len());
        prop_assert_eq!(there.moved_slots(), back.moved_slots());
        prop_assert!((0.0..=1.0).contains(&there.moved_share));
    }
}
