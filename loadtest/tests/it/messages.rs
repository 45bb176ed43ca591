//! What people write in the three files instead of what is wanted: each mistake is named once, with what to do.

use std::{fs, path::Path};

use crate::support::{
    cell::DemoCell,
    control,
    proxy::{self, Proxy},
    table::TableText,
    wait_until,
};

const PROXY: &str = "listeners: [{ name: edge, address: \"127.0.0.1:0\" }]\n\
    admin: { address: \"127.0.0.1:0\" }\ntenant_key: [{ header: x-tenant-id }]\n\
    table: { path: table.yaml }\nstate_dir: state\n";

const TABLE: &str = "format: 1\nhash: { slots: 4 }\ncells:\n  \
    a: { endpoints: [{ address: \"127.0.0.1:9001\" }] }\n  \
    b: { endpoints: [{ address: \"127.0.0.1:9002\" }] }\n\
    slots: { a: [\"0-2\"], b: [\"3\"] }\noverrides: { acme: b }\n";

/// The one mistake of a file is reported by one line that holds all of these parts.
#[track_caller]
fn check_said(said: &str, file: &str, parts: &[&str]) {
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(file)).collect();
    let [line] = &lines[..] else {
        panic!("not one problem: {said}");
    };
    for part in parts {
        assert!(line.contains(part), "`{part}` is not said: {line}");
    }
}

/// What `cellgate-proxy check` says of `proxy.yaml` and `table.yaml` in a folder.
#[track_caller]
fn proxy_says(folder: &Path, config: &str, table: &str) -> String {
    fs::write(folder.join("proxy.yaml"), config).expect("the scratch directory is ours");
    fs::write(folder.join("table.yaml"), table).expect("the scratch directory is ours");
    let output = proxy::command()
        .args(["check", "--config", "proxy.yaml"])
        .current_dir(folder)
        .output()
        .expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Lines of a file with one part of it replaced.
#[track_caller]
fn but(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn mistakes_in_a_table_say_what_to_do() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let check = |from: &str, to: &str, parts: &[&str]| {
        let said = proxy_says(scratch.path(), PROXY, &but(TABLE, from, to));
        check_said(&said, "table.yaml:", parts);
    };
    let address = "127.0.0.1:9001";
    check(
        address,
        "http://127.0.0.1:9001/",
        &["is a URL", "write `127.0.0.1:9001` alone"],
    );
    check(
        address,
        "https://127.0.0.1:9001",
        &["is a URL", "over TLS by its key `tls`"],
    );
    check(
        address,
        "10.0.0.7:70000",
        &["has port 70000", "the largest is 65535"],
    );
    check(
        address,
        "cell-1.internal:80",
        &["`cell-1.internal` is a name", "names are not resolved"],
    );
    check(
        address,
        "127.0.0.1:${PORT}",
        &["holds a variable", "envsubst"],
    );
    check(address, "$HOST:80", &["holds a variable", "envsubst"]);
    check(
        address,
        " 127.0.0.1:9001",
        &["white space", "write `127.0.0.1:9001`"],
    );
    check(
        "a: { endpoints",
        "a: { tls: true, endpoints",
        &["cells.a.tls: is the truth value true, not a mapping"],
    );
    check(
        "a: { endpoints",
        "a: { health_check: { type: https }, endpoints",
        &[
            "HTTP/2 does not work in this version yet",
            "known are `http`, `tcp`",
        ],
    );
    check(
        "a: { endpoints",
        "a: { health_check: { type: http, interval_ms: 10s }, endpoints",
        &["the unit is milliseconds: write 10000"],
    );
    // What follows from a mistake is no mistake of its own.
    check(
        "\"0-2\"",
        "\"0..2\"",
        &["slots.a[0]: `0..2` is not a range of slots"],
    );
    check("\"0-2\"", "\"0-9\"", &["goes beyond the last slot, 3"]);
    check("\"3\"", "3.0", &["slots.b[0]: "]);
    let misnamed = but(TABLE, "  b: {", "  \"b!\": {")
        .replace("b: [\"3\"]", "\"b!\": [\"3\"]")
        .replace("acme: b", "acme: \"b!\"");
    let said = proxy_says(scratch.path(), PROXY, &misnamed);
    check_said(&said, "table.yaml:", &["holds the character '!'"]);
    // A slot that really has no owner still is one.
    check("\"0-2\"", "\"0-1\"", &["slot 2 belongs to no cell"]);
}

#[test]
fn mistakes_in_the_proxys_configuration_say_what_to_do() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let check = |from: &str, to: &str, parts: &[&str]| {
        let said = proxy_says(scratch.path(), &but(PROXY, from, to), TABLE);
        check_said(&said, "proxy.yaml:", parts);
    };
    check(
        "\"127.0.0.1:0\" }]",
        "\"127.0.0.1:0\", protocol: https }]",
        &["HTTP/2 does not work in this version yet"],
    );
    check(
        "\"127.0.0.1:0\" }]",
        "\"127.0.0.1:0\", tls: { directory: a, certs: b } }]",
        &["listeners[0].tls.certs: is not a known key"],
    );
    check(
        "\"127.0.0.1:0\" }]",
        "\"*:8080\" }]",
        &[
            "is a port without an address",
            "0.0.0.0:8080 for every address",
        ],
    );
    check(
        "state_dir: state",
        "state_dir: state\ntimeouts: { head_ms: 10s }",
        &["the unit is milliseconds: write 10000"],
    );
    check(
        "state_dir: state",
        "state_dir: state\ntimeouts: { connect: 1000 }",
        &["did you mean `connect_ms`?"],
    );
    check(
        "state_dir: state",
        "state_dir: state\nlimits: { head_bytes_max: 64k }",
        &["the unit is bytes: write 65536"],
    );
    check(
        "path: table.yaml",
        "path: \" table.yaml\"",
        &["white space", "write `table.yaml`"],
    );
    check(
        "path: table.yaml",
        "path: table.yaml, max_moved_percent: 25%",
        &["write 25, without `%`"],
    );
    check(
        "state_dir: state",
        "state_dir: ${STATE}",
        &["holds a variable", "envsubst"],
    );
}

#[test]
fn mistakes_in_the_daemons_configuration_say_what_to_do() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    fs::write(scratch.path().join("a-file"), "").expect("the scratch directory is ours");
    let config = scratch.path().join("control.yaml");
    let check = |text: &str, parts: &[&str]| {
        fs::write(&config, text).expect("the scratch directory is ours");
        let (status, said) = control::run(&["check", "--config", &config.to_string_lossy()]);
        assert!(!status.success(), "{said}");
        check_said(&said, "control.yaml:", parts);
    };
    let table = "table: { path: table.yaml }";
    check(
        &format!("{table}\nstate_dir: a-file"),
        &["a-file is a file, and a folder is wanted"],
    );
    check(
        &format!("{table}\nproxies: [{{ name: edge, admin: \"http://10.0.0.7:9600\" }}]"),
        &["is a URL", "write `10.0.0.7:9600` alone"],
    );
    check(
        &format!("{table}\nproxies: [{{ name: edge, admin: \"0.0.0.0:9600\" }}]"),
        &["means every address of a machine"],
    );
    check(
        &format!("{table}\nobserve: {{ interval_ms: 1s }}"),
        &["the unit is milliseconds: write 1000"],
    );
    check(
        &format!("{table}\napi: {{ tls: {{}} }}"),
        &["nothing else has TLS"],
    );
}

#[test]
fn a_table_that_is_good_again_is_logged_with_what_it_moved_and_a_leftover_permission_shows() {
    let cells = [DemoCell::start("cell-1"), DemoCell::start("cell-2")];
    let table = TableText::new([
        ("cell-1", vec![cells[0].address()]),
        ("cell-2", vec![cells[1].address()]),
    ]);
    let proxy = Proxy::start(&table);
    assert_eq!(proxy.status()["allow_move"], false);
    let moved = |border: u32| {
        let first = format!("0-{}", border - 1);
        let second = format!("{border}-999");
        table
            .clone()
            .slots("cell-1", &[&first])
            .slots("cell-2", &[&second])
    };
    // Too much, and then a part of it.
    proxy.write_table(moved(100));
    proxy.wait_for_refusal("40.00 % of the slots");
    proxy.write_table(moved(300).pin("acme", "cell-2"));
    proxy.wait_for_log(&[
        "the table file is good again",
        "moved_slots_percent=20",
        "allowance=\"within max_moved_percent and max_moved_overrides\"",
    ]);
    proxy.write_table(moved(900));
    proxy.wait_for_refusal("60.00 % of the slots");
    proxy.write_table(moved(900).allow_move());
    proxy.wait_for_log(&[
        "the table file is good again",
        "moved_slots_percent=60",
        "allowance=\"allow_move: true\"",
    ]);
    assert_eq!(proxy.status()["allow_move"], true);
    assert_eq!(proxy.metric("table_allow_move", &[]), Some(1.0));
    // Taken out again: the same table, without the permission.
    proxy.write_table(moved(900));
    wait_until("the permission is gone", crate::support::PATIENCE, || {
        proxy.status()["allow_move"] == false
    });
    assert_eq!(proxy.metric("table_allow_move", &[]), Some(0.0));
}
