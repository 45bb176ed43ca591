//! The table as a file among files: where it lies, who may read it, and what other programs read in it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use super::home::{Cells, Home, generation, stop, wait_until_current};
use crate::support::{
    control::{Control, run},
    heavy::skip,
    origin::Origin,
    python,
};

/// Forbids nothing, so that what the daemon itself forbids can be seen.
const UMASK_ZERO: [&str; 4] = ["sh", "-c", "umask 0; exec \"$@\"", "sh"];

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o777
}

fn pin(control: &Control, tenant: &str) {
    let body = json!({ "key": tenant, "cell": "cell-1", "pin": true });
    control.change("POST", "/v1/tenants", &body);
    wait_until_current(control).expect("the daemon runs");
}

#[test]
fn a_linked_table_stays_a_link_and_keeps_its_readers() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let home = Home::at(scratch.path());
    let cells = Cells::start();
    let real = scratch.path().join("real/routes.yaml");
    symlink("../real/routes.yaml", home.table()).expect("the scratch directory is ours");

    // The folder that the link leads to is not there yet.
    let (status, said) = home.plan().run_to_end();
    assert!(!status.success());
    assert!(said.contains("make that folder"), "{said}");

    fs::create_dir(real.parent().expect("it has one")).expect("the scratch directory is ours");
    let mut control = home.plan().start();
    cells.add_to(&control).expect("the daemon runs");
    wait_until_current(&control).expect("the daemon runs");
    assert!(home.table().is_symlink());
    assert!(real.is_file() && !real.is_symlink());

    // Whoever names the file itself means the same table.
    let elsewhere = tempfile::tempdir().expect("the temporary directory can be written to");
    let (status, said) = Control::plan(elsewhere.path(), &real).run_to_end();
    assert!(!status.success());
    assert!(said.contains("routes.yaml.lock is held by"), "{said}");

    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("the file is ours");
    let is_root = fs::metadata(&real).expect("it is there").uid() == 0;
    if is_root {
        chown(&real, Some(12_345), Some(23_456)).expect("root gives files away");
    }
    let first = fs::read(&real).expect("it is there");
    pin(&control, "acme");
    assert!(home.table().is_symlink());
    assert_ne!(fs::read(&real).expect("it is there"), first);
    assert_eq!(mode(&real), 0o640);
    if is_root {
        let metadata = fs::metadata(&real).expect("it is there");
        assert_eq!((metadata.uid(), metadata.gid()), (12_345, 23_456));
    }
    stop(&mut control);
}

#[test]
fn a_table_in_a_volume_of_kubernetes_is_refused_with_a_way_out() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let home = Home::at(scratch.path());
    // As a mounted ConfigMap is laid out.
    let folder = home.table_folder();
    fs::create_dir(folder.join("..2026_01_01")).expect("the scratch directory is ours");
    fs::write(folder.join("..2026_01_01/table.yaml"), "").expect("the scratch directory is ours");
    symlink("..2026_01_01", folder.join("..data")).expect("the scratch directory is ours");
    symlink("..data/table.yaml", home.table()).expect("the scratch directory is ours");
    let (status, said) = home.plan().run_to_end();
    assert!(!status.success());
    assert!(said.contains("ConfigMap or Secret"), "{said}");
    assert!(said.contains("persistentVolumeClaim"), "{said}");
}

/// Under a umask that forbids nothing.
#[test]
fn nobody_else_may_read_what_the_daemon_keeps() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let home = Home::at(scratch.path());
    let cells = Cells::start();
    let mut control = home.plan().under(&UMASK_ZERO).start();
    cells.add_to(&control).expect("the daemon runs");
    wait_until_current(&control).expect("the daemon runs");
    let entries = fs::read_dir(home.state_dir()).expect("it is there");
    let kept: Vec<_> = entries
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.is_file())
        .collect();
    assert!(kept.len() >= 4, "{kept:?}");
    for path in &kept {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let lock = home.table_folder().join("table.yaml.lock");
    assert_eq!(mode(&lock), 0o600);
    assert_eq!(mode(&home.table()), 0o644, "the proxies read it");
    stop(&mut control);

    // A database that would be made where a link dangles to, readable to all.
    let dangling = Home::at(&scratch.path().join("dangling"));
    fs::create_dir(dangling.state_dir()).expect("the scratch directory is ours");
    symlink("nowhere", dangling.database()).expect("the scratch directory is ours");
    let (status, said) = dangling.plan().run_to_end();
    assert!(!status.success());
    assert!(said.contains("control.sqlite"), "{said}");
    assert!(!dangling.state_dir().join("nowhere").exists());
}

/// Keys that some reader of YAML takes for something else than a text, if they stand bare.
const KEYS: &[&str] = &[
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "Yes",
    "YES",
    "no",
    "No",
    "NO",
    "on",
    "On",
    "off",
    "OFF",
    "true",
    "True",
    "false",
    "FALSE",
    "null",
    "Null",
    "NULL",
    "~",
    ".nan",
    ".NaN",
    ".inf",
    "-.inf",
    "+.INF",
    "nan",
    "inf",
    "0",
    "-0",
    "1",
    "007",
    "0o7",
    "0O7",
    "0x10",
    "0b11",
    "+12",
    "1_000",
    "0x_1f",
    "1e3",
    "1E3",
    "1.5",
    "1.",
    ".5",
    "-1.5e+3",
    "6.02e23",
    "12:30:45",
    "190:20:30",
    "190:20:30.15",
    "1:2",
    "2026-01-01",
    "2026-1-1 0:0:0",
    "2026-01-01T00:00:00Z",
    "2026-01-01 00:00:00.0 +1",
    "=",
    "<<",
    "-",
    "--",
    "---",
    "...",
    "- a",
    "-a",
    "?",
    "? a",
    ":",
    ": a",
    "a:",
    "a: b",
    "a:b",
    "a #b",
    "a#b",
    "#a",
    "!a",
    "!!int 1",
    "&a",
    "*a",
    "%a",
    "@a",
    "`a",
    "|",
    ">",
    "|-",
    "{a}",
    "[a]",
    "{",
    "]",
    "a,b",
    ",",
    "'",
    "''",
    "\"",
    "a'b",
    "a\"b",
    "\\",
    "a\\nb",
    "\\x41",
    "e\u{301}",
    "\u{e9}",
    "\u{85}x",
    "x\u{85}y",
    "x\u{2028}y",
    "x\u{2029}y",
    "x\u{feff}y",
    "\u{feff}x",
    "x\u{200b}y",
    "x\u{80}y",
    "x\u{9f}y",
    "x\u{ffff}y",
    "x\u{1f600}y",
    "x\u{10ffff}y",
    "a  b",
];

/// Fails if a key is not text, and prints the document as JSON.
const READER: &str = "
import json, sys

def texts(node):
    if isinstance(node, dict):
        for key, value in node.items():
            assert type(key) is str, (key, type(key))
            texts(value)
    elif isinstance(node, list):
        for value in node:
            texts(value)
    else:
        assert type(node) in (str, int, bool, float), (node, type(node))

with open(sys.argv[2], 'rb') as file:
    if sys.argv[1] == 'yaml':
        import yaml
        document = yaml.safe_load(file)
    elif sys.argv[1] == 'libyaml':
        import yaml
        document = yaml.load(file, yaml.CSafeLoader)
    else:
        from ruamel.yaml import YAML
        reader = YAML(typ='safe', pure=True)
        reader.version = tuple(map(int, sys.argv[1].split('.')))
        document = reader.load(file)
texts(document)
json.dump(document, sys.stdout)
";

/// What a reader of Python's makes of a file.
#[track_caller]
fn read_by(python: &Path, reader: &str, file: &Path) -> Value {
    let output = Command::new(python)
        .args(["-c", READER, reader])
        .arg(file)
        .output()
        .expect("it was installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{reader}: {said}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

#[test]
fn every_yaml_reader_reads_the_same_table() {
    let (Some(pyyaml), Some(ruamel)) = (
        python::installed("python", "PyYAML==6.0.3", "-cimport yaml"),
        python::installed("python", "ruamel.yaml==0.18.15", "-cimport ruamel.yaml"),
    ) else {
        return skip(
            "PyYAML and ruamel.yaml cannot be installed (python3 with venv, pip, the Python package index)",
        );
    };
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let home = Home::at(scratch.path());
    let cells = Cells::start();
    let mut control = home.plan().start();
    cells.add_to(&control).expect("the daemon runs");
    wait_until_current(&control).expect("the daemon runs");
    let mut expected = serde_json::Map::new();
    for key in KEYS {
        let body = json!({ "key": key, "cell": "cell-1", "pin": true });
        control.change("POST", "/v1/tenants", &body);
        expected.insert((*key).to_owned(), json!("cell-1"));
    }
    // Cells have names too.
    let other = Origin::start(|_| {});
    let body = json!({ "endpoints": [{ "address": other.address().to_string() }] });
    for name in ["no", "1e3", "0x10", "2026-01-01"] {
        let mut body = body.clone();
        body["id"] = json!(name);
        control.change("POST", "/v1/cells", &body);
        control.wait_for_state(name, "active");
    }
    wait_until_current(&control).expect("the daemon runs");
    let whole = read_by(&pyyaml, "yaml", &home.table());
    assert_eq!(whole["overrides"], Value::Object(expected));
    assert_eq!(
        whole["generation"],
        generation(&home.bytes().expect("it is there"))
    );
    assert!(whole["slots"]["cell-1"][0].is_string(), "{whole}");
    for (python, reader) in [(&pyyaml, "libyaml"), (&ruamel, "1.1"), (&ruamel, "1.2")] {
        let read = read_by(python, reader, &home.table());
        assert!(read == whole, "{reader} reads another table: {read}");
    }
    stop(&mut control);
}

/// A table in words that the daemon would choose otherwise, as one of an older version is.
#[test]
fn a_table_in_other_words_stays_until_something_changes() {
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let home = Home::at(scratch.path());
    let older = "# written long ago\nformat: 1\ngeneration: 7\nhash: { seed: 0, slots: 4 }\ncells:\n  \"a\":\n    \
                 endpoints: [{ address: 127.0.0.1:9001 }]\nslots: { a: [0-3] }\noverrides: { acme: a }\n";
    fs::write(home.table(), older).expect("the scratch directory is ours");
    home.plan().write_config();
    let config = scratch.path().join("control.yaml");
    let table = home.table();
    let (status, said) = run(&[
        "import-table",
        "--config",
        &config.to_string_lossy(),
        &table.to_string_lossy(),
    ]);
    assert!(status.success(), "{said}");
    for _ in 0..2 {
        let mut control = home.plan().start();
        wait_until_current(&control).expect("the daemon runs");
        assert_eq!(home.bytes().as_deref(), Some(older.as_bytes()));
        stop(&mut control);
    }
    // Even one that is gone comes back as it was.
    fs::remove_file(home.table()).expect("it was there");
    let mut control = home.plan().start();
    wait_until_current(&control).expect("the daemon runs");
    assert_eq!(home.bytes().as_deref(), Some(older.as_bytes()));
    control.change(
        "POST",
        "/v1/tenants",
        &json!({ "key": "no", "cell": "a", "pin": true }),
    );
    wait_until_current(&control).expect("the daemon runs");
    let bytes = home.bytes().expect("it is there");
    assert!(generation(&bytes) > 7);
    let text = str::from_utf8(&bytes).expect("a table is text");
    assert!(text.contains("\n  'no': a\n"), "{text}");
    stop(&mut control);
}
