//! The state directory outranks the table file at the next start, so it has one owner: one process, and one table.

use std::{fs, path::Path};

use serde_json::json;

use crate::support::{
    fleet::Fleet,
    proxy::{Plan, Proxy, command, rename_over},
};

/// A further proxy that is to use this state directory.
fn using(state: &Path) -> Plan {
    Proxy::plan().set("state_dir", &json!(state).to_string())
}

#[test]
fn a_second_proxy_with_the_same_state_directory_is_refused() {
    let fleet = Fleet::start(2);
    let mut first = Proxy::start(fleet.table().pin("acme", "cell-1"));
    let second = using(&first.state_dir()).table(fleet.table().pin("acme", "cell-2"));
    let (status, said) = second.run_to_end();
    assert_eq!(status.code(), Some(1), "{said}");
    let holder = format!("is in use by process {}", first.id());
    let table = first.table_path().display().to_string();
    for part in [&*holder, &*table, "give this one a `state_dir` of its own"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(first.cell_of("acme"), "cell-1");

    // A lock is the process's, and ends with it however that ends.
    first.kill();
    first.restart();
    assert_eq!(first.cell_of("acme"), "cell-1");
}

/// Proxy B, started later on the folder that A had used, served A's cells.
#[test]
fn a_state_directory_of_another_table_is_refused_until_it_is_adopted() {
    let fleet = Fleet::start(2);
    let mut first = Proxy::start(fleet.table().pin("acme", "cell-1"));
    let state = first.state_dir();
    first.stop();
    let other = fleet.table().pin("acme", "cell-2").generation(1);
    let (status, said) = using(&state).table(&other).run_to_end();
    assert_eq!(status.code(), Some(1), "{said}");
    let table = first.table_path().display().to_string();
    for part in [&*table, "cellgate-proxy state adopt --config FILE"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains("table in force"), "{said}");

    // The table was renamed, which only its operator can know; and the listeners changed, which is normal.
    let renamed = first.table_path().with_file_name("renamed.yaml");
    rename_over(&first.table_path(), &renamed);
    let config = first.directory().join("proxy.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text
        .replace("tables/table.yaml", "tables/renamed.yaml")
        .replace("name: edge", "name: another");
    fs::write(&config, text).unwrap();
    let adopt = || {
        let arguments = ["state", "adopt", "--config"];
        let output = command().args(arguments).arg(&config).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = adopt();
    assert_eq!(code, Some(0), "{said}");
    for part in [&*table, "renamed.yaml now", "newest table is generation 1"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let moved = using(&state).set("table", &format!("{{ path: {} }}", json!(renamed)));
    let moved = moved.start();
    assert_eq!(moved.cell_of("acme"), "cell-1");
    // Not under the feet of a proxy that uses it.
    let (code, said) = adopt();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("held by process {}", moved.id())),
        "{said}"
    );
}
