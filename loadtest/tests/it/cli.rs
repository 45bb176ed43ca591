//! The proxy's commands, run as a user runs them: output, exit codes, and what happens with bad input.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{proxy, tls::Authority};

const CONFIG: &str = "listeners: [{ name: edge, address: \"127.0.0.1:0\" }]\n\
    admin: { address: \"127.0.0.1:0\" }\ntenant_key: [{ header: x-tenant-id }]\n\
    table: { path: table.yaml }\nstate_dir: state\n";

const TABLE: &str = "format: 1\nhash: { slots: 4 }\ncells:\n  \
    a: { endpoints: [{ address: \"127.0.0.1:9001\" }, { address: \"127.0.0.1:9002\" }] }\n  \
    b: { endpoints: [{ address: \"127.0.0.1:9003\" }] }\n\
    slots: { a: [\"0-2\"], b: [\"3\"] }\noverrides: { acme: b }\naliases: { www: acme }\nrejects: [evil]\n";

/// A folder with a good configuration and a good table, and commands run in it.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(TempDir::new().unwrap());
        scene.put("proxy.yaml", CONFIG);
        scene.put("table.yaml", TABLE);
        scene
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        proxy::command()
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap()
    }

    /// Runs a command, checks its exit code, and returns what it printed.
    #[track_caller]
    fn expect(&self, code: i32, arguments: &[&str]) -> Printed {
        let output = self.run(arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let printed = Printed {
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {printed:?}"
        );
        printed
    }
}

#[derive(Debug)]
struct Printed {
    out: String,
    err: String,
}

impl Printed {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.err, "", "JSON output has all of it on standard output");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

#[test]
fn check_reports_what_it_would_load() {
    let scene = Scene::new();
    let printed = scene.expect(0, &["check", "--config", "proxy.yaml"]);
    assert_eq!(
        printed.out,
        "table.yaml: good: 2 cells, 4 slots, 1 overrides, 1 aliases, 1 rejects\n\
         it would be taken as generation 1\n"
    );
    let json = scene
        .expect(0, &["check", "--config", "proxy.yaml", "--output", "json"])
        .json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["problems"], serde_json::json!([]));
    // Checking changes nothing.
    assert!(!scene.path().join("state").exists());
}

/// Only the proxy's user may read the state directory: `check` cannot tell what the table would follow, and says so.
#[test]
fn check_says_what_it_could_not_judge() {
    let scene = Scene::new();
    // Nobody can read a folder out of a file, not even root.
    scene.put("state", "");
    let arguments = ["check", "--config", "proxy.yaml"];
    let printed = scene.expect(3, &arguments);
    assert!(printed.out.contains("it would be taken"), "{printed:?}");
    let expected = "not judged: whether the table may follow the one in force";
    assert!(printed.err.starts_with(expected), "{printed:?}");
    assert!(printed.err.contains("--against TABLE"), "{printed:?}");
    let json = scene.expect(3, &[&arguments[..], &["--output", "json"]].concat());
    let json = json.json();
    assert_eq!(
        (&json["ok"], &json["problems"]),
        (&false.into(), &serde_json::json!([]))
    );
    assert_eq!(json["not_judged"].as_array().unwrap().len(), 1, "{json}");
    // Mistakes come first.
    scene.put("table.yaml", "format: 2");
    scene.expect(1, &arguments);
}

#[test]
fn check_judges_by_the_table_that_is_named() {
    let scene = Scene::new();
    scene.put("state", "");
    scene.put("now.yaml", &TABLE.replace("acme: b", "acme: a"));
    let arguments = ["check", "--config", "proxy.yaml", "--against", "now.yaml"];
    let printed = scene.expect(0, &arguments);
    let lines: Vec<&str> = printed.out.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "it would follow now.yaml (generation 1) as generation 2:",
            "no slot moves",
            "2 tenants named in the table move:",
            "  acme: a -> b",
            "  www: a -> b",
        ]
    );
    assert_eq!(printed.err, "");
    scene.put(
        "now.yaml",
        &TABLE.replace("a: [\"0-2\"], b: [\"3\"]", "b: [\"0-2\"], a: [\"3\"]"),
    );
    let refused = scene.expect(1, &arguments);
    assert!(
        refused.err.contains("100.00 % of the slots would move"),
        "{refused:?}"
    );
    scene.put("now.yaml", "format: 2");
    assert!(scene.expect(1, &arguments).err.starts_with("now.yaml:"));
}

#[test]
fn check_warns_of_keys_that_no_rule_can_produce() {
    let scene = Scene::new();
    scene.put(
        "proxy.yaml",
        &CONFIG.replace("header: x-tenant-id", "host: \"{tenant}\""),
    );
    scene.put(
        "table.yaml",
        &TABLE
            .replace(
                "{ acme: b }",
                "{ acme: b, \"Only By Its Alias\": b, Globex: a, \" initech\": a }",
            )
            .replace(
                "{ www: acme }",
                "{ www: acme, WWW.Acme.Example: acme, ok.example: Only By Its Alias }",
            ),
    );
    let arguments = ["check", "--config", "proxy.yaml"];
    let printed = scene.expect(0, &arguments);
    let why = "no rule under `tenant_key` can produce this key";
    let lines: Vec<String> = printed.err.lines().map(str::to_owned).collect();
    for (line, (key, hint)) in lines.iter().zip([
        (
            "overrides.Globex",
            "host names are lower-cased: write `globex`",
        ),
        ("overrides. initech", "remove the white space at its ends"),
        (
            "aliases.WWW.Acme.Example",
            "host names are lower-cased: write `www.acme.example`",
        ),
    ]) {
        assert!(line.starts_with("warning: table.yaml:"), "{line}");
        assert!(line.ends_with(&format!("{why}; {hint}")), "{line}");
        let plain = line.replace(['"', '\'', '`'], "");
        assert!(plain.contains(key), "{line}");
    }
    assert_eq!(lines.len(), 3, "{printed:?}");
    let json = scene.expect(0, &[&arguments[..], &["--output", "json"]].concat());
    let json = json.json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["warnings"].as_array().unwrap().len(), 3, "{json}");
    assert_eq!(json["warnings"][0]["file"], "table.yaml");
}

/// Nobody would notice before browsers fail.
#[test]
fn check_warns_of_preflights_that_the_table_rejects() {
    let scene = Scene::new();
    let arguments = ["check", "--config", "proxy.yaml"];
    for (tenant, is_rejected) in [("evil", true), ("www.evil", true), ("acme", false)] {
        let config = format!("{CONFIG}cors: {{ preflight_tenant: {tenant} }}\n");
        scene.put("proxy.yaml", &config);
        let table = TABLE.replace("{ www: acme }", "{ www: acme, www.evil: evil }");
        scene.put("table.yaml", &table);
        let printed = scene.expect(0, &arguments);
        let said = "rejects[0]: rejects the tenant of `cors.preflight_tenant`";
        assert_eq!(printed.err.contains(said), is_rejected, "{printed:?}");
        let lines = printed.err.lines().count();
        assert_eq!(lines, usize::from(is_rejected), "{printed:?}");
    }
}

/// What the README shows works together: a request for the alias reaches the tenant.
#[test]
fn the_examples_of_the_readme_fit_together() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).collect();
    let block = |start: &str| {
        let found = blocks.iter().find(|block| block.contains(start)).unwrap();
        found.split("```").next().unwrap().to_owned()
    };
    let scene = Scene::new();
    let config = block("tenant_key:").replace("/var/lib/cellgate", "state");
    scene.put("proxy.yaml", &config);
    scene.put("table.yaml", &block("aliases:"));
    let printed = scene.expect(0, &["check", "--config", "proxy.yaml"]);
    assert_eq!(printed.err, "");
    assert!(
        config.contains("{ host: \"{tenant}\" }"),
        "the alias is a host name: {config}"
    );
    // The listeners of the second example instead of the first one's.
    let authority = Authority::new();
    let pem = authority.server(&["edge.example.com"]);
    fs::create_dir(scene.path().join("tls")).unwrap();
    scene.put("tls/edge.crt", &pem.certificate);
    scene.put("tls/edge.key", &pem.key);
    scene.put("clients.pem", &authority.pem());
    let listeners = block("redirect_https:").replace("/etc/cellgate/", "");
    let (_, rest) = config.split_once("tenant_key:").unwrap();
    scene.put("proxy.yaml", &format!("{listeners}tenant_key:{rest}"));
    let printed = scene.expect(0, &["check", "--config", "proxy.yaml"]);
    assert_eq!(printed.err, "");
}

#[test]
fn check_reports_every_mistake_of_both_files() {
    let scene = Scene::new();
    scene.put("proxy.yaml", &CONFIG.replace("x-tenant-id", "x_tenant_id"));
    scene.put(
        "bad.yaml",
        "format: 2\nhash: { slots: 0 }\ncells:\n  a: { endpoints: [] }\n  b: { endpoint: 1 }\nslots:\n  c: [\"0-2\"]\nrejects: [1]\n",
    );
    let arguments = ["check", "--config", "proxy.yaml", "--table", "bad.yaml"];
    let printed = scene.expect(1, &arguments);
    assert_eq!(printed.out, "");
    let places: Vec<&str> = printed
        .err
        .lines()
        .map(|line| {
            let end = line.match_indices(':').nth(2).unwrap().0;
            &line[..end]
        })
        .collect();
    assert!(places.contains(&"proxy.yaml:3:24"), "{}", printed.err);
    for line in [1, 2, 4, 5, 8] {
        let place = format!("bad.yaml:{line}:");
        assert!(
            places.iter().any(|at| at.starts_with(&place)),
            "{place} {}",
            printed.err
        );
    }
    let json = scene
        .expect(1, &[&arguments[..], &["--output", "json"]].concat())
        .json();
    let problems = json["problems"].as_array().unwrap();
    assert_eq!(
        (&json["ok"], problems.len()),
        (&Value::Bool(false), places.len())
    );
    for problem in problems {
        for key in ["file", "line", "column", "path", "message", "hint"] {
            assert!(!problem[key].is_null(), "{key} {problem}");
        }
    }
}

/// The rules that judge a change hold for `check` too, against the last good table.
#[test]
fn check_judges_a_move() {
    let scene = Scene::new();
    fs::create_dir(scene.path().join("state")).unwrap();
    // By the SHA-256 of `TABLE`'s bytes; under another name it would be passed over.
    let digest = Sha256::digest(TABLE);
    scene.put(
        &format!("state/table-00000000000000000007-{digest:x}.yaml"),
        TABLE,
    );
    let arguments = ["check", "--config", "proxy.yaml"];
    let printed = scene.expect(0, &arguments);
    let expected = "it says what the last good table says (generation 7)";
    assert!(printed.out.contains(expected), "{}", printed.out);

    let moved = |slots: &str| TABLE.replace("a: [\"0-2\"], b: [\"3\"]", slots);
    scene.put("table.yaml", &moved("a: [\"0-1\"], b: [\"2-3\"]"));
    let printed = scene.expect(0, &arguments);
    assert!(
        printed
            .out
            .contains("(generation 7) as generation 8:\n1 slots move"),
        "{}",
        printed.out
    );

    scene.put("table.yaml", &moved("a: [\"0\"], b: [\"1-3\"]"));
    let printed = scene.expect(1, &arguments);
    assert!(
        printed.err.contains("table.yaml:6:1: slots: "),
        "{}",
        printed.err
    );
    assert!(printed.err.contains("allow_move: true"), "{}", printed.err);
}

#[test]
fn files_that_are_not_there() {
    let scene = Scene::new();
    let check = |arguments: &[&str], expected: &str| {
        let printed = scene.expect(1, arguments);
        assert!(
            printed.err.contains(expected),
            "{arguments:?}: {}",
            printed.err
        );
    };
    check(&["check", "--config", "no.yaml"], "no.yaml: cannot be read");
    check(
        &["check", "--config", "proxy.yaml", "--table", "no.yaml"],
        "no.yaml: the file is not there",
    );
    check(
        &["check", "--config", "proxy.yaml", "--table", "."],
        "is a directory, not a file",
    );
    check(
        &["explain", "--table", "no.yaml", "acme"],
        "no.yaml: the file is not there",
    );
    check(
        &["diff", "table.yaml", "no.yaml"],
        "no.yaml: the file is not there",
    );
    check(&["--config", "no.yaml"], "no.yaml: cannot be read");
    scene.put("empty.yaml", "");
    check(&["--config", "empty.yaml"], "empty.yaml: the file is empty");
}

/// What it says of a key is compared with what requests get in `explain.rs`.
#[test]
fn explain_finds_the_table_by_the_configuration() {
    let scene = Scene::new();
    let text = scene
        .expect(0, &["explain", "--config", "proxy.yaml", "www"])
        .out;
    assert!(
        text.contains("tenant:    acme (the key is its alias)"),
        "{text}"
    );
    assert!(text.contains("endpoints: 127.0.0.1:9003"), "{text}");
    for key in [" acme", "a\tb"] {
        scene.expect(1, &["explain", "--table", "table.yaml", key]);
    }
}

#[test]
fn diff_shows_what_moves() {
    let scene = Scene::new();
    scene.put(
        "new.yaml",
        &TABLE
            .replace("a: [\"0-2\"], b: [\"3\"]", "a: [\"0-1\"], b: [\"2-3\"]")
            .replace("acme: b", "acme: a"),
    );
    let text = scene.expect(0, &["diff", "table.yaml", "new.yaml"]).out;
    for line in [
        "1 slots move (25.00 %):",
        "  slots 2: a -> b",
        "  acme: b -> a",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let json = scene
        .expect(0, &["diff", "table.yaml", "new.yaml", "--output", "json"])
        .json();
    assert_eq!(json["moved_share"], 0.25);
    let same = scene.expect(0, &["diff", "table.yaml", "table.yaml"]).out;
    assert!(same.starts_with("no slot moves\n"), "{same}");
}

#[test]
fn schemas_and_completions() {
    let scene = Scene::new();
    for (file, title) in [
        ("proxy", "cellgate proxy configuration"),
        ("table", "cellgate table"),
    ] {
        assert_eq!(scene.expect(0, &["schema", file]).json()["title"], title);
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = scene.expect(0, &["completions", shell]).out;
        assert!(script.contains("cellgate-proxy"), "{shell}");
    }
}

#[test]
fn wrong_usage() {
    let scene = Scene::new();
    for arguments in [
        &["check"][..],
        &[],
        &["explain", "acme"],
        &["explain", "--table", "table.yaml"],
        &["diff", "table.yaml"],
        &["schema", "nothing"],
        &["frobnicate"],
        &["--confg", "proxy.yaml"],
        &["check", "--config", "proxy.yaml", "--output", "xml"],
    ] {
        let printed = scene.expect(2, arguments);
        assert!(
            printed.out.is_empty() && !printed.err.is_empty(),
            "{arguments:?}"
        );
    }
    assert!(scene.expect(0, &["--help"]).out.contains("Exit codes:"));
    assert!(
        scene
            .expect(0, &["--version"])
            .out
            .contains(env!("CARGO_PKG_VERSION"))
    );
}

/// `cellgate-proxy schema proxy | head -1` is no error.
#[test]
fn a_reader_may_leave() {
    let scene = Scene::new();
    let mut child = proxy::command()
        .args(["schema", "proxy"])
        .current_dir(scene.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(err, "");
}
