//! What a good table may not do, and how mistakes are reported.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    fleet::Fleet,
    proxy::{self, Proxy},
    table::TableText,
    wait_until,
};

/// The table is refused because of `why`, is counted as that, and changes nothing.
#[track_caller]
fn check_refused(proxy: &Proxy, table: impl ToString, why: &str) {
    let generation = proxy.generation();
    let failures = failures(proxy);
    proxy.write_table(table);
    proxy.wait_for_refusal(why);
    assert_eq!(proxy.generation(), generation);
    assert_eq!(failures + 1.0, self::failures(proxy), "{}", proxy.log());
    assert_eq!(proxy.metric("table_last_reload_success", &[]), Some(0.0));
}

/// The table is taken under this generation.
#[track_caller]
fn check_taken(proxy: &Proxy, table: impl ToString, generation: u64) {
    proxy.write_table(table);
    wait_until(
        &format!("generation {generation} is taken"),
        PATIENCE,
        || {
            let status = proxy.status();
            status["generation"] == generation && status["last_reload"]["ok"] == true
        },
    );
    assert_eq!(proxy.metric("table_last_reload_success", &[]), Some(1.0));
    let number = u32::try_from(generation).expect("tests count no further");
    assert_eq!(proxy.metric("table_generation", &[]), Some(number.into()));
}

#[track_caller]
fn failures(proxy: &Proxy) -> f64 {
    proxy
        .metric("table_reload_failures_total", &[])
        .expect("it is there from the start")
}

#[test]
fn generations_only_grow() {
    let fleet = Fleet::start(2);
    let table = fleet.table().generation(42);
    let proxy = Proxy::start(&table);
    assert_eq!(proxy.generation(), 42);
    let to = |cell| fleet.table().pin("acme", cell);

    check_refused(
        &proxy,
        to("cell-1").generation(41),
        "generation 41 is older",
    );
    check_refused(
        &proxy,
        to("cell-1").generation(42),
        "in force already, with other content",
    );
    check_taken(&proxy, to("cell-2").generation(44), 44);
    // Edited by hand.
    check_taken(&proxy, to("cell-1"), 45);
    check_refused(
        &proxy,
        to("cell-2").generation(45),
        "in force already, with other content",
    );
    check_refused(&proxy, table, "generation 42 is older");
    check_taken(&proxy, to("cell-2"), 46);
    assert_eq!(proxy.cell_of("acme"), "cell-2");
}

#[test]
fn one_edit_moves_a_quarter_of_the_slots_at_most() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());
    let table = |first: &str, second: &str| {
        fleet
            .table()
            .slots("cell-1", &[first])
            .slots("cell-2", &[second])
    };

    check_taken(&proxy, table("0-249", "250-999"), 2);
    check_refused(&proxy, table("0-500", "501-999"), "25.10 % of the slots");
    check_taken(&proxy, table("0-500", "501-999").allow_move(), 3);
    assert_eq!(proxy.explain("acme")["slot"], 268);
    assert_eq!(proxy.cell_of("acme"), "cell-1");
}

#[test]
fn another_hash_moves_everybody() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());
    let seeded = fleet.table().to_string().replace("seed: 0", "seed: 1");

    check_refused(&proxy, &seeded, "by their new hash, would move");
    check_taken(
        &proxy,
        seeded.replace("format: 1", "format: 1\nallow_move: true"),
        2,
    );
}

#[test]
fn one_edit_moves_a_thousand_overrides_at_most() {
    let fleet = Fleet::start(2);
    let pinned = |count: usize| {
        (0..count).fold(fleet.table(), |table, number| {
            table.pin(&format!("tenant-{number:04}"), "cell-1")
        })
    };
    let text = |count| pinned(count).to_string();
    let moved = |count| text(count).replace("\": \"cell-1\"", "\": \"cell-2\"");
    let proxy = Proxy::start(text(1_001));
    assert_eq!(proxy.cell_of("tenant-0007"), "cell-1");

    check_refused(&proxy, moved(1_001), "1001 named tenants would move");
    assert_eq!(proxy.cell_of("tenant-0007"), "cell-1");
    check_taken(
        &proxy,
        moved(1_001).replace("format: 1", "format: 1\nallow_move: true"),
        2,
    );
    assert_eq!(proxy.cell_of("tenant-0007"), "cell-2");
    // The last one stays where it is.
    let last = "\"tenant-1000\": \"cell-1\"";
    let all_but_one = text(1_001).replace(last, &last.replace("cell-1", "cell-2"));
    check_taken(&proxy, all_but_one, 3);
    assert_eq!(proxy.cell_of("tenant-0007"), "cell-1");
    assert_eq!(proxy.cell_of("tenant-1000"), "cell-2");
}

#[test]
fn limits_are_configured() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::plan()
        .set(
            "table",
            "{ path: tables/table.yaml, max_moved_percent: 0, max_moved_overrides: 0 }",
        )
        .table(fleet.table().pin("acme", "cell-1"))
        .start();

    check_refused(
        &proxy,
        fleet.table().pin("acme", "cell-2"),
        "1 named tenants would move",
    );
    let one_slot = fleet.table().pin("acme", "cell-1");
    let one_slot = one_slot
        .slots("cell-1", &["0-500"])
        .slots("cell-2", &["501-999"]);
    check_refused(&proxy, one_slot, "0.10 % of the slots");
}

#[test]
fn holds_are_refused_until_they_work() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());

    let held = format!("{}holds: {{ acme: {{ mode: writes }} }}\n", fleet.table());
    check_refused(&proxy, held, "holds do not work in this version");
    assert_eq!(proxy.get("acme", "/").status, 200);
}

/// One mistake in each of five lines.
const FIVE_MISTAKES: &str = r#"format: 1
generatoin: 7
hash: { seed: 0, slots: 1000 }
cells:
  cell-1:
    endpoints: [{ address: "localhost:80" }]
  cell-2:
    endpoints: [{ address: "127.0.0.1:81", weight: 0 }]
slots:
  cell-1: ["0-499"]
  cell-2: ["499-999"]
overrides:
  acme: cell-3
"#;

#[test]
fn all_mistakes_are_reported_with_their_lines() {
    let lines = |problems: &Value| -> Vec<Value> {
        let problems = problems.as_array().expect("a list of problems");
        problems
            .iter()
            .map(|problem| problem["line"].clone())
            .collect()
    };
    let expected = [2, 6, 8, 11, 13].map(|line| json!(line));
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());

    check_refused(&proxy, FIVE_MISTAKES, "and 4 more");
    let status = proxy.status();
    assert_eq!(
        lines(&status["last_reload"]["problems"]["problems"]),
        expected,
        "{status}"
    );

    let table = proxy.directory().join("five.yaml");
    fs::write(&table, FIVE_MISTAKES).unwrap();
    let checked = proxy::command()
        .args(["check", "--output", "json", "--config"])
        .arg(proxy.directory().join("proxy.yaml"))
        .arg("--table")
        .arg(&table)
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(lines(&answer["problems"]), expected, "{answer}");
}

/// `check` judges as the running proxy does, against the same table.
#[test]
fn check_says_beforehand_what_would_be_refused() {
    let fleet = Fleet::start(2);
    let proxy = Proxy::start(fleet.table());
    let check = |table: TableText| {
        let path = proxy.directory().join("next.yaml");
        fs::write(&path, table.to_string()).unwrap();
        let checked = proxy::command()
            .args(["check", "--config"])
            .arg(proxy.directory().join("proxy.yaml"))
            .arg("--table")
            .arg(&path)
            .output()
            .unwrap();
        let said = [checked.stdout, checked.stderr].concat();
        (checked.status.code(), String::from_utf8(said).unwrap())
    };
    let all_in_one = fleet
        .table()
        .slots("cell-1", &["0-999"])
        .slots("cell-2", &[]);

    let (code, said) = check(all_in_one.clone());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("50.00 % of the slots would move"), "{said}");
    let (code, said) = check(all_in_one.allow_move());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("as generation 2"), "{said}");
    assert!(said.contains("500 slots move (50.00 %)"), "{said}");
}
