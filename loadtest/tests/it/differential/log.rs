//! Lines of the access logs, and how those of one scenario differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use serde_json::{Map, Value};

use super::{
    client::SETTLER,
    compare::{Aspect, Difference},
    wire::is_made_name,
};

/// What is compared of a line.
pub(super) type Line = Map<String, Value>;

/// Lines by whose they are.
pub(super) type Lines = BTreeMap<String, Vec<Line>>;

/// The access log of a proxy.
pub(super) struct Log {
    path: PathBuf,
    read_bytes: u64,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            read_bytes: 0,
        }
    }

    /// Adds the whole lines that have come since the last time.
    pub(super) fn read(&mut self, lines: &mut Lines) {
        let mut file = File::open(&self.path).expect("the proxy has made it");
        file.seek(SeekFrom::Start(self.read_bytes))
            .expect("files can be sought");
        let mut text = Vec::new();
        file.read_to_end(&mut text).expect("it can be read");
        let end = text.iter().rposition(|&byte| byte == b'\n');
        text.truncate(end.map_or(0, |end| end + 1));
        self.read_bytes += text.len() as u64;
        let settler = SETTLER.to_string();
        for line in String::from_utf8_lossy(&text).lines() {
            let (key, line) = read(line);
            if key != settler {
                lines.entry(key).or_default().push(line);
            }
        }
    }
}

/// A line, and whose it is: a scenario's, by its number, or where the target does not say, a client's.
fn read(line: &str) -> (String, Line) {
    let mut line: Line = serde_json::from_str(line).expect("a line is JSON");
    for volatile in ["time", "duration_ms"] {
        line.remove(volatile);
    }
    if let Some(first_byte) = line.get_mut("upstream_first_byte_ms") {
        // Whether there was one counts, and not when.
        *first_byte = true.into();
    }
    if let Some(id) = line.get_mut("request_id")
        && is_made_name(id.as_str().unwrap_or_default().as_bytes())
    {
        *id = true.into();
    }
    if let Some(endpoint) = line.get_mut("endpoint") {
        // Each side has ports of its own.
        *endpoint = true.into();
    }
    let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or_default();
    let number = id_of(text("target")).and_then(|(number, _)| number.parse::<usize>().ok());
    let key = number.map_or_else(|| text("client").to_owned(), |number| number.to_string());
    (key, line)
}

/// All differences, and whose they are.
pub(super) fn differences(left: &Lines, right: &Lines) -> Vec<(String, Difference)> {
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        if left.get(key) == right.get(key) {
            continue;
        }
        let of_key = |lines: &Lines| lines.get(key).cloned().unwrap_or_default();
        let differences = differences_of(key, &of_key(left), &of_key(right));
        found.extend(
            differences
                .into_iter()
                .map(|difference| (key.clone(), difference)),
        );
    }
    found
}

/// The differences between the lines of one scenario, field by field where there are as many of them.
fn differences_of(key: &str, left: &[Line], right: &[Line]) -> Vec<Difference> {
    let mut left: Vec<&Line> = left.iter().collect();
    let mut right: Vec<&Line> = right.iter().collect();
    // Those that both have.
    left.retain(|line| match right.iter().position(|other| other == line) {
        Some(at) => {
            right.remove(at);
            false
        }
        None => true,
    });
    let place = |line: &&Line| (line.get("target").map(ToString::to_string), line.len());
    left.sort_by_key(place);
    right.sort_by_key(place);
    if left.len() != right.len() {
        let text = |lines: &[&Line]| {
            let lines: Vec<String> = lines
                .iter()
                .map(|line| Value::Object((*line).clone()).to_string())
                .collect();
            format!("{} more lines: {}", lines.len(), lines.join(" / "))
        };
        let what = format!("lines of {key}");
        return vec![Difference::new(
            Aspect::Log,
            what,
            text(&left),
            text(&right),
        )];
    }
    let mut found = Vec::new();
    for (left, right) in left.into_iter().zip(right) {
        let fields: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for field in fields {
            if left.get(field) == right.get(field) {
                continue;
            }
            let text = |field: &str| left.get(field).and_then(Value::as_str).unwrap_or_default();
            let what = format!(
                "a line of {key}, target {}, reason \"{}\"",
                text("target"),
                text("reason")
            );
            let text = |line: &Line| format!("{field}: {:?}", line.get(field));
            let mut difference = Difference::new(Aspect::Log, what, text(left), text(right));
            difference.exchange = exchange_of(left);
            found.push(difference);
        }
    }
    found
}

/// The number of a scenario and what follows it in a target.
fn id_of(target: &str) -> Option<(&str, &str)> {
    let (_, rest) = target.split_once("/~")?;
    rest.split_once('-')
}

/// Which exchange of its scenario a line is about.
fn exchange_of(line: &Line) -> Option<usize> {
    let (_, rest) = id_of(line.get("target")?.as_str()?)?;
    let end = rest.find(|character: char| !character.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}
