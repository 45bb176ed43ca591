//! The cases of the corpus.
//!
//! The corpus stays where cargo put it: only its files are used, nothing of the crate's code. Its files describe requests by their parts; like the crate's own tests, this puts
//! them together to bytes. They leave out the Host field, which the proxy asks for, so it is added.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_yaml::Value;

/// Labelled legal, and refused all the same. The first two give `chunked` a parameter, which RFC 9112 section 7.1 wants
/// treated as an error; the third has no request target at all. Pingora refuses these three as well.
pub(super) const LEGAL_BUT_REFUSED: [&str; 3] = [
    "Empty URI",
    "TE with custom parameters OK",
    "Transfer-Encoding with a param: chunked;custom_param",
];

pub(super) struct Case {
    pub(super) name: String,
    tier: String,
    request: String,
}

impl Case {
    /// The corpus writes bytes as `\xNN`, which its own tests turn into characters and send as UTF-8. A byte above 0x7f
    /// could as well be meant as itself, so each request is tried both ways.
    pub(super) fn encodings(&self) -> [Vec<u8>; 2] {
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

/// A request with the body that it announces and the corpus leaves out: a small one is read before its cell is asked.
pub(super) fn with_body(mut request: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok());
    request.extend(vec![b'x'; length.unwrap_or_default()]);
    request
}

/// The cases with this label.
pub(super) fn cases(tier: &str) -> Vec<Case> {
    let folder = corpus_folder();
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).expect("the corpus folder can be listed") {
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
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
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
    let text = fs::read_to_string(path).expect("a corpus file is text");
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
