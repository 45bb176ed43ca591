//! Bad input to every operation of the API, made up from its own description by schemathesis.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use super::world::World;
use crate::support::{
    heavy::{alone, amount, figure, skip},
    python,
};

/// Installed once.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Cannot be made up: lines of JSON are no type that the fuzzer knows.
const LEFT_OUT: &str = "/v1/import/tenants";

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let Some(program) = python::installed("schemathesis", SCHEMATHESIS, "--version") else {
        return skip(
            "schemathesis cannot be installed (python3 with venv, pip, the Python package index)",
        );
    };
    let _alone = alone();
    let seconds = amount("CELLGATE_FUZZ_SECONDS", 8);
    let world = World::start(2);
    let before = world.control.get("/v1/table")["revision"].clone();
    let run = run(&program, &world, seconds);
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    let cases = said
        .lines()
        .find(|line| line.contains("generated"))
        .unwrap_or_default();
    let after = world.control.get("/v1/table");
    figure(format!(
        "{seconds} s of bad input to every operation: {}; revision {before} before, {} after",
        cases.trim(),
        after["revision"],
    ));
    assert!(run.status.success(), "{said}");
    assert_ne!(cases, "", "{said}");
    assert_eq!(
        after["revision"],
        before,
        "{}",
        world.control.get("/v1/audit")
    );
    // A list instead of an object, a word in the wrong place: what the fuzzer found once.
    for (kind, lines) in [
        (
            "application/x-ndjson",
            "{\"key\":\"good\"}\n{\"key\":\"\"}\n",
        ),
        ("application/x-ndjson", "{\"key\":\"good\"}\nnonsense\n"),
        ("application/x-ndjson", "{\"key\":\"a\"}\n{\"key\":\"a\"}\n"),
        (
            "application/x-ndjson",
            "{\"key\":\"a\",\"cell\":\"nowhere\"}\n",
        ),
        ("application/x-ndjson", "\u{0}\n[1]\n"),
        ("application/x-ndjson", ""),
        ("text/csv", "name\na\n"),
        ("text/csv", "key,pin\na,perhaps\n"),
        ("text/csv", "key\n\"a\nb\"\n"),
        ("image/png", "key\na\n"),
    ] {
        let address = world.control.address();
        let answer = world.control.import(kind, lines).send(address);
        assert_eq!(answer.status / 100, 4, "{lines:?}: {}", answer.text());
    }
    for (method, path, body) in [
        ("PATCH", "/v1/cells/cell-1", serde_json::json!([])),
        (
            "POST",
            "/v1/cells/cell-1/drain?allow_move=true",
            Value::Null,
        ),
        ("POST", "/v1/table/publish", serde_json::json!({})),
        ("GET", "/v1/audit?before=18446744073709551615", Value::Null),
    ] {
        let answer = world.control.try_change(method, path, &body);
        assert_eq!(answer.status / 100, 4, "{path}: {}", answer.text());
    }
    let last = world.control.get("/v1/table");
    assert_eq!(last["revision"], before);
}

fn run(program: &Path, world: &World, seconds: u64) -> Output {
    let token = std::fs::read_to_string(world.control.state_dir().join("token"));
    let token = token.expect("the daemon has made its token");
    Command::new(program)
        .arg("run")
        .arg(format!("http://{}/openapi.json", world.control.address()))
        .args(["-H", &format!("Authorization: Bearer {}", token.trim())])
        .args(["--mode", "negative", "--phases", "coverage,fuzzing"])
        .args(["--max-time", &seconds.to_string(), "--continue-on-failure"])
        .args([
            "-c",
            "not_a_server_error,negative_data_rejection,content_type_conformance",
        ])
        .args([
            "--exclude-path",
            LEFT_OUT,
            "--warnings",
            "off",
            "--seed",
            "1",
        ])
        // It keeps its finds in a folder of its own beside where it runs.
        .current_dir(world.control.state_dir())
        .output()
        .expect("the program was just installed")
}
