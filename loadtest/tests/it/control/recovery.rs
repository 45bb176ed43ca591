//! Recovery needs nothing of what it recovers.

use std::fs;

use serde_json::{Value, json};

use super::world::{World, tenants};
use crate::support::{
    PATIENCE,
    control::{Control, run},
    proxy::command,
    wait_until,
};

/// A lost database is made anew out of the published table, and the next table is the same map.
#[test]
fn a_lost_database_comes_back_out_of_the_table() {
    let mut world = World::start(3);
    let cells = world.register(&tenants("tenant", 60));
    for (method, path, body) in [
        (
            "PUT",
            "/v1/tenants/tenant-1/aliases/www.one.example",
            Value::Null,
        ),
        ("PUT", "/v1/tenants/tenant-2/reject", Value::Null),
        (
            "PUT",
            "/v1/tenants/tenant-3/pin",
            json!({ "cell": cells["tenant-3"] }),
        ),
    ] {
        world.control.change(method, path, &body);
    }
    world.wait_until_routed(&cells);
    let table = world.proxy.table_path();
    let before = table.with_file_name("before.yaml");
    fs::copy(&table, &before).expect("the scratch directory is ours");

    world.control.kill();
    fs::remove_dir_all(world.control.state_dir()).expect("the scratch directory is ours");
    world.plan().write_config();
    let config = world.control.state_dir().with_file_name("control.yaml");
    let import = || {
        let words = ["import-table", "--config"];
        let (config, table) = (config.to_string_lossy(), table.to_string_lossy());
        run(&[words[0], words[1], &config, &table])
    };
    let (status, said) = import();
    assert!(status.success(), "{said}");
    let (status, said) = import();
    assert!(
        !status.success() && said.contains("holds cells already"),
        "{said}"
    );

    world.restart_control();
    let body = json!({ "max_in_flight": 77 });
    world.control.change("PATCH", "/v1/cells/cell-1", &body);
    world.control.wait_until_published();
    let output = command()
        .args(["diff", "--output", "json"])
        .args([&before, &table])
        .output()
        .expect("the program runs");
    let diff: Value = serde_json::from_slice(&output.stdout).expect("diff prints JSON");
    assert_eq!(diff["slot_moves"], json!([]), "{diff}");
    assert_eq!(diff["tenant_moves"], json!([]), "{diff}");
    assert_eq!(diff["cells_changed"], json!(["cell-1"]), "{diff}");
    assert_eq!(diff["rejects_removed"], json!([]), "{diff}");
    for (tenant, cell) in cells.iter().filter(|(tenant, _)| *tenant != "tenant-2") {
        assert_eq!(world.proxy.cell_of(tenant), *cell, "{tenant}");
    }
    assert_eq!(world.proxy.cell_of("www.one.example"), cells["tenant-1"]);
}

/// With the daemon dead a table edited by hand works, and the daemon does not write over it unasked.
#[test]
fn a_table_edited_by_hand_is_respected() {
    let mut world = World::start(2);
    let cells = world.register(&tenants("tenant", 4));
    world.wait_until_routed(&cells);
    let generation = world.proxy.generation();
    world.control.kill();

    let table = world.proxy.table_path();
    let text = fs::read_to_string(&table).expect("the table is there");
    let generation_line = format!("generation: {generation}\n");
    assert!(text.contains(&generation_line));
    let edited = text.replace(&generation_line, "") + "rejects: [evil-corp]\n";
    world.proxy.write_table(&edited);
    world.proxy.wait_for_generation(generation + 1);
    assert_eq!(world.proxy.get("evil-corp", "/").status, 403);

    world.restart_control();
    wait_until("the daemon says whose table it is", PATIENCE, || {
        world.control.get("/v1/table")["blocked"]["code"] == "foreign_table"
    });
    let ready = crate::support::wire::Request::get("/readyz").send(world.control.address());
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("somebody else"), "{}", ready.text());
    assert_eq!(
        fs::read_to_string(&table).expect("the table is there"),
        edited
    );

    let body = json!({ "overwrite": true });
    world.control.change(
        "POST",
        "/v1/table/publish?reason=edit%20taken%20over",
        &body,
    );
    let after = world.control.wait_until_published();
    assert!(after > generation + 1, "{after}");
    world.proxy.wait_for_generation(after);
    assert_eq!(world.proxy.get("evil-corp", "/").status, 200);
}

/// A backup taken while the daemon works is a database that a daemon can begin with.
#[test]
fn a_backup_can_be_restored() {
    let mut world = World::start(2);
    let cells = world.register(&tenants("tenant", 20));
    let config = world.control.state_dir().with_file_name("control.yaml");
    let config = config.to_string_lossy().into_owned();
    let backup = world.control.state_dir().with_file_name("backup.sqlite");
    let backup = backup.to_string_lossy().into_owned();
    let (status, said) = run(&["backup", "--config", &config, &backup]);
    assert!(status.success(), "{said}");
    let (status, said) = run(&["backup", "--config", &config, &backup]);
    assert!(!status.success() && said.contains("exists"), "{said}");
    let late = world.register(&tenants("late", 5));
    world.wait_until_routed(&late);

    let (status, said) = run(&["restore", "--config", &config, &backup]);
    assert!(!status.success() && said.contains("is held by"), "{said}");
    world.control.kill();
    let (status, said) = run(&["restore", "--config", &config, &backup]);
    assert!(!status.success() && said.contains("move it away"), "{said}");
    fs::remove_dir_all(world.control.state_dir()).expect("the scratch directory is ours");
    let (status, said) = run(&["restore", "--config", &config, &backup]);
    assert!(status.success(), "{said}");

    world.restart_control();
    for (tenant, cell) in &cells {
        let known = world.control.get(&format!("/v1/tenants/{tenant}"));
        assert_eq!(known["cell"], **cell);
    }
    // The table in the file is newer than the backup: whether it may be written over is for people to say.
    wait_until(
        "the daemon says that the table is not its own",
        PATIENCE,
        || world.control.get("/v1/table")["blocked"]["code"] == "foreign_table",
    );
    world
        .control
        .change("POST", "/v1/table/publish", &json!({ "overwrite": true }));
    world.wait_until_routed(&cells);
}

/// Scripts read what the daemon's own commands have done, and why they have not.
#[test]
fn the_daemons_own_commands_answer_in_json() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let path = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
    let config = path("control.yaml");
    let answer = |command: &[&str], is_good: bool| {
        let words = [command, &["--config", &config, "--output", "json"]].concat();
        let (status, said) = run(&words);
        let json: Value = serde_json::from_str(&said).expect("it is JSON and nothing else");
        assert_eq!(
            (status.success(), &json["ok"]),
            (is_good, &json!(is_good)),
            "{said}"
        );
        json
    };
    fs::write(&config, "table: { path: 7 }\nproxy: []\n").expect("the scratch directory is ours");
    let bad = answer(&["check"], false);
    let problems = bad["problems"].as_array().expect("a list");
    assert!(problems.len() > 1, "{bad}");
    assert_eq!(problems[0]["file"], *config, "{bad}");
    assert!(
        problems[0]["line"].is_u64() && problems[0]["message"].is_string(),
        "{bad}"
    );
    // The other commands read the same file.
    assert_eq!(answer(&["backup", &path("b")], false), bad);

    let table = path("table.yaml");
    fs::write(
        &table,
        "format: 1\ngeneration: 7\nhash: { slots: 16 }\n\
         cells: { a: { endpoints: [{ address: \"127.0.0.1:9001\" }] } }\nslots: { a: [\"0-15\"] }\n",
    )
    .expect("the scratch directory is ours");
    Control::plan(scratch.path(), scratch.path().join("table.yaml").as_path()).write_config();
    let good = answer(&["check"], true);
    assert_eq!(good["problems"], json!([]));
    assert_eq!(good["table"], *table);
    let backup = path("backup.sqlite");
    let missing = answer(&["backup", &backup], false);
    let error = missing["error"].as_str().expect("it says why");
    assert!(error.contains("there is no database"), "{error}");
    let imported = answer(&["import-table", &table], true);
    assert_eq!(
        (&imported["cells"], &imported["overrides"]),
        (&json!(1), &json!(0))
    );
    let copied = answer(&["backup", &backup], true);
    assert_eq!(copied["file"], *backup);
    assert!(copied["bytes"].as_u64() > Some(0), "{copied}");
    let refused = answer(&["restore", &backup], false);
    assert!(refused["error"].is_string(), "{refused}");
    fs::remove_dir_all(path("state")).expect("the scratch directory is ours");
    let restored = answer(&["restore", &backup], true);
    assert_eq!(restored["revision"], imported["revision"]);
}

/// A daemon without a table of its own leaves one alone that was there before it.
#[test]
fn a_table_that_was_there_before_is_left_alone() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let table = scratch.path().join("table.yaml");
    fs::write(&table, "somebody's notes\n").expect("the scratch directory is ours");
    let control = Control::plan(scratch.path(), &table).start();
    wait_until("the daemon says so", PATIENCE, || {
        control.get("/v1/table")["blocked"]["code"] == "foreign_table"
    });
    assert_eq!(
        fs::read(&table).expect("it is there"),
        b"somebody's notes\n"
    );
}
