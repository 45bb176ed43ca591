//! AWS's labelled corpus of requests that programs read differently (crate `http_desync_guardian`), against the gate.
//!
//! The corpus stays where cargo put it. Its files describe requests by their parts; like the crate's own tests, this one
//! puts them together to bytes. They leave out the Host field, which the gate asks for, so it is added.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use cellgate_proxy::gate::{GateLimits, Head, HeadScan, HeadScanner, Refusal, inspect_head};
use serde_yaml::Value;

/// Labelled legal, and refused all the same. The first two give `chunked` a parameter, which RFC 9112 section 7.1 wants
/// treated as an error; the third has no request target at all. Pingora refuses these three as well.
const LEGAL_BUT_REFUSED: [&str; 3] = [
    "Empty URI",
    "TE with custom parameters OK",
    "Transfer-Encoding with a param: chunked;custom_param",
];

struct Case {
    name: String,
    tier: String,
    request: String,
}

impl Case {
    /// The corpus writes bytes as `\xNN`, which its own tests turn into characters and send as UTF-8. A byte above 0x7f
    /// could as well be meant as itself, so each request is tried both ways.
    fn encodings(&self) -> [Vec<u8>; 2] {
        let mut raw = Vec::new();
        for character in self.request.chars() {
            match u8::try_from(character) {
                Ok(byte) => raw.push(byte),
                Err(_) => raw.extend(character.to_string().bytes()),
            }
        }
        [self.request.clone().into_bytes(), raw]
    }
}

#[test]
fn no_severe_request_passes() {
    let cases = cases("Severe");
    assert_eq!(cases.len(), 58, "the corpus is not the one this test knows");
    for case in cases {
        for bytes in case.encodings() {
            let refusal = inspect(&bytes).expect_err(&case.name);
            // A Host field was added, so a refusal for want of one would be this test's fault.
            assert_ne!(refusal, Refusal::MissingHost, "{}", case.name);
        }
    }
}

#[test]
fn legal_requests_pass() {
    let cases = cases("Compliant");
    assert_eq!(cases.len(), 28, "the corpus is not the one this test knows");
    let mut refused = BTreeSet::new();
    for case in &cases {
        // As the corpus means it only: text in a target has to be UTF-8.
        let [bytes, _] = case.encodings();
        if inspect(&bytes).is_err() {
            refused.insert(case.name.as_str());
        }
    }
    assert_eq!(refused, BTreeSet::from(LEGAL_BUT_REFUSED));
}

/// Of the merely ambiguous requests, those pass that give a body to a method whose bodies mean nothing. They are
/// reported as such, so that the proxy can keep them off connections that others use.
#[test]
fn ambiguous_requests_that_pass_are_reported() {
    let mut passed = 0;
    for case in cases("Ambiguous") {
        for bytes in case.encodings() {
            if let Ok(head) = inspect(&bytes) {
                assert!(head.has_undefined_body(), "{}", case.name);
                passed += 1;
            }
        }
    }
    assert!(passed > 0, "no case exercises the report");
}

/// What the connection loop does with a head.
fn inspect(bytes: &[u8]) -> Result<Head<'_>, Refusal> {
    let limits = GateLimits::default();
    match HeadScanner::new().scan(bytes, &limits) {
        HeadScan::Complete { skip, end } => inspect_head(&bytes[skip..end], &limits),
        HeadScan::Refused(refusal) => Err(refusal),
        HeadScan::Partial { .. } => panic!("a case ends without an empty line"),
    }
}

fn cases(tier: &str) -> Vec<Case> {
    let folder = corpus_folder();
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the corpus folder can be listed") {
        let path = entry.expect("the corpus folder can be listed").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            cases.extend(read_file(&path));
        }
    }
    cases.retain(|case| case.tier == tier);
    cases
}

fn corpus_folder() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    let packages = metadata["packages"].as_array();
    let manifest = packages
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "http_desync_guardian")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("http_desync_guardian is a dev-dependency");
    let folder = Path::new(manifest).with_file_name("tests");
    assert!(folder.is_dir(), "no corpus at {}", folder.display());
    folder
}

fn read_file(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("a corpus file is text");
    let cases: Vec<Value> = serde_yaml::from_str(&text).expect("a corpus file is a list");
    cases.iter().map(read_case).collect()
}

fn read_case(case: &Value) -> Case {
    let name = case["name"].as_str().expect("a case has a name").to_owned();
    let tier = case["expected"]["tier"]
        .as_str()
        .expect("a case has a tier");
    let mut request = format!(
        "{} {} {}\r\n",
        part(&case["method"]),
        part(&case["uri"]),
        part(&case["version"])
    );
    let mut has_host = false;
    for header in case["headers"].as_sequence().into_iter().flatten() {
        let (name, value) = (part(&header["name"]), part(&header["value"]));
        has_host |= name == "Host";
        request.extend([&name, ": ", &value, "\r\n"]);
    }
    if !has_host {
        request.push_str("Host: localhost\r\n");
    }
    request.push_str("\r\n");
    Case {
        name,
        tier: tier.to_owned(),
        request,
    }
}

fn part(value: &Value) -> String {
    match value {
        Value::String(text) => unescape(text),
        Value::Number(number) => number.to_string(),
        other => panic!("a part of a case is neither text nor number: {other:?}"),
    }
}

/// The corpus has escapes of its own where YAML has none (plain and single-quoted text).
fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        result.push(match characters.next().expect("an escape is whole") {
            'x' => {
                let digits: String = characters.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).expect("two hexadecimal digits");
                char::from(byte)
            }
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            other => other,
        });
    }
    result
}
